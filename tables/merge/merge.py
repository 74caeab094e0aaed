"""Merges sorted files into files that are sorted throughout, with bounded memory.

Ranges of trace ids are chosen such that each has about as many rows as a file should have. Of each range every input's
rows are joined, sorted, freed of what clients sent twice, and written as one file. A trace is never parted. Each input
is decoded once; what later ranges need of it waits in memory, or on local disk where that is too much.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from tables.columns.arrays import numbers, one_array
from tables.columns.sorted_sets import unique
from tables.columns.trace_facts import time_range_ns
from tables.columns.trace_index import Ids, trace_index
from tables.free_memory import FreeMemoryLimit, release_free_memory
from tables.merge.attributes import attribute_counts, rare_attributes
from tables.merge.columns import Part
from tables.merge.inputs import MergeInput
from tables.merge.rows import MergedRows, merge_rows
from tables.merge.spill import HeldRows, Spill, SpilledInput
from tables.parquet.encode_file import encode_parquet
from tables.schema import FIXED

FILE_ROWS: Final = 262_144
# Of rows with large values fewer make a file. Usual spans take 80 bytes, decompressed.
_FILE_BYTES: Final = 32 << 20
# Of rows with many columns, too. In a file a column without a value takes next to nothing, in memory a code of a byte,
# and a bit, for each row.
_CELL_BYTES: Final = 9 / 8
_DECODED_BYTES: Final = 64 << 20
# Inputs of so few bytes are not looked at before: they make one file.
_ONE_FILE_BYTES: Final = 32 << 20
_HELD_BYTES_MAX: Final = 64 << 20
# So many ids are looked at for each range: ranges differ by some hundredths.
_SAMPLES_A_RANGE: Final = 256
# What allocators keep for later may add up to so much.
_GROWN_BYTES_MAX: Final = 224 << 20
# More inputs that overlap are merged in two passes: the rows that a range has of each would be too few.
_INPUTS_MAX: Final = 96
# The first pass makes smaller parts, as the second one decodes each as a whole.
_PASS_FILES: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class MergedFile:
    """data: Parquet; trace_ids: each once, ascending; repeated: how many rows were left out, as others equal them"""

    data: Any
    spans: int
    start_min_ns: int
    end_max_ns: int
    trace_ids: Ids
    repeated: int


def merge(
    inputs: Sequence[MergeInput],
    attribute_columns_max: int = 1000,
    file_rows: int = FILE_ROWS,
    folder: Path | None = None,
) -> Iterator[MergedFile]:
    """The merged files, in the order of their trace ids, made one at a time.

    folder: for rows that wait (None: the system's temporary files): up to a third of what they take in memory
    Memory: the rows of one file, decoded, about three times; 64 MB; and the columns of the input with the most rows.
    What is free stays with the process until it has grown by 224 MB.
    Raises: DamagedError, StorageError, OSError if the folder has no room
    """
    memory = FreeMemoryLimit(_GROWN_BYTES_MAX)
    with Spill(folder, _HELD_BYTES_MAX) as spill:
        for rows in _merged(list(inputs), _Settings(attribute_columns_max, file_rows, spill, memory)):
            # What the inputs' rows took is free by now, but still resident; encoding takes other memory.
            memory.keep()
            file = _file(rows)
            # The table of one file is gone before that of the next is made.
            rows.free()
            memory.keep()
            yield file
            del file
    release_free_memory()


class _Settings(NamedTuple):
    """What all passes of a merge share."""

    attribute_columns_max: int
    file_rows: int
    spill: Spill
    memory: FreeMemoryLimit


def _merged(inputs: list[MergeInput], settings: _Settings) -> Iterator[MergedRows]:
    inputs = [one for one in inputs if one.rows]
    repeated = 0
    if len(inputs) > _INPUTS_MAX:
        starts, together = _overlap(inputs)
        if together > _INPUTS_MAX:
            ordered = [inputs[number] for number in np.argsort(starts, kind="stable").tolist()]
            inputs = []
            for first in range(0, len(ordered), _INPUTS_MAX):
                some = ordered[first : first + _INPUTS_MAX]
                small = settings._replace(file_rows=max(1, settings.file_rows // _PASS_FILES))
                for rows in _Merge(some, small).run():
                    repeated += rows.repeated
                    inputs.append(SpilledInput(rows.table, settings.spill.new_path()))
                    rows.free()
    for rows in _Merge(inputs, settings).run():
        rows.repeated += repeated
        repeated = 0
        yield rows


def _overlap(inputs: Sequence[MergeInput]) -> tuple[Ids, int]:
    """The first trace id of each input, and how many inputs at most have traces in the same range of ids."""
    samples = [one.sample(one.rows) for one in inputs]
    starts = np.array([one.ids[0] for one in samples], "S16")
    ends = np.sort(np.array([one.ids[-1] for one in samples], "S16"))
    begun = np.arange(1, len(inputs) + 1)
    return starts, int((begun - np.searchsorted(ends, np.sort(starts), side="left")).max())


def _file(rows: MergedRows) -> MergedFile:
    table = rows.table
    starts, durations = (numbers(one_array(table[name])) for name in ("start_ns", "duration_ns"))
    first_ns, last_ns = time_range_ns(starts, durations)
    ids = trace_index(one_array(table["trace_id"])).ids
    return MergedFile(encode_parquet(table, all_used=True), table.num_rows, first_ns, last_ns, ids, rows.repeated)


class _Merge:
    """One pass."""

    def __init__(self, inputs: Sequence[MergeInput], settings: _Settings) -> None:
        self._columns_max, self._spill = settings.attribute_columns_max, settings.spill
        self._memory = settings.memory
        self._counts = Counter[str]()
        self._rare: frozenset[str] = frozenset()
        self._held: dict[int, HeldRows] = {}  # by input
        self._plan(inputs, settings.file_rows)

    def _plan(self, inputs: Sequence[MergeInput], file_rows: int) -> None:
        rows, columns_max = sum(one.rows for one in inputs), self._columns_max + len(FIXED)
        self._bounds: Ids = np.empty(0, "S16")
        self._waiting = [(0, number, one) for number, one in enumerate(inputs)]  # with the range of their first row
        few = rows <= file_rows and rows * columns_max * _CELL_BYTES <= _DECODED_BYTES
        if few and sum(one.size_bytes for one in inputs) <= _ONE_FILE_BYTES:
            return
        samples = [one.sample(max(1, file_rows // _SAMPLES_A_RANGE)) for one in inputs]
        size = sum(one.bytes for one in samples)
        columns = min(columns_max, len(frozenset().union(*(one.flat for one in samples))))
        decoded = size + int(rows * columns * _CELL_BYTES)
        ranges = max(-(-rows // file_rows), -(-size // _FILE_BYTES), -(-decoded // _DECODED_BYTES))
        if ranges > 1:
            ids = np.sort(np.concatenate([one.ids for one in samples]))
            self._bounds = unique(ids[np.arange(1, ranges) * len(ids) // ranges])
            first = [int(np.searchsorted(self._bounds, one.ids[0], side="right")) for one in samples]
            self._waiting = sorted(zip(first, range(len(inputs)), inputs, strict=True), key=lambda one: one[:2])

    def run(self) -> Iterator[MergedRows]:
        """The rows of each range that has any."""
        for number in range(len(self._bounds) + 1):
            parts = self._parts(number)
            if parts:
                if self._counts:
                    self._rare = rare_attributes(self._counts, self._columns_max)
                yield merge_rows(parts, self._rare, self._memory)

    def _parts(self, number: int) -> list[Part]:
        """What the inputs have of a range. Opens those that begin in it."""
        while self._waiting and self._waiting[0][0] <= number:
            _, which, one = self._waiting.pop(0)
            columns = one.columns()
            self._counts.update(attribute_counts(columns))
            self._held[which] = HeldRows(columns, self._ends(columns["trace_id"], number), number)
            self._spill.hold(self._held[which])
            del columns
            self._memory.keep()
        found = []
        for which, held in sorted(self._held.items()):
            rows = held.rows(number)
            if rows is not None:
                found.append(rows)
            if number >= held.last:
                self._spill.drop(held)
                del self._held[which]
        return found

    def _ends(self, trace_ids: Any, number: int) -> list[int]:
        """The end of the rows of each range from this one on, up to the last one that has any."""
        index = trace_index(trace_ids)
        places = index.offsets[np.searchsorted(index.ids, self._bounds[number:], side="left")]
        ends = [int(place) for place in (*places, len(trace_ids))]
        return ends[: ends.index(len(trace_ids)) + 1]
