"""The entry point: TraceQL text and sources → the newest traces that match."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from query import memory
from query.engine.spansets import Spansets, State, evaluate
from query.language.compile import compile_query
from query.language.plan import Plan
from query.requests import SearchRequest
from query.results import Inspected, SearchResult
from query.scan.arrays import Ids, Mask
from query.scan.pieces import NO_IDS, UNKNOWN_NS, Piece
from query.scan.progress import QueryObserver
from query.scan.reader import SERVICE_NAME, Reader
from query.scan.scan import Scan, ScanPlan, newest_traces_first
from query.scan.source import Source
from query.scan.stitch import stitched_rows
from query.scan.window import TraceWindow
from query.search.answer import Traces
from query.search.partial import SearchPartial, merge
from query.search.top_traces import (
    NO_TRACES,
    Hits,
    TopTraces,
    enough,
    next_cursor,
    nth_latest,
    page_start,
    settles,
    top_traces,
)
from query.search.trace_columns import TraceColumns, begin_description, trace_columns
from query.search.trace_pieces import concat_pieces, pieces_of, put_together
from tables.columns.sorted_sets import unique

# Of so many sources columns of the answer are read while filters are.
_DESCRIBED_AHEAD: Final = 4
# More than any trace has.
_ALL_SPANS: Final = 2**31
# Of the rows of shared traces: what answers say of every trace and span.
_SHOWN_COLUMNS: Final = ("status_code", SERVICE_NAME, "span_id", "start_ns", "duration_ns")


def search(
    sources: Sequence[Source],
    request: SearchRequest,
    *,
    observer: QueryObserver | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """The newest `limit` traces that match and whose [start, end] overlaps [start_ns, end_ns).

    Newest first by the whole trace's start, then by trace id: the same answer however the rows are split over the
    sources. A span that a client sent twice counts once in a trace that is looked at whole. Traces that arrive
    meanwhile do not move a page: each begins after the last trace of the page before.

    sources: all that may know a trace of the window; their order does not matter
    observer: its profile is filled; its progress gets the first traces of the answer as soon as no other source
        can change them
    cancelled: asked between sources
    Raises: TraceQLError, and ValueError for a bad cursor, before anything is read; QueryCancelled; OSError from a
        source
    """
    return to_result(search_partial(sources, request, observer=observer, cancelled=cancelled), request)


def search_partial(
    sources: Sequence[Source],
    request: SearchRequest,
    *,
    elsewhere: Ids = NO_IDS,
    in_pieces: bool = False,
    observer: QueryObserver | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> SearchPartial:
    """What one of several workers answers from its sources. As `search`, but for

    elsewhere: ids, ascending, of traces of which other workers have spans, too: their rows are in the partial
    in_pieces: or their pieces, where single spans decide; whoever merges knows of them
    """
    observer = QueryObserver() if observer is None else observer
    with observer.profile.stage("compile"):
        plan = compile_query(request.query)
    page_start(request)  # refuses a bad cursor
    window = TraceWindow(request.start_ns, request.end_ns)
    ends_early = settles(request) and not plan.whole_traces
    scan_plan = ScanPlan(
        window, plan.columns, plan.whole_traces, elsewhere, sorts=not plan.by_spans, ends_early=ends_early
    )
    scan = Scan(sources, scan_plan, cancelled, observer.profile)
    fold = _Search(plan, request, scan, observer)
    scan.run(fold, newest_traces_first)
    with scan.profile.stage("choose traces"):
        top = top_traces(fold.hits, scan.readers, request)
    scan.check_cancelled()
    fold.describe(top)
    shown = {column for projection in plan.projections for column in projection.columns}
    rows = scan.shared_rows({*_SHOWN_COLUMNS, *plan.columns, *shown})
    found = SearchPartial(tuple(fold.described), top.more, top.total, scan.finish(), rows)
    return _in_pieces(found, plan, request) if in_pieces else found


def _in_pieces(partial: SearchPartial, plan: Plan, request: SearchRequest) -> SearchPartial:
    """With pieces of the shared traces instead of their rows, where single spans decide."""
    rows = partial.shared_rows
    if rows is None or plan.whole_traces:
        return partial
    pieces = pieces_of(rows, plan, request, lambda reader: Hits.from_state(reader, evaluate(plan.root, reader)))
    inspected = partial.inspected + Inspected(spans=rows.num_rows, bytes=rows.nbytes)
    return replace(partial, shared_rows=None, inspected=inspected, pieces=concat_pieces([partial.pieces, pieces]))


def finish(partials: Sequence[SearchPartial], request: SearchRequest) -> SearchResult:
    """The answer of several workers, in any order. Raises: memory.MemoryExceeded"""
    return to_result(finish_partial(partials, request), request)


def finish_partial(partials: Sequence[SearchPartial], request: SearchRequest) -> SearchPartial:
    """What all workers have found, shared traces included. Raises: memory.MemoryExceeded"""
    if len(partials) == 1 and partials[0].shared_rows is None and partials[0].pieces is None:
        return partials[0]  # as it is in the answer
    plan = compile_query(request.query)
    # Workers of former versions give rows also where pieces would do: each one's rows become its pieces.
    merged = merge([_in_pieces(partial, plan, request) for partial in partials], request)
    if merged.shared_rows is not None:
        stitched = search_partial([stitched_rows(merged.shared_rows)], request)
        return merge([replace(merged, shared_rows=None), stitched], request)
    if merged.pieces is None:
        return merged
    parts, top = put_together(merged.pieces, plan, request)
    traces = Inspected(traces=len(unique(merged.pieces.ids)))
    stitched = SearchPartial(parts, top.more, top.total, traces)
    return merge([replace(merged, pieces=None), stitched], request)


def to_result(partial: SearchPartial, request: SearchRequest) -> SearchResult:
    """Turns the merged partial of all sources into the answer of the search."""
    traces = Traces.from_columns(partial.parts)
    return SearchResult(traces, partial.inspected, partial.total, next_cursor(partial.last, request))


@dataclass(slots=True)
class _Search:
    """A search under way.

    described: the first traces of the answer, as far as nothing can change them
    least_ns: traces that begin before do not get into the answer any more; None: not known
    nearly_ns: the same, as far as the sources with matches know: a trace may have begun earlier in another one
    begun: of so many sources columns of the answer are being read
    """

    plan: Plan
    request: SearchRequest
    scan: Scan
    observer: QueryObserver
    hits: list[Hits] = field(default_factory=list)
    described: list[TraceColumns] = field(default_factory=list)
    done: int = 0
    least_ns: int | None = None
    nearly_ns: int | None = None
    filters_begun: bool = False
    begun: int = 0

    def add_piece(self, reader: Reader, among: Mask | None) -> bool:
        self.done += 1
        state = self._evaluated(reader)
        found = None if state is None else Hits.from_state(reader, state, among)
        if found is None:
            return False
        memory.reserve(found.nbytes, "matching spans")
        self.hits.append(found)
        if settles(self.request) and self._are_enough():
            self._begin_answer(found)
        return True

    def _begin_answer(self, found: Hits) -> None:
        """Soon it matters where else these traces have spans, and what the answer says of them."""
        for hit in [found] if self.filters_begun else self.hits:
            if self.begun < _DESCRIBED_AHEAD:
                self.begun += 1
                begin_description(hit, self.plan.projections)
        if not self.filters_begun:
            self.filters_begun = True
            for other in self.scan.readers:
                other.begin_filter()

    def _evaluated(self, reader: Reader) -> State | None:
        """None: nothing matches. If that can be seen before the rows are sorted, they are not."""
        unsorted = reader.before_sorting() if self.plan.by_spans else None
        if unsorted is None:
            return evaluate(self.plan.root, reader)
        matching = evaluate(self.plan.root, unsorted)
        reader.done_before_sorting(unsorted)
        assert not isinstance(matching, Spansets)
        return reader.sorted(matching) if matching.any() else None

    def ends_before(self, piece: Piece, left: int) -> bool:
        progress = self.observer.progress
        tells = progress is not None and progress.due()
        # Looked at when there is twice as much as the last time: it takes as long as there are matches.
        looks = self.done.bit_count() == 1 or not self.may_need(piece)
        if not tells and not (looks and self._may_be_settled(piece.latest_ns)):
            return False
        first = self._settled(piece.latest_ns)
        if settles(self.request) and len(first) >= enough(self.request):
            return True
        if progress is not None and tells:
            self.describe(first)
            progress.tell(SearchResult(Traces.from_columns(self.described), self.scan.inspected(left)))
        return False

    def may_need(self, piece: Piece) -> bool:
        least_ns = self.nearly_ns if self.least_ns is None else self.least_ns
        return least_ns is None or piece.latest_ns >= least_ns

    def describe(self, top: TopTraces) -> None:
        """Adds those of the first traces that are not described yet."""
        with self.scan.profile.stage("describe traces"):
            fresh = top.slice(sum(map(len, self.described)), max(self.request.limit, 0))
            if len(fresh):
                spans_max = self.request.spans_per_span_set or _ALL_SPANS
                readers, projections = self.scan.readers, self.plan.projections
                self.described.append(trace_columns(fresh, self.hits, readers, projections, spans_max))

    def _may_be_settled(self, latest_ns: int) -> bool:
        """Whether it is worth looking where else traces have spans: enough of them seem to begin after latest_ns."""
        if not settles(self.request) or not self._are_enough():
            return False
        if wanted := enough(self.request):
            self.nearly_ns = nth_latest(self.hits, wanted)
            return self.nearly_ns > latest_ns
        return True

    def _are_enough(self) -> bool:
        return sum(len(hit.traces) for hit in self.hits) >= enough(self.request)

    def _settled(self, latest_ns: int) -> TopTraces:
        """The traces at the beginning of the answer that sources without a trace that begins after latest_ns cannot
        change: all that these have a piece of began before.
        """
        with self.scan.profile.stage("choose traces"):
            if not settles(self.request) or latest_ns == UNKNOWN_NS:
                return NO_TRACES
            first = top_traces(self.hits, self.scan.readers, replace(self.request, limit=enough(self.request)))
            if len(first) and len(first) >= enough(self.request):
                self.least_ns = int(first.start[-1])
            return first.slice(0, int(np.count_nonzero(first.start > latest_ns)))
