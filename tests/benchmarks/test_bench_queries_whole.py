"""The whole of `make bench-queries` on few spans, with the real Stretto and Kafka."""

import json

import pytest

from benchmarks import workload
from benchmarks.queries import __main__ as bench
from benchmarks.queries.cases import TARGETS_MS

pytestmark = pytest.mark.cluster


def test_run(tmp_path, monkeypatch, capsys):
    """Every answer is right, from two flushes and with clients and spans that come in; the run's folder is gone."""
    monkeypatch.setattr(workload, "CACHE", tmp_path)
    arguments = "--spans 4000 --blocks 2 --partitions 1 --runs 1 --block-age-s 1 --clients 2 --ingest 2000 --seconds 1"
    assert bench.main(arguments.split()) == 0
    out = capsys.readouterr().out
    assert "42 of 42 rows right" in out
    assert "4,0" in out
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    result = json.loads(line)
    assert (result["kind"], result["flushes"], result["partitions"]) == ("queries", 2, 1)
    assert result["spans"] >= 4000
    assert result["blocks"] >= 2
    assert {row["name"] for row in result["rows"]} == TARGETS_MS.keys()
    (load,) = result["concurrent_loads"]
    assert load["ingested_per_s"] > 0
    assert load["ingest_errors"] == 0
    assert load["echo_ms"]["p50"] < 1000
    assert not list(tmp_path.glob("queries-*"))
