"""What a Parquet file keeps in the cache between queries."""

from types import SimpleNamespace

import pyarrow as pa
import pytest

from query.source import Keeping
from query.trace import find_trace
from tables.blocks.parquet_read import ParquetSource
from tables.blocks.parquet_write import to_parquet
from tables.cache import ByteCache
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
    return ParquetSource("file", lambda: pa.BufferReader(data), ByteCache("test", 1 << 20), 3)


def test_things_are_made_once(source: ParquetSource) -> None:
    """And again once the cache has let them go."""
    assert isinstance(source, Keeping)
    made = []

    def make() -> SimpleNamespace:
        made.append(1)
        return SimpleNamespace(nbytes=10)

    assert source.keep("a", make) is source.keep("a", make)
    assert len(made) == 1
    source.keep("large", lambda: SimpleNamespace(nbytes=(1 << 20) - 10))
    source.keep("a", make)
    assert len(made) == 2


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
