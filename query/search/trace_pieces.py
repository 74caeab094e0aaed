"""What one worker knows of traces of which others have spans, too, where single spans decide whether a trace matches.

Then the spans need not come together: of each trace a worker gives what it has of the answer, its piece: when its
spans begin and end, its root, how many spans each service has, the spans that match. Whoever merges puts pieces
together. A piece is as large as what the answer says of a trace, however many spans the trace has.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from query.language.plan import Plan
from query.requests import SearchRequest
from query.scan.arrays import INT64, Ids, Rows, fixed_bytes, spread, to_numpy
from query.scan.reader import Reader
from query.scan.shared_traces import Keys, keys_of_rows
from query.scan.stitch import stitched_rows
from query.scan.trace_lookup import TraceLookup
from query.search.span_sets import SpanSetColumns, span_set_columns
from query.search.top_traces import Hits, TopTraces, cut, in_order, whole_times
from query.search.trace_columns import TraceColumns, TraceTables, offsets_of
from query.search.trace_summaries import Texts, TraceSummaries, add_services, trace_summaries
from tables.columns.arrays import big_endian, one_array
from tables.columns.sorted_sets import is_among
from tables.columns.trace_facts import root_rows

# What tells which of several roots is a trace's.
_ROOT: Final = ("start_ns", "span_id", "kind", "duration_ns")
_OF_ROOT: Final = "root "
_NO_SPANS: Final = {
    "start_ns": pa.array([], pa.int64()),
    "span_id": pa.array([], pa.binary(8)),
    "duration_ns": pa.array([], pa.int64()),
}


@dataclass(frozen=True, slots=True, eq=False)
class TracePieces:
    """Pieces of traces, with the columns of `TraceTables`; the traces have besides, of the root if it is here, what
    _ROOT names. A trace may come several times, and need not match.
    """

    tables: TraceTables

    def __len__(self) -> int:
        return int(self.tables.traces.num_rows)

    @property
    def ids(self) -> Ids:
        """The id of the trace that each piece is of, 16 bytes each."""
        return fixed_bytes(one_array(self.tables.traces["trace_id"]))

    def ready(self, unready: Keys) -> "tuple[TracePieces, int]":
        """The pieces of traces that do not have one of the keys, and when the last of the others begins; 0: none"""
        waits = is_among(keys_of_rows(self.ids), unready)
        if not waits.any():
            return self, 0
        starts = _numbers(self.tables.traces, "start_ns")[waits]
        return TracePieces(self.tables.take(np.flatnonzero(~waits))), int(starts.max())


def concat_pieces(several: Iterable[TracePieces | None]) -> TracePieces | None:
    """All pieces; None: there are none."""
    found = [one for one in several if one is not None]
    if len(found) <= 1:
        return found[0] if found else None
    return TracePieces(TraceTables.concat([one.tables for one in found]))


def pieces_of(rows: pa.Table, plan: Plan, request: SearchRequest, find: Callable[[Reader], Hits | None]) -> TracePieces:
    """The pieces of all traces of some rows, which are as of `Scan.shared_rows`. find: what matches in a source"""
    source = stitched_rows(rows)
    reader = Reader(source)
    ids = reader.traces().ids
    start, end = whole_times(ids, [reader])
    top, lookup, order = TopTraces(ids, start, end), TraceLookup(ids), np.arange(len(ids))
    hits = find(reader)
    if hits is None:
        none = np.zeros(len(ids) + 1, np.int64)
        sets = SpanSetColumns(none, none[:1], none[:0], _NO_SPANS, plan.projections, ())
    else:
        assert hits.sets is None, "single spans make no spansets"
        sets = span_set_columns(lookup, order, [hits], plan.projections, request.spans_per_span_set or INT64.max)
    tables = TraceTables.from_columns(TraceColumns(top, trace_summaries(lookup, order, [reader]), sets))
    traces = tables.traces
    for name, column in _roots(reader).items():
        traces = traces.append_column(_OF_ROOT + name, column)
    return TracePieces(replace(tables, traces=traces))


def _roots(reader: Reader) -> dict[str, Any]:
    """Of each trace the fields of its root, null without one."""
    index = reader.traces()
    columns = reader.read_whole([*_ROOT, "parent_span_id"])
    counts = np.diff(index.offsets)
    rows = root_rows(
        np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        len(counts),
        big_endian(columns["parent_span_id"])[:, 0],
        to_numpy(columns["start_ns"]),
        big_endian(columns["span_id"])[:, 0],
        to_numpy(columns["kind"]),
        to_numpy(columns["duration_ns"]),
    )
    return {name: columns[name].take(pa.array(rows, mask=rows < 0)) for name in _ROOT}


def put_together(pieces: TracePieces, plan: Plan, request: SearchRequest) -> tuple[tuple[TraceColumns, ...], TopTraces]:
    """The first traces of which a piece matches, and which these are, with what `cut` says of the others."""
    traces, sets = pieces.tables.traces, pieces.tables.span_sets
    ids, of = np.unique(pieces.ids, return_inverse=True)
    start, end = _times(traces, of, len(ids))
    set_of = of[np.repeat(np.arange(len(of)), _numbers(traces, "span_sets"))]
    matched = np.bincount(set_of, _numbers(sets, "matched"), len(ids)).astype(np.int64)
    matching = np.flatnonzero(matched)
    found = in_order(ids[matching], start[matching], end[matching], request)
    top = cut(found, request.limit)
    if not len(top):
        return (), top
    chosen = np.searchsorted(ids, top.ids)
    place = np.full(len(ids), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    columns = TraceColumns(
        replace(top, more=False, total=None),
        _summaries(pieces.tables, place[of], len(chosen)),
        _span_sets(pieces.tables, place[set_of], matched[chosen], plan, request),
    )
    return (columns,), top


def _times(traces: pa.Table, of: Rows, count: int) -> tuple[Rows, Rows]:
    """Start and end of each trace; 0 where no span has a time. of: the trace of each piece"""
    start, end = _numbers(traces, "start_ns"), _numbers(traces, "end_ns")
    timed = start > 0
    first, last = np.full(count, INT64.max), np.zeros(count, np.int64)
    np.minimum.at(first, of[timed], start[timed])
    np.maximum.at(last, of[timed], end[timed])
    known = first < INT64.max
    return np.where(known, first, 0), np.where(known, last, 0)


def _summaries(tables: TraceTables, place: Rows, count: int) -> TraceSummaries:
    """In: the place of each piece's trace in the answer; -1: it is not there"""
    traces = tables.traces
    roots = np.flatnonzero((place >= 0) & one_array(traces[_OF_ROOT + "span_id"]).is_valid().to_numpy(False))
    start, kind, duration = (_numbers(traces, _OF_ROOT + name)[roots] for name in ("start_ns", "kind", "duration_ns"))
    span = big_endian(one_array(traces[_OF_ROOT + "span_id"]).take(pa.array(roots)))[:, 0]
    order = roots[np.lexsort((duration, kind, span, start, start <= 0))[::-1]]
    root = np.full(count, -1, np.int64)
    root[place[order]] = order  # the last that is written stays, as in `root_rows`
    at = pa.array(root, mask=root < 0)
    names, services = (one_array(traces[name]).take(at) for name in ("root_name", "root_service"))
    chosen = np.flatnonzero(place >= 0)
    pairs, owner = spread(offsets_of(traces["services"]), chosen)
    found = add_services(
        place[chosen][owner],
        one_array(tables.services["service"]).take(pa.array(pairs)),
        _numbers(tables.services, "spans")[pairs],
        _numbers(tables.services, "errors")[pairs],
        count,
    )
    return TraceSummaries(Texts.from_strings(names, count), Texts.from_strings(services, count), *found)


def _span_sets(tables: TraceTables, place: Rows, matched: Rows, plan: Plan, request: SearchRequest) -> SpanSetColumns:
    """One of each trace. In: the place of each spanset's trace in the answer; -1: it is not there"""
    chosen = np.flatnonzero(place >= 0)
    rows, owner = spread(offsets_of(tables.span_sets["spans"]), chosen)
    spans = tables.spans.take(pa.array(rows))
    ids = fixed_bytes(one_array(spans["span_id"])).view("S8").reshape(-1)
    of = place[chosen][owner]
    order = np.lexsort((ids, _numbers(spans, "start_ns"), of))
    counts = np.bincount(of, minlength=len(matched))
    first = np.cumsum(counts) - counts
    within = np.arange(len(order)) - np.repeat(first, counts)
    order = order[within < (request.spans_per_span_set or INT64.max)]
    shown = np.minimum(counts, request.spans_per_span_set or INT64.max)
    wanted = pa.array(order)
    return SpanSetColumns(
        sets=np.arange(len(matched) + 1),
        spans=np.r_[0, np.cumsum(shown)],
        counts=matched,
        columns={name: one_array(spans[name]).take(wanted) for name in spans.column_names},
        projections=plan.projections,
        attributes=(),
    )


def _numbers(table: pa.Table, name: str) -> Rows:
    """As int64; 0 for null."""
    return to_numpy(one_array(table[name]).cast(pa.int64()).fill_null(0))
