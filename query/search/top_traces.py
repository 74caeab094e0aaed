"""Matches of many sources → which traces are answered, and in what order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from query import memory
from query.engine.spansets import Spansets, State
from query.requests import ORDERS, SearchRequest
from query.scan.arrays import INT64, Ids, Mask, Rows, raw, run_starts
from query.scan.reader import Reader
from query.scan.trace_lookup import TraceLookup
from tables.columns.sorted_sets import unique

_CURSOR = re.compile(rf"({'|'.join(ORDERS)})-([0-9]{{1,19}})-([0-9a-f]{{32}})", re.ASCII)
# Id, start and end, rank, order, and copies while they are sorted.
_CANDIDATE_BYTES: Final = 120
# Some of the newest traces have begun before what one source knows of them. Of more ids more filters say "perhaps".
_CANDIDATES_BESIDES: Final = 8


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
    def from_state(cls, reader: Reader, state: State, among: Mask | None = None) -> "Hits | None":
        """What an evaluation of the source has found; None where nothing matched.

        among: the rows that count, of whole traces or of one spanset per trace; None: all
        """
        if isinstance(state, Spansets):
            sets = state if among is None else state.with_rows(among[state.rows])
            traces = sets.traces
            return cls(reader, sets.rows, _without_repeats(traces), sets) if len(traces) else None
        rows = np.flatnonzero(state if among is None else state & among)
        if not len(rows):
            return None
        return cls(reader, rows, _without_repeats(np.searchsorted(reader.traces().offsets, rows, side="right") - 1))


def _without_repeats(ordered: Rows) -> Rows:
    return ordered[run_starts(ordered)]


@dataclass(frozen=True, slots=True, eq=False)
class TopTraces:
    """Traces in the order of the answer. start and end in ns since 1970, of the whole traces; 0 where not known.

    more: further traces match behind these; it is looked for only where pages are asked for
    total: how many traces match in all; None: it was not asked
    """

    ids: Ids
    start: Rows
    end: Rows
    more: bool = False
    total: int | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def slice(self, first: int, end: int) -> "TopTraces":
        """The traces from `first` to before `end`."""
        return TopTraces(self.ids[first:end], self.start[first:end], self.end[first:end])


NO_TRACES: Final = TopTraces(np.empty(0, "S16"), np.empty(0, np.int64), np.empty(0, np.int64))


def page_start(request: SearchRequest) -> tuple[int, bytes] | None:
    """Rank and id of the trace before the page that is asked for; None: the answer begins with the first trace.

    Raises: ValueError where the cursor is none, or one of another order
    """
    if not request.cursor:
        return None
    found = _CURSOR.fullmatch(request.cursor)
    if found is None or int(found[2]) > INT64.max:
        raise ValueError(f"{request.cursor[:100]!r} is not a cursor: give the one that the page before came with")
    if found[1] != request.order:
        raise ValueError(f"the cursor is for the order {found[1]!r}, the search for {request.order!r}")
    return -int(found[2]), bytes.fromhex(found[3])


def next_cursor(page: TopTraces, request: SearchRequest) -> str | None:
    """Where the next page begins; None: there is none, or no pages were asked for."""
    if request.cursor is None or not page.more or not len(page):
        return None
    start, end = int(page.start[-1]), int(page.end[-1])
    number = start if request.order == "start" else end - start
    return f"{request.order}-{number}-{raw(page.ids, len(page) - 1).hex()}"


def settles(request: SearchRequest) -> bool:
    """Whether the first traces of the answer may be known before all sources were looked at."""
    return request.order == "start" and not request.total


def enough(request: SearchRequest) -> int:
    """So many first traces are the whole answer. A page must know whether there is another."""
    return max(request.limit, 0) + (request.cursor is not None)


def order_of(traces: TopTraces, request: SearchRequest) -> Rows:
    """The numbers of the traces in the order of the answer: by rank, of equal ranks the lesser id first."""
    order: Rows = np.lexsort((traces.ids, _ranks(traces.start, traces.end, request)))
    return order


def _ranks(start: Rows, end: Rows, request: SearchRequest) -> Rows:
    return -start if request.order == "start" else start - end


def top_traces(hits: Sequence[Hits], readers: Sequence[Reader], request: SearchRequest) -> TopTraces:
    """The first `limit` traces that have a match and overlap the window: the newest, or those that took longest.

    readers: all sources: a trace's start and end are those of all its spans
    """
    if not hits or (request.limit < 1 and not request.total):
        return TopTraces(NO_TRACES.ids, NO_TRACES.start, NO_TRACES.end, total=0 if request.total else None)
    count = sum(len(hit.traces) for hit in hits)
    with memory.current().scratch(count * _CANDIDATE_BYTES, f"choosing among {count} traces"):
        return _top_traces(hits, readers, request)


def nth_latest(hits: Sequence[Hits], count: int) -> int:
    """So many traces, at least, begin then or later, as far as the sources with matches know. In: hits of as many"""
    latest = _latest_starts(hits)
    return int(np.partition(latest, len(latest) - count)[len(latest) - count])


def _latest_starts(hits: Sequence[Hits]) -> Rows:
    """When the pieces with matches begin: their traces then, or earlier."""
    return np.concatenate([hit.reader.times().values[0, hit.traces] for hit in hits])


def _top_traces(hits: Sequence[Hits], readers: Sequence[Reader], request: SearchRequest) -> TopTraces:
    ids = np.concatenate([hit.reader.traces().ids[hit.traces] for hit in hits])
    if not settles(request):
        return cut(_in_order(unique(ids), readers, request), request.limit)
    # A trace begins when its earliest span does, in whatever source that is. Its piece in a source begins then or
    # later: that bound orders the candidates, so that only the first ones need be looked up everywhere.
    latest = _latest_starts(hits)
    wanted = enough(request)
    count = wanted + _CANDIDATES_BESIDES
    while True:
        if count >= len(ids):
            threshold = rest = INT64.min
        else:
            threshold = int(np.partition(latest, len(latest) - count)[len(latest) - count])
            below = latest[latest < threshold]
            rest = int(below.max()) if len(below) else INT64.min
        found = _in_order(unique(ids[latest >= threshold]), readers, request).slice(0, wanted)
        if rest == INT64.min or (len(found) == wanted and found.start[-1] > rest):
            return cut(found, request.limit)
        count *= 4


def _in_order(candidates: Ids, readers: Sequence[Reader], request: SearchRequest) -> TopTraces:
    """The candidates (ascending) that are answered, those before the page counted in the total."""
    return in_order(candidates, *whole_times(candidates, readers), request)


def in_order(candidates: Ids, start: Rows, end: Rows, request: SearchRequest) -> TopTraces:
    """Those of some traces (ascending) that are answered, in the order of the answer; those before the page count in
    the total, too. In: when they start and end
    """
    keep = np.ones(len(candidates), bool)
    if request.start_ns is not None:
        keep &= end >= request.start_ns
    if request.end_ns is not None:
        keep &= start < request.end_ns
    total = int(np.count_nonzero(keep)) if request.total else None
    rank = _ranks(start, end, request)
    if (after := page_start(request)) is not None:
        keep &= (rank > after[0]) | ((rank == after[0]) & (candidates > np.array(after[1], "S16")))
    rows = np.flatnonzero(keep)
    order = rows[np.lexsort((candidates[rows], rank[rows]))]
    return TopTraces(candidates[order], start[order], end[order], total=total)


def cut(found: TopTraces, limit: int) -> TopTraces:
    """The first `limit` of them, and whether there are more."""
    limit = max(limit, 0)
    page = found.slice(0, limit)
    return TopTraces(page.ids, page.start, page.end, found.more or len(found) > limit, found.total)


def whole_times(ids: Ids, readers: Sequence[Reader]) -> tuple[Rows, Rows]:
    """Start and end in ns over all sources; 0 where no span has a time. In: ids, ascending."""
    start, end = np.full(len(ids), INT64.max), np.full(len(ids), INT64.min)
    lookup = TraceLookup(ids)
    found = lookup.find_in_all(readers)
    for reader, *_ in found:
        reader.begin_times()
    for reader, hit, traces in found:
        piece_start, piece_end = reader.times().values[:, traces]
        start[hit] = np.minimum(start[hit], piece_start)
        end[hit] = np.maximum(end[hit], piece_end)
    known = start <= end
    return np.where(known, start, 0), np.where(known, end, 0)
