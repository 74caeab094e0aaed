"""A trace by its id, from any number of sources."""

import pyarrow as pa
import pytest

from query.scan.stitch import whole
from query.trace.trace import find_trace
from tables.columns.in_memory import TableSource
from tables.schema import FIXED
from tests.query.golden import load_table

LOAD = """load
  t0 z    name=other
  t1 a    name=GET  resource.service.name=web duration=100ms
  t1 b<a  name=call span.x=1
  t1 c<b  name=serve span.x="one"
  t2 z    name=other
"""
T1 = b"t1".rjust(16, b"\0")


@pytest.mark.parametrize("parts", [([0, 1, 2, 3, 4],), ([0, 3], [2, 4], [1])], ids=["one source", "three sources"])
def test_all_rows_and_columns(parts: tuple[list[int], ...]) -> None:
    """Every span of the trace, by start, with the facts of the whole trace and the columns that it has."""
    table = load_table(LOAD)
    found = find_trace([TableSource(whole(table.take(pa.array(rows)))) for rows in parts], T1)
    assert found is not None
    assert found["name"].to_pylist() == ["GET", "call", "serve"]
    assert found["span.x:int"].to_pylist() == [None, 1, None]
    assert found["span.x"].to_pylist() == [None, None, "one"]
    assert found["nested_left"].to_pylist() == [1, 2, 3]
    assert found["nested_parent"].to_pylist() == [-1, 1, 2]
    assert set(found["root_name"].to_pylist()) == {"GET"}
    assert set(FIXED.names) <= set(found.column_names)
    assert found.schema.field("span.x").type == pa.string()


def test_unknown_trace() -> None:
    """None, not an empty table: the caller decides between 404 and an empty trace."""
    assert find_trace([TableSource(load_table(LOAD))], bytes(15) + b"x") is None
    assert find_trace([], T1) is None


def test_exact_duplicates_are_dropped() -> None:
    """A client's retry puts equal rows into two sources; another span with the same id stays."""
    table = load_table(LOAD)
    other = load_table(LOAD.replace("name=call", "name=again"))
    found = find_trace([TableSource(table), TableSource(table), TableSource(other)], T1)
    assert found is not None
    assert sorted(found["name"].to_pylist()) == ["GET", "again", "call", "serve"]


def test_bad_id() -> None:
    """Shortened ids are the caller's business."""
    with pytest.raises(ValueError, match="16 bytes"):
        find_trace([], b"t1")
