"""The rows of several files as those of one source: in which order they come, and which traces several files have."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from tables.columns.arrays import big_endian, numbers, ranges
from tables.columns.trace_index import TraceIndex, trace_index
from tables.columns.types import Bools, Int64s
from tables.columns.whole_traces import suspects


@dataclass(frozen=True, slots=True, eq=False)
class GroupRows:
    """order: for each row of the group, its number among the rows of all files, one file below the other
    shared: numbers of the traces that several files have, ascending: their facts are made anew
    """

    order: Int64s
    index: TraceIndex
    shared: Int64s

    @property
    def nbytes(self) -> int:
        return int(self.order.nbytes + self.index.nbytes + self.shared.nbytes)

    def shared_rows(self, first: int, end: int) -> Int64s:
        """The rows of those shared traces that have a row among first … end, also what they have outside of it."""
        offsets = self.index.offsets
        low, high = np.searchsorted(offsets, [first, end - 1], side="right") - 1
        some = self.shared[(self.shared >= low) & (self.shared <= high)]
        return ranges(offsets[some], offsets[some + 1] - offsets[some])


class Ties(NamedTuple):
    """What decides about rows of a trace that start at the same time and are of several files.

    columns: gives, at some rows, the columns by which such rows are sorted
    repeated: says which rows a client had sent before. In: rows, and the number of the group that each is in, ascending
    """

    columns: Callable[[Int64s], Sequence[Any]]
    repeated: Callable[[Int64s, Int64s], Bools]


def group_rows(trace_ids: Any, starts: Any, file_rows: Sequence[int], ties: Ties) -> GroupRows:
    """The rows in order, without repeated ones. In: columns of all files, one below the other, each file sorted as
    segments are; how many rows each has
    """
    halves = big_endian(trace_ids)
    # Ids of 64 bits have zeros in the first half.
    first, second = halves[:, 0], halves[:, 1]
    if len(first) and first.min() == first.max():
        first, second = second, first
    # Files are sorted already: a stable sort takes a fraction of one by all keys.
    order = np.argsort(first, kind="stable")
    file = np.repeat(np.arange(len(file_rows), dtype=np.int32), file_rows)
    places = _runs_of_several((first[order],), file[order])
    gone = places[:0]
    if len(places):
        rows = order[places]
        keys = (first[rows], second[rows], numbers(starts)[rows])
        rows = rows[np.lexsort(keys[::-1])]
        keys = (first[rows], second[rows], numbers(starts)[rows])
        # Rows of one file are in order: only where equal keys are of several files do further columns decide.
        tied = _runs_of_several(keys, file[rows])
        if len(tied):
            some = rows[tied]
            columns = (*(key[tied] for key in keys), *ties.columns(some))
            sorting = np.lexsort(columns[::-1])
            rows[tied] = some = some[sorting]
            same = [column[sorting][1:] == column[sorting][:-1] for column in columns]
            again, group = suspects(np.r_[False, np.logical_and.reduce(same)])
            if len(again):
                gone = some[again][ties.repeated(some[again], group)]
        order[places] = rows
        order = order[~np.isin(order, gone)] if len(gone) else order
    index = trace_index(trace_ids.take(pa.array(order)))
    of_row = file[order]
    begins = index.offsets[:-1]
    several = np.maximum.reduceat(of_row, begins) != np.minimum.reduceat(of_row, begins) if len(begins) else begins
    return GroupRows(order.astype(np.int64, copy=False), index, np.flatnonzero(several))


def _runs_of_several(keys: Sequence[Any], files: Any) -> Int64s:
    """The places of the rows whose keys equal those of rows of another file. In: columns in which equal keys lie
    together, and within those the rows of each file
    """
    same = np.ones(max(len(files) - 1, 0), np.bool_)
    for key in keys:
        same &= key[1:] == key[:-1]
    mixed = same & (files[1:] != files[:-1])
    if not mixed.any():
        return np.empty(0, np.int64)
    run = np.r_[0, np.cumsum(~same)]
    there = np.zeros(int(run[-1]) + 1, np.bool_)
    there[run[1:][mixed]] = True
    found: Int64s = np.flatnonzero(there[run])
    return found
