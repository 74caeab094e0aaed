"""`stretto import tempo`: arguments, output and exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.imports.progress import ProgressLine, shown_bytes, shown_seconds
from app.cli.main import main
from tests.helpers.tempo.imported import START_S, local, request, span_count, visible
from tests.helpers.tempo.tempo_blocks import TempoBlock


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of our blocks, named by the settings file in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stretto.yaml").write_text("storage: {trace: {backend: local, local: {path: ours}}}\n")
    return tmp_path / "ours"


def test_all_tenants(ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TempoBlock(tenant="a").write(Path("tempo"), [request(6)])
    TempoBlock("vParquet5", tenant="b").write(Path("tempo"), [request(4), request(3, first=10)])
    Path("tempo", "overrides").mkdir()
    Path("tempo", "overrides", "overrides.json").write_text("{}")
    assert main(["import", "tempo", "tempo"]) == 0
    out = capsys.readouterr().out
    assert "a: 1 block to import, " in out
    assert "a: imported 6 spans of 3 traces\n" in out
    assert "b: imported 7 spans of 3 traces\n" in out
    assert "overrides" not in out
    assert span_count(local(ours), "a") == 6
    assert main(["import", "tempo", str(Path("tempo").resolve())]) == 0
    assert "a: 0 blocks to import, 0 B\n  1 block left out: imported before\n" in capsys.readouterr().out


def test_one_tenant_under_another_name(ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tenant in ("a", "b"):
        TempoBlock(tenant=tenant).write(Path("tempo"), [request(6)])
    assert main(["import", "tempo", Path("tempo").resolve().as_uri(), "--tenant", "a", "--to-tenant", "c"]) == 0
    assert "a → c: 1 block to import" in capsys.readouterr().out
    assert [len(visible(local(ours), tenant)) for tenant in "abc"] == [0, 0, 1]


def test_a_dry_run_writes_nothing(ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TempoBlock().write(Path("tempo"), [request(6)])
    assert main(["import", "tempo", "tempo", "--dry-run"]) == 0
    assert "single-tenant: 1 block to import" in capsys.readouterr().out
    assert not ours.exists() or not list(ours.iterdir())


def test_time_limits_and_what_they_leave_out(ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TempoBlock().write(Path("tempo"), [request(10)])
    assert main(["import", "tempo", "tempo", "--since", str(START_S + 2), "--until", str(START_S + 6)]) == 0
    out = capsys.readouterr().out
    assert "imported 4 spans of 3 traces\n  6 spans of these blocks left out: outside of the time limits\n" in out
    assert span_count(local(ours)) == 4


def test_ids_of_another_length(ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = request(3)
    for number, span in enumerate(odd.resource_spans[0].scope_spans[0].spans):
        span.span_id = bytes([number + 1]) * 4
    TempoBlock().write(Path("tempo"), [odd])
    assert main(["import", "tempo", "tempo"]) == 0
    assert "1 ids had another length than OTLP's: padded or cut" in capsys.readouterr().out
    assert span_count(local(ours)) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere is no folder; name the one that has a folder for each of Tempo's tenants"),
        (["tempo", "--tenant", "x"], "tempo has no blocks of tenant x of Tempo: there must be folders"),
        ([str(Path("tempo", "single-tenant"))], "tempo/single-tenant has no blocks of Tempo"),
        (["tempo", "--to-tenant", "x"], "--to-tenant needs --tenant"),
        (["tempo", "--tenant", "single-tenant", "--to-tenant", "a/b"], "'a/b' is no name for a tenant here"),
        (["tempo", "--since", "20", "--until", "10"], "--since is not before --until"),
        (["ftp://bucket"], "expected file:///path, s3://bucket/prefix"),
        (["az://container/prefix"], "storage_account_name"),
    ],
)
def test_what_is_wrong_is_said(ours: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    TempoBlock().write(Path("tempo"), [request(3)])
    assert main(["import", "tempo", *arguments]) in (1, 2)
    assert said in capsys.readouterr().err
    assert not Path("nowhere").exists()
    assert visible(local(ours)) == []


def test_problems_are_named_and_the_rest_is_imported(ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = TempoBlock().write(Path("tempo"), [request(3)])
    TempoBlock().write(Path("tempo"), [request(3, first=3)])
    meta = json.loads((bad / "meta.json").read_text())
    (bad / "meta.json").write_text(json.dumps(meta | {"totalObjects": 17}))
    assert main(["import", "tempo", "tempo"]) == 1
    said = capsys.readouterr()
    assert f"problem: single-tenant/{bad.name} has 3 traces; its meta.json says 17" in said.out
    assert "stretto: the import is not complete: 1 problems, see above" in said.err
    assert span_count(local(ours)) == 3


def test_a_settings_file_says_how_to_reach_the_bucket(
    ours: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Our own variables are not of that storage, and the URL wins over what the file says of the place.
    monkeypatch.setenv("STRETTO_STORAGE__TRACE__LOCAL__PATH", str(ours))
    Path("tempo.yaml").write_text("storage: {trace: {backend: s3, s3: {bucket: x, region: eu-central-1}}}\n")
    TempoBlock().write(Path("tempo"), [request(3)])
    assert main(["import", "tempo", "tempo", "--settings", "tempo.yaml"]) == 0
    assert "imported 3 spans" in capsys.readouterr().out
    assert main(["import", "tempo", "tempo", "--settings", "absent.yaml"]) == 2
    assert "absent.yaml: the settings file cannot be read" in capsys.readouterr().err


class Screen:
    """A terminal, or a file."""

    def __init__(self, *, terminal: bool) -> None:
        self.terminal, self.text = terminal, ""

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        return


def test_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    now: list[float] = [0.0]
    monkeypatch.setattr("app.cli.imports.progress.time.monotonic", lambda: now[0])
    for terminal in (True, False):
        now[0] = 0.0
        out: Any = Screen(terminal=terminal)
        progress = ProgressLine(out, "a", 4, 4_000_000)
        for _ in range(8):
            now[0] += 5
            progress.read(1000)
        progress.block(1_000_000)
        now[0] += 31
        progress.read(1000)
        progress.say("something")
        progress.close()
        assert "1 of 4 blocks, 1 MB of 4 MB, 9,000 spans, 127 spans/s, 4 min left" in out.text
        assert ("\r" in out.text) == terminal
        assert out.text.count("spans/s") == (11 if terminal else 2)


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (5e15, "5e+03 TB")])
def test_sizes(size: float, text: str) -> None:
    assert shown_bytes(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(3.4, "3 s"), (600, "10 min"), (36_000, "10.0 h")])
def test_times(seconds: float, text: str) -> None:
    assert shown_seconds(seconds) == text
