"""A trace by its id between processes: its rows, as far as one process has them, as Arrow IPC."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from query import memory
from query.request_json import BadRequest
from query.requests import TraceRequest
from query.results import Inspected
from query.scan.arrays import Rows
from query.scan.ipc import read_partial, write_partial
from query.trace.by_id import trace_by_id
from query.trace.parts import FirstPart, digests_of_part, first_part, rows_of_part
from tables.columns.in_memory import TableSource

_KIND: Final = b"stretto.trace"
ROWS: Final = "rows"
DIGESTS: Final = "digests"
_FURTHER: Final[Mapping[str, Callable[[Sequence[Any], bytes, Rows], FirstPart]]] = {
    ROWS: rows_of_part,
    DIGESTS: digests_of_part,
}


@dataclass(frozen=True, slots=True)
class Further:
    """What a process is asked of some of its rows, after what it has given first. wanted: ROWS or DIGESTS

    numbers: of the rows, ascending; spans: how many rows it said that it has
    """

    wanted: str
    numbers: Rows
    spans: int

    def to_json(self) -> dict[str, Any]:
        """The fields of a frame; `data` is its bytes."""
        return {"wanted": self.wanted, "spans": self.spans}

    @property
    def data(self) -> bytes:
        """The numbers of the rows, eight bytes each."""
        return self.numbers.astype("<i8").tobytes()

    @classmethod
    def from_json(cls, values: Any, data: bytes) -> "Further":
        """The question in a frame with these fields and bytes. Raises: BadRequest where they are damaged"""
        match values:
            case {"wanted": str(wanted), "spans": int(spans)} if wanted in _FURTHER and len(data) % 8 == 0:
                numbers = np.frombuffer(data, "<i8").astype(np.int64)
                if not len(numbers) or (numbers[0] >= 0 and numbers[-1] < spans and bool((np.diff(numbers) > 0).all())):
                    return cls(wanted, numbers, spans)
        raise BadRequest("a damaged question about some spans of a trace")


class TracePart(NamedTuple):
    """The spans of a trace that one process has, their page, or what is asked of them; None: there are none.

    more: spans follow the page. spans: how many rows it has, kept: how many of them a filter keeps: of what
    `query.trace.parts` gives; -1: these are the spans themselves, as processes of former versions give them
    """

    table: pa.Table | None
    more: bool
    spans: int = -1
    kept: int = 0

    @classmethod
    def of_whole(cls, sources: Sequence[Any], request: TraceRequest, further: Further | None) -> "TracePart":
        """What is asked of the part that some sources have: first, or of some of the rows then.

        Raises: ChangedPart, and as `first_part`
        """
        if further is None:
            found = first_part(sources, request)
        else:
            found = _FURTHER[further.wanted](sources, request.trace_id, further.numbers)
            if found.spans != further.spans:
                raise ChangedPart
        return cls(found.table, False, found.spans, found.kept)

    def to_ipc(self) -> bytes:
        """Makes the bytes of an Arrow IPC stream of it."""
        header = {"more": self.more, "spans": self.spans, "kept": self.kept}
        return write_partial(_KIND, header, Inspected(), [] if self.table is None else [self.table], None)

    @classmethod
    def from_ipc(cls, data: bytes) -> "TracePart":
        """What `to_ipc` wrote. Raises: as `read_partial`"""
        header, _, tables, _ = read_partial(_KIND, data)
        more, spans, kept = bool(header["more"]), int(header.get("spans", -1)), int(header.get("kept", 0))
        return cls(tables[0] if tables else None, more, spans, kept)


class ChangedPart(Exception):  # noqa: N818 (a state)
    """A process has other rows of the trace than it said first."""


def asked_of_parts(request: TraceRequest) -> TraceRequest:
    """What processes of former versions are asked for where not the whole trace is wanted: all spans."""
    return replace(request, outline=False, filter=None, bytes_max=0)


def is_of_whole(request: TraceRequest) -> bool:
    """Whether an answer is of the whole trace, so that answers of parts cannot be put together: an outline has facts
    and nested-set numbers of the trace, and what a client sent twice once.
    """
    return request.outline or request.filter is not None


def joined(parts: Sequence[TracePart], request: TraceRequest) -> tuple[pa.Table | None, bool]:
    """The trace, its page, or the ids of spans that match, of what all processes have.

    A part that is a page ends somewhere: what comes after its end is left for the next page, because that process may
    have spans in between.
    Raises: TraceTooLarge, MemoryExceeded
    """
    tables = [part.table for part in parts if part.table is not None]
    if len(tables) <= 1 and sum(part.more for part in parts) <= len(tables):
        return (tables[0] if tables else None), any(part.more for part in parts)
    memory.reserve(2 * sum(table.nbytes for table in tables), "the spans of the trace")
    if request.matching is not None:
        ids = pa.concat_tables(tables).combine_chunks()["span_id"]
        return pa.table({"span_id": ids.unique()}), False
    sources: list[Any] = [TableSource(table.combine_chunks()) for table in tables]
    table, more = trace_by_id(sources, request)
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
