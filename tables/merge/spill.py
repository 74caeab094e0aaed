"""Rows that wait for their turn in a merge: in memory up to a limit, then in files on local disk."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa

from tables.columns.arrays import one_array
from tables.merge.codes import without_unused
from tables.merge.columns import Part
from tables.merge.inputs import Columns, Sample, sampled

_SAMPLED_ROWS: Final = 256
# Larger dictionaries are not written with each range.
_DICTIONARY_PER_ROW: Final = 0.25
# Rows of all inputs: the disk takes a third of what memory would.
_COMPRESSED: Final = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
# Rows of some inputs, of which each range reads a part: what is not compressed is read where it lies.
_AS_IT_IS: Final = pa.ipc.IpcWriteOptions(use_threads=False)


class HeldRows:
    """The rows of an input, by range, in memory or in a file."""

    def __init__(self, columns: Columns, ends: Sequence[int], first: int) -> None:
        """ends: of each range, from range number `first` on"""
        self._columns: Columns | None = columns
        self._bounds = list(zip((0, *ends), ends, strict=False))
        self._first = first
        self._path: Path | None = None
        self._starts: list[int] = []  # of each range in the file
        self.last = first + len(ends) - 1
        # A single range is used at once.
        self.nbytes = sum(array.nbytes for array in columns.values()) if len(ends) > 1 else 0

    def spill(self, path: Path) -> None:
        """Moves the rows to a file (disk)."""
        assert self._columns is not None
        with pa.OSFile(str(path), "wb") as file:
            for first, end in self._bounds:
                self._starts.append(file.tell())
                if first < end:
                    # Each range has its own dictionaries: those of all inputs would be too much at once.
                    batch = pa.record_batch({name: _cut(one, first, end) for name, one in self._columns.items()})
                    with pa.ipc.new_stream(file, batch.schema, options=_AS_IT_IS) as writer:
                        writer.write_batch(batch)
        self._path, self._columns, self.nbytes = path, None, 0

    def rows(self, number: int) -> Part | None:
        """The rows of a range; None: there are none."""
        first, end = self._bounds[number - self._first]
        if first == end:
            return None
        if self._columns is not None:
            whole = len(self._bounds) == 1
            return Part({name: array.slice(first, end - first) for name, array in self._columns.items()}, whole=whole)
        with pa.memory_map(str(self._path)) as file:
            file.seek(self._starts[number - self._first])
            batch = pa.ipc.open_stream(file).read_next_batch()
        return Part(dict(zip(batch.schema.names, batch.columns, strict=True)), whole=False)

    def close(self) -> None:
        """Frees what is held."""
        self._columns = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _cut(array: Any, first: int, end: int) -> Any:
    """Some rows, with a dictionary that is not much longer than they are many."""
    rows = array.slice(first, end - first)
    if pa.types.is_dictionary(rows.type) and len(rows.dictionary) > _DICTIONARY_PER_ROW * len(rows):
        return without_unused(rows)
    return rows


class Spill:
    """A folder for rows that wait, removed at the end of a merge.

    folder: where it is made; None: where the system has temporary files
    bytes_max: what may be held in memory
    """

    def __init__(self, folder: Path | None, bytes_max: int) -> None:
        self._within, self._bytes_max = folder, bytes_max
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files = 0
        self._held: list[HeldRows] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def new_path(self) -> Path:
        """Where a new file may be written (disk)."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="stretto-merge-", dir=self._within)
        self._files += 1
        return Path(self._folder.name) / f"{self._files}.arrow"

    def hold(self, rows: HeldRows) -> None:
        """Takes rows that wait: they go to disk where memory has no room (disk)."""
        if not rows.nbytes:
            return
        if sum(one.nbytes for one in self._held) + rows.nbytes > self._bytes_max:
            rows.spill(self.new_path())
        else:
            self._held.append(rows)

    def drop(self, rows: HeldRows) -> None:
        """Frees rows that are merged."""
        if rows in self._held:
            self._held.remove(rows)
        rows.close()


class SpilledInput:
    """Rows that a first pass has merged, as an input of the next one. The file is deleted when it is read."""

    def __init__(self, table: pa.Table, path: Path) -> None:
        """Writes the rows (disk)."""
        self.rows = table.num_rows
        self._path = path
        self._ids = sampled(one_array(table["trace_id"]), _SAMPLED_ROWS)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema, options=_COMPRESSED) as writer:
            writer.write_table(table)
        self.size_bytes = path.stat().st_size
        self._bytes = table.nbytes
        self._flat = frozenset(field.name for field in table.schema if not pa.types.is_nested(field.type))

    def sample(self, step: int) -> Sample:
        """The trace id of every `step`-th row."""
        ids = np.r_[self._ids[:-1][:: max(1, step // _SAMPLED_ROWS)], self._ids[-1:]]
        return Sample(ids, self._bytes, self._flat)

    def columns(self) -> Columns:
        """Reads back all columns. Rows on disk can be read only once."""
        with pa.memory_map(str(self._path)) as file:
            table: Any = pa.ipc.open_file(file).read_all()
        self._path.unlink(missing_ok=True)
        return {name: one_array(table[name]) for name in table.column_names}
