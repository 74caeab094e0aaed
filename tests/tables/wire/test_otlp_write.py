"""Rows of a trace become OTLP again, with nothing lost."""

import math
import time

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from tables.errors import WireError
from tables.schema import ATTRIBUTE_TYPES, FIXED, OPTIONAL, VALUE_FIELDS, attribute_column
from tables.wire.otlp.writer import to_resource_spans
from tests.helpers.examples import examples

TRACE_ID = bytes(range(16))
DEFAULTS = {
    "trace_id": TRACE_ID,
    "span_id": b"12345678",
    "parent_span_id": bytes(8),
    "name": "op",
    "kind": 2,
    "start_ns": 1_000,
    "duration_ns": 500,
    "status_code": 0,
    "status_message": "",
    "scope_name": "",
    "scope_version": "",
    "nested_left": 1,
    "nested_right": 2,
    "nested_parent": -1,
    "trace_start_ns": 1_000,
    "trace_duration_ns": 500,
    "root_name": "op",
    "root_service": None,
}
TYPES = {field.name: field.type for field in [*FIXED, *OPTIONAL]}


def column_type(name: str) -> pa.DataType:
    word = name.rpartition(":")[2] if ":" in name else "string"
    return TYPES[name] if name in TYPES else ATTRIBUTE_TYPES[word]


def table(*rows: dict) -> pa.Table:
    """A table with the rows' values; what a row does not say is DEFAULTS', or null."""
    names = [*DEFAULTS, *dict.fromkeys(name for row in rows for name in row if name not in DEFAULTS)]
    return pa.table({name: pa.array([(DEFAULTS | row).get(name) for row in rows], column_type(name)) for name in names})


def only_span(*rows: dict) -> Span:
    (resource_spans,) = to_resource_spans(table(*rows))
    (scope_spans,) = resource_spans.scope_spans
    (span,) = scope_spans.spans
    return span


def value_of(span: Span) -> AnyValue:
    (attribute,) = span.attributes
    return attribute.value


def test_span_fields():
    """Each field comes from its column; no parent is an empty id, the end is start plus duration."""
    span = only_span(
        {
            "status_code": 2,
            "status_message": "broken",
            "trace_state": "a=b",
            "flags": 257,
            "dropped_attributes_count": 1,
            "dropped_events_count": 2,
            "dropped_links_count": 3,
        }
    )
    assert span == Span(
        trace_id=TRACE_ID,
        span_id=b"12345678",
        name="op",
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=1_000,
        end_time_unix_nano=1_500,
        status={"code": 2, "message": "broken"},
        trace_state="a=b",
        flags=257,
        dropped_attributes_count=1,
        dropped_events_count=2,
        dropped_links_count=3,
    )


def test_empty_table():
    """No rows: no resources."""
    assert to_resource_spans(table({}).slice(0, 0)) == []


def test_parent():
    """A parent's id is kept."""
    assert only_span({"parent_span_id": b"parent--"}).parent_span_id == b"parent--"


@pytest.mark.parametrize(
    ("start_ns", "duration_ns", "end"),
    [
        pytest.param(1_000, -400, 600, id="clock went back"),
        pytest.param(5, -6, 2**64 - 1, id="wraps as in the client's unsigned field"),
        pytest.param(-1, 1, 0, id="start above the signed range"),
    ],
)
def test_end(start_ns, duration_ns, end):
    """Unsigned times come back from signed columns."""
    span = only_span({"start_ns": start_ns, "duration_ns": duration_ns})
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (start_ns % 2**64, end)


@pytest.mark.parametrize(
    ("type_", "value", "want"),
    [
        pytest.param("string", "", AnyValue(string_value=""), id="empty string"),
        pytest.param("int", -(2**63), AnyValue(int_value=-(2**63)), id="least int"),
        pytest.param("double", 0.5, AnyValue(double_value=0.5), id="double"),
        pytest.param("double", math.inf, AnyValue(double_value=math.inf), id="infinity"),
        pytest.param("bool", False, AnyValue(bool_value=False), id="false"),
        pytest.param("bytes", b"\0\xff", AnyValue(bytes_value=b"\0\xff"), id="bytes"),
        pytest.param(
            "string[]",
            ["a", ""],
            AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="a"), AnyValue(string_value="")])),
            id="strings",
        ),
        pytest.param("int[]", [0], AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=0)])), id="ints"),
        pytest.param("double[]", [], AnyValue(array_value=ArrayValue()), id="no doubles"),
        pytest.param(
            "bool[]", [True], AnyValue(array_value=ArrayValue(values=[AnyValue(bool_value=True)])), id="bools"
        ),
        pytest.param("any", b"", AnyValue(), id="no value"),
        pytest.param(
            "any",
            AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k")])).SerializeToString(),
            AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k")])),
            id="list of pairs",
        ),
    ],
)
def test_attribute_types(type_, value, want):
    """A column's name says which of OTLP's values its cells become."""
    assert value_of(only_span({attribute_column("span", "key", type_): value})) == want


def test_signed_zero():
    """0.0 and -0.0 stay two values, though Arrow takes them for one."""
    (group,) = to_resource_spans(table({"span.d:double": 0.0}, {"span.d:double": -0.0}))
    signs = [math.copysign(1, value_of(span).double_value) for span in group.scope_spans[0].spans]
    assert signs == [1, -1]


def test_key_that_ends_like_a_type():
    """The key of a string attribute `a:int` is `a:int`."""
    (attribute,) = only_span({attribute_column("span", "a:int"): "x"}).attributes
    assert attribute.key == "a:int"


def test_attributes_in_column_order():
    """Attributes come in the order of the columns, absent ones are absent."""
    names = ["span.b", "span.a:int", "span.c:bool", "span.d"]
    span = only_span({"span.b": "x", "span.a:int": 1, "span.c:bool": True, "span.d": None})
    assert [attribute.key for attribute in span.attributes] == [name[5] for name in names[:3]]


def test_grouping():
    """Rows with an equal resource lie together, in it those with an equal scope; spans by start."""
    rows = [
        {"name": "a3", "start_ns": 30, "resource.r": "a", "scope_name": "s"},
        {"name": "b1", "start_ns": 10, "resource.r": "b", "scope_name": "s"},
        {"name": "a2", "start_ns": 20, "resource.r": "a", "scope_name": "s"},
        {"name": "a4", "start_ns": 40, "resource.r": "a", "scope_name": "t"},
        {"name": "b5", "start_ns": 50, "resource.r": "b", "resource_schema_url": "u"},
        {"name": "b6", "start_ns": 60, "resource.r": "b", "resource_dropped_attributes_count": 1},
        {"name": "b7", "start_ns": 70, "resource.r": "b", "scope_name": "s", "instrumentation.i": "x"},
        {"name": "b8", "start_ns": 80, "resource.r": "b", "scope_name": "s", "scope_schema_url": "x"},
        {"name": "b9", "start_ns": 90, "resource.r": "b", "scope_name": "s"},
    ]
    groups = to_resource_spans(table(*rows))
    names = [[[span.name for span in scope.spans] for scope in resource.scope_spans] for resource in groups]
    assert names == [[["b1", "b9"], ["b7"], ["b8"]], [["a2", "a3"], ["a4"]], [["b5"]], [["b6"]]]
    assert groups[2].schema_url == "u"
    assert groups[3].resource.dropped_attributes_count == 1
    assert groups[0].scope_spans[1].scope.attributes[0].key == "i"
    assert groups[0].scope_spans[2].schema_url == "x"


def test_dictionary_columns_in_chunks():
    """Strings may be dictionary-encoded, with other dictionaries in each chunk and values that no row has."""
    first = table({"span.k": "x", "name": "one", "resource.r": "a"})
    second = table({"span.k": "y", "name": "two", "start_ns": 2_000, "resource.r": "a"})

    def encoded(part: pa.Table) -> pa.Table:
        for name in ("span.k", "name", "resource.r"):
            value = part[name][0].as_py()
            column = pa.DictionaryArray.from_arrays(pa.array([1], pa.int32()), pa.array(["unused", value]))
            part = part.set_column(part.column_names.index(name), name, column)
        return part

    (group,) = to_resource_spans(pa.concat_tables([encoded(first), encoded(second)]))
    spans = group.scope_spans[0].spans
    assert [(span.name, value_of(span).string_value) for span in spans] == [("one", "x"), ("two", "y")]
    assert len(group.resource.attributes) == 1


def key_value(key: str, **value: object) -> dict:
    return dict.fromkeys(VALUE_FIELDS) | {"key": key} | value


def test_events_and_links():
    """Events and links keep their fields and attributes, those without a value too."""
    pairs = KeyValueList(values=[KeyValue(key="k", value=AnyValue(int_value=1))])
    items = ArrayValue(values=[AnyValue(bool_value=False)])
    attributes = [
        key_value("s", string_value=""),
        key_value("b", bool_value=False),
        key_value("i", int_value=0),
        key_value("d", double_value=0.0),
        key_value("a", array_value=items.SerializeToString()),
        key_value("m", kvlist_value=pairs.SerializeToString()),
        key_value("y", bytes_value=b""),
        key_value("none"),
    ]
    event = {"time_ns": 7, "name": "e", "attributes": attributes, "dropped_attributes_count": 3}
    link = {
        "trace_id": b"t" * 16,
        "span_id": b"s" * 8,
        "trace_state": "x=y",
        "attributes": [],
        "dropped_attributes_count": 4,
        "flags": 5,
    }
    span = only_span({"events": [event], "links": [link]})
    want = [
        KeyValue(key="s", value=AnyValue(string_value="")),
        KeyValue(key="b", value=AnyValue(bool_value=False)),
        KeyValue(key="i", value=AnyValue(int_value=0)),
        KeyValue(key="d", value=AnyValue(double_value=0)),
        KeyValue(key="a", value=AnyValue(array_value=items)),
        KeyValue(key="m", value=AnyValue(kvlist_value=pairs)),
        KeyValue(key="y", value=AnyValue(bytes_value=b"")),
        KeyValue(key="none", value=AnyValue()),
    ]
    (got,) = span.events
    assert got == Span.Event(time_unix_nano=7, name="e", attributes=want, dropped_attributes_count=3)
    assert list(span.links) == [
        Span.Link(trace_id=b"t" * 16, span_id=b"s" * 8, trace_state="x=y", dropped_attributes_count=4, flags=5)
    ]


def test_other_columns_are_ignored():
    """A column that the schema does not know does not stop a trace."""
    extra = table({}).append_column("row_number", pa.array([1]))
    assert to_resource_spans(extra) == to_resource_spans(table({}))


def test_bad_nested_value():
    """Bytes that are not an AnyValue are an error that names the column."""
    with pytest.raises(WireError, match=r"span\.x:any"):
        to_resource_spans(table({"span.x:any": b"\xff"}))
    event = {"time_ns": 1, "name": "", "attributes": [key_value("a", array_value=b"\xff")]}
    with pytest.raises(WireError, match="events"):
        to_resource_spans(table({"events": [event | {"dropped_attributes_count": 0}]}))


# ---- any table there and back

TEXT = st.text(max_size=4)
INT64 = st.integers(-(2**63), 2**63 - 1)
UINT32 = st.integers(0, 2**32 - 1)
DOUBLE = st.floats()
ANY = st.sampled_from([AnyValue(), AnyValue(array_value=ArrayValue(values=[AnyValue(), AnyValue(int_value=1)]))])
VALUES = {
    "string": TEXT,
    "int": INT64,
    "double": DOUBLE,
    "bool": st.booleans(),
    "bytes": st.binary(max_size=3),
    "string[]": st.lists(TEXT, max_size=2),
    "int[]": st.lists(INT64, max_size=2),
    "double[]": st.lists(DOUBLE, max_size=2),
    "bool[]": st.lists(st.booleans(), max_size=2),
    "any": ANY.map(AnyValue.SerializeToString),
}
ATTRIBUTES = [
    (attribute_column(scope, "k", type_), values)
    for scope in ("resource", "instrumentation", "span")
    for type_, values in VALUES.items()
]
FIELDS = {
    "parent_span_id": st.binary(min_size=8, max_size=8),
    "name": TEXT,
    "kind": st.integers(0, 7),
    "start_ns": st.integers(0, 2**62),
    "duration_ns": st.integers(0, 2**62),
    "status_code": st.integers(0, 3),
    "status_message": TEXT,
    "scope_name": TEXT,
    "scope_version": TEXT,
    "trace_state": TEXT,
    "flags": UINT32,
    "dropped_attributes_count": UINT32,
    "dropped_events_count": UINT32,
    "dropped_links_count": UINT32,
    "resource_dropped_attributes_count": st.integers(0, 1),
    "scope_dropped_attributes_count": st.integers(0, 1),
    "resource_schema_url": TEXT,
    "scope_schema_url": TEXT,
}
ROW = st.fixed_dictionaries(FIELDS, optional=dict(ATTRIBUTES))


def rows_of(groups: list[ResourceSpans]) -> list[dict]:
    """The reverse of to_resource_spans, slow and plain; attributes as a sorted list of serialized pairs."""

    def pairs(attributes) -> list[bytes]:
        return sorted(item.SerializeToString() for item in attributes)

    return [
        {
            "span_id": span.span_id,
            "parent_span_id": span.parent_span_id or bytes(8),
            "name": span.name,
            "kind": span.kind,
            "start_ns": span.start_time_unix_nano,
            "duration_ns": span.end_time_unix_nano - span.start_time_unix_nano,
            "status_code": span.status.code,
            "status_message": span.status.message,
            "scope_name": scope.scope.name,
            "scope_version": scope.scope.version,
            "trace_state": span.trace_state,
            "flags": span.flags,
            "dropped_attributes_count": span.dropped_attributes_count,
            "dropped_events_count": span.dropped_events_count,
            "dropped_links_count": span.dropped_links_count,
            "resource_dropped_attributes_count": group.resource.dropped_attributes_count,
            "scope_dropped_attributes_count": scope.scope.dropped_attributes_count,
            "resource_schema_url": group.schema_url,
            "scope_schema_url": scope.schema_url,
            "resource": pairs(group.resource.attributes),
            "instrumentation": pairs(scope.scope.attributes),
            "span": pairs(span.attributes),
        }
        for group in groups
        for scope in group.scope_spans
        for span in scope.spans
    ]


def any_value(type_: str, cell: object) -> AnyValue:
    """One cell as OTLP's value, by the name of the field alone."""
    if type_ == "any":
        return AnyValue.FromString(cell)
    if type_.endswith("[]"):
        items = [any_value(type_[:-2], item) for item in cell]
        return AnyValue(array_value=ArrayValue(values=items))
    return AnyValue(**{f"{type_}_value": cell})


def expected(row: dict) -> dict:
    out = {name: row[name] for name in [*FIELDS, "span_id"]}
    for scope in ("resource", "instrumentation", "span"):
        out[scope] = sorted(
            KeyValue(key="k", value=any_value(type_, row[column])).SerializeToString()
            for type_ in VALUES
            if (column := attribute_column(scope, "k", type_)) in row
        )
    return out


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(ROW, min_size=1, max_size=6))
def test_round_trip(rows):
    """Whatever the rows hold comes back from the protobuf: every field, every attribute, every span once."""
    numbered = [row | {"span_id": number.to_bytes(8, "big")} for number, row in enumerate(rows, 1)]
    got = rows_of(to_resource_spans(table(*numbered)))
    assert sorted(got, key=lambda row: row["span_id"]) == [expected(row) for row in numbered]


def test_large_trace_in_reasonable_time():
    """20,000 spans with 20 attributes take a fraction of a second, here 0.2: the way is linear."""
    count = 20_000
    names = [f"span.a{number}" for number in range(10)] + [f"resource.r{number}" for number in range(10)]
    columns = {name: pa.array([value] * count, column_type(name)) for name, value in DEFAULTS.items()}
    columns["start_ns"] = pa.array(range(count), pa.int64())
    columns |= {name: pa.array([f"v{row % 100 if name[0] == 's' else 0}" for row in range(count)]) for name in names}
    started_s = time.perf_counter()
    (group,) = to_resource_spans(pa.table(columns))
    assert time.perf_counter() - started_s < 5
    assert len(group.scope_spans[0].spans) == count
