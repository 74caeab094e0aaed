"""Quantiles: within 1 % of the exact value for any numbers, exact while there are few, however the spans are split."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query.errors import TraceQLError
from query.metrics import partials, quantile_sketch
from query.metrics.metrics import metrics_instant, metrics_range
from query.metrics.quantile_sketch import (
    EXACT_MAX,
    RELATIVE_ERROR,
    QuantileSketch,
    bucket_keys,
    bucket_values,
    merge_sketches,
)
from query.requests import InstantRequest, RangeRequest
from query.scan.stitch import whole
from tables.columns.in_memory import TableSource
from tests.helpers.examples import examples
from tests.helpers.querying.otlp_rows import make_table
from tests.query.golden import START_NS, S
from tests.query.plain_metrics import exact_quantile

MS = 1_000_000
ANY_NUMBER = st.floats(allow_nan=False) | st.sampled_from(
    [0.0, -0.0, 1e-9, -1e-9, 1e-300, 1e300, math.inf, -math.inf, 2.2250738585072014e-308, 1.7976931348623157e308]
)
FRACTIONS = st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0]) | st.floats(0, 1)


def near(found: float, exact: float) -> bool:
    return found == exact or (math.isfinite(exact) and abs(found - exact) <= abs(exact) * 0.01)


def table_of(values: list[float], *, key: str = "span.x:double", starts: list[int] | None = None) -> pa.Table:
    """One span for each value, a millisecond apart, each in a trace of its own."""
    return make_table(
        [
            {
                "trace_id": number.to_bytes(16, "big"),
                "span_id": b"spanspan",
                "start_ns": START_NS + (starts[number] if starts else number + 1),
                "duration_ns": 1,
                key: value,
            }
            for number, value in enumerate(values)
        ]
    )


def split(table: pa.Table, parts: int) -> list[TableSource]:
    """Row by row in turn."""
    number = np.arange(table.num_rows) % parts
    return [TableSource(whole(table.filter(pa.array(number == part)))) for part in range(parts) if part in number]


def ask(sources: list[TableSource], query: str) -> list[float]:
    result = metrics_instant(sources, InstantRequest(query=query, start_ns=START_NS, end_ns=START_NS + 3600 * S))
    return [value for line in result.series for _, value in line.samples]


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(ANY_NUMBER, min_size=1, max_size=60))
def test_buckets_hold_the_error(values: list[float]) -> None:
    """In the order of the numbers; what stands for a bucket lies in it."""
    numbers = np.array(sorted(values))
    keys = bucket_keys(numbers)
    assert (np.diff(keys) >= 0).all()
    stand_ins = bucket_values(keys)
    assert all(map(near, stand_ins.tolist(), numbers.tolist()))
    assert (bucket_keys(stand_ins) == keys).all()


def test_buckets_of_every_size() -> None:
    """A million patterns of bits, subnormal numbers among them."""
    rng = np.random.default_rng(5)
    numbers = np.r_[rng.integers(-(2**63), 2**63 - 1, 10**6).view(float), rng.integers(0, 2**52, 10**5).view(float)]
    numbers = np.sort(numbers[~np.isnan(numbers)])
    keys = bucket_keys(numbers)
    assert (np.diff(keys) >= 0).all()
    finite = np.isfinite(numbers)
    error = np.abs(bucket_values(keys[finite]) / numbers[finite] - 1)
    assert error.max() <= 0.01


@settings(max_examples=examples(65), deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), ANY_NUMBER), min_size=1, max_size=400),
    st.lists(FRACTIONS, min_size=1, max_size=3),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
)
def test_sketch_of_parts_is_the_sketch(
    pairs: list[tuple[int, float]], fractions: list[float], parts: int, seed: int
) -> None:
    """To the last bit; and each quantile is near the exact one, which it is itself while there are few values."""
    cells, values = np.array([cell for cell, _ in pairs]), np.array([value for _, value in pairs])
    totals = np.bincount(cells, minlength=3)
    together = QuantileSketch.from_values(cells, values, totals)
    where = np.random.default_rng(seed).integers(0, parts, len(cells))
    sketches = [
        QuantileSketch.from_values(
            cells[where == part], values[where == part], np.bincount(cells[where == part], minlength=3)
        )
        for part in range(parts)
    ]
    merged = merge_sketches(sketches, totals)
    assert np.array_equal(merged.codes, together.codes)
    assert np.array_equal(merged.counts, together.counts)
    found = merged.quantiles(totals, fractions)
    assert np.array_equal(found, together.quantiles(totals, fractions))
    for cell in range(3):
        mine = values[cells == cell].tolist()
        for row, fraction in enumerate(fractions):
            exact = exact_quantile(mine, fraction)
            assert found[row, cell] == exact if len(mine) <= EXACT_MAX else near(found[row, cell], exact)


@pytest.mark.parametrize("parts", [1, 4])
def test_durations_far_apart(parts: int) -> None:
    """1,291 spans: nothing lies between one millisecond and ten, and the median is one."""
    durations = [d for d in (0, 1, 999, MS, 10 * MS, 100 * MS, 2 * S) for _ in range(184)] + [MS, 2 * MS, 3 * MS]
    rows = table_of(durations, key="duration_ns")  # type: ignore[arg-type]
    sources = split(rows, parts)
    fractions = [0, 0.1, 0.25, 0.5, 0.51, 0.75, 0.9, 0.99, 1]
    query = f"{{ }} | quantile_over_time(duration, {', '.join(map(str, fractions))})"
    exact = [exact_quantile([d / 1e9 for d in durations], p) for p in fractions]
    assert all(map(near, ask(sources, query), exact))
    assert ask(sources, "{ } | quantile_over_time(duration, .5)") == [pytest.approx(0.001, rel=0.01)]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([-5.0, -1.0, 0.0, 2.0, 1e300], id="few"),
        pytest.param([x / 7 - 100 for x in range(1500)], id="from below zero to above"),
        pytest.param([0.0] * 500, id="zeros"),
        pytest.param([1e-300 * (1 + x / 300) for x in range(300)], id="tiny"),
        pytest.param([1e300 * (1 + x / 300) for x in range(300)], id="huge"),
        pytest.param([math.inf] * 90 + [1.0] * 20 + [-math.inf] * 90, id="infinity"),
        pytest.param([math.nan] * 50 + [float(x) for x in range(200)], id="without what is no number"),
    ],
)
def test_numbers_of_every_kind(values: list[float]) -> None:
    """Of one source and of several."""
    fractions = [0, 0.1, 0.3, 0.5, 0.77, 0.95, 1]
    query = f"{{ }} | quantile_over_time(span.x, {', '.join(map(str, fractions))})"
    numbers = [value for value in values if not math.isnan(value)]
    exact = [exact_quantile(numbers, p) for p in fractions]
    found = ask(split(table_of(values), 1), query)
    assert all(map(near, found, exact)), (found, exact)
    assert ask(split(table_of(values), 3), query) == found
    if len(numbers) <= EXACT_MAX:
        assert found == exact


def test_the_tiniest_numbers() -> None:
    """They are multiples of 5e-324, and so is what stands for their bucket: it is near enough nevertheless."""
    multiples = np.arange(1, 100_000)
    keys = bucket_keys(multiples * 5e-324)
    found = np.round(bucket_values(keys) / 5e-324)
    assert (np.abs(found - multiples) <= RELATIVE_ERROR * multiples).all()
    assert (np.diff(keys) >= 0).all()


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(1, 400), st.integers(1, 5), st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 60]))
def test_groups_and_intervals(count: int, parts: int, seed: int, intervals: int) -> None:
    """Each has quantiles of its own, over however many sources the spans lie."""
    rng = np.random.default_rng(seed)
    values = np.exp(rng.normal(0, 30, count)) * rng.choice([-1, 1], count)
    starts, names = rng.integers(1, intervals * S, count), rng.choice(["a", "b"], count)
    table = table_of(values.tolist(), starts=starts.tolist())
    table = table.set_column(table.schema.get_field_index("name"), "name", pa.array(names))
    asked: dict[str, Any] = {"start_ns": START_NS, "end_ns": START_NS + intervals * S, "step_ns": S}
    result = metrics_range(
        split(table, parts), RangeRequest(query="{ } | quantile_over_time(span.x, .1, .5, .99) by (name)", **asked)
    )
    for line in result.series:
        labels = dict(line.labels)
        for ns, value in line.samples:
            inside = (names == labels["name"]) & (-(-starts // S) == (ns - START_NS) // S)
            assert near(value, exact_quantile(values[inside].tolist(), float(str(labels["p"]))))


def test_too_many_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused: what is counted takes bounded memory."""
    monkeypatch.setattr(partials, "SKETCH_ENTRIES_MAX", 50)
    values = [float(x) for x in range(60)]
    for sources in (split(table_of(values), 1), split(table_of(values), 2)):
        with pytest.raises(TraceQLError, match="Group by something with fewer values"):
            ask(sources, "{ } | quantile_over_time(span.x, .5)")


def test_many_values_take_bounded_memory() -> None:
    """Twice as many numbers of the same range take no more."""
    rng = np.random.default_rng(1)
    sizes = []
    for count in (100_000, 200_000):
        values = rng.lognormal(0, 1, count)
        sketch = QuantileSketch.from_values(np.zeros(count, np.int64), values, np.array([count]))
        sizes.append(sketch.entries)
    assert sizes[1] < 1.1 * sizes[0] < 1000
    assert quantile_sketch.RELATIVE_ERROR == 0.01
