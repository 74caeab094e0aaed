"""A Parquet file that is open: its footer, which leaf columns each column has, and how rows are decoded from it."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tables.columns import overflow
from tables.columns.arrays import one_array
from tables.errors import DamagedError
from tables.parquet.decode_errors import check_codes, reading
from tables.parquet.decoded_size import TextLeaves, decoded_size
from tables.parquet.directory import Bounds, Directory, directory_of_tail
from tables.parquet.file_columns import KEY_LEAF, ColumnShape, Range, is_many
from tables.parquet.footer_guard import read_guarded
from tables.schema import SCHEMA_KEY, SCHEMA_VERSION, unknown_version
from tables.storage.checksum import Tail
from tables.storage.object_store import RangeFile

_FEW_ROWS: Final = 4096  # of a page, up to the last one that is wanted
_FOOTER_FACTOR: Final = 22  # measured: parsed, with its reader, 350 KB of 16


@dataclass(slots=True, eq=False)
class OpenFile:
    """A `tables.parquet.file_columns.FileColumns` by the file's footer, where it has no directory.

    name: for errors. leaves: column → numbers of its leaf columns. types: column → type.
    """

    name: str
    file: pq.ParquetFile
    bytes: RangeFile  # what `file` reads
    open_file: Callable[[], RangeFile]
    leaves: dict[str, list[int]]
    types: dict[str, Any]
    lock: threading.Lock  # a Parquet reader is not made for two threads at once
    sizes: dict[str, int]  # of columns, as far as they were asked for

    @property
    def nbytes(self) -> int:
        """About how many bytes this takes in memory, for the cache."""
        return _FOOTER_FACTOR * int(self.file.metadata.serialized_size)

    @property
    def names(self) -> Collection[str]:
        return self.leaves

    @property
    def knows_integers(self) -> bool:
        return True

    def hidden(self) -> frozenset[str]:
        if overflow.COLUMN not in self.leaves:
            return frozenset()
        # The names are the first leaf of the list's struct.
        return overflow.column_names(self._read([overflow.COLUMN], self.leaves[overflow.COLUMN][:1])[0])

    def bounds_of(self, column: str) -> Bounds | None:
        leaves = self.leaves.get(column)
        if leaves is None or len(leaves) != 1:
            return None
        statistics = self.file.metadata.row_group(0).column(leaves[0]).statistics
        if statistics is None or not statistics.has_min_max or not isinstance(statistics.min, int):
            return None
        return statistics.min, statistics.max

    def decoded_bytes(self, column: str) -> int:
        """As the protocol says. Texts are read for it."""
        if column not in self.sizes:
            with reading(self.name, "cannot be read"):
                self.sizes[column] = decoded_size(self.file.metadata, self.leaves[column], self.open_file)
        return self.sizes[column]

    def chunks(self, columns: Sequence[str]) -> list[Range]:
        return _chunks(self.file.metadata, [leaf for column in columns for leaf in self.leaves[column]])

    def shape(self, column: str) -> ColumnShape:
        return ColumnShape(self.types[column], len(self.leaves[column]))

    def decode(self, columns: Sequence[str]) -> list[Any]:
        return self._read(columns, [leaf for column in columns for leaf in self.leaves[column]])

    def entry_count(self, column: str) -> int:
        return int(self.file.metadata.row_group(0).column(self._key_leaf(column)).num_values)

    def entry_keys(self, column: str) -> Any:
        leaf = self._key_leaf(column)
        with reading(self.name, "cannot be read"):
            keys = TextLeaves(self.file.metadata, [leaf], self.open_file).read(leaf)
        check_codes(self.name, [keys])
        return keys

    def _read(self, columns: Sequence[str], indices: Sequence[int]) -> list[Any]:
        """The columns, each with only those of its leaves that are in `indices`."""
        with self.lock, reading(self.name, "cannot be read"):
            with self.bytes.holding(_chunks(self.file.metadata, indices)):
                read = self.file.reader.read_row_group
                table = read(0, column_indices=list(indices), use_threads=is_many(indices))
            if table.num_rows != self.file.metadata.num_rows:
                raise DamagedError(self.name, f"has {table.num_rows} rows of {self.file.metadata.num_rows}")
        arrays = [one_array(table.column(column)) for column in columns]
        check_codes(self.name, arrays)
        return arrays

    def _key_leaf(self, column: str) -> int:
        group = self.file.metadata.row_group(0)
        for leaf in self.leaves[column]:
            if group.column(leaf).path_in_schema.endswith(KEY_LEAF):
                return leaf
        raise DamagedError(self.name, f"has a column {column} without keys")


def open_parquet(name: str, open_file: Callable[[], RangeFile], end: Any | None, *, is_own: bool = False) -> OpenFile:
    """Opens a file. end: its bytes after the pages, as of `read_tail`; None: not known, and read here

    is_own: this process has written it, and what holds it checks what it reads
    Raises: DamagedError, StorageError
    """
    with reading(name, "cannot be opened"):
        if end is not None:
            metadata = pq.read_metadata(pa.BufferReader(end))
        else:
            metadata = pq.read_metadata(open_file()) if is_own else read_guarded(name, open_file())
        check_version(name, metadata)
        # Not metadata.schema: that one and the metadata know each other, and so stay for good, unseen by the cache.
        schema = pq.ParquetSchema(metadata).to_arrow_schema()
        strings = [field.name for field in schema if field.type == pa.string()]
        source = open_file()
        # What Arrow reads ahead it keeps for as long as the file is open: `holding` does it instead.
        dictionaries = [*strings, *(overflow.DICTIONARIES if overflow.COLUMN in schema.names else ())]
        file = pq.ParquetFile(
            source, metadata=metadata, read_dictionary=dictionaries, pre_buffer=False, page_checksum_verification=True
        )
    if metadata.num_row_groups != 1:
        raise DamagedError(name, f"has {metadata.num_row_groups} row groups; this build reads files with one")
    leaves: dict[str, list[int]] = {}
    at = 0
    for field in schema:
        count = _leaf_count(field.type)
        leaves[field.name] = list(range(at, at + count))
        at += count
    types = {field.name: field.type for field in schema}
    return OpenFile(name, file, source, open_file, leaves, types, threading.Lock(), {})


def directory_of_end(name: str, end: Any | None) -> Directory | None:
    """What the end of a file, as of `read_tail`, says of its columns; None: only Parquet's footer says it.

    Raises: DamagedError
    """
    if end is None:
        return None
    try:
        return directory_of_tail(end)
    except ValueError as err:
        raise DamagedError(name, str(err)) from err


def check_version(name: str, metadata: pq.FileMetaData) -> None:
    """Raises: DamagedError: this build does not know the version of the schema that the footer names"""
    version = (metadata.metadata or {}).get(SCHEMA_KEY.encode(), b"1")
    if not version.isdigit() or int(version) > SCHEMA_VERSION:
        raise DamagedError(name, unknown_version(version.decode(errors="replace")[:20]))


def read_tail(name: str, open_file: Callable[[], RangeFile], tail: Tail) -> Any:
    """A file's bytes after the pages, checked. Raises: DamagedError, StorageError"""
    with reading(name, "cannot be opened"):
        file = open_file()
        file.seek(file.size() - tail.size_bytes)
        data = file.read(tail.size_bytes)
    if problem := tail.problem(data):
        raise DamagedError(name, problem)
    return pa.py_buffer(data)


def _chunks(metadata: pq.FileMetaData, leaves: Sequence[int]) -> list[Range]:
    """The bytes of each leaf, as Arrow asks for them."""
    chunks = []
    for leaf in leaves:
        column = metadata.row_group(0).column(leaf)
        start = column.data_page_offset
        if column.has_dictionary_page and column.dictionary_page_offset < start:
            start = column.dictionary_page_offset
        chunks.append((start, column.total_compressed_size))
    return chunks


def decode_cut(data: bytes, columns: Mapping[str, ColumnShape], rows: tuple[int, int]) -> dict[str, Any]:
    """Rows of the columns from a file that has these columns only. Of lists of structs, which most traces have none
    of, the other leaves are read where the first shows an entry.
    """
    strings = [column for column, shape in columns.items() if shape.type == pa.string()]
    # Arrow hashes each value of a dictionary that it keeps, which for a trace's rows takes a third of the time.
    few = rows[1] <= _FEW_ROWS
    kept = [] if few else strings
    file = pq.ParquetFile(
        pa.BufferReader(data), read_dictionary=kept, pre_buffer=False, page_checksum_verification=True
    )
    leaves: dict[str, range] = {}
    at = 0
    for column, shape in columns.items():
        leaves[column] = range(at, at + shape.leaves)
        at += shape.leaves

    def read(indices: list[int]) -> dict[str, Any]:
        # In batches that end with the wanted rows: what comes behind them is not decoded.
        batches, left = [], max(1, rows[1])
        for batch in file.reader.iter_batches(left, row_groups=[0], column_indices=indices, use_threads=False):
            batches.append(batch)
            left -= batch.num_rows
            if left <= 0:
                break
        table = pa.Table.from_batches(batches).slice(rows[0], rows[1] - rows[0])
        return {column: one_array(table.column(column)) for column in table.column_names}

    found = read([numbers[0] for numbers in leaves.values()])
    if few:
        found |= {column: found[column].dictionary_encode() for column in strings}
    nested = [column for column in columns if len(leaves[column]) > 1]
    full = [column for column in nested if pc.max(pc.list_value_length(found[column])).as_py()]
    for column in nested:
        if column not in full:  # all empty or null
            found[column] = pa.array(found[column].to_pylist(), columns[column].type)
    return found | read([number for column in full for number in leaves[column]]) if full else found


def _leaf_count(type_: Any) -> int:
    if pa.types.is_list(type_):
        return _leaf_count(type_.value_type)
    if pa.types.is_struct(type_):
        return sum(_leaf_count(field.type) for field in type_)
    return 1
