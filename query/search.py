"""The entry point: TraceQL text and sources → the newest traces that match."""

from collections.abc import Callable, Sequence

import numpy as np

from query.engine.choose import Hits, Order, Wanted, choose
from query.engine.combine import describe
from query.engine.plan import Plan, plan
from query.engine.profile import Profile
from query.engine.reader import Ids, Mask, Reader
from query.engine.spansets import evaluate
from query.engine.stitch import rows_outside, shared_traces, whole_traces
from query.errors import QueryCancelled
from query.language.check import check
from query.language.parse import parse
from query.results import Inspected, SearchResult
from query.source import Source


def compile_query(query: str) -> Plan:
    """Raises: TraceQLError, among it UnsupportedError; nothing has been read then."""
    return plan(check(parse(query)))


def search(
    sources: Sequence[Source],
    query: str,
    *,
    start_ns: int | None = None,
    end_ns: int | None = None,
    limit: int = 20,
    spans_per_span_set: int = 3,
    order: Order = "start",
    total: bool = False,
    cursor: str | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    profile: Profile | None = None,
) -> SearchResult:
    """The newest `limit` traces that match and whose [start, end] overlaps [start_ns, end_ns).

    Newest first by the whole trace's start, then by trace id: the same answer however the rows are split over the
    sources. Spans that clients sent twice are counted twice until compaction drops them.

    sources: all that may know a trace of the window; their order does not matter
    order: "duration": the traces that took longest instead of the newest
    total: count all traces that match, too (`SearchResult.total`)
    cursor: "" or, for the next page, the `next_cursor` of the answer before; None: no pages. Traces that arrive
        meanwhile do not move a page: each begins after the last trace of the page before.
    spans_per_span_set: so many matched spans are shown of a trace, the first by start; all are counted
    cancelled: asked between sources
    profile: a new one; is filled
    Raises: TraceQLError, and ValueError for a bad cursor, before anything is read; QueryCancelled; OSError from a
        source
    """
    profile = Profile() if profile is None else profile
    with profile.stage("compile"):
        compiled = compile_query(query)
    wanted = Wanted(limit, (start_ns, end_ns), order, total, cursor)
    wanted.check()
    with profile.stage("find shared traces"):
        readers = [Reader(source) for source in sources if source.rows]
        work = _split(readers, compiled, wanted.window)
    hits = []
    for reader, among in work:
        if cancelled():
            raise QueryCancelled
        with profile.source(reader):
            found = Hits.of(reader, evaluate(compiled.root, reader), among)
            reader.forget()
        if found is not None:
            hits.append(found)
    with profile.stage("choose traces"):
        chosen = choose(hits, readers, wanted)
    if cancelled():
        raise QueryCancelled
    with profile.stage("describe traces"):
        traces = describe(chosen, hits, readers, compiled.shown, spans_per_span_set)
    profile.finish(readers, [reader for reader, _ in work])
    inspected = Inspected(
        traces=sum(len(reader.traces().ids) for reader, _ in work),
        spans=sum(reader.rows for reader, _ in work),
        bytes=profile.bytes,
        sources=len(work),
    )
    return SearchResult(tuple(traces), inspected, chosen.total, chosen.last)


def _split(
    readers: Sequence[Reader], compiled: Plan, window: tuple[int | None, int | None]
) -> list[tuple[Reader, Mask | None]]:
    """What is to be evaluated: readers, each with the rows that count (None: all).

    A trace overlaps the window as a whole, though its piece in one source may not: sources outside of the window
    are evaluated for the traces that they share, and no further.
    """
    inside = [_may_overlap(reader, window) for reader in readers]
    if not compiled.whole_traces and all(inside):
        return [(reader, None) for reader in readers]
    shared = shared_traces([reader.traces() for reader in readers])
    if compiled.whole_traces and len(shared):
        return whole_traces(readers, shared, compiled.columns, inside)
    work: list[tuple[Reader, Mask | None]] = []
    for reader, here in zip(readers, inside, strict=True):
        among = None if here else _rows_inside(reader, shared)
        if among is None or among.any():
            work.append((reader, among))
    return work


def _rows_inside(reader: Reader, ids: Ids) -> Mask:
    mask: Mask = np.logical_not(rows_outside(reader.traces(), ids))
    return mask


def _may_overlap(reader: Reader, window: tuple[int | None, int | None]) -> bool:
    """Whether a trace of the source, as far as the source knows it, may lie in the window."""
    starts, durations = reader.bounds("trace_start_ns"), reader.bounds("trace_duration_ns")
    if starts is not None and window[1] is not None and starts[0] >= window[1]:
        return False
    if starts is not None and durations is not None and window[0] is not None:
        return starts[1] + durations[1] >= window[0]
    return True
