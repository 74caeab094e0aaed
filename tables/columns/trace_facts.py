"""Facts of a whole trace: start, duration, root and tree. All parts of the program take these facts from here: for
records, segments, blocks and stitched traces.

A span has a time if it starts after 1970 began and before 2^63 ns. Clients send 0 for "unknown", and broken clocks send
anything. Such spans stay as they were sent, and do not count for the start and end of their trace.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tables.columns.nested_set import NestedSet, nested_set
from tables.columns.types import Int64s, UInt64s

_INT64: Final = np.iinfo(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class TraceFacts:
    """nested: numbers per row; start_ns, duration_ns, root: per trace

    start_ns: of the earliest span that has a time; 0 if none has; root: the row of the root span; -1 without one
    """

    nested: NestedSet
    start_ns: Int64s
    duration_ns: Int64s
    root: Int64s


class TracePeriod(NamedTuple):
    """When some traces, of which each has a time, lie, ns since 1970: none begins before first_ns or after latest_ns,
    none ends after end_ns.
    """

    first_ns: int
    latest_ns: int
    end_ns: int


def trace_facts(  # noqa: PLR0913 (one array per column)
    trace: Int64s,
    first: Int64s,
    span_id: UInt64s,
    parent_id: UInt64s,
    kind: npt.NDArray[np.integer],
    start_ns: Int64s,
    duration_ns: Int64s,
) -> TraceFacts:
    """The facts of traces whose rows are contiguous and sorted by start.

    In: trace: number of each row's trace, ascending from 0; first: first row of each trace; parent_id: 0 for no parent;
    kind: OTLP's numbers; start_ns, duration_ns: as they were sent
    """
    start, end = trace_times(start_ns, duration_ns, first)
    root = root_rows(trace, len(first), parent_id, start_ns, span_id, kind, duration_ns)
    nested = nested_set(trace, span_id, parent_id, kind)
    timed = start <= end
    return TraceFacts(nested, np.where(timed, start, 0), np.where(timed, end - start, 0), root)


def elapsed_ns(start_ns: Int64s, duration_ns: Int64s) -> Int64s:
    """Duration of each span in ns: 0 if it has no start, or ends before it starts, or lasts 2^63 ns or more."""
    with np.errstate(over="ignore"):
        starts = start_ns.astype(np.uint64)  # unsigned, as OTLP has them
        good = (start_ns != 0) & (duration_ns >= 0) & (starts + duration_ns.astype(np.uint64) >= starts)
    return duration_ns if good.all() else np.where(good, duration_ns, 0)


def trace_times(start_ns: Int64s, duration_ns: Int64s, first: Int64s) -> tuple[Int64s, Int64s]:
    """Start and end of each trace in ns. If no span has a time, the start is the greatest int64 and the end the
    smallest. In: first: first row of each trace
    """
    timed = start_ns > 0
    with np.errstate(over="ignore"):
        ends = start_ns + elapsed_ns(start_ns, duration_ns)
    ends = np.where(timed & (ends < 0), _INT64.max, ends)
    if not timed.all():
        start_ns, ends = np.where(timed, start_ns, _INT64.max), np.where(timed, ends, _INT64.min)
    return np.minimum.reduceat(start_ns, first), np.maximum.reduceat(ends, first)


def time_range_ns(start_ns: Int64s, duration_ns: Int64s) -> tuple[int, int]:
    """The earliest start and the latest end of some spans; (0, 0) if none has a time. In: at least one span"""
    (start,), (end,) = trace_times(start_ns, duration_ns, np.zeros(1, np.int64))
    return (int(start), int(end)) if start <= end else (0, 0)


def root_rows(  # noqa: PLR0913 (one array per column)
    trace: Int64s,
    traces: int,
    parent_id: UInt64s,
    start_ns: Int64s,
    span_id: UInt64s,
    kind: npt.NDArray[np.integer],
    duration_ns: Int64s,
) -> Int64s:
    """The row of each trace's root span, -1 without one.

    Of several roots, the first by start counts, then by id; spans without a time come last. Of spans with the same id,
    as client and server of one Zipkin call, the smaller kind counts, then the shorter duration. The rows of a segment
    have the same order.
    """
    rows = np.flatnonzero(parent_id == 0)
    of = trace[rows]
    root = np.full(traces, -1, np.int64)
    root[of] = rows
    if (of[1:] == of[:-1]).any():  # few traces have several
        start = start_ns[rows]
        order = rows[np.lexsort((duration_ns[rows], kind[rows], span_id[rows], start, start <= 0))[::-1]]
        root[trace[order]] = order  # the last that is written stays
    return root
