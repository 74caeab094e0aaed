"""What a scan evaluates, piece by piece: a source without the traces that it shares, or some shared traces stitched."""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from query.scan.arrays import INT64, Ids, Mask, Rows
from query.scan.reader import Reader
from query.scan.stitch import stitch
from query.scan.trace_lookup import find, with_traces_ahead
from tables.columns.trace_index import TraceIndex

UNKNOWN_NS: Final = INT64.max
NO_IDS: Final[Ids] = np.empty(0, "S16")
# So many traces are stitched at once: for the newest few of an answer not those of a whole day.
_TOGETHER: Final = 1000
_ROWS_TOGETHER: Final = 1 << 16


class Piece(NamedTuple):
    """Rows that are evaluated together.

    latest_ns: none of their traces begins later; latest_span_ns: gives when the last of their spans may start
    stitched: they are of several sources; reader: None where they are
    open: gives the rows, and which of them count (None: all); only now it reads what is stitched
    """

    latest_ns: int
    latest_span_ns: Callable[[], int]
    stitched: bool
    open: Callable[[], tuple[Reader, Mask | None]]
    reader: Reader | None = None


def latest_start_ns(reader: Reader, column: str = "trace_start_ns") -> int:
    """No trace of the source begins later; or, by start_ns, no span starts later.

    Where a trace has no span with a time nothing is known: its spans may belong to any time.
    """
    if column == "trace_start_ns" and (period := reader.trace_period()) is not None:
        return period.latest_ns
    bounds = reader.bounds(column)
    return UNKNOWN_NS if bounds is None or (column == "trace_start_ns" and bounds[0] <= 0) else bounds[1]


def _latest_span_ns(readers: Sequence[Reader]) -> int:
    return max(latest_start_ns(reader, "start_ns") for reader in readers)


def rows_outside(index: TraceIndex, traces: Rows) -> Mask:
    """The rows of a source that belong to none of these of its traces. In: traces: numbers of traces in the source"""
    keep = np.ones(len(index.ids), bool)
    keep[traces] = False
    return np.repeat(keep, np.diff(index.offsets))


def single_pieces(readers: Sequence[Reader], inside: Sequence[bool], kept: Ids, elsewhere: Ids) -> list[Piece]:
    """One piece for each source that may hold something: traces need not be whole.

    inside: which of the sources lie within the window; kept: the traces that count of the other sources, too
    elsewhere: the traces that count nowhere here, because somebody else evaluates them. All ids ascending
    """
    pieces = []
    for reader, here in zip(readers, inside, strict=True):
        among = None if here else ~_rows_outside(reader, kept)
        if len(elsewhere) and (among is None or among.any()):
            others = _rows_outside(reader, elsewhere)
            among = others if among is None else among & others
        if among is None or among.any():
            times = latest_start_ns(reader), partial(latest_start_ns, reader, "start_ns")
            pieces.append(Piece(*times, False, partial(_given, reader, among), reader))
    return pieces


def whole_pieces(
    readers: Sequence[Reader],
    shared: Ids,
    columns: Collection[str],
    inside: Sequence[bool],
    elsewhere: Ids = NO_IDS,
) -> list[Piece]:
    """What to evaluate so that each trace is seen whole: the shared ones stitched, some at a time, those that began
    last first; and the sources without them.

    shared: the traces that several of the sources have; elsewhere: the traces that somebody else evaluates; both
        ascending, none of them in both
    columns: what the evaluation may read; inside: which of the sources lie within the window
    """
    found = [find(reader.traces(), shared) for reader in with_traces_ahead(readers)]
    latest = [latest_start_ns(reader) for reader in readers]
    # A trace begins not later than what the oldest of its sources may hold.
    bound = np.full(len(shared), UNKNOWN_NS)
    for (hit, _), latest_ns in zip(found, latest, strict=True):
        bound[hit] = np.minimum(bound[hit], latest_ns)
    order = np.argsort(-bound, kind="stable")
    pieces = []
    for first, end in _cuts(_row_counts(readers, found, len(shared))[order]):
        wanted = np.zeros(len(shared), bool)
        wanted[order[first:end]] = True
        some = [
            (reader, hit[wanted[hit]], traces[wanted[hit]])
            for reader, (hit, traces) in zip(readers, found, strict=True)
            if wanted[hit].any()
        ]
        latest_span_ns = partial(_latest_span_ns, [reader for reader, *_ in some])
        pieces.append(Piece(int(bound[order[first]]), latest_span_ns, True, partial(_stitched, some, columns)))
    for reader, (_, traces), here, latest_ns in zip(readers, found, inside, latest, strict=True):
        if here:
            if len(elsewhere):
                traces = np.concatenate([traces, find(reader.traces(), elsewhere)[1]])
            times = latest_ns, partial(latest_start_ns, reader, "start_ns")
            pieces.append(Piece(*times, False, partial(_rest, reader, traces), reader))
    return pieces


def _row_counts(readers: Sequence[Reader], found: Sequence[tuple[Rows, Rows]], traces: int) -> Rows:
    """How many rows each of the shared traces has."""
    counts = np.zeros(traces, np.int64)
    for reader, (hit, own) in zip(readers, found, strict=True):
        counts[hit] += np.diff(reader.traces().offsets)[own]
    return counts


def _cuts(counts: Rows) -> Iterator[tuple[int, int]]:
    """From which to which trace is stitched at once: at most _TOGETHER, of _ROWS_TOGETHER rows, but at least one."""
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        before = int(ends[first - 1]) if first else 0
        end = int(np.searchsorted(ends, before + _ROWS_TOGETHER, side="right"))
        end = min(max(end, first + 1), first + _TOGETHER)
        yield first, end
        first = end


def _rows_outside(reader: Reader, ids: Ids) -> Mask:
    index = reader.traces()
    return rows_outside(index, find(index, ids)[1])


def _stitched(some: Sequence[tuple[Reader, Rows, Rows]], columns: Collection[str]) -> tuple[Reader, None]:
    source = stitch(some, columns)
    reader = Reader(source)
    reader.owned_bytes = source.nbytes
    return reader, None


def _rest(reader: Reader, traces: Rows) -> tuple[Reader, Mask | None]:
    return reader, rows_outside(reader.traces(), traces) if len(traces) else None


def _given(reader: Reader, among: Mask | None) -> tuple[Reader, Mask | None]:
    return reader, among
