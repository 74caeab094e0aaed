"""Children: restarted when they die, stopped in order, never left behind. Stand-ins are small Python programs."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # has no types of its own
import pytest

from app.standalone.child import Child, Command, describe, tied
from app.standalone.errors import StandaloneError
from app.standalone.output import LogFile, OutputEcho
from app.standalone.supervisor import Patience, keep_alive, stop_in_order
from tests.helpers.loops import in_loop

FOR_EVER = "import time\nprint('INFO up', flush=True)\nwhile True: time.sleep(60)"
STUBBORN = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{FOR_EVER}"
AT_ONCE = Patience(pause_s=0.01, deaths_max=3, young_s=60)
LIMIT_S = 20.0


def command(tmp_path: Path, code: str, name: str = "child") -> Command:
    return Command(name, (sys.executable, "-c", code), dict(os.environ), tmp_path / "logs" / f"{name}.log")


async def until(condition: Callable[[], object]) -> None:
    """Return once `condition()` holds."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def log_of(child: Child) -> str:
    path = child.command.log
    return path.read_text() if path.exists() else ""


async def started(tmp_path: Path, code: str, name: str = "child") -> Child:
    child = Child(command(tmp_path, code, name), lambda _: None)
    child.start()
    await until(lambda: "up" in log_of(child))
    return child


@in_loop
async def test_a_child_that_dies_is_started_again(tmp_path):
    """With a line that names it, its pid and how it ended."""
    said: list[str] = []
    child = Child(command(tmp_path, FOR_EVER), said.append)
    child.start()
    asked: list[int] = []

    async def needs() -> None:
        asked.append(1)

    manager = asyncio.create_task(keep_alive(child, said.append, needs, AT_ONCE))
    first = child.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: child.pid != first and child.running)
    manager.cancel()
    await child.stop(5)
    assert said == [f"child (pid {first}) ended unexpectedly with signal SIGKILL; starting it again in 0.01 s"]
    assert asked == [1], "it waited for what the child needs"


@in_loop
async def test_a_child_that_keeps_dying_is_given_up(tmp_path):
    """The error names the last exit code and the log."""
    child = Child(command(tmp_path, "raise SystemExit(7)"), lambda _: None)
    child.start()
    with pytest.raises(StandaloneError, match=r"exit code 7; given up after 3 deaths .*child\.log"):
        await asyncio.wait_for(keep_alive(child, lambda _: None, patience=AT_ONCE), LIMIT_S)
    assert not child.running


@in_loop
async def test_one_of_several_is_never_given_up(tmp_path):
    """Each young death doubles the pause, up to a limit, and each is told."""
    child = Child(command(tmp_path, "raise SystemExit(7)"), lambda _: None)
    child.start()
    said: list[str] = []
    patience = Patience(pause_s=0.01, deaths_max=2, young_s=60, pause_s_max=0.04)
    manager = asyncio.create_task(keep_alive(child, said.append, patience=patience, established=lambda: True))
    await until(lambda: len(said) >= 5)
    manager.cancel()
    await child.stop(5)
    assert [line.rpartition(" in ")[2] for line in said[:5]] == ["0.01 s", "0.02 s", "0.04 s", "0.04 s", "0.04 s"]


@in_loop
async def test_several_share_a_log(tmp_path):
    """Each line says whose it is."""
    log = LogFile(tmp_path / "logs" / "shared.log")
    children = [Child(command(tmp_path, "print('INFO up')", name), lambda _: None, log) for name in ("a", "b")]
    for child in children:
        child.start()
    for child in children:
        await child.wait()
    await until(lambda: (tmp_path / "logs" / "shared.log").read_text().count("up") == 2)
    log.close()
    assert sorted((tmp_path / "logs" / "shared.log").read_text().splitlines()) == ["a | INFO up", "b | INFO up"]


@in_loop
async def test_deaths_long_ago_are_forgotten(tmp_path):
    """Only deaths within the window count."""
    child = Child(command(tmp_path, "pass"), lambda _: None)
    child.start()
    said: list[str] = []
    manager = asyncio.create_task(keep_alive(child, said.append, patience=Patience(0.01, 2, 0.0)))
    await until(lambda: len(said) >= 4)
    manager.cancel()
    await child.stop(5)


@in_loop
async def test_stop_is_gentle_first(tmp_path):
    """SIGTERM is enough for most."""
    child = await started(tmp_path, FOR_EVER)
    await child.stop(LIMIT_S)
    assert await child.wait() == -signal.SIGTERM


@in_loop
async def test_stop_kills_what_does_not_listen(tmp_path):
    """And the processes that it has started, since they are in its session."""
    code = (
        f"import subprocess, sys\np = subprocess.Popen([sys.executable, '-c', {STUBBORN!r}])\nprint(p.pid)\n{STUBBORN}"
    )
    child = await started(tmp_path, code)
    grandchild = int(log_of(child).splitlines()[0])
    await child.stop(0.1)
    assert await child.wait() == -signal.SIGKILL
    await until(lambda: not alive(grandchild))


@in_loop
async def test_the_worker_stops_before_its_kafka(tmp_path):
    """In the order given, each group within its time."""
    ended: list[str] = []
    demo, worker = [await started(tmp_path, STUBBORN, name) for name in ("demo", "worker")]
    kafka = await started(tmp_path, FOR_EVER, "kafka")

    async def note(child: Child) -> None:
        await child.wait()
        ended.append(child.command.name)

    notes = [asyncio.create_task(note(child)) for child in (kafka, demo, worker)]
    begin = time.monotonic()
    await stop_in_order([[demo, worker], [kafka]], first_s=0.2, within_s=2.0)
    await asyncio.gather(*notes)
    assert sorted(ended[:2]) == ["demo", "worker"]
    assert ended[2:] == ["kafka"]
    assert time.monotonic() - begin < 2.0


@in_loop
async def test_a_command_that_does_not_exist(tmp_path, monkeypatch):
    """A clear error where the system itself refuses."""
    monkeypatch.setattr("app.standalone.child.tied", list)
    child = Child(Command("kafka", (str(tmp_path / "no-java"),), {}, tmp_path / "k.log"), lambda _: None)
    with pytest.raises(StandaloneError, match="cannot start kafka"):
        child.start()
    assert not child.running


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a child's life to its parent's")
def test_nothing_outlives_a_kill_of_the_supervisor(tmp_path):
    """kill -9: no orphan, though nobody could clean up."""
    parent = f"""
import asyncio, os, sys
from pathlib import Path
from app.standalone.child import Child, Command
async def main():
    log = Path({str(tmp_path / "k.log")!r})
    command = Command("kafka", (sys.executable, "-c", {STUBBORN!r}), dict(os.environ), log)
    child = Child(command, print)
    child.start()
    while not (log.exists() and b"up" in log.read_bytes()):
        await asyncio.sleep(0.005)
    print(child.pid, flush=True)
    await child.wait()
asyncio.run(main())
"""
    supervisor = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    with supervisor.stdout:
        pid = int(supervisor.stdout.readline())
        assert alive(pid)
        supervisor.kill()
        supervisor.wait()
    asyncio.run(until(lambda: not alive(pid)))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_a_child_whose_parent_is_gone_already_does_not_start():
    """The moment between fork and prctl: nobody would send the signal any more."""
    argv = tied((sys.executable, "-c", "print('started')"))
    argv[argv.index(str(os.getpid()))] = "1"  # as if the parent had been another, now dead
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")


def test_other_systems_get_the_plain_command():
    """No helper where it cannot help."""
    assert tied(("java", "-version"), platform="darwin") == ["java", "-version"]


@pytest.mark.parametrize(
    ("code", "words"), [pytest.param(3, "exit code 3", id="code"), pytest.param(-9, "signal SIGKILL", id="signal")]
)
def test_describe(code, words):
    """As an operator says it."""
    assert describe(code) == words


LINES = [
    "[2026-11-21 13:42:46,315] [9381] [INFO] [^Worker]: an ERROR is what it does not find",
    "+----- a banner",
    "[2026-11-21 13:42:47,387] [9381] [WARNING] slow",
    "[2026-11-21 13:42:47,387] [9381] [ERROR] broken",
    "  File x.py, line 1",
    "2026-11-21T13:42:43.648Z [main] INFO kafka.utils - fine",
    "2026-11-21T13:42:43.648Z [main] WARN kafka.utils - hm",
    "Traceback (most recent call last):",
    "ValueError: 5",
]


@pytest.mark.parametrize(
    ("show", "shown"),
    [
        pytest.param("warnings", [2, 3, 4, 6, 7, 8], id="warnings"),
        pytest.param("errors", [3, 4, 7, 8], id="errors"),
        pytest.param("all", range(9), id="all"),
    ],
)
def test_what_appears_on_the_terminal(show, shown):
    """Lines of a level, and those without one that follow."""
    said: list[str] = []
    echo = OutputEcho("worker", said.append, show=show)
    # The first line has both words in its head; the first level is the line's own.
    for line in LINES:
        echo.line(line)
    assert said == [f"worker | {LINES[n]}" for n in shown]


def test_a_flood_is_cut():
    """At most LINES_MAX in a window, then one line that says so; the next window begins anew."""
    said: list[str] = []
    now = [0.0]
    echo = OutputEcho("worker", said.append, clock=lambda: now[0])
    for _ in range(1000):
        echo.line("[ERROR] no Kafka")
    assert len(said) == OutputEcho.LINES_MAX + 1
    assert "more of this" in said[-1]
    now[0] += OutputEcho.WINDOW_S
    echo.line("[ERROR] still none")
    assert said[-1] == "worker | [ERROR] still none"


def test_a_log_is_bounded(tmp_path):
    """One older copy is kept."""
    path = tmp_path / "logs" / "x.log"
    log = LogFile(path, bytes_max=100)
    for n in range(50):
        log.write(b"line %03d\n" % n)
    log.close()
    sizes = [path.stat().st_size, path.with_name("x.log.1").stat().st_size]
    assert max(sizes) <= 100
    assert path.read_bytes().endswith(b"line 049\n")
