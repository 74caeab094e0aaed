"""Nested-set numbers of traces whose rows were put together from several sources.

The seal numbers the traces of a segment; here only the few traces that lie in several sources are numbered again.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from query.reader import Ids, Rows


class NestedSet(NamedTuple):
    """Per row, as `tables.schema.FIXED` describes them."""

    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    parent: npt.NDArray[np.int32]


def number(trace: Rows, span_id: Ids, parent_id: Ids) -> NestedSet:
    """Left is 2 * place in preorder - depth + 1, from 1 in each trace; siblings and roots in the order of rows.

    In: trace: number of each row's trace, ascending; span_id, parent_span_id: `S8`, zero bytes for no parent
    A parent that is not there leaves its child a root with parent 0. So does, in a circle, its first row.
    """
    count = len(trace)
    parent = _parent_rows(trace, span_id, parent_id)
    levels = _levels(parent)
    size = np.ones(count, np.int64)
    for rows in levels[:0:-1]:
        np.add.at(size, parent[rows], size[rows])
    # Nodes before a row among its siblings; roots are siblings within their trace.
    group = np.where(parent >= 0, parent, -1 - trace)
    order = np.argsort(group, kind="stable")
    before = np.cumsum(size[order]) - size[order]
    new = np.r_[True, group[order][1:] != group[order][:-1]] if count else np.empty(0, bool)
    start = np.maximum.accumulate(np.where(new, np.arange(count), 0)) if count else np.empty(0, np.int64)
    earlier = np.empty(count, np.int64)
    earlier[order] = before - before[start]
    left = 2 * earlier + 1
    for rows in levels[1:]:
        left[rows] += left[parent[rows]]
    parent_left = np.where(parent >= 0, left[parent], np.where(parent_id == b"", -1, 0))
    return NestedSet(left.astype(np.int32), (left + 2 * size - 1).astype(np.int32), parent_left.astype(np.int32))


def _parent_rows(trace: Rows, span_id: Ids, parent_id: Ids) -> Rows:
    """Each row's parent's row in the same trace; -1: none. Of rows with the same id the first is the parent."""
    count = len(trace)
    keys = _keys(trace, span_id)
    order = np.argsort(keys, kind="stable")
    wanted = _keys(trace, parent_id)
    position = np.searchsorted(keys[order], wanted) if count else np.empty(0, np.int64)
    position[position == count] = 0
    row = order[position]
    found = (keys[row] == wanted) & (parent_id != b"") & (row != np.arange(count))
    return np.where(found, row, -1).astype(np.int64)


def _keys(trace: Rows, ids: Ids) -> Ids:
    """Trace number and span id as one sortable value."""
    keys = np.empty((len(trace), 16), np.uint8)
    keys[:, :8] = trace.astype(">u8").view(np.uint8).reshape(-1, 8)
    keys[:, 8:] = np.ascontiguousarray(ids).view(np.uint8).reshape(-1, 8)
    return keys.reshape(-1).view("S16")


def _levels(parent: Rows) -> list[Rows]:
    """Rows by depth, roots first. Circles are cut: `parent` becomes -1 at a circle's first row."""
    count = len(parent)
    children = np.argsort(parent, kind="stable")
    of = parent[children]
    seen = np.zeros(count, bool)
    levels: list[Rows] = []
    frontier = np.flatnonzero(parent < 0)
    while True:
        depth = 0
        while len(frontier):
            seen[frontier] = True
            if depth == len(levels):
                levels.append(frontier)
            else:
                levels[depth] = np.concatenate([levels[depth], frontier])
            first, end = np.searchsorted(of, frontier), np.searchsorted(of, frontier, side="right")
            owner = np.repeat(np.arange(len(frontier)), end - first)
            place = np.arange(len(owner)) - (np.cumsum(end - first) - (end - first))[owner] + first[owner]
            frontier = children[place]
            frontier = frontier[~seen[frontier]]
            depth += 1
        rest = np.flatnonzero(~seen)
        if not len(rest):
            return levels or [np.empty(0, np.int64)]
        frontier = rest[:1]
        parent[frontier] = -1
