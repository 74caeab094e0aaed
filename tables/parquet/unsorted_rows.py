"""The rows of a group of small files as they lie there, one file below the other: without a look at its traces."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, Protocol

from tables.columns import overflow
from tables.columns.whole_traces import FACT_COLUMNS
from tables.parquet.directory import Bounds
from tables.parquet.group_columns import column_of
from tables.parquet.read import ColumnCache, ColumnKey
from tables.parquet.small_files import LoadedFile

# Cache entries of a group: its columns, in this order. No column has such a name.
UNSORTED: Final = "\0unsorted "


class Group(Protocol):
    """Of a `GroupSource` what this needs."""

    key: str
    cache: ColumnCache

    @property
    def columns(self) -> frozenset[str]: ...
    def bounds(self, column: str) -> Bounds | None: ...
    def rows_max(self) -> int: ...
    def stored_bytes(self, column: str) -> int: ...
    def sparse_columns(self) -> frozenset[str]: ...
    def load(self) -> Sequence[LoadedFile]: ...


class UnsortedRows:
    """As a source (`query.scan.source.Source`), but for traces, and facts of them. What a client sent again counts."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self.rows = group.rows_max()

    @property
    def columns(self) -> frozenset[str]:
        return self._group.columns.difference(FACT_COLUMNS)

    def bounds(self, column: str) -> Bounds | None:
        return self._group.bounds(column)

    def traces(self) -> NoReturn:
        """Nobody asks these rows for traces, which need their order. Raises: TypeError"""
        raise TypeError("rows in no order have no traces")

    def decoded_bytes(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> int:  # noqa: ARG002
        """About how many bytes reading the columns takes; for cached columns their size."""
        total = 0
        for column in columns:
            known = self.ready_bytes(column)
            total += 2 * self._group.stored_bytes(column) if known is None else known
            if known is None and column in self._group.sparse_columns():
                total += 2 * self._group.stored_bytes(overflow.COLUMN) + self.rows * overflow.HIDDEN_VALUE_BYTES
        return total

    def ready_bytes(self, column: str) -> int | None:
        """The size of the whole column where the cache has it."""
        return self._group.cache.size_of(ColumnKey(self._group.key, UNSORTED + column))

    def read(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> Mapping[str, Any]:
        """The columns, all rows or a range, in the order of the files. Raises: StorageError, DamagedError"""
        found = {column: self._column(column) for column in columns}
        return found if rows is None else {name: each.slice(rows[0], rows[1] - rows[0]) for name, each in found.items()}

    def _column(self, column: str) -> Any:
        key = ColumnKey(self._group.key, UNSORTED + column)
        array = self._group.cache.get(key)
        if array is None:
            if column in self._group.sparse_columns():
                array = overflow.columns_of(self._stored(overflow.COLUMN), [column])[column]
            else:
                array = self._stored(column)
            self._group.cache.put(key, array, max(array.nbytes, 64))
        return array

    def _stored(self, column: str) -> Any:
        return column_of(self._group.load(), column, lambda: self._stored(overflow.COLUMN), None)
