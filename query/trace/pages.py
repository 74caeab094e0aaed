"""A trace too large for one answer, page by page: its spans by start, each page read by itself."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from query import memory
from query.requests import SpanPosition
from query.scan.arrays import INT64, Rows, to_numpy
from query.scan.source import Estimating, Source
from query.scan.trace_lookup import find
from query.trace.trace import find_trace, trace_bytes
from tables.columns.arrays import big_endian
from tables.columns.trace_index import TraceIndex

_CURSOR: Final = re.compile(r"(-?[0-9]{1,19})-([0-9a-f]{16})", re.ASCII)
_MARGIN: Final = 0.8


def place_of(cursor: str) -> SpanPosition | None:
    """The span before the page; None for "", the first one. Raises: ValueError"""
    if not cursor:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None or not INT64.min <= int(found[1]) <= INT64.max:
        raise ValueError(f"{cursor[:100]!r} is not a cursor: give the one that the page before came with")
    return int(found[1]), bytes.fromhex(found[2])


def cursor_of(place: SpanPosition) -> str:
    """The cursor of the page behind that span; `place_of` reads it."""
    return f"{place[0]}-{place[1].hex()}"


def count_spans(sources: Sequence[Source], trace_id: bytes) -> int:
    """How many spans of a trace the sources have, those that clients sent twice counted twice. Raises: OSError"""
    return sum(end - first for _, first, end in pieces_of_trace(sources, trace_id))


def trace_page(
    sources: Sequence[Source], trace_id: bytes, after: SpanPosition | None, spans_max: int
) -> tuple[pa.Table | None, bool]:
    """The next spans of a trace, as `find_trace` gives them, and whether there are more. None: there are none.

    after: the last span of the page before
    spans_max: at least 1; spans with the same start and id are not parted, and make a page longer
    Raises: OSError from a source
    """
    pieces = pieces_of_trace(sources, trace_id)
    if not pieces:
        return None, False
    read = [source.read(["start_ns", "span_id"], (first, end)) for source, first, end in pieces]
    starts = np.concatenate([to_numpy(columns["start_ns"]) for columns in read])
    ids = np.concatenate([big_endian(columns["span_id"])[:, 0] for columns in read])
    if after is None:
        left = np.arange(len(starts))
    else:
        start, span_id = after[0], np.uint64(int.from_bytes(after[1], "big"))
        left = np.flatnonzero((starts > start) | ((starts == start) & (ids > span_id)))
    ordered = left[np.lexsort((ids[left], starts[left]))]
    while True:
        page = _page(ordered, spans_max, starts, ids)
        parts = chosen_rows(pieces, np.sort(page), trace_id)
        needed, room = trace_bytes([(part, 0, part.rows) for part in parts]), memory.current().left_bytes
        if needed <= room or len(page) <= 1:
            return find_trace(parts, trace_id), len(ordered) > len(page)
        # With so many columns a page must be shorter: the next one begins behind it all the same.
        spans_max = max(1, min(len(page) - 1, int(len(page) * _MARGIN * room / needed)))


def _page(ordered: Rows, spans_max: int, starts: Rows, ids: npt.NDArray[np.uint64]) -> Rows:
    page = ordered[:spans_max]
    if len(ordered) > len(page):
        last = page[-1]
        rest = ordered[len(page) :]
        page = np.concatenate([page, rest[(starts[rest] == starts[last]) & (ids[rest] == ids[last])]])
    return page


def chosen_rows(pieces: Sequence[tuple[Source, int, int]], page: Rows, trace_id: bytes) -> list["RowsOfTrace"]:
    """Some rows, ascending numbers among those of all pieces, as sources."""
    begins = np.cumsum([0, *(end - first for _, first, end in pieces)])
    parts = []
    for (source, first, _), begin, end in zip(pieces, begins[:-1], begins[1:], strict=True):
        rows = page[(page >= begin) & (page < end)] - begin + first
        if len(rows):
            parts.append(RowsOfTrace(source, trace_id, rows))
    return parts


def pieces_of_trace(sources: Sequence[Source], trace_id: bytes) -> list[tuple[Source, int, int]]:
    """Each source that has spans of the trace, and from which to which row."""
    pieces = []
    for source in sources:
        if source.rows:
            index = source.traces()
            _, traces = find(index, np.array([trace_id], "S16"))
            if len(traces):
                number = int(traces[0])
                pieces.append((source, int(index.offsets[number]), int(index.offsets[number + 1])))
    return pieces


@dataclass(frozen=True, slots=True, eq=False)
class RowsOfTrace:
    """Some rows of one trace in a source, ascending, as a source."""

    source: Source
    trace_id: bytes
    numbers: Rows

    @property
    def rows(self) -> int:
        return len(self.numbers)

    @property
    def columns(self) -> frozenset[str]:
        return self.source.columns

    def bounds(self, column: str) -> tuple[int, int] | None:
        return self.source.bounds(column)

    def decoded_bytes(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> int:
        """As the source says it, of all rows from the first to the last; of all of this part its share."""
        numbers = self.numbers if rows is None else self.numbers[slice(*rows)]
        if not len(numbers) or not isinstance(self.source, Estimating):
            return 0
        if rows is None:
            return self.source.decoded_bytes(columns) * len(numbers) // self.source.rows
        return self.source.decoded_bytes(columns, (int(numbers[0]), int(numbers[-1]) + 1))

    def ready_bytes(self, column: str) -> None:
        """Not known: the rows are taken out of those of the source."""

    def traces(self) -> TraceIndex:
        offsets: npt.NDArray[np.int64] = np.array([0, self.rows], np.int64)
        return TraceIndex(np.array([self.trace_id], "S16"), offsets)

    def read(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> Mapping[str, Any]:
        numbers = self.numbers if rows is None else self.numbers[slice(*rows)]
        if not len(numbers):
            return {column: array.slice(0, 0) for column, array in self.source.read(columns, (0, 1)).items()}
        first, end = int(numbers[0]), int(numbers[-1]) + 1
        found = self.source.read(columns, (first, end))
        if end - first == len(numbers):
            return found
        wanted = pa.array(numbers - first)
        return {column: array.take(wanted) for column, array in found.items()}
