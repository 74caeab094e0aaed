"""Merges runs of sorted files into files that are sorted throughout, with bounded memory.

A run is a list of files whose trace ids ascend from file to file: the files of a merged block, or one file of a block
that is as flushed. Ranges of trace ids are chosen such that each has about as many rows as a file should have. Of each
range every run's rows are read, joined, sorted, freed of what clients sent twice, and written as one file. A trace is
never parted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tables.columns.arrays import numbers, one_array, take_lists
from tables.columns.trace_facts import time_range_ns
from tables.columns.trace_index import TraceIndex
from tables.columns.types import Int64s
from tables.columns.whole_traces import in_order, repeated_rows, with_facts
from tables.merge.columns import Columns, join_columns, without_unused_values
from tables.parquet.write import to_parquet

FILE_ROWS: Final = 262_144
# Of each file so many times more ids are looked at than ranges are wanted: ranges differ by a quarter at the most.
_SAMPLES_A_RANGE: Final = 4
_MOSTLY_EMPTY: Final = frozenset({"events", "links", "overflow"})

Ids = npt.NDArray[np.bytes_]


class SortedFile(Protocol):
    """A file as `tables.parquet.read.ParquetSource` reads it."""

    rows: int

    def traces(self) -> TraceIndex:
        """Where each trace lies."""
        ...

    def stored(self, rows: tuple[int, int]) -> Columns:
        """Every column as the file has it, for a range of rows."""
        ...


@dataclass(frozen=True, slots=True)
class MergedFile:
    """data: Parquet; repeated: how many rows were left out since clients had sent them twice"""

    data: Any
    spans: int
    start_min_ns: int
    end_max_ns: int
    repeated: int


def merge(
    files: Sequence[SortedFile], attribute_columns_max: int = 1000, file_rows: int = FILE_ROWS
) -> Iterator[MergedFile]:
    """The files of the merged block, in the order of their trace ids, made one at a time.

    Memory: the ids of one file, and the rows of one range, about four times. Raises: DamagedError, StorageError
    """
    files = [file for file in files if file.rows]
    bounds = _bounds(files, file_rows)
    places = np.stack([_places(file, bounds) for file in files])  # shape (files, ranges + 1)
    for number in range(places.shape[1] - 1):
        spans = [(int(row[number]), int(row[number + 1])) for row in places]
        parts = [file.stored(rows) for file, rows in zip(files, spans, strict=True) if rows[1] > rows[0]]
        if parts:
            yield merge_rows(parts, attribute_columns_max)


def merge_rows(parts: Sequence[Columns], attribute_columns_max: int) -> MergedFile:
    """One file of the rows of whole traces. parts: columns as files have them"""
    table = join_columns(parts, attribute_columns_max)
    rows = table.num_rows
    table = _taken(table, in_order(table))
    repeated = repeated_rows(table)
    if repeated.any():
        table = _taken(table, np.flatnonzero(~repeated))
    table = without_unused_values(with_facts(table))
    starts, durations = (numbers(one_array(table[name])) for name in ("start_ns", "duration_ns"))
    first_ns, last_ns = time_range_ns(starts, durations)
    return MergedFile(to_parquet(table), table.num_rows, first_ns, last_ns, rows - table.num_rows)


def _bounds(files: Sequence[SortedFile], file_rows: int) -> Ids:
    """The trace ids at which ranges begin, but for the first one, ascending."""
    total = sum(file.rows for file in files)
    if total <= file_rows:
        return np.empty(0, "S16")
    step = max(1, file_rows // (_SAMPLES_A_RANGE * len(files)))
    sampled = []
    for file in files:
        index = file.traces()
        rows = np.arange(step // 2, file.rows, step)
        sampled.append(index.ids[np.searchsorted(index.offsets, rows, side="right") - 1])
    ids = np.sort(np.concatenate(sampled))
    ranges = -(-total // file_rows)
    at = np.arange(1, ranges) * len(ids) // ranges
    return np.unique(ids[at])


def _places(file: SortedFile, bounds: Ids) -> Int64s:
    """The first row of each range in a file, and the end of the last."""
    index = file.traces()
    inner = index.offsets[np.searchsorted(index.ids, bounds, side="left")]
    return np.concatenate([[0], inner, [file.rows]]).astype(np.int64)


def _taken(table: pa.Table, rows: Int64s) -> pa.Table:
    if len(rows) == table.num_rows and bool((rows[1:] > rows[:-1]).all()):
        return table
    indices = pa.array(rows)
    columns = {}
    for name in table.column_names:
        array = one_array(table[name])
        fast = name in _MOSTLY_EMPTY and array.null_count == 0
        columns[name] = take_lists(array, rows) if fast else array.take(indices)
    return pa.table(columns)
