"""Where the columns of a file lie, in a form that is read in some microseconds.

A query over thousands of files spends its time on footers: Arrow needs 5 µs for each of 100 columns. So a file has a
directory between its pages and its footer, where Parquet's readers see nothing:

    PAR1 | pages | directory (LZ4), trailer | footer, its length, PAR1

It has what the footer says, and what readers would have to decode otherwise: the names of the columns in the overflow,
the size of each column in memory, and a checksum: in a small file of itself and of all that lies before, so that it is
read without another check; in a large one, of which queries read parts, of itself.
"""

import struct
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final, NamedTuple, Self

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from zlib_ng import zlib_ng

from tables.columns import overflow
from tables.columns.arrays import list_values, one_array, spread_bytes
from tables.parquet.footer import MAGIC, footer_start
from tables.parquet.layout import Storing, known_layout, layout, leaf_head, storing
from tables.schema import SCHEMA_VERSION, unknown_version

# A larger file is opened as any Parquet file where something of it is decoded.
SMALL_FILE_BYTES: Final = 512 << 10
# What a directory takes at most.
DIRECTORY_BYTES_MAX: Final = 64 << 10
# The same decompressed: readers hold it. Long names of thousands of attributes that are alike pack well.
_BODY_BYTES_MAX: Final = 256 << 10
# What they read of files that were written before there was this limit: what LZ4 makes of the most bytes.
_UNPACKED_BYTES_MAX: Final = 255 * DIRECTORY_BYTES_MAX
# Bounds of these columns are kept: they show whether a file overlaps a query's time range.
BOUNDED: Final = ("start_ns", "duration_ns", "trace_start_ns", "trace_duration_ns")

# Bytes of the directory as it lies there and decompressed; checksum; magic number.
_TRAILER: Final = struct.Struct("<III8s")
_MAGIC: Final = b"STRCDIR1"  # the checksum is of all bytes before the trailer
_MAGIC_ALONE: Final = b"STRCDIR2"  # it is of the directory
_CODEC: Final = "lz4_raw"
_INTEGERS: Final = frozenset({"INT32", "INT64"})
_INTEGER_BOUNDS_MAX: Final = 256  # columns; of others the footer says it
_HEAD: Final = struct.Struct("<II")  # bytes of the JSON, bytes of a number: 2 or 4
_SIZE_UNIT: Final = 64  # sizes in memory are counted in so many bytes
_INDEX_BYTES: Final = 4  # of a text that a dictionary has
_OBJECT_BYTES: Final = 1500

Bounds = tuple[int, int]


class _Trailer(NamedTuple):
    packed_bytes: int
    body_bytes: int
    crc32: int
    magic: bytes


class LeafPlace(NamedTuple):
    """The pages of a leaf column. head: its ColumnMetaData up to codec"""

    start: int
    size_bytes: int
    dictionary_bytes: int
    values: int
    head: bytes
    codec: int


class Directory:
    """The columns of a file.

    numbers: by name; hidden: the columns in the overflow; bounds: of the columns of BOUNDED that the file has
    knows_integers: whether it has bounds of other columns of integers, too
    checked: the checksum of the pages was right, so that they need no checks of their own
    """

    __slots__ = (
        "_first_leaves",
        "_integers",
        "_ints",
        "_kinds",
        "_sizes",
        "_starts",
        "bounds",
        "checked",
        "hidden",
        "knows_integers",
        "numbers",
        "rows",
    )

    def __init__(self, said: Mapping[str, Any], ints: Sequence[int], *, checked: bool) -> None:
        """said: rows, columns, hidden, bounds, integers (bounds of other columns, by their numbers), kinds (`Storing`
        of leaves); ints: for each leaf size, bytes of the dictionary, values (0: as many as rows), number of its kind;
        then for each column its first leaf, then for each its size in memory
        """
        self.rows: int = said["rows"]
        self.numbers = _column_numbers(tuple(said["columns"]))
        self.hidden: Sequence[str] = said["hidden"]
        self.bounds: Mapping[str, Bounds] = said["bounds"]
        integers = said.get("integers")
        self.knows_integers = integers is not None
        self._integers: Sequence[tuple[int, int, int]] = integers or ()
        self._kinds = _kinds_of(said["kinds"])
        self._ints = ints
        self.checked = checked
        columns = len(self.numbers)
        self._sizes = len(ints) - columns  # where they begin
        self._first_leaves = self._sizes - columns
        self._starts: list[int] | None = None

    def of_file(self, *, checked: bool) -> Self:
        """The same of a file that was read as a whole."""
        made = copy(self)
        made.checked = checked
        return made

    @property
    def nbytes(self) -> int:
        """About how much memory it takes, once it was used. Most files share the names of their columns."""
        return _OBJECT_BYTES + 36 * len(self.numbers) + 60 * len(self.hidden) + 4 * len(self._ints)

    def bounds_of(self, column: str) -> Bounds | None:
        """No value of a column of integers is less or greater; None where not known."""
        found = self.bounds.get(column)
        if found is not None:
            return found[0], found[1]
        number = self.numbers.get(column)
        # Seldom asked, and thousands of directories are read for a query: so there is no dictionary of them.
        return next(((low, high) for one, low, high in self._integers if one == number), None)

    def first_leaf(self, column: str) -> int:
        """The number of a column's first leaf."""
        return self._ints[self._first_leaves + self.numbers[column]]

    def leaf(self, number: int, path: bytes) -> LeafPlace:
        """Where a leaf lies. path: of its `ColumnLayout`"""
        size, dictionary, values, kind = self._ints[4 * number : 4 * number + 4]
        storing = self._kinds[kind]
        return LeafPlace(
            self._leaf_starts()[number],
            size,
            dictionary,
            values or self.rows,
            leaf_head(storing, path),
            storing.codec,
        )

    def leaves(self, column: str) -> list[LeafPlace]:
        """Where the leaves of a column lie, in their order."""
        first = self.first_leaf(column)
        return [self.leaf(first + number, path) for number, (_, path) in enumerate(known_layout(column).paths)]

    def flat(self, column: str) -> tuple[int, int, int, Storing]:
        """The place of a column of one leaf: its start, the bytes of its pages and of those its dictionary."""
        ints = self._ints
        number = ints[self._first_leaves + self.numbers[column]]
        size, dictionary, _, kind = ints[4 * number : 4 * number + 4]
        starts = self._starts or self._leaf_starts()
        return starts[number], size, dictionary, self._kinds[kind]

    def chunks(self, column: str) -> list[tuple[int, int]]:
        """(start, length) of the bytes of each leaf of a column, as of `tables.parquet.open_file.column_chunks`."""
        known, first = layout(column), self.first_leaf(column)
        leaves = range(first, first + (1 if known is None else len(known.paths)))
        return [(self._leaf_starts()[number], self._ints[4 * number]) for number in leaves]

    def _leaf_starts(self) -> list[int]:
        if self._starts is None:
            self._starts = list(accumulate(self._ints[: self._first_leaves : 4], initial=len(MAGIC)))
        return self._starts

    def decoded_bytes(self, column: str) -> int:
        """About how much memory the column takes, rather too much."""
        return self._ints[self._sizes + self.numbers[column]] * _SIZE_UNIT

    @classmethod
    def of_footer(
        cls,
        metadata: pq.FileMetaData,
        hidden: Iterable[str],
        decoded_bytes: Callable[[str, range], int],
    ) -> Self | None:
        """What the footer of a file with one row group says; None: it was not written in the way that is known here.

        decoded_bytes: of a column, by its name and the numbers of its leaves
        """
        made = _describe(metadata, hidden, decoded_bytes)
        return None if made is None else cls(*made, checked=False)


def with_directory(data: pa.Buffer, table: pa.Table) -> pa.Buffer:
    """A file with its directory. In: the file, and the table that it was made of"""
    if not table.num_rows:
        return data
    metadata = pq.read_metadata(pa.BufferReader(data))
    columns = {name: one_array(table[name]) for name in table.column_names}
    hidden = overflow.column_names(columns[overflow.COLUMN]) if overflow.COLUMN in columns else frozenset()
    group = metadata.row_group(0)

    def decoded_bytes(column: str, leaves: range) -> int:
        array = columns[column]
        if column == overflow.COLUMN:
            return int(array.nbytes) + spread_bytes(list_values(array).field("bytes_value"))
        if pa.types.is_dictionary(array.type) and array.type.value_type == pa.binary():
            return spread_bytes(array)
        if pa.types.is_dictionary(array.type) and array.type.value_type != pa.string():
            return len(array) * int(array.type.value_type.bit_width) // 8 + len(array) // 8
        if pa.types.is_string(array.type) or pa.types.is_dictionary(array.type):
            return _INDEX_BYTES * len(array) + sum(int(group.column(leaf).total_uncompressed_size) for leaf in leaves)
        size_bytes: int = array.nbytes
        return size_bytes

    made = _describe(metadata, hidden, decoded_bytes)
    if made is None:
        return data
    view = memoryview(data).cast("B")
    at = footer_start(view)
    said, ints = made
    text = orjson.dumps(said)
    text += b" " * (-len(text) % 4)
    width = "H" if max(ints) < 1 << 16 else "I"
    packed_ints = struct.pack(f"<{len(ints)}{width}", *ints)
    body = _HEAD.pack(len(text), struct.calcsize(width)) + text + packed_ints
    packed = pa.compress(body, codec=_CODEC, asbytes=True)
    if len(packed) > DIRECTORY_BYTES_MAX - _TRAILER.size or len(body) > _BODY_BYTES_MAX:
        return data  # thousands of columns: the footer is the lesser part of what it takes
    if len(view) <= SMALL_FILE_BYTES:
        crc32, magic = zlib_ng.crc32(packed, zlib_ng.crc32(view[:at])), _MAGIC
    else:
        crc32, magic = zlib_ng.crc32(packed), _MAGIC_ALONE
    trailer = _TRAILER.pack(len(packed), len(body), crc32, magic)
    return pa.py_buffer(b"".join([view[:at], packed, trailer, view[at:]]))


def read_directory(data: Any, known: Directory | None = None) -> Directory | None:
    """The directory of a whole file; None: it has none. known: it, as its end alone has said it

    Raises: ValueError: the file is damaged
    """
    view = memoryview(data).cast("B")
    found = _packed(view)
    if found is None:
        return None
    trailer, start, end = found
    if trailer.magic == _MAGIC_ALONE:
        if zlib_ng.crc32(view[start:end]) != trailer.crc32:
            raise ValueError("has a directory whose checksum is another one")
    elif zlib_ng.crc32(view[:end]) != trailer.crc32:
        raise ValueError("has pages whose checksum is another one")
    checked = trailer.magic == _MAGIC
    return _parsed(view[start:end], trailer, checked=checked) if known is None else known.of_file(checked=checked)


def directory_of_tail(tail: Any) -> Directory | None:
    """The directory of a file by its end after the pages, which was checked; None: it has none. Raises: ValueError"""
    view = memoryview(tail).cast("B")
    found = _packed(view)
    if found is None:
        return None
    trailer, start, end = found
    return _parsed(view[start:end], trailer, checked=False)


def _packed(view: memoryview) -> tuple[_Trailer, int, int] | None:
    """The trailer, and where the directory before it lies. In: a file or its end. Raises: ValueError"""
    end = footer_start(view) - _TRAILER.size
    if end < 0:
        return None
    trailer = _Trailer(*_TRAILER.unpack_from(view, end))
    if trailer.magic not in (_MAGIC, _MAGIC_ALONE):
        return None
    start = end - trailer.packed_bytes
    if start < 0 or trailer.body_bytes > _UNPACKED_BYTES_MAX:
        raise ValueError("has a directory of no possible size")
    return trailer, start, end


def _parsed(packed: memoryview, trailer: _Trailer, *, checked: bool) -> Directory:
    try:
        body = pa.decompress(packed, trailer.body_bytes, codec=_CODEC, asbytes=True)
        text_bytes, width = _HEAD.unpack_from(body)
        at = _HEAD.size + text_bytes
        ints = memoryview(body)[at:].cast("H" if width == struct.calcsize("H") else "I")
        said = orjson.loads(body[_HEAD.size : at])
        version: int = said.get("schema", 1)
        if version <= SCHEMA_VERSION:
            return Directory(said, ints, checked=checked)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, struct.error) as err:
        raise ValueError(f"has a directory that cannot be read: {err}") from err
    raise ValueError(unknown_version(str(version)))


@lru_cache(maxsize=4096)
def _column_numbers(names: tuple[str, ...]) -> Mapping[str, int]:
    """The same object for equal columns."""
    return {sys.intern(name): number for number, name in enumerate(names)}


@lru_cache(maxsize=4096)
def _kinds_of(text: str) -> tuple[Storing, ...]:
    return tuple(Storing(type_, tuple(encodings), codec) for type_, encodings, codec in orjson.loads(text))


def _describe(
    metadata: pq.FileMetaData, hidden: Iterable[str], decoded_bytes: Callable[[str, range], int]
) -> tuple[dict[str, Any], list[int]] | None:
    """The arguments of `Directory`; None: the file is not as Arrow writes the span table."""
    # Not metadata.schema: that and the metadata would know each other, and so stay for good.
    group, schema = metadata.row_group(0), pq.ParquetSchema(metadata)
    kinds: dict[Storing, int] = {}
    ints: list[int] = []
    names: list[str] = []
    first_leaves: list[int] = []
    sizes: list[int] = []
    bounds: dict[str, Bounds] = {}
    integers: list[tuple[int, int, int]] = []
    leaf, end = 0, len(MAGIC)
    while leaf < metadata.num_columns:
        name = _column_name(group.column(leaf).path_in_schema, schema.column(leaf).name)
        known = layout(name)
        if known is None or leaf + len(known.paths) > metadata.num_columns:
            return None
        leaves = range(leaf, leaf + len(known.paths))
        for number, (path, _) in zip(leaves, known.paths, strict=True):
            chunk = group.column(number)
            kind = storing(chunk)
            start = chunk.data_page_offset
            dictionary = 0
            if chunk.has_dictionary_page:
                dictionary = start - chunk.dictionary_page_offset
                start = chunk.dictionary_page_offset
            # One chunk behind the other: so a size says where the next one begins.
            if kind is None or chunk.path_in_schema != path or start != end:
                return None
            end += chunk.total_compressed_size
            values = 0 if chunk.num_values == metadata.num_rows else chunk.num_values
            ints += [chunk.total_compressed_size, dictionary, values, kinds.setdefault(kind, len(kinds))]
        if group.column(leaf).physical_type in _INTEGERS and len(leaves) == 1:
            found = _bounds(group.column(leaf).statistics)
            if found is not None and name in BOUNDED:
                bounds[name] = found
            elif found is not None and len(integers) < _INTEGER_BOUNDS_MAX:
                integers.append((len(names), *found))
        names.append(name)
        first_leaves.append(leaf)
        sizes.append(-(-decoded_bytes(name, leaves) // _SIZE_UNIT))
        leaf = leaves.stop
    said = {
        "rows": metadata.num_rows,
        "schema": SCHEMA_VERSION,
        "columns": names,
        "hidden": sorted(hidden),
        "bounds": bounds,
        "integers": integers,
        "kinds": orjson.dumps([tuple(kind) for kind in kinds]).decode(),
    }
    return said, [*ints, *first_leaves, *sizes]


def _column_name(path: str, leaf_name: str) -> str:
    """The column that a leaf belongs to. A flat column is its only leaf, whatever dots its name has."""
    if path == leaf_name:
        return path
    head = path.partition(".")[0]
    return head if layout(head) is not None else path.removesuffix(".list.element")


def _bounds(statistics: Any) -> Bounds | None:
    if statistics is None or not statistics.has_min_max or not isinstance(statistics.min, int):
        return None
    return statistics.min, statistics.max
