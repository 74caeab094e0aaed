"""Loads and rows as sources that follow each other, or share traces."""

import pyarrow as pa

from query.results import SearchResult
from query.scan.stitch import whole
from tables.columns.in_memory import TableSource
from tests.query.golden import load_table

# Twelve traces, one a second; each has its second span a second later.
LOAD = "\n".join(
    ["load", *(f"  t{i:02} {part} start={i + delay}s" for i in range(12) for part, delay in (("a", 0), ("b<a", 1)))]
)


def by_time(table: pa.Table, count: int) -> list[TableSource]:
    """The spans in order of start, in so many sources that follow each other."""
    order = table.sort_by([("start_ns", "ascending")])
    size = -(-table.num_rows // count)
    parts = [
        order.slice(at, size).sort_by([("trace_id", "ascending"), ("start_ns", "ascending")])
        for at in range(0, table.num_rows, size)
    ]
    return [TableSource(whole(part)) for part in parts]


MS = 1_000_000
TRACES = """load
  t1 a    start=0ms   duration=100ms name=GET resource.service.name=web kind=server
  t1 b<a  start=10ms  duration=20ms  resource.service.name=db status=error span.x=1
  t1 c<a  start=50ms  duration=90ms  resource.service.name=db span.x=1
  t2 a    start=200ms duration=10ms  name=POST span.x=1
  t3 a<z  start=300ms duration=10ms  span.x=1
  t4 a    start=300ms duration=10ms  span.x=1
"""
# t1's three spans in three sources, the other traces beside them.
SPLIT = ([0, 3], [1, 4], [2, 5])


def sources(load: str, *parts: list[int]) -> list[TableSource]:
    """The rows of a load, or several sources with the given rows each."""
    table = load_table(load)
    if not parts:
        return [TableSource(table)]
    return [TableSource(whole(table.take(pa.array(rows)))) for rows in parts]


def traces(result: SearchResult) -> list[str]:
    return [trace.trace_id.lstrip(b"\0").decode() for trace in result.traces]
