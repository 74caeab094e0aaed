"""Nested-set numbers of the spans of many traces at once.

Every span gets an interval [left, right] that lies inside its parent's. The tour of all trees (enter a span, its
children one after the other, leave it) is a linked list per trace; pointer doubling ranks all lists together in
log2(longest list) steps, however deep or wide the traces are.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tables.columns.sorted_sets import unique
from tables.columns.types import Int64s

KIND_SERVER = 2
MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, eq=False)
class NestedSet:
    """left, right: from 1 in each trace; parent: the parent's left; -1 without a parent; 0 if the parent is missing"""

    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    parent: npt.NDArray[np.int32]


def nested_set(
    trace: Int64s,
    span_id: npt.NDArray[np.uint64],
    parent_id: npt.NDArray[np.uint64],
    kind: npt.NDArray[np.integer],
) -> NestedSet:
    """Numbers for rows sorted by trace.

    In:  trace: number of the row's trace, ascending from 0; span_id, parent_id: uint64, 0 for no parent; kind: OTLP's
    Siblings, and several roots of one trace, are numbered in the order of the rows. Where several spans of a trace
    share an id, as the client's and the server's of one Zipkin span do, the first server is the parent, or else the
    first of them. Cycles are cut at their first span, which then counts as an orphan.
    """
    rows = len(trace)
    parent = _cut_cycles(_parents(trace, span_id, parent_id, kind))
    rank = _tour_ranks(trace, parent)
    enter, leave = rank[:rows], rank[rows:]
    # A rank counts the steps to the end of the trace's list; positions count from its start.
    first = np.flatnonzero(np.r_[True, trace[1:] != trace[:-1]]) if rows else np.zeros(0, np.int64)
    last = (2 * np.diff(np.r_[first, rows]))[trace]
    left, right = (last - enter).astype(np.int32), (last - leave).astype(np.int32)
    has_parent = parent >= 0
    orphan_or_root = np.where(parent_id == 0, np.int32(-1), np.int32(0))
    return NestedSet(left, right, np.where(has_parent, left[parent], orphan_or_root).astype(np.int32))


def _parents(
    trace: Int64s,
    span_id: npt.NDArray[np.uint64],
    parent_id: npt.NDArray[np.uint64],
    kind: npt.NDArray[np.integer],
) -> Int64s:
    """The row of each row's parent; -1 without one."""
    rows = len(trace)
    if not rows:
        return np.zeros(0, np.int64)
    mix = trace.astype(np.uint64) * MIX
    own, wanted = span_id ^ mix, parent_id ^ mix
    order = np.argsort(own, kind="stable")
    ordered = own[order]
    if (ordered[1:] == ordered[:-1]).any():  # hardly ever: then servers come before the others
        order = np.lexsort((kind != KIND_SERVER, own))
    at = np.searchsorted(ordered, wanted)
    at[at == rows] = rows - 1
    found = order[at]
    # The second and third condition: two different (trace, span) may mix to one number.
    same = (ordered[at] == wanted) & (trace[found] == trace) & (span_id[found] == parent_id) & (parent_id != 0)
    return np.where(same, found, -1)


def _cut_cycles(parent: Int64s) -> Int64s:
    """`parent` with -1 for the first row of every cycle."""
    own = np.arange(len(parent))
    up = np.where(parent >= 0, parent, own)
    steps = 1
    while not (parent[up] < 0).all():
        if steps > len(parent):
            break
        up, steps = up[up], steps * 2
    else:
        return parent
    # A row that still has a parent after this many steps leads to a cycle. Some row lands on each row of a cycle.
    cycle = unique(up[parent[up] >= 0])
    least, jump = own.copy(), np.where(parent >= 0, parent, own)
    span = 1
    while span < len(cycle):
        least[cycle] = np.minimum(least[cycle], least[jump[cycle]])
        jump, span = jump[jump], span * 2
    least[cycle] = np.minimum(least[cycle], least[jump[cycle]])
    out = parent.copy()
    out[cycle[least[cycle] == cycle]] = -1
    return out


def _tour_ranks(trace: Int64s, parent: Int64s) -> Int64s:
    """For each element of the tour (0 … n-1: enter row i; n … 2n-1: leave row i), the number of steps to the end of its
    list; the last element has 0.
    """
    rows = len(trace)
    # Rows with the same parent (roots: with the same trace) in a run, in row order.
    group = np.where(parent >= 0, parent, rows + trace)
    order = np.argsort(group, kind="stable")
    same = group[order][1:] == group[order][:-1]
    sibling = np.full(rows, -1, np.int64)
    sibling[order[:-1][same]] = order[1:][same]
    first = order[np.r_[True, ~same]] if rows else order
    child = np.full(rows, -1, np.int64)
    inner = first[parent[first] >= 0]
    child[parent[inner]] = inner

    own = np.arange(rows)
    after_leave = np.where(sibling >= 0, sibling, np.where(parent >= 0, rows + parent, rows + own))
    step = np.r_[np.where(child >= 0, child, rows + own), after_leave]
    rank: Int64s = (step != np.arange(2 * rows)).astype(np.int64)
    while True:
        further = rank[step]
        if not further.any():
            return rank
        rank += further
        step = step[step]
