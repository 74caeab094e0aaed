"""`by`: every span is in one series, whatever its values are; and ranges: every span is in one of two adjacent ones."""

import json
import math
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from query.metrics.metrics import metrics_instant, metrics_range
from query.requests import InstantRequest, RangeRequest, SearchRequest
from query.results import MetricsResult
from query.search.search import search
from tables.columns.in_memory import TableSource
from tables.schema import attribute_column
from tests.helpers.examples import examples
from tests.helpers.querying.otlp_rows import make_table
from tests.query.golden import START_NS, S
from tests.query.strategies import split

WORDS = {bool: "bool", int: "int", float: "double", str: "string"}
SCALARS = st.one_of(
    st.sampled_from(["", "x", "nil", "1", "0.0", '["x","y"]', 'a"b', "é\n"]),
    st.sampled_from([0, 1, 10, -(2**63), 2**63 - 1]),
    st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e300, math.nan, math.inf, -math.inf, 1e-320]),
    st.booleans(),
)
ARRAYS = st.one_of(
    *(
        st.lists(st.sampled_from(items), max_size=3)
        for items in (["x", "y", 'a"b', "é"], [1, 2], [1.0, -0.0, 0.0, math.nan, math.inf], [True, False])
    ),
    st.lists(st.sampled_from(["x", 1, 1.0, True]), max_size=3),
)
EXPRESSIONS = [
    "span.x",
    ".x",
    "resource.x",
    "event.x",
    "span.x * 0.1",
    "-span.x",
    "span.x + resource.x",
    "span.x / 3",
    "span.x ^ 2",
    "span.x > 1",
    "span.x = nil",
    "duration",
    "duration * 0.1",
    "duration * span.x",
    "duration + span.x",
    "name",
    "kind",
    "status",
    "event:name",
    "event:timeSinceStart * 0.3",
    "nestedSetParent",
    "span:childCount",
    "span:id",
    "span:parentID",
    "link:spanID",
]


def any_value(value: Any) -> AnyValue:
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=map(any_value, value)))
    return AnyValue(**{f"{WORDS[type(value)]}_value": value})


def attribute(scope: str, value: Any) -> dict[str, Any]:
    """As spans of this shape are stored: what is neither one value nor an array of one type is a message."""
    if not isinstance(value, list):
        return {attribute_column(scope, "x", WORDS[type(value)]): value}
    if len({type(item) for item in value}) == 1:
        return {attribute_column(scope, "x", f"{WORDS[type(value[0])]}[]"): value}
    return {attribute_column(scope, "x", "any"): any_value(value).SerializeToString()}


def event(value: Any) -> dict[str, Any]:
    pair = {"key": "x"}
    if isinstance(value, list):
        pair["array_value"] = any_value(value).array_value.SerializeToString()
    else:
        pair[f"{WORDS[type(value)]}_value"] = value
    return {"time_ns": START_NS + 7, "name": "e", "attributes": [pair]}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = []
    for number in range(draw(st.integers(1, 14))):
        row: dict[str, Any] = {
            "trace_id": bytes([draw(st.integers(0, 2))]) * 16,
            "span_id": number.to_bytes(7, "big") + b"\x01",
            "parent_span_id": draw(st.sampled_from([bytes(8), bytes(7) + b"\x01"])),
            "kind": draw(st.integers(0, 5)),
            "start_ns": START_NS + draw(st.integers(1, 5)),
            "duration_ns": draw(st.integers(0, 25)),
        }
        for scope in ("span", "resource"):
            if (value := draw(st.none() | SCALARS | ARRAYS)) is not None:
                row |= attribute(scope, value)
        if (value := draw(st.none() | SCALARS | ARRAYS)) is not None:
            row["events"] = [event(value)]
        rows.append(row)
    return make_table(rows)


def instant(sources: list[TableSource], query: str) -> MetricsResult:
    return metrics_instant(sources, InstantRequest(query=query, start_ns=START_NS, end_ns=START_NS + S))


def counts(sources: list[TableSource], query: str) -> dict[Any, float]:
    """By labels with their types; none comes twice."""
    found: dict[Any, float] = {}
    for line in instant(sources, query).series:
        key = tuple((name, type(value).__name__, repr(value)) for name, value in line.labels)
        assert key not in found
        found[key] = sum(value for _, value in line.samples)
    return found


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables(), st.lists(st.sampled_from(EXPRESSIONS), min_size=1, max_size=2, unique=True), st.data())
def test_series_sum_to_the_spans(table: pa.Table, by: list[str], data: st.DataObject) -> None:
    """Of one source and of several, for every type and expression; with the same labels."""
    query = f"{{ }} | count_over_time() by ({', '.join(by)})"
    together = counts([TableSource(table)], query)
    assert sum(together.values()) == table.num_rows
    assert counts([TableSource(part) for part in split(table, data)], query) == together
    histogram = counts([TableSource(table)], f"{{ }} | histogram_over_time(duration) by ({', '.join(by)})")
    assert sum(histogram.values()) == table.num_rows


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    blank = {"trace_id": bytes(15) + b"1", "start_ns": START_NS + 1, "duration_ns": 1}
    return make_table([blank | {"span_id": n.to_bytes(8, "big")} | row for n, row in enumerate(rows)])


@pytest.mark.parametrize(
    ("rows", "by", "want"),
    [
        pytest.param([{"span.f:double": f} for f in [0.0, -0.0, -0.0] * 4], "span.f", {0.0: 12}, id="zero"),
        pytest.param(
            [{"duration_ns": n} for n in range(10, 22)], "duration * 0.1", {"1ns": 10, "2ns": 2}, id="cut off"
        ),
        pytest.param(
            [{"duration_ns": 5, "span.x:double": x} for x in (1.0, math.inf, 1e30)],
            "duration * span.x",
            {"5ns": 1, math.inf: 1, "1388888888888888838h19m8.147482624s": 1},
            id="beyond 64 bits",
        ),
        pytest.param(
            [{"duration_ns": 5, "span.x:int": 1}, {"duration_ns": 5, "span.x:double": 1.0}],
            "duration * span.x",
            {"5ns": 2},
            id="whole and not",
        ),
        pytest.param(
            [
                {"span.a:string[]": ["x"]},
                {"span.a": "x"},
                {"span.a:string[]": ["x", "y"]},
                {"span.a:string[]": ["x", "y"]},
                {"span.a:string[]": ["y", "x"]},
                {"span.a:int[]": [1]},
                {"span.a:int": 1},
                {"span.a:int[]": [1, 2]},
                {"span.a:double[]": [1.0, 2.5]},
                {"span.a:bool[]": [True, False]},
                {"span.a:any": any_value([]).SerializeToString()},
                {"span.a:any": any_value([1, "x", [True]]).SerializeToString()},
                {},
            ],
            "span.a",
            {
                "x": 2,
                '["x","y"]': 2,
                '["y","x"]': 1,
                1: 2,
                "[1,2]": 1,
                "[1.0,2.5]": 1,
                "[true,false]": 1,
                "[]": 1,
                '[1,"x",[true]]': 1,
                "nil": 1,
            },
            id="arrays",
        ),
        pytest.param(
            [
                {
                    "span.a:any": AnyValue(
                        kvlist_value=KeyValueList(values=[KeyValue(key="k", value=AnyValue(int_value=1))])
                    ).SerializeToString()
                }
            ],
            "span.a",
            {'{"k":1}': 1},
            id="key-value lists",
        ),
        pytest.param(
            [
                {"events": [event(["x", "y"])]},
                {"events": [event(["x"]), event([])]},
                {"events": [event([])]},
                {"events": [event([1, "x"]), event("y")]},
                {},
            ],
            "event.x",
            {'["x","y"]': 1, "x": 1, "[]": 1, '[1,"x"]': 1, "nil": 1},
            id="of events",
        ),
        pytest.param([{"span.a": "nil"}, {}], "span.a", {"nil": 2}, id="the word nil and no value"),
        pytest.param(
            [{"span.a:double": math.nan}] * 2 + [{"span.a:double": -math.nan}], "span.a", {"nan": 3}, id="NaN"
        ),
    ],
)
@pytest.mark.parametrize("parts", [1, 2])
def test_groups(rows: list[dict[str, Any]], by: str, want: dict[Any, int], parts: int) -> None:
    """What shows the same is one series."""
    table = table_of(rows)
    pieces = [table.filter(pa.array([n % parts == part for n in range(table.num_rows)])) for part in range(parts)]
    result = instant([TableSource(piece) for piece in pieces if piece.num_rows], f"{{ }} | count_over_time() by ({by})")
    found = {
        (str if value != value else type(value), "nan" if value != value else value): line.samples[0][1]
        for line in result.series
        for _, value in line.labels
    }
    assert found == {(type(value), value): count for value, count in want.items()}
    assert sum(found.values()) == len(rows)


def test_equal_labels_are_joined_before_the_average() -> None:
    """Also of a quantile and an extreme: not the average of two averages."""
    rows = [{"span.a": "nil", "span.v:int": 1}, {"span.v:int": 2}, {"span.v:int": 6}]
    for function, want in (("avg_over_time(span.v)", 3), ("max_over_time(span.v)", 6), ("sum_over_time(span.v)", 9)):
        assert list(counts([TableSource(table_of(rows))], f"{{ }} | {function} by (span.a)").values()) == [want]
    quantile = "{ } | quantile_over_time(span.v, .5) by (span.b, span.a)"
    assert sorted(line.samples[0][1] for line in instant([TableSource(table_of(rows))], quantile).series) == [1, 2]


@pytest.mark.parametrize(
    ("values", "want"),
    [
        pytest.param([1.0, math.nan, 3.0], {"min": 1, "max": 3, "avg": 2, "sum": 4}, id="NaN is left out"),
        pytest.param([math.nan], {}, id="nothing but NaN"),
        pytest.param(
            [1.0, math.inf], {"min": 1, "max": math.inf, "avg": math.inf, "sum": math.inf}, id="infinity counts"
        ),
        pytest.param([-math.inf], dict.fromkeys(("min", "max", "avg", "sum"), -math.inf), id="below all"),
        pytest.param([math.inf, -math.inf], {"min": -math.inf, "max": math.inf}, id="both: they have no sum"),
    ],
)
def test_what_is_not_a_number(values: list[float], want: dict[str, float]) -> None:
    """It takes nothing from the others of its interval."""
    rows = [{"span.v:double": value, "start_ns": START_NS + n + 1} for n, value in enumerate(values)]
    table = table_of(rows)
    found = {}
    for name in ("min", "max", "avg", "sum"):
        query = f"{{ }} | {name}_over_time(span.v)"
        (value,) = [line.samples[0][1] for line in instant([TableSource(table)], query).series] or [None]
        parts = [TableSource(table.slice(n, 1)) for n in range(table.num_rows)]
        assert [line.samples[0][1] for line in instant(parts, query).series] == ([] if value is None else [value])
        if value is not None:
            found[name] = value
    assert found == want


def test_aggregates_leave_out_what_is_not_a_number() -> None:
    """Of spansets as of intervals."""
    table = table_of([{"span.v:double": value} for value in (1.0, math.nan, 3.0)])
    for condition in ("min(span.v) = 1.0", "max(span.v) = 3.0", "avg(span.v) = 2.0", "sum(span.v) = 4.0"):
        assert len(search([TableSource(table)], SearchRequest(query=f"{{ }} | {condition}", limit=9)).traces) == 1
    nothing = table_of([{"span.v:double": math.nan}])
    assert not search([TableSource(nothing)], SearchRequest(query="{ } | max(span.v) < 9", limit=9)).traces


def test_histogram_of_any_number() -> None:
    """NaN is in no bucket; infinity and what lies above all powers of two are in the last; below 0 in the first."""
    values = [math.nan, math.inf, 1.5e308, 3.0, 1e-300, 0.0, -2.0, -math.inf]
    table = table_of([{"span.v:double": value} for value in values])
    found = {
        line.labels[0][1]: line.samples[0][1]
        for line in instant([TableSource(table)], "{ } | histogram_over_time(span.v)").series
    }
    assert found == {math.inf: 2, 4.0: 1, 2.0**-996: 1, 0.0: 3}


def test_infinity_in_arithmetic() -> None:
    """It stays; a division by zero and an overflow have no value."""
    table = table_of([{"span.v:double": math.inf, "span.w:double": 1e308}])
    for query, want in (
        ("({ } | max_over_time(span.v)) + 1", [math.inf]),
        ("({ } | max_over_time(span.v)) / 0", []),
        ("({ } | max_over_time(span.v)) * 0", []),
        ("({ } | max_over_time(span.w)) * 100", []),
        ("({ } | max_over_time(span.v)) > 5", [math.inf]),
    ):
        assert [line.samples[0][1] for line in instant([TableSource(table)], query).series] == want


STARTS = st.integers(0, 60)


@settings(max_examples=examples(65), deadline=None)
@given(
    st.lists(STARTS, min_size=1, max_size=12),
    st.lists(STARTS, min_size=3, max_size=3, unique=True).map(sorted),
    st.integers(1, 25),
    st.data(),
)
def test_adjacent_ranges_sum_to_the_whole(starts: list[int], bounds: list[int], step: int, data: st.DataObject) -> None:
    """Ranges and instants alike; a span that starts at t is in the range that ends there, and not in the next."""
    table = table_of([{"start_ns": START_NS + start} for start in starts])
    sources = [TableSource(part) for part in split(table, data)]
    a, b, c = bounds

    def count(start: int, end: int) -> tuple[float, float]:
        span = {"start_ns": START_NS + start, "end_ns": START_NS + end}
        results = (
            metrics_range(sources, RangeRequest(query="{ } | count_over_time()", **span, step_ns=step)),
            metrics_instant(sources, InstantRequest(query="{ } | count_over_time()", **span)),
        )
        first, second = (sum(value for line in one.series for _, value in line.samples) for one in results)
        return first, second

    for start, end in ((a, b), (b, c), (a, c)):
        inside = sum(start < at <= end for at in starts)
        assert count(start, end) == (inside, inside)


def test_samples_are_about_the_step_before_them() -> None:
    """The first and the last may be about less: the range begins and ends within their steps."""
    base = START_NS // (10 * S) * 10 * S
    table = table_of([{"start_ns": base + second * S} for second in range(41)])
    result = metrics_range(
        [TableSource(table)],
        RangeRequest(query="{ } | count_over_time()", start_ns=base + 13 * S, end_ns=base + 35 * S, step_ns=10 * S),
    )
    (line,) = result.series
    assert [((ns - base) // S, value) for ns, value in line.samples] == [(10, 0), (20, 7), (30, 10), (40, 5)]


def test_selection_of_compare_is_half_open() -> None:
    """As ranges are."""
    table = table_of([{"start_ns": START_NS + second * S} for second in range(1, 6)])
    query = f"{{ }} | compare({{ }}, 10, {START_NS + 2 * S}, {START_NS + 4 * S})"
    asked = {"start_ns": START_NS, "end_ns": START_NS + 9 * S, "step_ns": S}
    found: Counter[Any] = Counter()
    for line in metrics_range([TableSource(table)], RangeRequest(query=query, **asked)).series:
        if ("kind", "unspecified") in line.labels:
            found.update({(line.labels[0][1], (ns - START_NS) // S): value for ns, value in line.samples if value})
    assert found == {
        ("baseline", 1): 1,
        ("baseline", 2): 1,
        ("selection", 3): 1,
        ("selection", 4): 1,
        ("baseline", 5): 1,
    }


def test_text_of_arrays_is_json() -> None:
    """Whatever is in it."""
    items = ['a"b', "é\n", "\\", ""]
    table = table_of([{"span.a:string[]": items}])
    (line,) = instant([TableSource(table)], "{ } | rate() by (span.a)").series
    assert json.loads(str(line.labels[0][1])) == items
