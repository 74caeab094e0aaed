"""Rows in memory as a `Source`: the live store's head, traces put together from several sources, tests."""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from query.engine.reader import fixed_bytes
from query.source import TraceIndex


def trace_index(trace_ids: Any) -> TraceIndex:
    """In: binary[16] Array, equal ids together, ascending."""
    ids = fixed_bytes(trace_ids)
    new = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else np.empty(0, np.int64)
    return TraceIndex(ids[new], np.append(new, len(ids)).astype(np.int64))


class TableSource:
    """A table in the form of `tables.schema`, sorted by trace_id, then start_ns. Immutable once made."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._columns = frozenset(
            name for name in table.column_names if table.num_rows and table[name].null_count < table.num_rows
        )
        self._lock = Lock()
        self._arrays: dict[str, Any] = {}
        self._bounds: dict[str, tuple[int, int] | None] = {}
        self._index: TraceIndex | None = None
        self._kept: dict[str, Any] = {}

    @property
    def rows(self) -> int:
        return int(self._table.num_rows)

    @property
    def columns(self) -> frozenset[str]:
        return self._columns

    def bounds(self, column: str) -> tuple[int, int] | None:
        if column not in self._columns or not pa.types.is_integer(self._table.schema.field(column).type):
            return None
        with self._lock:
            if column not in self._bounds:
                ends = pc.min_max(self._table[column])
                self._bounds[column] = (ends["min"].as_py(), ends["max"].as_py())
            return self._bounds[column]

    def traces(self) -> TraceIndex:
        with self._lock:
            if self._index is None:
                ids = self._array("trace_id") if self.rows else self._table["trace_id"].combine_chunks()
                self._index = trace_index(ids)
            return self._index

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def read(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> Mapping[str, Any]:
        with self._lock:
            arrays = {column: self._array(column) for column in columns}
        if rows is None:
            return arrays
        first, end = rows
        return {column: array.slice(first, end - first) for column, array in arrays.items()}

    def _array(self, column: str) -> Any:
        if column not in self._columns:
            raise KeyError(column)
        if column not in self._arrays:
            found = self._table[column].combine_chunks()
            array = found.chunk(0) if isinstance(found, pa.ChunkedArray) else found
            self._arrays[column] = array.dictionary_encode() if pa.types.is_string(array.type) else array
        return self._arrays[column]
