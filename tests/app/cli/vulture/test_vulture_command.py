"""The command line of `stretto vulture`: where it ends, whom it asks as, and what it exposes."""

import asyncio
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from app.cli.main import main
from app.cli.vulture.logfmt import line
from app.cli.vulture.vulture import Vulture, VulturePlan
from tests.harness.ports import own_port
from tests.helpers.querying.api import serving
from tests.helpers.querying.known_traces_server import KnownTracesServer

ONCE = ("--once", "--late-write", "0s", "--check-after", "0s")


def run(server: KnownTracesServer, *arguments: str) -> int:
    async def use(url: str) -> int:
        command = ["vulture", "--to-http", url, "--url", url, *arguments]
        return await asyncio.to_thread(_main_in_thread, command)

    status: Any = asyncio.run(serving(server.app, use))
    return int(status)


def _main_in_thread(command: list[str]) -> int:
    """Signals are the main thread's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.SelectorEventLoop, "add_signal_handler", lambda *_: None)
        return main(command)


def test_once() -> None:
    server = KnownTracesServer()
    assert run(server, *ONCE, "--listen", "", "--tenant", "a", "--token", "t", "--user", "u") == 0
    assert server.requests
    for headers in server.headers:
        assert headers["X-Scope-OrgID"] == "a"
        assert headers["Authorization"] == "Basic " + b64encode(b"u:t").decode()


@pytest.mark.parametrize(("arguments", "late_write_s"), [(("--once",), 5), (("--for", "1s"), 60)])
def test_when_late_writes_are_due(
    arguments: tuple[str, ...], late_write_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a single trace is not kept for minutes: a trace has up to three writes."""
    plans: list[VulturePlan] = []

    async def ends(vulture: Vulture) -> None:
        plans.append(vulture._plan)

    for name in ("run", "write_one", "finish"):
        monkeypatch.setattr(Vulture, name, ends)
    run(KnownTracesServer(), *arguments, "--listen", "")
    assert [plan.late_write_s for plan in plans[:1]] == [late_write_s]


def test_once_with_a_failure() -> None:
    """The status of the process says it, for CI."""
    server = KnownTracesServer(lambda path, answer: {"series": []} if "metrics" in path else answer)
    assert run(server, *ONCE, "--listen", "", "--token", "t") == 1
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer t"}
    refusing = KnownTracesServer()
    refusing.refuses = 503
    assert run(refusing, *ONCE, "--listen", "") == 1


def test_for_a_while_and_its_state(tmp_path: Path) -> None:
    """What was acknowledged is in the file, and the next process asks for it."""
    server, state = KnownTracesServer(), tmp_path / "state.json"
    often = ("--write-interval", "1s", "--late-write", "0s", "--check-after", "0s", "--listen", "")
    assert run(server, *often, "--state-file", str(state), "--for", "3s") == 0
    assert '"written": [[' in state.read_text()
    writes = len(server.requests)
    assert writes >= 2
    later = ("--no-write", "--read-interval", "1s", "--for", "2s")
    assert run(server, *often, *later, "--state-file", str(state)) == 0
    server.asked.clear()
    server._engine._sources = []
    assert run(server, *often, *later, "--state-file", str(state)) == 1
    assert server.asked
    assert len(server.requests) == writes


def test_metrics_are_served() -> None:
    """From the start each error has its zero."""
    port = own_port()

    async def use(url: str) -> str:
        command = ["vulture", "--to-http", url, "--url", url, "--for", "4s", "--write-interval", "1s"]
        running = asyncio.ensure_future(
            asyncio.to_thread(
                _main_in_thread,
                [*command, "--listen", f"127.0.0.1:{port}", "--check-after", "0s", "--late-write", "0s"],
            )
        )
        async with aiohttp.ClientSession() as session, asyncio.timeout(20):
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/metrics") as reply:
                        text = await reply.text()
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)
                    continue
                break
        await running
        return text

    text: Any = asyncio.run(serving(KnownTracesServer().app, use))
    assert re.search(r'tempo_vulture_trace_error_total\{error="notfound_byid"\} \d', text)
    assert "tempo_vulture_trace_total" in text
    assert "process_resident_memory_bytes" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--no-write"], "nothing is known to be written"),
        (["--ca-file", "/none"], "--ca-file /none: cannot be read"),
        (["--listen", "127.0.0.1:x"], "cannot listen there"),
        (["--listen", "nonsense"], "cannot listen there"),
    ],
)
def test_wrong_arguments(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vulture", *arguments]) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--write-interval", "0s"], ["--for", "x"], ["--to", "nowhere"]])
def test_arguments_that_are_no_values(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["vulture", *arguments])


def test_lines_are_logfmt() -> None:
    text = line("check failed", error="x", query='{ a = "b\\n" }\n', empty="", found="é")
    assert text == 'msg="check failed" error=x query="{ a = \\"b\\\\n\\" }\\n" found=é'
