"""Columns of Iceberg tables: types that Iceberg does not have, attributes that come later, or cannot come."""

import io
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tables.iceberg.columns import base_schema, iceberg_type, new_columns
from tables.schema import ATTRIBUTE_TYPES, FIXED, OPTIONAL
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.blocks.iceberg import IcebergBucket
from tests.helpers.live.whole_way import request, span

STRINGS = AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="x"), AnyValue(string_value="y")]))
NESTED = AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=AnyValue(int_value=1))]))
ODD = [
    span(
        1,
        flags=2**32 - 1,
        dropped_attributes_count=2**32 - 2,
        trace_state="a=b",
        attributes={"list": STRINGS, "nested": NESTED, "bytes": AnyValue(bytes_value=b"\0\xff"), "": "empty key"},
        events=[Span.Event(name="e", time_unix_nano=5, dropped_attributes_count=3)],
        links=[Span.Link(trace_id=b"t" * 16, span_id=b"s" * 8, flags=2**32 - 1)],
    ),
    span(2, attributes={"list": AnyValue(int_value=-(2**63)), "a.b:int": "text", "a": AnyValue(double_value=1.5)}),
    span(3, attributes={f"rare{number}": "v" for number in range(40)}, kind=3, status={"code": 2, "message": "m"}),
]


def local_bucket(folder: Path, **config: Any) -> IcebergBucket:
    return IcebergBucket(ObjectStore(StorageConfig("local", str(folder / "bucket"))), folder, **config)


def rows_of_files(bucket: IcebergBucket) -> list[dict[str, Any]]:
    """All rows of the visible files, without columns that are null."""
    tables = []
    for meta in bucket.index.metas():
        for file in meta.files:
            data = bucket.store.get(f"{meta.folder}/{file.name}")
            assert data is not None
            tables.append(pq.read_table(io.BytesIO(data)))
    return [row for table in tables for row in rows(table)]


def rows(table: pa.Table) -> list[dict[str, Any]]:
    found = [{name: value for name, value in row.items() if value is not None} for row in table.to_pylist()]
    return sorted(found, key=lambda row: row["span_id"])


def test_values_are_those_of_the_files(tmp_path: Path) -> None:
    """Every value of every column, the largest unsigned numbers too; some attributes are in the overflow."""
    bucket = local_bucket(tmp_path, attribute_columns=20)
    bucket.flush(request(ODD, service_name="s"))
    bucket.flush(request([span(4, attributes={"later": "x"})]))
    bucket.sync()
    table = bucket.table
    expected = sorted(rows_of_files(bucket), key=lambda row: row["span_id"])
    assert rows(table.scan().to_arrow()) == expected
    by_polars = pl.scan_iceberg(table, reader_override="native").collect().to_dicts()
    shown = [{name: value for name, value in row.items() if value is not None} for row in by_polars]
    assert sorted(shown, key=lambda row: row["span_id"]) == expected
    assert expected[0]["flags"] == 2**32 - 1
    assert any("overflow" in row for row in expected)


def test_every_type_of_the_table_has_one_in_iceberg() -> None:
    from pyiceberg.io.pyarrow import _pyarrow_to_schema_without_ids

    types = [*FIXED.types, *OPTIONAL.types, *ATTRIBUTE_TYPES.values()]
    schema = pa.schema([(f"c{number}", iceberg_type(type_)) for number, type_ in enumerate(types)])
    shown = str(_pyarrow_to_schema_without_ids(schema))
    assert "uint" not in shown
    assert {str(found) for found in base_schema().types if pa.types.is_integer(found)} == {"int32", "int64"}


def test_columns_come_sorted_up_to_the_limit() -> None:
    files = [{"b": pa.string(), "a": pa.int64(), "known": pa.string()}, {"c": pa.uint32(), "a": pa.int64()}]
    added, left_out = new_columns({"known"}, files, columns_max=10)
    assert added == pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.int64())])
    assert left_out == frozenset()
    added, left_out = new_columns({"known"}, files, columns_max=2)
    assert added.names == ["a"]
    assert left_out == {"b", "c"}
    added, left_out = new_columns({"known", "x"}, files, columns_max=1)
    assert (added.names, left_out) == ([], {"a", "b", "c"})


def test_attributes_beyond_the_limit_are_left_out(tmp_path: Path) -> None:
    """Their files are there all the same, for engines that skip columns without an id, as Iceberg's rules say."""
    bucket = local_bucket(tmp_path, columns_max=len(base_schema()) + 2)
    bucket.flush(request([span(1, attributes={"a": "1", "b": "2"})]))
    bucket.sync()
    bucket.flush(request([span(2, attributes={"a": "3", "c": "4"})]))
    bucket.sync()
    table = bucket.table
    assert {field.name for field in table.schema().fields} == {*base_schema().names, "span.a", "span.b"}
    found = pl.scan_iceberg(table, reader_override="native").select("span.a", "span.b").sort("span.a").collect()
    assert found.rows() == [("1", "2"), ("3", None)]


def test_an_attribute_with_the_name_of_a_lists_items(tmp_path: Path) -> None:
    """Names of columns and of what is in them share one index in Iceberg: it is left out, whichever comes first."""
    bucket = local_bucket(tmp_path)
    bucket.flush(request([span(1, attributes={"list:string[].element": "x"})]))
    bucket.sync()
    bucket.flush(request([span(2, attributes={"list": STRINGS})]))
    bucket.sync()
    found = pl.scan_iceberg(bucket.table, reader_override="native").select("span.list:string[]").collect()
    assert sorted(found.rows(), key=str) == [(None,), (["x", "y"],)]
