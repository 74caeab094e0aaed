"""A trace by its id between processes: its rows, as far as one process has them, as Arrow IPC."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import pyarrow as pa

from query import memory
from query.requests import TraceRequest
from query.results import Inspected
from query.scan.ipc import read_partial, write_partial
from query.trace.by_id import trace_by_id
from tables.columns.in_memory import TableSource

_KIND: Final = b"stretto.trace"


class TracePart(NamedTuple):
    """The spans of a trace that one process has, or their page; None: there are none. more: spans follow the page"""

    table: pa.Table | None
    more: bool

    def to_ipc(self) -> bytes:
        """Makes the bytes of an Arrow IPC stream of it."""
        return write_partial(_KIND, {"more": self.more}, Inspected(), [] if self.table is None else [self.table], None)

    @classmethod
    def from_ipc(cls, data: bytes) -> "TracePart":
        """What `to_ipc` wrote. Raises: as `read_partial`"""
        header, _, tables, _ = read_partial(_KIND, data)
        return cls(tables[0] if tables else None, bool(header["more"]))


def asked_of_parts(request: TraceRequest) -> TraceRequest:
    """What each of several processes that have spans of the trace is asked for. An outline and spans that match are of
    the whole trace: facts, nested-set numbers and what a client sent twice need all of its spans with all that they
    have.
    """
    if not is_of_whole(request):
        return request
    return replace(request, outline=False, matching=None, bytes_max=0)


def is_of_whole(request: TraceRequest) -> bool:
    """Whether an answer is of the whole trace, so that answers of parts cannot be put together."""
    return request.outline or request.matching is not None


def joined(parts: Sequence[TracePart], request: TraceRequest, asked: TraceRequest) -> tuple[pa.Table | None, bool]:
    """The trace, or what is asked of it, of what all processes have. Raises: TraceTooLarge, MemoryExceeded

    parts: as answers to `asked`, which is `asked_of_parts`, or the request itself where only one of them has spans

    A part that is a page ends somewhere: what comes after its end is left for the next page, because that process may
    have spans in between.
    """
    tables = [part.table for part in parts if part.table is not None]
    if asked == request and len(tables) <= 1 and sum(part.more for part in parts) <= len(tables):
        return (tables[0] if tables else None), any(part.more for part in parts)
    memory.reserve(2 * sum(table.nbytes for table in tables), "the spans of the trace")
    sources: list[Any] = [TableSource(table.combine_chunks()) for table in tables]
    table, more = trace_by_id(sources, request)
    if is_of_whole(request):
        return table, more
    if table is None:
        return None, any(part.more for part in parts)
    ends = [_last(part.table) for part in parts if part.more and part.table is not None]
    if ends and (end := min(ends)) < _last(table):
        positions = zip(table["start_ns"].to_pylist(), table["span_id"].to_pylist(), strict=True)
        table, more = table.slice(0, sum(position <= end for position in positions)), True
    return table, more or any(part.more for part in parts)


def _last(table: pa.Table) -> tuple[int, bytes]:
    """Start and id of the last span."""
    return table["start_ns"][-1].as_py(), table["span_id"][-1].as_py()
