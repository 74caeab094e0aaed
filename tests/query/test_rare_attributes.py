"""compare() over attributes that few spans have: counted together, as each would be by itself."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue

from query.metrics import comparison, value_counts
from query.metrics.metrics import metrics_instant
from query.metrics.value_counts import ValueCounts
from query.requests import InstantRequest
from tables.columns.in_memory import TableSource
from tables.columns.overflow import COLUMN, SparseColumns
from tables.seal import seal
from tests.helpers.examples import examples
from tests.helpers.live.whole_way import DECODER, START_NS, request, span

VALUES = [
    AnyValue(string_value="v"),
    AnyValue(string_value="w"),
    AnyValue(int_value=1),
    AnyValue(double_value=1.0),
    AnyValue(double_value=-0.0),
    AnyValue(double_value=0.0),
    AnyValue(bool_value=True),
    AnyValue(bytes_value=b"\xff"),
    AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="v"), AnyValue(string_value="w")])),
    AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=7), AnyValue()])),
    AnyValue(),
]
SPANS = st.lists(
    st.dictionaries(st.sampled_from([f"key-{n}" for n in range(6)]), st.sampled_from(VALUES), max_size=6),
    min_size=1,
    max_size=12,
)


def sealed(spans: list[dict[str, Any]], columns_max: int) -> pa.Table:
    """Ten traces at most, in which every third span has failed."""
    made = [
        span(n + 1, trace=(1 + n % 10).to_bytes(16, "big"), attributes=attributes, status={"code": 2 if n % 3 else 1})
        for n, attributes in enumerate(spans)
    ]
    return seal([DECODER.decode([request(made, service_name="s")]).spans], columns_max)


def compared(tables: list[pa.Table], query: str) -> list[tuple[Any, Any]]:
    asked = InstantRequest(query=query, start_ns=START_NS - 10**9, end_ns=START_NS + 10**9)
    found = metrics_instant([TableSource(table) for table in tables], asked)
    return [(one.labels, one.samples) for one in found.series]


@settings(max_examples=examples(35), deadline=None)
@given(SPANS, SPANS, st.sampled_from(["{ }", "{ span.key-0 = nil }", "{ } >> { } || { }"]))
def test_as_with_columns_of_their_own(some: list[Any], others: list[Any], spans: str) -> None:
    """Also of traces that lie in two sources, whose spans are only some of each."""
    query = f"{spans} | compare({{ status = error }})"
    wanted = compared([sealed(some, 1000), sealed(others, 1000)], query)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "_ENTRIES_AT_ONCE", 3)
        assert compared([sealed(some, 0), sealed(others, 0)], query) == wanted


@settings(max_examples=examples(35), deadline=None)
@given(SPANS)
def test_columns_of_one_type_below_each_other(spans: list[Any]) -> None:
    table = sealed(spans, 0)
    if COLUMN not in table.column_names:
        return
    sparse = SparseColumns.of(table[COLUMN].combine_chunks())
    for word in ("string", "int", "double", "bool"):
        names = [f"span.key-{n}" + ("" if word == "string" else f":{word}") for n in range(6)]
        wanted = []
        for number, name in enumerate(names):
            if name in sparse.names:
                rows, values = sparse.column(name)
                wanted += [(number, row, value) for row, value in zip(rows.tolist(), values.to_pylist(), strict=True)]
        owners, rows, values = sparse.columns(names, word)
        assert list(zip(owners.tolist(), rows.tolist(), values.to_pylist(), strict=True)) == wanted


ENTRIES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 8)), max_size=60)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(ENTRIES, max_size=4), st.integers(2, 9), st.sampled_from([0, 8]))
def test_several_attributes_are_counted_as_each_alone(
    sources: list[list[tuple[int, int, int]]], values_max: int, sparse: int
) -> None:
    """In: of each source (attribute, cell, value); some attributes have more values than an attribute may have."""
    labels = [f"span.a{n}" for n in range(4)]
    values = pa.array([f"v{n}" for n in range(9)])
    together, alone = ValueCounts(3, 4), ValueCounts(3, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(value_counts, "VALUES_MAX", values_max)
        patch.setattr(value_counts, "_SPARSE", sparse)
        for entries in sources:
            owners, cells, codes = np.array(sorted(entries), np.int64).reshape(-1, 3).T
            together.add_attributes(labels, owners, cells, codes, values)
            for number, label in enumerate(labels):
                own = owners == number
                alone.add_spans(label, cells[own], codes[own], values)
        got, wanted = together.partial(None), alone.partial(None)

    def rows(partial: Any) -> list[Any]:
        cells = partial.cells["count"].tolist()
        # An attribute is there as soon as one source has it; without spans it has no rows.
        return sorted((str(key), row) for key, row in zip(partial.keys, cells, strict=True))

    assert rows(got) == rows(wanted)
