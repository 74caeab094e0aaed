"""The entry point: TraceQL text and sources → the newest traces that match."""

from collections.abc import Callable, Sequence

import numpy as np

from query.check import check
from query.combine import Hits, describe, newest
from query.errors import QueryCancelled
from query.parse import parse
from query.plan import Plan, plan
from query.reader import Ids, Mask, Reader
from query.results import Inspected, SearchResult
from query.source import Source
from query.spansets import evaluate
from query.stitch import rows_outside, shared_traces, whole_traces


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
    cancelled: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """The newest `limit` traces that match and whose [start, end] overlaps [start_ns, end_ns).

    Newest first by the whole trace's start, then by trace id: the same answer however the rows are split over the
    sources. Spans that clients sent twice are counted twice until compaction drops them.

    sources: all that may know a trace of the window; their order does not matter
    spans_per_span_set: so many matched spans are shown of a trace, the first by start; all are counted
    cancelled: asked between sources
    Raises: TraceQLError before anything is read; QueryCancelled; OSError from a source
    """
    compiled = compile_query(query)
    window = (start_ns, end_ns)
    readers = [Reader(source) for source in sources if source.rows]
    work = _split(readers, compiled, window)
    hits = []
    for reader, among in work:
        if cancelled():
            raise QueryCancelled
        state = evaluate(compiled.root, reader)
        reader.forget()
        if (found := Hits.of(reader, state, among)) is not None:
            hits.append(found)
    chosen = newest(hits, readers, limit, window)
    if cancelled():
        raise QueryCancelled
    traces = describe(chosen, hits, readers, compiled.shown, spans_per_span_set)
    read = {id(reader): reader for reader in [*readers, *(reader for reader, _ in work)]}
    inspected = Inspected(
        traces=sum(len(reader.traces().ids) for reader, _ in work),
        spans=sum(reader.rows for reader, _ in work),
        bytes=sum(reader.bytes_read for reader in read.values()),
        sources=len(work),
    )
    return SearchResult(tuple(traces), inspected)


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
