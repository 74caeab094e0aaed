"""What a Parquet file keeps in the cache between queries."""

import gc
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from query.requests import SearchRequest
from query.scan.reader import Reader
from query.scan.source import DerivedCache
from query.scan.trace_lookup import TraceLookup
from query.search.search import search
from query.trace.trace import find_trace
from tables.columns.overflow import Overflow, entries, value_field
from tables.errors import DamagedError
from tables.parquet.directory import BOUNDED
from tables.parquet.read import ColumnKey, ParquetSource
from tables.parquet.write import to_parquet
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import tail_of
from tables.storage.object_store import RangeFile
from tests.helpers.files import file_of
from tests.query.golden import load_table

SPANS = """load
  t1 a    name=GET kind=server duration=2s resource.service.name=web span.x=1
  t1 b<a  name=sql kind=client duration=20ms resource.service.name=db
  t2 a    name=GET resource.service.name=web span.y="z" event=exception@5ms
"""
T2 = b"t2".rjust(16, b"\0")


@pytest.fixture
def source() -> ParquetSource:
    data = to_parquet(load_table(SPANS))
    return ParquetSource("file", lambda: file_of(data), ByteCache("test", 1 << 20), 3)


def test_things_are_made_once(source: ParquetSource) -> None:
    """And again once the cache has let them go."""
    assert isinstance(source, DerivedCache)
    made = []

    def make() -> SimpleNamespace:
        made.append(1)
        return SimpleNamespace(nbytes=10)

    assert source.keep("a", make) is source.keep("a", make)
    assert len(made) == 1
    source.keep("large", lambda: SimpleNamespace(nbytes=(1 << 20) - 10))
    source.keep("a", make)
    assert len(made) == 2


def test_what_the_cache_lets_go_is_gone() -> None:
    """A parsed footer takes megabytes where there are many columns; in a cycle it would stay, counted by nobody."""
    data = to_parquet(load_table(SPANS))

    def read() -> None:
        source = ParquetSource("file", lambda: file_of(data), ByteCache("test", 1 << 20), 3)
        source.decoded_bytes(sorted(source.columns))
        source.read(["span.y", "trace_id"])
        source.bounds("start_ns")
        assert find_trace([source], T2) is not None

    read()
    gc.collect()
    gc.disable()
    try:
        read()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_trace_is_the_same_at_every_look_up(source: ParquetSource) -> None:
    """Whatever the cache keeps of the one before."""
    first = find_trace([source], T2)
    source.read(["span.y"])
    second = find_trace([source], T2)
    assert first is not None
    assert second is not None
    assert first.equals(second)
    assert first["span.y"].to_pylist() == ["z"]
    assert "span.x:int" not in first.column_names


def test_one_request_for_several_columns() -> None:
    """What is read of a file is asked for together, and not kept by the reader."""
    data = to_parquet(load_table(SPANS))
    asked: list[Sequence[tuple[int, int]]] = []

    def read_ranges(ranges: Sequence[tuple[int, int]]) -> list[Any]:
        asked.append(ranges)
        return [data.slice(*one) for one in ranges]

    source = ParquetSource("file", lambda: RangeFile(read_ranges, data.size), ByteCache("test", 1 << 20), 3)
    assert source.columns  # opened
    asked.clear()
    found = source.read(["name", "start_ns", "span_id"])
    assert [len(ranges) for ranges in asked] == [3]
    assert found["name"].to_pylist() == load_table(SPANS)["name"].to_pylist()
    assert source._opened().bytes._held == {}


def with_tail(data: Any) -> tuple[ParquetSource, list[Sequence[tuple[int, int]]]]:
    """A file whose end is known, and the ranges that are read of it."""
    asked: list[Sequence[tuple[int, int]]] = []

    def read_ranges(ranges: Sequence[tuple[int, int]]) -> list[Any]:
        asked.append(ranges)
        return [data.slice(*one) for one in ranges]

    def open_file() -> RangeFile:
        return RangeFile(read_ranges, data.size)

    return ParquetSource("file", open_file, ByteCache("test", 1 << 20), 3, tail=tail_of(data)), asked


@pytest.mark.parametrize("attribute_columns_max", [100, 1])
def test_what_a_file_has_is_known_without_opening_it(attribute_columns_max: int) -> None:
    """One read of its end, for a query that asks for what it has not."""
    table = load_table(SPANS)
    if attribute_columns_max == 1:
        table = overflowing(table)
    data = to_parquet(table)
    source, asked = with_tail(data)
    opened = ParquetSource("file", lambda: file_of(data), ByteCache("test", 1 << 20), 3)  # its footer answers
    assert source.columns == opened.columns
    assert source.sparse_columns() == opened.sparse_columns() == ({"span.y"} if attribute_columns_max == 1 else set())
    for column in BOUNDED:
        assert source.bounds(column) == opened.bounds(column) is not None
    search([source], SearchRequest(query='{ span.nosuch = "x" }'))
    assert [len(ranges) for ranges in asked] == [1, 1]  # and the trace ids, as their number is not known
    source.known_trace_count = 7
    asked.clear()
    source._cache.discard(ColumnKey("file", "\0traces"))
    assert search([source], SearchRequest(query='{ span.nosuch = "x" }')).inspected.traces == 7
    assert asked == []


def test_a_file_of_a_later_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr("tables.parquet.directory.SCHEMA_VERSION", 99)
        later.setattr("tables.parquet.write.SCHEMA_VERSION", 99)
        data = to_parquet(load_table(SPANS))
    source, _ = with_tail(data)
    with pytest.raises(DamagedError, match="version 99 of the schema"):
        assert source.columns


def test_a_file_with_other_rows_is_damaged() -> None:
    source, _ = with_tail(to_parquet(load_table(SPANS).slice(1)))
    with pytest.raises(DamagedError, match="has 2 rows of 3"):
        assert source.columns


def overflowing(table: pa.Table) -> pa.Table:
    """The table with span.y in the overflow."""
    values = table["span.y"].combine_chunks()
    collected = Overflow(table.num_rows)
    rows = np.flatnonzero(values.is_valid())
    names = pa.array(["span.y"] * len(rows))
    collected.add(rows, entries(names, value_field("string"), values.drop_null()))
    table = table.drop_columns("span.y")
    for name, column in collected.columns().items():
        table = table.append_column(name, column)
    return table


def test_how_much_memory_columns_take_is_known_without_reading_them() -> None:
    source, asked = with_tail(to_parquet(load_table(SPANS)))
    columns = sorted(source.columns)
    estimate = {column: source.decoded_bytes([column]) for column in columns}
    assert len(asked) == 1  # its end
    # Small texts are read as dictionaries of 4 bytes a row.
    assert {column for column, array in source.read(columns).items() if estimate[column] < array.nbytes} == set()


def test_a_file_whose_trace_ids_lie_elsewhere_is_not_asked_for_traces() -> None:
    source, asked = with_tail(to_parquet(load_table(SPANS)))
    ids = np.sort(np.array([name.rjust(16, b"\0") for name in (b"a1", b"t1", b"t9", b"zz")], "S16"))
    low, high = (name.rjust(16, b"\0") for name in (b"t1", b"t2"))
    source.trace_id_range = (low, high)
    for some in ([0], [3], [0, 3], [2], [0, 2], [0, 1, 3], [1]):
        found, _ = TraceLookup(ids[some]).find_in(Reader(source))
        read = TraceLookup(ids[some]).find_in(Reader(with_tail(to_parquet(load_table(SPANS)))[0]))[0]
        assert found.tolist() == read.tolist()
        assert bool(asked) == (1 in some)


@pytest.mark.parametrize(
    ("query", "opens"), [("{ span.x = 9 }", False), ("{ kind = producer }", False), ("{ span.x = 1 }", True)]
)
def test_numbers_that_are_not_there_are_seen_without_opening_the_file(query: str, opens: bool) -> None:
    """By the bounds in its directory."""
    source, asked = with_tail(to_parquet(load_table(SPANS)))
    source.known_trace_count = 2
    assert bool(search([source], SearchRequest(query=query)).traces) == opens
    assert (len(asked) == 1) == (not opens)
