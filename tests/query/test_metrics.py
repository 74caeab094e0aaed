"""Metrics: against the plain evaluator, and what the golden files do not show."""

import gc
import math
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from query.errors import QueryCancelled, TraceQLError
from query.language.check import check
from query.language.parse import parse
from query.metrics.intervals import Intervals
from query.metrics.metrics import finish, metrics_instant, metrics_partial, metrics_range
from query.metrics.metrics_partial import MetricsPartial
from query.requests import InstantRequest, RangeRequest
from query.results import MetricsResult
from query.scan.stitch import whole
from tables.columns.in_memory import TableSource
from tests.helpers.examples import examples
from tests.query.golden import START_NS, S, load_table
from tests.query.plain_metrics import series
from tests.query.strategies import (
    END,
    FILTERS,
    LEAVES,
    SERIES,
    START,
    STEP_NS,
    spans,
    split,
)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=spans(), query=LEAVES | SERIES, data=st.data())
def test_engine_equals_plain_evaluator(table: pa.Table, query: str, data: st.DataObject) -> None:
    """Same series and samples: for one source, and for the same spans in up to three."""
    traces: dict[bytes, list[dict[str, Any]]] = defaultdict(list)
    for row in table.to_pylist():
        traces[row["trace_id"]].append(row)
    want = {
        labels: line
        for labels, line in series(check(parse(query)).root, list(traces.values()), START, END, STEP_NS).items()  # type: ignore[arg-type]
        if any(value is not None for value in line)
    }
    for tables in ([table], split(table, data)):
        sources = [TableSource(one) for one in tables]
        got = _lines(metrics_range(sources, RangeRequest(query=query, start_ns=START, end_ns=END, step_ns=STEP_NS)))
        assert got.keys() == want.keys()
        for labels, line in got.items():
            assert all(map(_same, line, want[labels])), (labels, line, want[labels])


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=spans(), query=LEAVES, function=st.sampled_from(["topk", "bottomk"]), count=st.integers(1, 3))
def test_ranking_keeps_the_largest_or_smallest(table: pa.Table, query: str, function: str, count: int) -> None:
    """At each time the first values in order, whatever series they belong to; of equal ones no more."""
    source, span = TableSource(table), {"start_ns": START, "end_ns": END, "step_ns": STEP_NS}
    every, kept = (
        _by_time(metrics_range([source], RangeRequest(query=text, **span)))
        for text in (query, f"{query} | {function}({count})")
    )
    down = function == "topk"
    best = {ns: sorted(values, reverse=down)[:count] for ns, values in every.items()}
    assert {ns: sorted(values, reverse=down) for ns, values in kept.items()} == best


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=spans(), selection=FILTERS, top_n=st.integers(1, 3), data=st.data())
def test_compare_is_the_same_when_split(table: pa.Table, selection: str, top_n: int, data: st.DataObject) -> None:
    """And each attribute's values are told no oftener than its total."""
    query, span = f"{{ }} | compare({selection}, {top_n})", {"start_ns": START, "end_ns": END, "step_ns": STEP_NS}
    whole_table, parts = (
        metrics_range([TableSource(one) for one in tables], RangeRequest(query=query, **span)).series
        for tables in ([table], split(table, data))
    )
    assert whole_table == parts
    totals: dict[Any, float] = defaultdict(float)
    for one in whole_table:
        kind, (attribute, _) = one.labels[0][1], one.labels[1]
        totals[kind, attribute] += sum(value for _, value in one.samples)
    for (kind, attribute), count in totals.items():
        assert str(kind).endswith("_total") or count <= totals[f"{kind}_total", attribute]


def _by_time(result: MetricsResult) -> dict[int, list[float]]:
    out: dict[int, list[float]] = defaultdict(list)
    for one in result.series:
        for ns, value in one.samples:
            out[ns].append(value)
    return dict(out)


def _same(a: float | None, b: float | None) -> bool:
    return a is b is None or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9))


def _lines(result: MetricsResult) -> dict[tuple[tuple[str, str], ...], list[float | None]]:
    count = (END - START) // STEP_NS + 1
    out: dict[tuple[tuple[str, str], ...], list[float | None]] = {}
    for one in result.series:
        values = {(ns - START) // STEP_NS: value for ns, value in one.samples}
        labels = tuple((key, "math" if str(value).startswith("(") else str(value)) for key, value in one.labels)
        out[labels] = [values.get(i) for i in range(count)]
    return out


@pytest.mark.parametrize(
    ("start", "end", "step", "want"),
    [
        pytest.param(0, 30, 10, (0, 30, 4), id="aligned"),
        pytest.param(3, 29, 10, (0, 30, 4), id="moved outwards"),
        pytest.param(10, 10, 10, (10, 10, 1), id="a moment"),
        pytest.param(5, 6, 60, (0, 60, 2), id="shorter than the step"),
    ],
)
def test_intervals(start: int, end: int, step: int, want: tuple[int, int, int]) -> None:
    """Samples stand at multiples of the step; what counts is the range that was asked for."""
    found = Intervals.over(start, end, step)
    assert (found.start_ns, found.end_ns, found.count) == want
    assert found.timestamps_ns == list(range(want[0], want[1] + 1, step))
    assert (found.after_ns, found.until_ns) == (start, end)


@pytest.mark.parametrize(("start", "end", "step"), [(0, 10, 0), (0, 10, -1), (10, 0, 1)])
def test_no_such_range(start: int, end: int, step: int) -> None:
    """A step of nothing, or an end before the start, is an error."""
    with pytest.raises(ValueError, match=r"step|range"):
        Intervals.over(start, end, step)
    with pytest.raises(ValueError, match="range"):
        Intervals.at_end(5, 5)


LOAD = """load
  t1 a start=1s  duration=5ms name=x
  t2 a start=2s  duration=6ms name=x
  t2 b start=12s duration=7ms name=y
  t3 a start=13s duration=8ms name=y
"""
RANGE = {"start_ns": START_NS, "end_ns": START_NS + 20 * S, "step_ns": 10 * S}


@pytest.mark.parametrize(
    ("query", "count", "want"),
    [
        pytest.param("{ } | rate()", 9, [("t1", 1, 0.2), ("t2", 12, 0.2)], id="counted: the sample's value"),
        pytest.param("{ } | max_over_time(duration)", 9, [("t1", 1, 0.005), ("t2", 12, 0.007)], id="measured"),
        pytest.param("{ } | histogram_over_time(duration)", 9, [("t1", 1, 0.005), ("t2", 12, 0.007)], id="buckets"),
        pytest.param(
            "{ } | quantile_over_time(duration * 2, 0, 1)",
            9,
            [("t1", 1, 0.01), ("t2", 12, 0.014), ("t3", 13, 0.016)],
            id="near each quantile",
        ),
        pytest.param(
            "{ } | quantile_over_time(duration, 1)",
            9,
            [("t1", 1, 0.005), ("t2", 12, 0.007), ("t3", 13, 0.008)],
            id="quantiles: one below each power of two",
        ),
        pytest.param("{ } | rate()", 1, [("t1", 1, 0.2)], id="no more than asked for"),
        pytest.param("{ } | rate()", 0, [], id="none"),
        pytest.param("{ } | rate() with(exemplars=false)", 9, [], id="the hint says none"),
        pytest.param("{ } | rate() with(exemplars=1)", 9, [("t1", 1, 0.2)], id="the hint says one"),
        pytest.param("{ } | rate() with(exemplars=true)", 1, [("t1", 1, 0.2)], id="the hint says some"),
    ],
)
def test_exemplars(query: str, count: int, want: list[tuple[str, int, float]]) -> None:
    """At most one per sample, of quantiles per sample and power of two; the same in every run."""
    result = metrics_range([TableSource(load_table(LOAD))], RangeRequest(query=query, **RANGE, exemplars=count))
    found = [one for line in result.series for one in line.exemplars]
    shown = [(e.trace_id.lstrip(b"\0").decode(), (e.timestamp_ns - START_NS) // S, e.value) for e in found]
    assert sorted(shown) == [(trace, second, pytest.approx(value)) for trace, second, value in want]


def test_partials_of_workers_add_up() -> None:
    """Workers with different traces observe, one combines: as if one had seen all."""
    table = load_table(LOAD)
    query = "({ } | quantile_over_time(duration, .5) by (name)) * 2"
    request = RangeRequest(query=query, **RANGE, exemplars=3)
    halves = [TableSource(whole(table.slice(0, 1))), TableSource(whole(table.slice(1)))]
    partials = [MetricsPartial.from_ipc(metrics_partial([half], request).to_ipc()) for half in halves]
    together = finish(partials, request)
    assert together.series == metrics_range([TableSource(table)], request).series


def test_sources_outside_of_the_range_are_not_read() -> None:
    """Bounds of the start times decide."""
    result = metrics_range(
        [TableSource(load_table(LOAD))], RangeRequest(query="{ } | rate()", start_ns=0, end_ns=100, step_ns=10)
    )
    assert (result.inspected.sources, result.inspected.bytes) == (0, 0)
    assert [value for _, value in result.series[0].samples] == [0.0] * 11


def test_too_many_series() -> None:
    """Refused with the place in the text, not answered out of memory."""
    source = TableSource(load_table(LOAD))
    with pytest.raises(TraceQLError, match="series times samples"):
        metrics_range(
            [source],
            RangeRequest(query="{ } | rate() by (name)", start_ns=START_NS, end_ns=START_NS + 100 * S, step_ns=20_000),
        )


def test_cancelled() -> None:
    """Asked before each source."""
    with pytest.raises(QueryCancelled):
        metrics_instant(
            [TableSource(load_table(LOAD))],
            InstantRequest(query="{ } | rate()", start_ns=START_NS, end_ns=START_NS + S),
            cancelled=lambda: True,
        )


def test_compare_leaves_out_what_is_like_an_id() -> None:
    """An attribute with more than a thousand values is named, its values are not."""
    lines = [f"  t{i} a start=1s span.id=i{i} span.few={i % 3}" for i in range(1001)]
    table = load_table("\n".join(["load", *lines]))
    result = metrics_range([TableSource(table)], RangeRequest(query="{ } | compare({ span.few = 1 }, 2)", **RANGE))
    labels = [dict(one.labels) for one in result.series]
    assert {"__meta_error": "__too_many_values__", "span.id": "nil"} in labels
    assert {"__meta_type": "baseline", "span.few": 0} in labels
    assert not any(str(one.get("span.id", "")).startswith("i") for one in labels)


def test_what_is_not_a_number_is_one_group() -> None:
    """In whatever source: no NaN equals another."""
    table = load_table("load\n  t1 a span.x=1.5 start=1s\n  t2 b span.x=2.5 start=2s")
    column = table.schema.get_field_index("span.x:double")
    table = table.set_column(column, "span.x:double", pa.array([math.nan, math.nan]))
    parts = [TableSource(whole(table.slice(row, 1))) for row in range(2)]
    asked = {"start_ns": START_NS, "end_ns": START_NS + 10 * S}
    answer = metrics_instant(parts, InstantRequest(query="{ } | count_over_time() by (span.x)", **asked))
    assert [line.samples[0][1] for line in answer.series] == [2]


@pytest.mark.parametrize(
    "query", ["{ } | rate() by (name) | topk(2)", "({ } | rate()) / ({ } | rate()) * 2", "{ } | compare({ })"]
)
def test_nothing_is_left_for_the_garbage_collector(query: str) -> None:
    """What a query held is free when it ends: a collection may come much later, and nobody counts it meanwhile."""
    sources = [TableSource(load_table(LOAD))]

    def ask() -> None:
        metrics_range(sources, RangeRequest(query=query, **RANGE))

    ask()
    gc.collect()
    gc.disable()
    try:
        ask()
        assert gc.collect() == 0
    finally:
        gc.enable()
