"""Matches of many sources → which traces are answered, and in what order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from query import memory
from query.engine.spansets import Spansets, State
from query.requests import ORDERS, SearchRequest
from query.scan.arrays import Ids, Mask, Rows, raw, run_starts
from query.scan.reader import Reader
from query.scan.trace_lookup import Places

_CURSOR = re.compile(rf"({'|'.join(ORDERS)})-([0-9]{{1,19}})-([0-9a-f]{{32}})", re.ASCII)
_NONE: Final = np.iinfo(np.int64)
# Id, start and end, rank, order, and copies while they are sorted.
_CANDIDATE_BYTES: Final = 120


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What matched in one source.

    rows: ascending; traces: the number of each trace with a match, ascending
    sets: the spansets of the rows; None: one per trace
    """

    reader: Reader
    rows: Rows
    traces: Rows
    sets: Spansets | None = None

    @property
    def nbytes(self) -> int:
        sets = 0 if self.sets is None else self.sets.nbytes
        return int(self.rows.nbytes + self.traces.nbytes + sets)

    @classmethod
    def of(cls, reader: Reader, state: State, among: Mask | None = None) -> "Hits | None":
        """None where nothing matched. In: among: the rows that count, of whole traces or of one spanset per trace."""
        if isinstance(state, Spansets):
            sets = state if among is None else state.among(among[state.rows])
            traces = sets.traces
            return cls(reader, sets.rows, _without_repeats(traces), sets) if len(traces) else None
        rows = np.flatnonzero(state if among is None else state & among)
        if not len(rows):
            return None
        return cls(reader, rows, _without_repeats(np.searchsorted(reader.traces().offsets, rows, side="right") - 1))


def _without_repeats(ordered: Rows) -> Rows:
    return ordered[run_starts(ordered)]


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The traces of the answer, in its order. start and end in ns, of the whole traces.

    last: where the next page begins, if there may be one; total: all traces that match, if that was asked
    """

    ids: Ids
    start: Rows
    end: Rows
    last: str | None = None
    total: int | None = None


def page_start(request: SearchRequest) -> tuple[int, bytes] | None:
    """Rank and id of the trace before the page that is asked for; None: the answer begins with the first trace.

    Raises: ValueError where the cursor is none, or one of another order
    """
    if not request.cursor:
        return None
    found = _CURSOR.fullmatch(request.cursor)
    if found is None or int(found[2]) > _NONE.max:
        raise ValueError(f"{request.cursor[:100]!r} is not a cursor: give the one that the page before came with")
    if found[1] != request.order:
        raise ValueError(f"the cursor is for the order {found[1]!r}, the search for {request.order!r}")
    return -int(found[2]), bytes.fromhex(found[3])


def choose(hits: Sequence[Hits], readers: Sequence[Reader], request: SearchRequest) -> Chosen:
    """The first `limit` traces that have a match and overlap the window: the newest, or those that took longest.

    readers: all sources: a trace's start and end are those of all its spans
    """
    after = page_start(request)
    if not hits or (request.limit < 1 and not request.total):
        none = np.empty(0, np.int64)
        return Chosen(np.empty(0, "S16"), none, none, total=0 if request.total else None)
    count = sum(len(hit.traces) for hit in hits)
    with memory.current().scratch(count * _CANDIDATE_BYTES, f"choosing among {count} traces"):
        return _choose(hits, readers, request, after)


def _choose(
    hits: Sequence[Hits], readers: Sequence[Reader], request: SearchRequest, after: tuple[int, bytes] | None
) -> Chosen:
    ids = np.concatenate([hit.reader.traces().ids[hit.traces] for hit in hits])
    if request.total or request.order != "start":
        return _first(np.unique(ids), readers, request, after)
    # A trace begins when its earliest span does, in whatever source that is. Its piece in a source begins then or
    # later: that bound orders the candidates, so that only the first ones need be looked up everywhere.
    latest = np.concatenate([hit.reader.times().values[0, hit.traces] for hit in hits])
    enough = request.limit + (request.cursor is not None)
    count = max(64, 2 * enough)
    while True:
        if count >= len(ids):
            threshold = rest = _NONE.min
        else:
            threshold = int(np.partition(latest, len(latest) - count)[len(latest) - count])
            below = latest[latest < threshold]
            rest = int(below.max()) if len(below) else _NONE.min
        found = _first(np.unique(ids[latest >= threshold]), readers, request, after, enough)
        if rest == _NONE.min or (len(found.ids) == enough and found.start[-1] > rest):
            return _cut(found, request)
        count *= 4


def _first(
    candidates: Ids, readers: Sequence[Reader], request: SearchRequest, after: tuple[int, bytes] | None, enough: int = 0
) -> Chosen:
    """Of the candidates (ascending) those that are answered, or the first `enough` of them."""
    start, end = whole_times(candidates, readers)
    keep = np.ones(len(candidates), bool)
    if request.start_ns is not None:
        keep &= end >= request.start_ns
    if request.end_ns is not None:
        keep &= start < request.end_ns
    total = int(np.count_nonzero(keep))
    rank = -start if request.order == "start" else start - end
    if after is not None:
        keep &= (rank > after[0]) | ((rank == after[0]) & (candidates > np.array(after[1], "S16")))
    rows = np.flatnonzero(keep)
    order = rows[np.lexsort((candidates[rows], rank[rows]))]
    told = total if request.total else None
    if enough:
        order = order[:enough]
        return Chosen(candidates[order], start[order], end[order], total=told)
    return _cut(Chosen(candidates[order], start[order], end[order], total=told), request)


def _cut(found: Chosen, request: SearchRequest) -> Chosen:
    """The page, and where the next one begins if something is left for it."""
    limit, last = max(request.limit, 0), None
    if request.cursor is not None and 0 < limit < len(found.ids):
        start, end = int(found.start[limit - 1]), int(found.end[limit - 1])
        number = start if request.order == "start" else end - start
        last = f"{request.order}-{number}-{raw(found.ids, limit - 1).hex()}"
    return Chosen(found.ids[:limit], found.start[:limit], found.end[:limit], last, found.total)


def whole_times(ids: Ids, readers: Sequence[Reader]) -> tuple[Rows, Rows]:
    """Start and end in ns over all sources; 0 where no span has a time. In: ids, ascending."""
    start, end = np.full(len(ids), _NONE.max), np.full(len(ids), _NONE.min)
    places = Places(ids)
    for reader in readers:
        hit, traces = places.of(reader)
        if len(hit):
            piece_start, piece_end = reader.times().values[:, traces]
            start[hit] = np.minimum(start[hit], piece_start)
            end[hit] = np.maximum(end[hit], piece_end)
    known = start <= end
    return np.where(known, start, 0), np.where(known, end, 0)
