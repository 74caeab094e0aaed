"""Sealing equals a row-by-row conversion."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tables.schema import ATTRIBUTE_TYPES, FIXED, OPTIONAL, attribute_column, parse_attribute_column
from tables.seal import seal
from tables.wire.otlp.decoder import OtlpDecoder
from tests.helpers.examples import examples
from tests.helpers.querying.otlp_rows import span_table
from tests.strategies import KEYS, REQUESTS

DECODER = OtlpDecoder()
SHARED = [name for name in FIXED.names if name not in ("nested_left", "nested_right", "nested_parent")]


def rows_of(table: pa.Table, columns: list[str]) -> list[str]:
    """Rows in any order, comparable although a value may be of any type; nulls left out."""
    return sorted(
        repr(sorted((name, value) for name, value in row.items() if value is not None))
        for row in table.select(columns).to_pylist()
    )


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(REQUESTS, min_size=1, max_size=3))
def test_equals_row_by_row(requests: list[ExportTraceServiceRequest]) -> None:
    """Fixed columns, facts of traces, and a column per attribute: as the slow way makes them."""
    batches = [DECODER.decode([request.SerializeToString()]).spans for request in requests]
    batches = [batch for batch in batches if len(batch)]
    if not batches:
        return
    got, want = seal(batches), span_table(requests)
    attributes = [name for name in want.column_names if parse_attribute_column(name)]
    assert sorted(name for name in got.column_names if parse_attribute_column(name)) == sorted(
        name for name in attributes if want[name].null_count < want.num_rows
    )
    shown = SHARED + [name for name in attributes if name in got.column_names]
    assert rows_of(got, shown) == rows_of(want, shown)


@settings(max_examples=examples(20), deadline=None)
@given(st.lists(REQUESTS, min_size=1, max_size=3))
def test_form(requests: list[ExportTraceServiceRequest]) -> None:
    """The table has the schema's columns and types, and is sorted by trace, then start."""
    batches = [DECODER.decode([request.SerializeToString()]).spans for request in requests]
    batches = [batch for batch in batches if len(batch)]
    if not batches:
        return
    table = seal(batches)
    table.validate(full=True)
    assert set(FIXED.names) <= set(table.column_names)
    for field in table.schema:
        attribute = parse_attribute_column(field.name)
        wanted = ATTRIBUTE_TYPES[attribute.type] if attribute else _fixed_type(field.name)
        plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        assert plain == wanted, field.name
    keys = list(zip(table["trace_id"].to_pylist(), table["start_ns"].to_pylist(), strict=True))
    assert keys == sorted(keys)


def _fixed_type(name: str) -> Any:
    return FIXED.field(name).type if name in FIXED.names else OPTIONAL.field(name).type


def one_span(*attributes: KeyValue) -> pa.Table:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    scope.spans.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, attributes=attributes)
    scope.spans.add(trace_id=b"\1" * 16, span_id=b"\3" * 8)
    return seal([DECODER.decode([request.SerializeToString()]).spans])


@pytest.mark.parametrize(
    ("values", "column", "kept"),
    [
        pytest.param([AnyValue(string_value="x"), AnyValue(string_value="y")], "span.k", "y", id="string"),
        pytest.param([AnyValue(int_value=1), AnyValue(int_value=2)], "span.k:int", 2, id="int"),
        pytest.param([AnyValue(bool_value=True), AnyValue(bool_value=False)], "span.k:bool", False, id="bool"),
    ],
)
def test_a_key_twice_keeps_the_last(values: list[AnyValue], column: str, kept: object) -> None:
    """OTLP forbids it; the span stays, with one value."""
    table = one_span(*(KeyValue(key="k", value=value) for value in values))
    assert table[column].to_pylist() == [kept, None]


def test_a_key_with_two_types_has_two_columns() -> None:
    """Types that change between spans or within one do not disturb each other."""
    table = one_span(
        KeyValue(key="k", value=AnyValue(string_value="x")), KeyValue(key="k", value=AnyValue(int_value=1))
    )
    assert (table["span.k"][0].as_py(), table["span.k:int"][0].as_py()) == ("x", 1)


@given(st.sampled_from(["span", "resource", "instrumentation"]), KEYS | st.text(), st.sampled_from([*ATTRIBUTE_TYPES]))
def test_column_names_round_trip(scope: str, key: str, type_: str) -> None:
    """No two attributes share a column, whatever their keys look like."""
    assert parse_attribute_column(attribute_column(scope, key, type_)) == (scope, key, type_)
