"""The entry point: TraceQL text and sources → the newest traces that match."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np

from query import memory
from query.engine.spansets import ROW_BYTES, evaluate
from query.errors import QueryCancelled
from query.language.compile import compile_query
from query.language.plan import Plan
from query.requests import SearchRequest
from query.results import Inspected, SearchResult
from query.scan.arrays import Ids, Mask
from query.scan.profile import Profile
from query.scan.progress import QueryObserver
from query.scan.reader import Reader
from query.scan.source import Source
from query.scan.stitch import UNKNOWN_NS, Piece, given, latest_start_ns, rows_outside, shared_traces, whole_traces
from query.scan.trace_lookup import find
from query.search.answer import Traces, describe
from query.search.top_traces import Chosen, Hits, choose, page_start

# More than any trace has.
_ALL_SPANS: Final = 2**31


def search(
    sources: Sequence[Source],
    request: SearchRequest,
    *,
    observer: QueryObserver | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """The newest `limit` traces that match and whose [start, end] overlaps [start_ns, end_ns).

    Newest first by the whole trace's start, then by trace id: the same answer however the rows are split over the
    sources. Spans that clients sent twice are counted twice until compaction drops them. Traces that arrive meanwhile
    do not move a page: each begins after the last trace of the page before.

    sources: all that may know a trace of the window; their order does not matter
    observer: its profile is filled; its progress is told the first traces of the answer as soon as no other source
        can change them
    cancelled: asked between sources
    Raises: TraceQLError, and ValueError for a bad cursor, before anything is read; QueryCancelled; OSError from a
        source
    """
    observer = QueryObserver() if observer is None else observer
    profile, progress = observer.profile, observer.progress
    with profile.stage("compile"):
        compiled = compile_query(request.query)
    page_start(request)  # refuses a bad cursor
    with profile.stage("find shared traces"):
        readers = [Reader(source) for source in sources if source.rows]
        work = sorted(_split(readers, compiled, (request.start_ns, request.end_ns)), key=lambda piece: -piece.latest_ns)
    run = _Run(compiled, request, readers, profile)
    done = 0
    for done, piece in enumerate(work, 1):
        if cancelled():
            raise QueryCancelled
        run.evaluate(piece)
        left = len(work) - done
        tells = progress is not None and left > 0 and progress.due()
        # Looked at when there is twice as much as the last time: it takes as long as there are matches.
        if left and (tells or (done.bit_count() == 1 and run.may_be_enough)):
            first = run.settled(work[done].latest_ns)
            if run.settles and len(first.ids) >= run.enough:
                break
            if progress is not None and tells:
                run.describe(first)
                progress.tell(SearchResult(run.told, run.inspected(left)))
    with profile.stage("choose traces"):
        chosen = choose(run.hits, readers, request)
    if cancelled():
        raise QueryCancelled
    run.describe(chosen)
    profile.finish(readers, run.evaluated, unneeded=sum(not piece.stitched for piece in work[done:]))
    return SearchResult(run.told, run.inspected(0), chosen.total, chosen.last)


@dataclass(slots=True)
class _Run:
    """One search under way. told: the first traces of the answer, as far as nothing can change them"""

    compiled: Plan
    request: SearchRequest
    readers: Sequence[Reader]
    profile: Profile
    hits: list[Hits] = field(default_factory=list)
    evaluated: list[Reader] = field(default_factory=list)
    told: Traces = field(default_factory=Traces)

    def evaluate(self, piece: Piece) -> None:
        """One source, or some traces put together."""
        with self.profile.stage("put traces together" if piece.stitched else "evaluate"):
            reader, among = piece.open()
        self.evaluated.append(reader)
        needed = memory.current().scratch(reader.rows * ROW_BYTES, f"the evaluation of {reader.rows} spans")
        with self.profile.source(reader), needed:
            found = Hits.of(reader, evaluate(self.compiled.root, reader), among)
        if found is None:
            reader.discard()
        else:
            reader.forget()
            memory.reserve(found.nbytes, "matching spans")
            self.hits.append(found)

    @property
    def settles(self) -> bool:
        """Whether there are first traces of the answer before all matches are known."""
        return self.request.order == "start" and not self.request.total

    @property
    def enough(self) -> int:
        """So many settled traces are the whole answer. A page must know whether there is another."""
        return max(self.request.limit, 0) + (self.request.cursor is not None)

    @property
    def may_be_enough(self) -> bool:
        return self.settles and sum(len(hit.traces) for hit in self.hits) >= self.enough

    def settled(self, latest_ns: int) -> Chosen:
        """The traces at the beginning of the answer that sources without a trace that begins after latest_ns cannot
        change: all that these have a piece of began before.
        """
        with self.profile.stage("choose traces"):
            if not self.settles or latest_ns == UNKNOWN_NS:
                return _part(choose([], (), self.request), 0, 0)
            first = choose(self.hits, self.readers, replace(self.request, limit=self.enough))
            return _part(first, 0, int(np.count_nonzero(first.start > latest_ns)))

    def describe(self, chosen: Chosen) -> None:
        """Adds those that are not described yet to `told`."""
        with self.profile.stage("describe traces"):
            fresh = _part(chosen, len(self.told), max(self.request.limit, 0))
            if len(fresh.ids):
                shown, spans_max = self.compiled.shown, self.request.spans_per_span_set or _ALL_SPANS
                self.told = self.told.and_those(describe(fresh, self.hits, self.readers, shown, spans_max))

    def inspected(self, left: int) -> Inspected:
        return Inspected(
            traces=sum(len(reader.traces().ids) for reader in self.evaluated),
            spans=sum(reader.rows for reader in self.evaluated),
            bytes=sum(reader.bytes_read for reader in {*self.readers, *self.evaluated}),
            sources=len(self.evaluated),
            left=left,
        )


def _part(chosen: Chosen, first: int, end: int) -> Chosen:
    return Chosen(chosen.ids[first:end], chosen.start[first:end], chosen.end[first:end])


def _split(readers: Sequence[Reader], compiled: Plan, window: tuple[int | None, int | None]) -> list[Piece]:
    """What is to be evaluated.

    A trace overlaps the window as a whole, though its piece in one source may not: sources outside of the window
    are evaluated for the traces that they share, and no further.
    """
    inside = [_may_overlap(reader, window) for reader in readers]
    shared: Ids = np.empty(0, "S16")
    if compiled.whole_traces or not all(inside):
        shared = shared_traces([reader.traces() for reader in readers])
    if compiled.whole_traces:
        return whole_traces(readers, shared, compiled.columns, inside)
    work = []
    for reader, here in zip(readers, inside, strict=True):
        among = None if here else _rows_inside(reader, shared)
        if among is None or among.any():
            latest_span_ns = latest_start_ns(reader, "start_ns")
            work.append(Piece(latest_start_ns(reader), latest_span_ns, False, partial(given, reader, among)))
    return work


def _rows_inside(reader: Reader, ids: Ids) -> Mask:
    index = reader.traces()
    mask: Mask = np.logical_not(rows_outside(index, find(index, ids)[1]))
    return mask


def _may_overlap(reader: Reader, window: tuple[int | None, int | None]) -> bool:
    """Whether a trace of the source, as far as the source knows it, may lie in the window."""
    starts, durations = reader.bounds("trace_start_ns"), reader.bounds("trace_duration_ns")
    if starts is not None and window[1] is not None and starts[0] >= window[1]:
        return False
    if starts is not None and durations is not None and window[0] is not None:
        return starts[1] + durations[1] >= window[0]
    return True
