"""A table in memory as a source."""

import pyarrow as pa
import pytest

from tables.columns.in_memory import TableSource
from tests.query.golden import load_table

LOAD = "load\n  t1 a name=x duration=5ms span.s=v\n  t1 b name=y duration=7ms\n  t2 a name=x span.i=3"


def test_columns_are_those_with_values() -> None:
    """An all-null column is as absent as one that is not there."""
    source = TableSource(load_table(LOAD).append_column("span.none", pa.nulls(3, pa.string())))
    assert {"span.s", "span.i:int", "name"} <= source.columns
    assert "span.none" not in source.columns
    with pytest.raises(KeyError):
        source.read(["span.none"])


def test_strings_come_as_dictionaries() -> None:
    """The evaluator compares dictionaries, not rows."""
    source = TableSource(load_table(LOAD))
    names = source.read(["name"])["name"]
    assert pa.types.is_dictionary(names.type)
    assert names.type.index_type == pa.int32()
    assert names.to_pylist() == ["x", "y", "x"]
    assert source.read(["name", "span.i:int"], (1, 3))["span.i:int"].to_pylist() == [None, 3]


def test_bounds_and_traces() -> None:
    """Bounds of integers only; traces by their rows."""
    source = TableSource(load_table(LOAD))
    assert source.bounds("duration_ns") == (1_000_000, 7_000_000)
    assert source.bounds("span.i:int") == (3, 3)
    assert source.bounds("name") is None
    assert source.bounds("span.nosuch:int") is None
    assert source.traces().offsets.tolist() == [0, 2, 3]


def test_empty() -> None:
    """No rows, no columns, no traces."""
    source = TableSource(load_table(LOAD).slice(0, 0))
    assert (source.rows, source.columns) == (0, frozenset())
    assert len(source.traces().ids) == 0
