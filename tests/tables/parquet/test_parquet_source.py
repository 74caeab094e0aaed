"""What a Parquet file keeps in the cache between queries."""

import gc
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from query.scan.source import DerivedCache
from query.trace.trace import find_trace
from tables.parquet.read import ParquetSource
from tables.parquet.write import to_parquet
from tables.storage.byte_cache import ByteCache
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
