"""Single values: what Tempo's columns hold besides what a request of OTLP can say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from tables.seal import seal
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.tempo.attributes import attributes_of
from tables.tempo.block_meta import Assigned, TempoMeta, decode_tempo_meta
from tables.tempo.bucket import TempoBlock
from tables.tempo.convert import block_range
from tables.tempo.file import open_tempo_file
from tables.tempo.protobuf import any_value, array_values, counts, delimited
from tables.tempo.rows import ids, span_rows
from tests.helpers.tempo.imported import request
from tests.helpers.tempo.tempo_blocks import _ATTRS
from tests.helpers.tempo.tempo_blocks import TempoBlock as Written


def meta(**values: Any) -> TempoMeta:
    base = {
        "format": "vParquet5",
        "blockID": "b27b0e53-66a0-4505-afd6-434ae3cd4a10",
        "startTime": "2022-07-04T11:11:09Z",
        "endTime": "2022-07-04T11:11:35Z",
        "totalObjects": 1,
        "size": 1,
    }
    return decode_tempo_meta("meta.json", json.dumps(base | values).encode())


# Scope, name and type are left out where they are `span` and `string`; the order counts, per scope and type.
COLUMNS = [
    {"s": "resource", "n": "ip"},
    {"n": "instance"},
    {"n": "port", "t": "int"},
    {"n": "version", "o": ["array"]},
    {"s": "event", "n": "e"},
    {"s": "event", "n": "f", "t": "string"},
    {"s": "link", "n": "unknown"},
]


@pytest.mark.parametrize(
    ("version", "assigned"),
    [
        (
            "vParquet4",
            [("resource", "ip", "String01"), ("span", "instance", "String01"), ("span", "version", "String02")],
        ),
        (
            "vParquet5-preview5",
            [
                ("resource", "ip", "String01"),
                ("span", "instance", "String01"),
                ("span", "port", "Int01"),
                ("span", "version", "String02"),
                ("event", "e", "String01"),
                ("event", "f", "String02"),
            ],
        ),
    ],
)
def test_dedicated_columns_are_numbered_per_scope_and_type(version: str, assigned: list[tuple[str, str, str]]) -> None:
    found = meta(format=version, dedicatedColumns=COLUMNS)
    assert list(found.assigned()) == [Assigned(*one) for one in assigned]


@pytest.mark.parametrize(("version", "most"), [("vParquet4", 10), ("vParquet5", 20)])
def test_more_dedicated_columns_than_there_are(version: str, most: int) -> None:
    found = list(meta(format=version, dedicatedColumns=[{"n": str(number)} for number in range(30)]).assigned())
    assert [one.key for one in found] == [str(number) for number in range(most)]


def test_times_that_tempo_does_not_know() -> None:
    unknown = meta(startTime="0001-01-01T00:00:00Z", endTime="0001-01-01T00:00:00Z", dedicatedColumns=None)
    assert (unknown.start_ms, unknown.end_ms, list(unknown.assigned())) == (0, 0, [])


def test_offsets_grow_with_time_and_fit() -> None:
    first, later, last = (
        block_range(TempoBlock("t", meta(endTime=end)), "t")
        for end in ("0001-01-01T00:00:00Z", "2022-07-04T11:11:35Z", "2200-01-01T00:00:00Z")
    )
    assert 0 <= first.first_offset < later.first_offset < last.first_offset < 2**63
    assert later.id == block_range(TempoBlock("t", meta()), "t").id


def attribute(**values: Any) -> dict[str, Any]:
    empty = {"Key": "k", "IsArray": False, "Value": [], "ValueInt": [], "ValueDouble": [], "ValueBool": []}
    return {**empty, "ValueUnsupported": None, **values}


@pytest.mark.parametrize(
    ("stored", "field", "value"),
    [
        ({"Value": ["a"]}, "string_value", "a"),
        ({"Value": [""]}, "string_value", ""),
        ({"ValueInt": [-(2**63)]}, "int_value", -(2**63)),
        ({"ValueDouble": [-0.0]}, "double_value", -0.0),
        ({"ValueBool": [False]}, "bool_value", False),
        ({"IsArray": True}, "array_value", b""),
        (
            {"IsArray": True, "ValueInt": [-1]},
            "array_value",
            ArrayValue(values=[AnyValue(int_value=-1)]).SerializeToString(),
        ),
        ({"ValueUnsupported": '{"bytesValue":"AP8="}'}, "bytes_value", b"\0\xff"),
        (
            {"ValueUnsupported": '{"arrayValue":{"values":[{"intValue":"7"},{}]}}'},
            "array_value",
            ArrayValue(values=[AnyValue(int_value=7), AnyValue()]).SerializeToString(),
        ),
        ({"ValueUnsupported": '{"doubleValue":"NaN"}'}, "double_value", float("nan")),
        # What is no AnyValue stays a text.
        ({"ValueUnsupported": "{"}, "string_value", "{"),
        ({"ValueUnsupported": '{"other":1}'}, "string_value", '{"other":1}'),
        ({"ValueUnsupported": '{"arrayValue":' * 400}, "string_value", '{"arrayValue":' * 400),
        # No value at all.
        ({"ValueUnsupported": "{}"}, "", None),
        ({}, "", None),
    ],
)
def test_values(stored: dict[str, Any], field: str, value: Any) -> None:
    # Between others, so that offsets do not begin with 0.
    lists = pa.array(
        [[attribute(Value=["x"])], [attribute(**stored)], [attribute(ValueInt=[3])]], pa.list_(_ATTRS.value_type)
    )
    found = attributes_of(lists)
    assert found.offsets.tolist() == [0, 1, 2, 3]
    values = {name: column[1].as_py() for name, column in found.values.items() if column[1].is_valid}
    assert repr(values) == repr({field: value} if field else {})
    assert attributes_of(lists.slice(1, 1)).keys.to_pylist() == ["k"]


def test_a_preview_says_array_by_the_number_of_values() -> None:
    type_ = pa.struct([one for one in _ATTRS.value_type if one.name != "IsArray"])
    rows = [[{**attribute(Value=["a", "b"])}, {**attribute(Value=["c"])}]]
    found = attributes_of(pa.array(rows, pa.list_(type_)))
    both = ArrayValue(values=[AnyValue(string_value=one) for one in "ab"]).SerializeToString()
    assert found.values["array_value"].to_pylist() == [both, None]
    assert found.values["string_value"].to_pylist() == [None, "c"]


@pytest.mark.parametrize(
    ("field", "values", "type_"),
    [
        ("string_value", ["", "a", None, "ä" * 200], pa.string()),
        ("bool_value", [True, None, False], pa.bool_()),
        ("int_value", [0, -1, None, 2**63 - 1, -(2**63), 300], pa.int64()),
        ("double_value", [0.0, -0.0, None, float("inf"), 1.5], pa.float64()),
        ("bytes_value", [b"", None, b"\xff" * 70_000], pa.binary()),
    ],
)
def test_any_value_is_what_protobuf_reads(field: str, values: list[Any], type_: pa.DataType) -> None:
    encoded = any_value(
        field, pa.array(["?", *values], type_).slice(1) if type_ == pa.string() else pa.array(values, type_)
    )
    read = [None if one is None else AnyValue.FromString(one) for one in encoded.to_pylist()]
    assert read == [None if one is None else AnyValue(**{field: one}) for one in values]
    there = [one for one in values if one is not None]
    lists = pa.array([there, [], there[:1]], pa.list_(type_))
    arrays = [ArrayValue(values=[AnyValue(**{field: one}) for one in items]) for items in (there, [], there[:1])]
    assert [ArrayValue.FromString(one) for one in array_values(field, lists).to_pylist()] == arrays


def test_fields_and_counts() -> None:
    names = delimited(0x0A, pa.array(["", "ab"]))
    assert names.to_pylist() == [b"\x0a\0", b"\x0a\x02ab"]
    found = counts(0x10, np.array([0, 2**32 - 1], np.uint32)).to_pylist()
    assert [Resource.FromString(one).dropped_attributes_count for one in found] == [0, 2**32 - 1]
    assert len(delimited(0x0A, pa.array([], pa.string()))) == 0


def test_ids_of_other_lengths() -> None:
    column = pa.array([b"12345678", b"1", b"", b"123456789", b"87654321"], pa.binary())
    fixed, odd = ids(column, 8)
    assert fixed.to_pylist() == [b"12345678", b"\0\0\0\0\0\0\x001", bytes(8), b"23456789", b"87654321"]
    assert (odd, ids(column, 8, may_be_empty=True)[1], ids(column.slice(0, 1), 8)[1]) == (3, 2, 0)


@pytest.mark.parametrize("version", ["vParquet4", "vParquet5"])
def test_text_that_is_not_utf8_is_repaired(tmp_path: Path, version: str) -> None:
    folder = Written(version, dedicated=[{"n": "http.route"}]).write(tmp_path, [request(4)])
    path = folder / "data.parquet"
    table = pq.read_table(path)
    # The same length, so that the file stays as it is but for the bytes of the text.
    pq.write_table(table, path, compression="none", use_dictionary=False, store_schema=False)
    data = path.read_bytes()
    for text in (b"service 0", b"span 2", b"/3"):
        assert text in data
        data = data.replace(text, b"\xff" + text[1:])
    path.write_bytes(data)
    assigned = (Assigned("span", "http.route", "String01"),)
    file = open_tempo_file(ObjectStore(StorageConfig("local", str(folder))), "data.parquet", len(data), assigned)
    (batch,) = file.batches()
    rows = seal([span_rows(batch, assigned).spans]).to_pylist()
    shown = {(row["resource.service.name"], row["name"], row["span.http.route"]) for row in rows}
    assert ("\ufffdervice 0", "\ufffdpan 2", "/2") in shown
    assert ("service 1", "span 3", "\ufffd3") in shown
