"""Each figure stands beside its target, and is judged only at the load for which the target was set."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import report
from tests.benchmarks.runs import LOADED, RUN


def line(run, name):
    return next(each for each in report.table(run).splitlines() if each.startswith(name))


@pytest.mark.parametrize(
    ("run", "name", "value", "target", "verdict"),
    [
        pytest.param(RUN, "accepted", "125,000", "≥ 100,000 at full speed", "met", id="throughput"),
        pytest.param(replace(RUN, spans=500_000), "accepted", "62,500", "≥ 100,000", "MISSED", id="too slow"),
        pytest.param(replace(RUN, rate=30_000), "accepted", "125,000", "≥ 100,000", "", id="not at full speed"),
        pytest.param(RUN, "CPU, all", "12", "≤ 13 at full speed", "met", id="CPU at full speed"),
        pytest.param(replace(RUN, rate=30_000), "CPU, all", "12", "≤ 20", "met", id="CPU at a steady rate"),
        pytest.param(replace(RUN, received=500_000), "CPU, all", "24", "≤ 13", "MISSED", id="CPU by received spans"),
        pytest.param(RUN, "acknowledgement p99", "67", "≤ 100", "", id="ack not judged at full speed"),
        pytest.param(replace(RUN, rate=50_000), "acknowledgement p99", "67", "≤ 100", "met", id="ack at half"),
        pytest.param(replace(RUN, rate=20_000), "searchable after ack, p99", "200", "≤ 500", "met", id="fresh"),
        pytest.param(replace(RUN, fresh_ms={}), "searchable after ack, p99", "-", "≤ 500", "", id="no probes"),
        pytest.param(RUN, "peak memory, worker", "495", "≤ 700", "met", id="memory"),
        pytest.param(RUN, "blocks (Parquet)", "38.2", "≤ 42", "met", id="block size"),
        pytest.param(replace(RUN, parquet_bytes_per_span=42.4), "blocks", "42.4", "≤ 42", "MISSED", id="blocks"),
        pytest.param(replace(RUN, tenants=100), "accepted", "125,000", "≥ 100,000", "", id="another kind of load"),
        pytest.param(RUN, "requests refused", "0", "≤ 0", "met", id="no errors"),
        pytest.param(RUN, "CPU, kafka", "0.50", "", "", id="no target"),
    ],
)
def test_lines(run, name, value, target, verdict):
    """A line has the figure, its unit, its target, and a verdict where the target applies."""
    words = line(run, name).removeprefix(name).split()
    assert value in words
    assert target in line(run, name)
    assert [word for word in words if word in ("met", "MISSED")] == [verdict] * bool(verdict)


def test_refused_requests_are_not_throughput():
    """Only what was acknowledged counts, and the first errors are shown."""
    loaded = replace(LOADED, errors=977, first_errors=["UNAVAILABLE: Kafka is away"])
    run = replace(RUN, loaded=loaded)
    assert run.spans_per_s == pytest.approx(62_500)
    assert line(run, "error: ") == "error: UNAVAILABLE: Kafka is away"


def test_columns_are_aligned():
    """Units begin in one column."""
    lines = report.table(RUN).splitlines()
    starts = {each.index(" B/span") for each in lines if " B/span" in each}
    starts |= {each.index(" MB") for each in lines if " MB" in each}
    assert len(starts) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(104_312.4, "104,312"), (97.24, "97.2"), (0.4213, "0.42"), (13, "13"), (13.0, "13"), (9.96, "9.96")],
)
def test_number(value, text):
    """About three digits that matter."""
    assert report.number(value) == text


def test_row_fits_the_table_in_the_readme():
    """The printed row has the columns of the table into which it goes."""
    readme = (Path(report.__file__).with_name("README.md")).read_text()
    assert report.MARKDOWN_HEADER in readme.splitlines()
    assert report.markdown_row(RUN).count("|") == report.MARKDOWN_HEADER.count("|")
    assert report.markdown_row(RUN).startswith("| 2026-11-21 | abc1234 | 1,000,000 | 512 | full | 125,000 |")


def test_results_are_lines_of_json(tmp_path):
    """Every run is appended with everything in it."""
    path = tmp_path / "new" / "results.jsonl"
    report.append_json(RUN, path)
    report.append_json(replace(RUN, rate=30_000), path)
    first, second = map(json.loads, path.read_text().splitlines())
    assert first["spans_per_s"] == 125_000
    assert first["loaded"]["ack_ms"]["p99"] == 67
    assert second["rate"] == 30_000
