"""The rows of several files as those of one source: in which order they come, and which traces several files have."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tables.columns.arrays import big_endian, numbers, ranges, rows_in_order
from tables.columns.trace_index import TraceIndex, trace_index
from tables.columns.types import Int64s


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


def group_rows(trace_ids: Any, starts: Any, file_rows: Sequence[int], ties: Callable[[], Sequence[Any]]) -> GroupRows:
    """The rows in order. In: columns of all files, one below the other, each file sorted as segments are; how many rows
    each has; ties: gives the columns that decide between rows of one trace with the same start
    """
    halves = big_endian(trace_ids)
    # Ids of 64 bits have zeros in the first half.
    first, second = halves[:, 0], halves[:, 1]
    if len(first) and first.min() == first.max():
        first, second = second, first
    # Files are sorted already: a stable sort takes a fraction of one by all keys.
    order = np.argsort(first, kind="stable")
    ordered = first[order]
    file = np.repeat(np.arange(len(file_rows), dtype=np.int32), file_rows)
    same = ordered[1:] == ordered[:-1]
    mixed = same & (file[order[1:]] != file[order[:-1]])
    if mixed.any():
        run = np.r_[0, np.cumsum(~same)]
        there = np.zeros(int(run[-1]) + 1, np.bool_)
        there[run[1:][mixed]] = True
        places = np.flatnonzero(there[run])
        rows = order[places]

        keys = (run[places], second[rows], numbers(starts)[rows])
        # Rows of one file are in order: only where equal keys are of several files do further columns decide.
        sub = rows_in_order(keys, lambda: [rows])
        equal = np.ones(len(sub) - 1, np.bool_)
        for key in keys:
            equal &= key[sub][1:] == key[sub][:-1]
        if (equal & (file[rows[sub]][1:] != file[rows[sub]][:-1])).any():
            sub = rows_in_order(keys, lambda: [column[rows] for column in ties()])
        order[places] = rows[sub]
    index = trace_index(trace_ids.take(pa.array(order)))
    of_row = file[order]
    begins = index.offsets[:-1]
    several = np.maximum.reduceat(of_row, begins) != np.minimum.reduceat(of_row, begins) if len(begins) else begins
    return GroupRows(order.astype(np.int64, copy=False), index, np.flatnonzero(several))
