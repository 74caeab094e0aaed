"""The whole of `make bench`, with a stand-in for the thing that is measured."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import measure, workload
from tests.harness import cluster
from tests.harness.cluster import BenchError, Cluster

STAND_IN = str(Path(__file__).with_name("stand_in.py"))


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Neither the user's cache nor the real program."""
    monkeypatch.setattr(workload, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(cluster, "COMMAND", (sys.executable, STAND_IN))
    monkeypatch.setattr(bench, "WARM_SPANS", 500)
    monkeypatch.setattr(bench, "SETTLE_S", 0.0)


def is_alive(pid):
    return measure.process(pid, root_pid=0) is not None


def test_run(capsys, tmp_path):
    """All figures are there, the result is kept, the run's folder is not."""
    assert bench.main(["--spans", "3000", "--rate", "3000", "--in-flight", "2"]) == 0
    out = capsys.readouterr().out
    for expected in ("accepted", "CPU, worker", "CPU, kafka", "peak memory, worker", "≤ 42", "≤ 20", "| 3,000 |"):
        assert expected in out
    lines = (tmp_path / "cache" / "results.jsonl").read_text().splitlines()
    assert len(lines) == 1
    result = json.loads(lines[0])
    assert result["spans"] >= 3000
    assert result["rate"] == 3000
    assert result["received"] >= result["spans"]
    assert result["loaded"]["errors"] == 0
    assert result["kafka_bytes_per_span"] == 100
    assert result["parquet_bytes_per_span"] == 40
    assert set(result["cpu_s"]) == set(result["peak_bytes"]) == {"supervisor", "kafka", "worker"}
    assert result["probes_lost"] == 0
    assert result["fresh_ms"]["p50"] < 1000
    assert not list((tmp_path / "cache").glob("run-*"))


def test_own_file_and_tenants(capsys, tmp_path):
    """A file of one's own is sent as it is; with tenants the server is told that there are some."""
    path = tmp_path / "own.otlp"
    workload.write(workload.Options(spans=200, spans_per_request=50), path)
    assert bench.main(["--file", str(path), "--tenants", "2", "--no-probe"]) == 0
    assert "2 tenants" in capsys.readouterr().out
    result = json.loads((tmp_path / "cache" / "results.jsonl").read_text())
    assert (result["workload"], result["spans_per_request"], result["fresh_ms"]) == ("own.otlp", 50, {})


def test_a_server_that_ends_is_told(capsys, monkeypatch, tmp_path):
    """The run fails with the end of the log, and keeps its folder for a look."""
    monkeypatch.setattr(cluster, "COMMAND", (sys.executable, STAND_IN, "dies"))
    assert bench.main(["--spans", "100"]) == 1
    err = capsys.readouterr().err
    assert "ended with status 3" in err
    assert "the stand-in says hello" in err
    assert len(list((tmp_path / "cache").glob("run-*"))) == 1


def test_an_absent_program_is_told(capsys, monkeypatch):
    """Without the program there is a message, not a traceback."""
    monkeypatch.setattr(cluster, "COMMAND", ("absent/stretto", "run"))
    assert bench.main(["--spans", "100"]) == 1
    assert "absent/stretto is not there" in capsys.readouterr().err


def test_never_ready(monkeypatch, tmp_path):
    """What /ready says is shown, and nothing is left running."""
    monkeypatch.setattr(cluster, "READY_S", 3.0)
    stand_in = Cluster(tmp_path, command=[sys.executable, STAND_IN, "quiet"])
    with pytest.raises(BenchError, match="not ready after 3 s: waiting for Godot"), stand_in:
        pass
    assert stand_in._process.poll() is not None


def test_stubborn_processes_are_killed(monkeypatch, tmp_path, capsys):
    """What does not heed SIGTERM is killed, with its children, and that is said."""
    monkeypatch.setattr(cluster, "STOP_S", 0.5)
    with Cluster(tmp_path, command=[sys.executable, STAND_IN, "stubborn"]) as stand_in:
        family = stand_in.processes()
    assert sorted(one.name for one in family) == ["kafka", "supervisor", "worker"]
    deadline_s = time.monotonic() + 10
    while any(is_alive(one.pid) for one in family):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    assert "did not stop within 0.5 s" in capsys.readouterr().err


def test_counters_that_stand_still_are_told(monkeypatch, tmp_path):
    """Waiting has an end, and says what the counters say."""
    with (
        Cluster(tmp_path, command=[sys.executable, STAND_IN]) as stand_in,
        pytest.raises(BenchError, match=r"after 0.2 s the counters still say Counts\(received=0"),
    ):
        bench.wait_for(stand_in, lambda now: now.received > 0, 0.2)


def test_environment(monkeypatch, tmp_path):
    """The user's own settings do not reach the measured process; the run's do."""
    monkeypatch.setenv("KAFKA_URL", "kafka://elsewhere:9092")
    monkeypatch.setenv("STRETTO_LOG_LEVEL", "debug")
    made = Cluster(tmp_path, {"STRETTO_LIVE_STORE__BLOCK_AGE_S": "60"})
    assert "KAFKA_URL" not in made._environment
    assert "STRETTO_LOG_LEVEL" not in made._environment
    assert made._environment["STRETTO_LIVE_STORE__BLOCK_AGE_S"] == "60"
    assert made._environment["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize(
    "arguments",
    [["--spans", "0"], ["--rate", "0"], ["--in-flight", "0"], ["--tenants", "-1"], ["--file", "absent.otlp"]],
    ids=" ".join,
)
def test_refused_options(arguments, capsys):
    """Options that make no sense are refused before anything starts."""
    with pytest.raises(SystemExit, match="2"):
        bench.main(arguments)
    assert "error:" in capsys.readouterr().err
