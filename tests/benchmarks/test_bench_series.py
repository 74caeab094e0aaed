"""The series: which runs, and what its table says."""

from dataclasses import replace

import pytest

from benchmarks import __main__ as bench
from benchmarks import series
from tests.benchmarks.runs import RUN
from tests.harness.cluster import BenchError


def costing(cpu_s):
    return replace(RUN, cpu_s={"worker": cpu_s * RUN.received / 1e6})


@pytest.mark.parametrize("quick", [True, False])
def test_every_case_is_a_run_that_the_benchmark_takes(quick):
    """No option is misspelt."""
    for group in series.GROUPS:
        for case in group.cases:
            assert bench.parse(case.command(quick=quick)).spans >= 1


@pytest.mark.parametrize(
    ("costs", "marked"),
    [
        pytest.param((10, 11.9, 11.9), [], id="within a fifth"),
        pytest.param((10, 12.1, 9), [1], id="the second grows"),
        pytest.param((20, 10, 12.1), [2], id="against the cheapest of the smaller"),
        pytest.param((20, 10, 8), [], id="falls"),
    ],
)
def test_growth(costs, marked):
    """A case that costs a fifth more than the cheapest before it is marked."""
    group = series.GROUPS[0]
    runs = [(case, costing(cost)) for case, cost in zip(group.cases, costs, strict=True)]
    lines, grown = series.table([(group, runs)])
    assert [at for at, line in enumerate(lines[2:]) if "MORE THAN 20%" in line] == marked
    assert grown == bool(marked)
    assert all(line.count("|") == lines[0].count("|") for line in lines)


def test_a_failed_run_has_a_row(monkeypatch, capsys):
    """The others go on; the exit status tells it."""

    def fails(_given):
        raise BenchError("no disk")

    monkeypatch.setattr(bench, "in_own_folder", fails)
    assert series.main(["--only", "small"]) == 1
    out = capsys.readouterr()
    assert out.out.count("| failed |") == 2
    assert "no disk" in out.err


def test_settings_reach_every_run(monkeypatch, tmp_path, capsys):
    """--setting goes to each run, --only chooses them, and each is kept."""
    given = []

    def kept(one):
        given.append(one)
        return RUN

    monkeypatch.setattr(bench, "in_own_folder", kept)
    monkeypatch.setattr(series.workload, "CACHE", tmp_path)
    assert series.main(["--only", "partitions", "--setting", "query.threads=1"]) == 0
    assert [one.partitions for one in given] == [1, 4, 16]
    assert all(one.setting == [("STRETTO_QUERY__THREADS", "1")] for one in given)
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 3
    assert "| 16 partitions |" in capsys.readouterr().out


def test_unknown_group(capsys):
    """The known ones are named."""
    with pytest.raises(SystemExit, match="2"):
        series.main(["--only", "spam"])
    assert "choose from spans, partitions, small, rates" in capsys.readouterr().err
