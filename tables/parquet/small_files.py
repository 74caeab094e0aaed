"""Columns of many small files, decoded together.

Arrow takes longer to open a small file than to decode a column of it. So the chunks of one column of many files become
the row groups of one Parquet file in memory, which has this column only, and Arrow opens that.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tables.columns import overflow
from tables.columns.arrays import list_values, one_array
from tables.columns.row_digests import row_digests
from tables.columns.types import Int64s, UInt64s
from tables.columns.whole_traces import FACT_COLUMNS
from tables.errors import DamagedError
from tables.parquet.decode_errors import check_codes, check_type, reading
from tables.parquet.decoded_size import decoded_size
from tables.parquet.directory import Directory, read_directory
from tables.parquet.footer import MAGIC, column_chunk, file_end, row_group
from tables.parquet.footer_guard import read_guarded
from tables.parquet.joined_pages import Chunk, joined
from tables.parquet.layout import column_type, dictionary_leaves, known_layout
from tables.parquet.open_file import check_version, directory_of_end
from tables.storage.checksum import Tail

# On average, of a file. Of files of 200 rows columns take a third less so, of 2,400 it does not pay.
_JOINED_ROWS_MAX: Final = 500
_NAME_PATH: Final = "overflow.list.element.column"


class SmallFile(NamedTuple):
    """A small file of a block. tail: None: not known. traces: how many it has; 0: not known"""

    path: str
    size_bytes: int
    rows: int
    tail: Tail | None
    traces: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class LoadedFile:
    """The bytes of a small file, which were checked, and where its columns lie in them."""

    path: str
    data: memoryview
    directory: Directory

    @property
    def nbytes(self) -> int:
        return len(self.data) + self.directory.nbytes


def describe(file: SmallFile, end: Any) -> Directory | None:
    """What a file says of itself at its end, which is as long as its tail; None: only the whole file says it.

    Raises: DamagedError
    """
    assert file.tail is not None
    if problem := file.tail.problem(end):
        raise DamagedError(file.path, problem)
    found = directory_of_end(file.path, end)
    if found is not None and found.rows != file.rows:
        raise DamagedError(file.path, f"has {found.rows} rows of {file.rows}")
    return found


def load(file: SmallFile, data: Any, described: Directory | None = None) -> LoadedFile:
    """A file from its bytes. described: as `describe` has said. Raises: DamagedError"""
    view = memoryview(data).cast("B")
    if file.tail is not None and (problem := file.tail.problem(view[len(view) - file.tail.size_bytes :])):
        raise DamagedError(file.path, problem)
    try:
        directory = read_directory(view, described)
    except ValueError as err:
        raise DamagedError(file.path, str(err)) from err
    if directory is None:
        directory = _from_footer(file.path, view)
    if directory.rows != file.rows:
        raise DamagedError(file.path, f"has {directory.rows} rows of {file.rows}")
    return LoadedFile(file.path, view, directory)


def _from_footer(path: str, view: memoryview) -> Directory:
    """Of a file that was written without a directory."""

    def open_file() -> Any:
        return pa.BufferReader(pa.py_buffer(view))

    with reading(path, "cannot be opened"):
        metadata = read_guarded(path, open_file())
        if metadata.num_row_groups != 1:
            raise DamagedError(path, f"has {metadata.num_row_groups} row groups; this build reads files with one")
        check_version(path, metadata)

        def size_of(_: str, leaves: range) -> int:
            return decoded_size(metadata, leaves, open_file)

        directory = Directory.of_footer(metadata, _hidden(path, metadata, open_file), size_of)
    if directory is None:
        raise DamagedError(path, "has columns in an order that this build does not read")
    return directory


def _hidden(path: str, metadata: pq.FileMetaData, open_file: Callable[[], Any]) -> frozenset[str]:
    group = metadata.row_group(0)
    for leaf in range(metadata.num_columns):
        if group.column(leaf).path_in_schema == _NAME_PATH:
            file = pq.ParquetFile(
                open_file(), metadata=metadata, read_dictionary=[_NAME_PATH], page_checksum_verification=True
            )
            lists = one_array(file.reader.read_row_group(0, column_indices=[leaf], use_threads=False).column(0))
            check_codes(path, [list_values(lists).field("column")])
            return overflow.column_names(lists)
    return frozenset()


def decode(files: Sequence[LoadedFile], column: str, leaf_ends: Sequence[str] | None = None) -> Any:
    """The column of files that all have it, one below the other: texts as DictionaryArray, lists with plain texts.

    leaf_ends: only the leaves whose paths end so; None: all. Raises: DamagedError
    """
    known, name = known_layout(column), files[0].path
    among = f"or one of {len(files) - 1} files read with it"
    if known.element_count == 1 and _is_joined(files):
        with reading(name, f"{among} cannot be read"):
            array = joined(column, [_chunk(file, column) for file in files])
        if array is not None:
            return array
    wanted = [
        number
        for number, (path, _) in enumerate(known.paths)
        if leaf_ends is None or any(path.endswith(end) for end in leaf_ends)
    ]
    data, checked = _joined(files, column, wanted)
    paths, groups = [path for path, _ in known.paths], range(len(files))
    with reading(name, f"{among} cannot be read"):
        file = pq.ParquetFile(
            pa.BufferReader(data),
            read_dictionary=dictionary_leaves([column]),
            pre_buffer=False,
            page_checksum_verification=not checked,
        )
        if overflow.DICTIONARIES[0] in paths:
            # Arrow does not put dictionaries within lists together; several row groups at once are an error.
            arrays = [file.reader.read_row_group(number, wanted, use_threads=False).column(0) for number in groups]
            chunks = pa.chunked_array([chunk for array in arrays for chunk in array.chunks])
        else:
            chunks = file.reader.read_row_groups(groups, column_indices=wanted, use_threads=False).column(0)
    if not checked:
        check_codes(name, _dictionaries(chunks.chunks))
    array = one_array(chunks)
    if len(array) != sum(file.directory.rows for file in files):
        raise DamagedError(name, "or a file read with it has another number of rows than its footer says")
    return array


def _is_joined(files: Sequence[LoadedFile]) -> bool:
    """Whether to read pages as one chunk: they are known to be right, and so small that beginning with each is most."""
    rows = sum(file.directory.rows for file in files)
    return len(files) > 1 and rows <= _JOINED_ROWS_MAX * len(files) and all(file.directory.checked for file in files)


def _chunk(file: LoadedFile, column: str) -> Chunk:
    directory = file.directory
    start, size, dictionary_bytes, storing = directory.flat(column)
    return Chunk(file.data[start : start + size], directory.rows, dictionary_bytes, storing)


def _dictionaries(arrays: Iterable[Any]) -> list[Any]:
    """Of lists of structs the texts that are read as dictionaries."""
    found = []
    for array in arrays:
        if pa.types.is_list(array.type) and pa.types.is_struct(array.type.value_type):
            found += list_values(array).flatten()
        else:
            found.append(array)
    return found


def _joined(files: Sequence[LoadedFile], column: str, wanted: Sequence[int]) -> tuple[bytes, bool]:
    """A Parquet file with the column of all files, a row group each, and whether all pages are known to be right.

    It has no bytes of the leaves that are not wanted.
    """
    known = known_layout(column)
    parts: list[Any] = [MAGIC]
    groups = []
    rows, at, checked = 0, len(MAGIC), True
    # Of what is not read the first file's description does for all.
    first_leaf = files[0].directory.first_leaf(column)
    unread = [
        column_chunk(files[0].directory.leaf(first_leaf + number, path).head, 0, at, 0, 0)
        for number, (_, path) in enumerate(known.paths)
    ]
    for file in files:
        directory = file.directory
        checked &= directory.checked
        first, size = directory.first_leaf(column), 0
        chunks = unread.copy()
        for number in wanted:
            leaf = directory.leaf(first + number, known.paths[number][1])
            chunks[number] = column_chunk(leaf.head, leaf.values, at, leaf.dictionary_bytes, leaf.size_bytes)
            parts.append(file.data[leaf.start : leaf.start + leaf.size_bytes])
            at += leaf.size_bytes
            size += leaf.size_bytes
        groups.append(row_group(chunks, size, directory.rows))
        rows += directory.rows
    parts.append(file_end([(known.elements, known.element_count)], groups, rows))
    return b"".join(parts), checked


class Presence(NamedTuple):
    """Which files have a column, and for each row of all files its place among the rows of those, -1: nowhere.

    places: None: every file has it
    """

    files: list[LoadedFile]
    places: Int64s | None


def presence(files: Sequence[LoadedFile], has: Callable[[Directory], bool]) -> Presence:
    """Where rows of the files lie when only files with something are decoded."""
    there = np.array([has(file.directory) for file in files], np.bool_)
    if there.all():
        return Presence(list(files), None)
    rows = np.array([file.directory.rows for file in files])
    of_row = np.repeat(there, rows)
    places = np.where(of_row, np.cumsum(of_row) - 1, -1)
    return Presence([file for file, here in zip(files, there.tolist(), strict=True) if here], places)


def read_rows(files: Sequence[LoadedFile], columns: Sequence[str]) -> dict[str, Any]:
    """Many columns of few files, one below the other, each file opened once; null where a file has not the column.

    Raises: DamagedError
    """
    tables = [_opened_columns(file, columns) for file in files]
    found = {}
    for column in columns:
        arrays = [table[column] for table in tables if column in table]
        if len(arrays) < len(tables):
            type_ = arrays[0].type if arrays else _shown_type(column)
            arrays = [
                table[column] if column in table else pa.nulls(file.directory.rows, type_)
                for file, table in zip(files, tables, strict=True)
            ]
        found[column] = arrays[0] if len(arrays) == 1 else one_array(pa.chunked_array(arrays))
    return found


def _leaves(directory: Directory, column: str) -> range:
    first = directory.first_leaf(column)
    return range(first, first + len(known_layout(column).paths))


def _shown_type(column: str) -> Any:
    type_ = column_type(column)
    return pa.dictionary(pa.int32(), type_) if type_ == pa.string() else type_


def digests_of_rows(file: LoadedFile, rows: Int64s) -> UInt64s:
    """A digest of each of some rows, as of `tables.columns.row_digests`. Raises: DamagedError"""
    names = [name for name in file.directory.numbers if name not in FACT_COLUMNS]
    at = pa.array(rows)
    return row_digests({name: array.take(at) for name, array in _opened(file, names).items()}, len(rows))


def _opened_columns(file: LoadedFile, columns: Sequence[str]) -> dict[str, Any]:
    directory, present = file.directory, [column for column in columns if column in file.directory.numbers]
    hidden = [column for column in columns if column not in directory.numbers and column in directory.hidden]
    found = _opened(file, [*present, overflow.COLUMN] if hidden and overflow.COLUMN not in present else present)
    if hidden:
        found |= overflow.columns_of(found[overflow.COLUMN], hidden)
    return {column: found[column] for column in columns if column in found}


def _opened(file: LoadedFile, names: Sequence[str]) -> dict[str, Any]:
    """Columns that the file has, those of the overflow in it."""
    directory = file.directory
    with reading(file.path, "cannot be read"):
        opened = pq.ParquetFile(
            pa.BufferReader(pa.py_buffer(file.data)),
            read_dictionary=dictionary_leaves(names),
            pre_buffer=False,
            page_checksum_verification=not directory.checked,
        )
        leaves = [leaf for name in names for leaf in _leaves(directory, name)]
        table = opened.reader.read_row_group(0, column_indices=leaves, use_threads=False)
        found = {name: one_array(table.column(name)) for name in names}
    # The directory's checksum does not cover the footer.
    for name, array in found.items():
        if len(array) != directory.rows:
            raise DamagedError(file.path, f"has {len(array)} rows of {directory.rows} in column {name}")
        if (wanted := column_type(name)) is not None:
            check_type(file.path, name, array, wanted)
    if not directory.checked:
        check_codes(file.path, _dictionaries(found.values()))
    return found
