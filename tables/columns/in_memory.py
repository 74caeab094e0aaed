"""Rows in memory as a source for the evaluator (`query.scan.source.Source`)."""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns import overflow
from tables.columns.arrays import one_array
from tables.columns.row_digests import NO_DIGESTS, row_digests
from tables.columns.trace_index import TraceIndex, trace_index
from tables.columns.types import Int64s, UInt64s
from tables.columns.whole_traces import FACT_COLUMNS

# A column, its chosen rows, and what is made of these.
_COPIES: Final = 3


class TableSource:
    """A table in the form of `tables.schema`, sorted by trace_id, then start_ns: a part of a head, or stitched traces.
    Immutable and thread-safe.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._lock = Lock()
        self._arrays: dict[str, Any] = {}
        self._bounds: dict[str, tuple[int, int] | None] = {}
        self._index: TraceIndex | None = None
        self._digests = NO_DIGESTS
        self.rows = int(table.num_rows)
        self._own = {name for name in table.column_names if table[name].null_count < self.rows}
        hidden: frozenset[str] = frozenset()
        if overflow.COLUMN in self._own:
            hidden = overflow.column_names(self._array(overflow.COLUMN))
        self.columns = overflow.visible(self._own, hidden)

    def bounds(self, column: str) -> tuple[int, int] | None:
        """Minimum and maximum of an integer column; None for other columns."""
        if column not in self._own or not pa.types.is_integer(self._table.schema.field(column).type):
            return None
        with self._lock:
            if column not in self._bounds:
                ends = pc.min_max(self._table[column])
                self._bounds[column] = (ends["min"].as_py(), ends["max"].as_py())
            return self._bounds[column]

    def traces(self) -> TraceIndex:
        """The index of trace ids; see `trace_index`."""
        with self._lock:
            if self._index is None:
                self._index = trace_index(self._array("trace_id"))
            return self._index

    def decoded_bytes(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> int:
        """Bytes that reading the columns takes in addition to the table: dictionaries of strings, and columns of the
        overflow.
        """
        count = self.rows if rows is None else rows[1] - rows[0]
        hidden = sum(column not in self._own for column in columns)
        # Nobody else may hold the table: stitched traces end with their query.
        own = sum(int(self._table[column].nbytes) for column in columns if column in self._own)
        return own + hidden * count * overflow.HIDDEN_VALUE_BYTES

    def ready_bytes(self, column: str) -> None:
        """Not known: what a column takes besides the table is not kept."""

    def sparse_columns(self) -> frozenset[str]:
        """Names of the columns that the overflow holds."""
        return self.columns - self._own

    def sparse(self) -> overflow.SparseColumns:
        """All attributes in the overflow column, as one sparse column each."""
        with self._lock:
            return overflow.SparseColumns.of(self._array(overflow.COLUMN))

    def read(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> Mapping[str, Any]:
        """The columns, all rows or a range. Raises: KeyError for an unknown column"""
        if unknown := set(columns) - self.columns:
            raise KeyError(f"no column {min(unknown)!r}")
        hidden = [column for column in columns if column not in self._own]
        with self._lock:
            found = {column: self._array(column) for column in columns if column in self._own}
            lists = self._array(overflow.COLUMN) if hidden else None
        if rows is not None:
            first, end = rows
            found = {column: array.slice(first, end - first) for column, array in found.items()}
            lists = None if lists is None else lists.slice(first, end - first)
        return found if lists is None else {**found, **overflow.columns_of(lists, hidden)}

    def digest_bytes(self) -> int:
        """About how much memory `row_digests` takes at once: it goes by one column after the other."""
        return _COPIES * max((int(self._table[name].nbytes) for name in self._own.difference(FACT_COLUMNS)), default=0)

    def row_digests(self, rows: Int64s) -> UInt64s:
        """A digest of each of some rows, as of `tables.columns.row_digests`. Made once and kept."""
        known = self._digests = self._digests.with_rows(rows, self._made_digests)
        return known.of(rows)

    def _made_digests(self, rows: Int64s) -> UInt64s:
        at, digests = pa.array(rows), np.zeros(len(rows), np.uint64)
        for name in self._own.difference(FACT_COLUMNS):
            digests += row_digests({name: one_array(self._table[name].take(at))}, len(rows))
        return digests

    def _array(self, column: str) -> Any:
        array = self._arrays.get(column)
        if array is None:
            array = one_array(self._table[column])
            if pa.types.is_string(array.type):
                array = array.dictionary_encode()
            self._arrays[column] = array
        return array
