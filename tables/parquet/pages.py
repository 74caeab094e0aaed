"""A few pages of a Parquet file as a small Parquet file of its own.

Arrow decodes whole column chunks, which for the rows of one trace is hundreds of times too much. Where a file has an
offset index and the pages of its columns begin at the same rows, the pages around the wanted rows, each column's
dictionary before them and a new footer are a file that has these rows only:

    PAR1 | dictionary, page, page (a leaf) | dictionary, page, page (the next) | … | footer, its length, PAR1

What describes a column is copied from the old footer, only the places are new.
Source: github.com/apache/parquet-format, parquet.thrift (the names below) and PageIndex.md
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tables.parquet import thrift

_MAGIC: Final = b"PAR1"
_VERSION: Final = 2
# Bytes between two wanted ranges that are read along with them: less than another request costs.
_HOLE_BYTES_MAX: Final = 256 << 10

Range = tuple[int, int]
ReadRanges = Callable[[Sequence[Range]], Sequence[Any]]  # the file's bytes from start to end, of several ranges at once


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A leaf column.

    head: its ColumnMetaData up to codec; dictionary: its offset; None: no dictionary
    pages: offset of each page, and the end of the last one; starts: the first row of each page
    """

    head: bytes
    values: int
    dictionary: int | None
    pages: tuple[int, ...]
    starts: tuple[int, ...]

    def ranges(self, first: int, end: int) -> list[Range]:
        """The byte ranges that decoding the pages needs."""
        data = (self.pages[first], self.pages[end])
        return [data] if self.dictionary is None else [(self.dictionary, self.pages[0]), data]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table. schema: its SchemaElements, `elements` of them"""

    schema: bytes
    elements: int
    leaves: tuple[_Leaf, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Pages:
    """The pages of a file with one row group.

    starts: the first row of each page, and the number of rows
    columns: those whose pages begin at these rows
    """

    created_by: bytes
    starts: tuple[int, ...]
    columns: dict[str, _Column]

    @property
    def nbytes(self) -> int:
        """About how many bytes this takes in memory, for the cache."""
        return 1000 * (1 + sum(len(column.leaves) for column in self.columns.values()))

    def around(self, first: int, end: int) -> Range:
        """The number of the page with row `first`, and one more than the number of the page with row `end` - 1."""
        begin = bisect_right(self.starts, first, hi=len(self.starts) - 1) - 1
        return begin, max(bisect_left(self.starts, end), begin + 1)

    def cut(self, columns: Sequence[str], pages: Range, read: ReadRanges) -> bytes:
        """The pages of some columns as a file. Raises: OSError from `read`"""
        first, end = pages
        wanted = [self.columns[name] for name in columns]
        leaves = [leaf for column in wanted for leaf in column.leaves]
        source = _Spans((each for leaf in leaves for each in leaf.ranges(first, end)), read)
        rows = self.starts[end] - self.starts[first]
        parts: list[Any] = [_MAGIC]
        chunks = []
        at = len(_MAGIC)
        for leaf in leaves:
            ranges = leaf.ranges(first, end)
            parts += [source.bytes(each) for each in ranges]
            sizes = [stop - start for start, stop in ranges]
            # An upper bound if rows have several values, or none: Arrow stops at the end of the chunk's bytes.
            values = rows if leaf.values == self.starts[-1] else leaf.values
            chunks.append(_column_chunk(leaf, values, at, sizes))
            at += sum(sizes)
        footer = self._footer(wanted, chunks, rows)
        return b"".join([*parts, footer, len(footer).to_bytes(4, "little"), _MAGIC])

    def _footer(self, columns: Sequence[_Column], chunks: Sequence[bytes], rows: int) -> bytes:
        """FileMetaData: version = 1, schema = 2, num_rows = 3, row_groups = 4, created_by = 6.

        The schema begins with its root: name = 4, num_children = 5.
        RowGroup: columns = 1, total_byte_size = 2, num_rows = 3.
        """
        field, number, structs = thrift.field, thrift.number, thrift.structs
        root = field(4, thrift.BINARY, thrift.binary(b"schema")) + field(1, thrift.I32, number(len(columns)))
        elements = structs(1 + sum(column.elements for column in columns))
        schema = b"".join([elements, root, thrift.STOP, *(column.schema for column in columns)])
        group = field(1, thrift.LIST, b"".join([structs(len(chunks)), *chunks]))
        group += field(1, thrift.I64, number(sum(len(chunk) for chunk in chunks))) + field(1, thrift.I64, number(rows))
        return b"".join(
            [
                field(1, thrift.I32, number(_VERSION)),
                field(1, thrift.LIST, schema),
                field(1, thrift.I64, number(rows)),
                field(1, thrift.LIST, structs(1) + group + thrift.STOP),
                field(2, thrift.BINARY, thrift.binary(self.created_by)),
                thrift.STOP,
            ]
        )


def _column_chunk(leaf: _Leaf, values: int, at: int, sizes: Sequence[int]) -> bytes:
    """ColumnChunk: file_offset = 2, meta_data = 3. ColumnMetaData, behind codec = 4: num_values = 5,
    total_uncompressed_size = 6, total_compressed_size = 7, data_page_offset = 9, dictionary_page_offset = 11.
    """
    field, number, size = thrift.field, thrift.number, thrift.number(sum(sizes))
    meta = leaf.head + field(1, thrift.I64, number(values)) + field(1, thrift.I64, size) + field(1, thrift.I64, size)
    if leaf.dictionary is None:
        meta += field(2, thrift.I64, number(at))
    else:
        meta += field(2, thrift.I64, number(at + sizes[0])) + field(2, thrift.I64, number(at))
    return field(2, thrift.I64, number(0)) + field(1, thrift.STRUCT, meta + thrift.STOP) + thrift.STOP


class _Spans:
    """Byte ranges of a file, read in few requests."""

    def __init__(self, ranges: Iterable[Range], read: ReadRanges) -> None:
        spans: list[list[int]] = []
        for start, end in sorted(ranges):
            if spans and start - spans[-1][1] <= _HOLE_BYTES_MAX:
                spans[-1][1] = max(spans[-1][1], end)
            else:
                spans.append([start, end])
        self._starts = [start for start, _ in spans]
        self._data = [memoryview(part) for part in read([(start, end) for start, end in spans])]

    def bytes(self, wanted: Range) -> memoryview:
        start, end = wanted
        number = bisect_right(self._starts, start) - 1
        before = self._starts[number]
        return self._data[number][start - before : end - before]


# ---- where the pages lie


@dataclass(slots=True)
class _ColumnChunk:
    """Fields of a ColumnChunk. index: offset of its OffsetIndex, -1 without one"""

    head: bytes = b""
    values: int = 0
    data: int = 0
    dictionary: int = 0
    index: int = -1


def parse_pages(tail: bytes, offset: int, created_by: str) -> Pages:
    """The pages of a file. Without columns: the file has no offset index.

    tail: the file's bytes from `offset` on, which is after its pages
    """
    size = int.from_bytes(tail[-8:-4], "little")
    reader = thrift.ThriftReader(tail, len(tail) - 8 - size)
    columns: list[tuple[str, bytes, int, int]] = []
    chunks: list[_ColumnChunk] = []
    rows = 0
    for number, type_ in reader.fields():
        if number == 2:
            columns = _schema(reader)
        elif number == 3:
            rows = reader.number()
        elif number == 4:
            for _ in reader.structs():
                chunks = _row_group(reader)
        else:
            reader.skip(type_)
    leaves = [_leaf(chunk, tail, offset) for chunk in chunks if chunk.index >= offset]
    if not leaves or len(leaves) < len(chunks):
        return Pages(b"", (0, rows), {})
    # Large values, and dictionaries that grew too large, begin pages of their own: where most begin counts.
    starts = Counter(leaf.starts for leaf in leaves).most_common(1)[0][0]
    found: dict[str, _Column] = {}
    at = 0
    for name, schema, elements, count in columns:
        of_column = tuple(leaves[at : at + count])
        at += count
        if all(leaf.starts == starts for leaf in of_column):
            found[name] = _Column(schema, elements, of_column)
    return Pages(created_by.encode(), (*starts, rows), found)


def _schema(reader: thrift.ThriftReader) -> list[tuple[str, bytes, int, int]]:
    """For each column: name, SchemaElements, their number, and the number of leaves among them.

    SchemaElement: name = 4, num_children = 5; a group's children follow it.
    """
    elements: list[tuple[str, int, int, int]] = []
    for _ in reader.structs():
        start, name, children = reader.at, "", 0
        for number, type_ in reader.fields():
            if number == 4:
                name = reader.binary().decode()
            elif number == 5:
                children = reader.number()
            else:
                reader.skip(type_)
        elements.append((name, start, reader.at, children))
    columns = []
    at = 1  # behind the root
    while at < len(elements):
        first, left, leaves = at, 1, 0
        while left:
            children = elements[at][3]
            left += children - 1
            leaves += not children
            at += 1
        columns.append((elements[first][0], reader.data[elements[first][1] : elements[at - 1][2]], at - first, leaves))
    return columns


def _row_group(reader: thrift.ThriftReader) -> list[_ColumnChunk]:
    """RowGroup: columns = 1. ColumnChunk: meta_data = 3, offset_index_offset = 4."""
    chunks = []
    for number, type_ in reader.fields():
        if number != 1:
            reader.skip(type_)
            continue
        for _ in reader.structs():
            chunk = _ColumnChunk()
            for inner, inner_type in reader.fields():
                if inner == 3:
                    _column_meta(reader, chunk)
                elif inner == 4:
                    chunk.index = reader.number()
                else:
                    reader.skip(inner_type)
            chunks.append(chunk)
    return chunks


def _column_meta(reader: thrift.ThriftReader, chunk: _ColumnChunk) -> None:
    """ColumnMetaData: codec = 4, num_values = 5, data_page_offset = 9, dictionary_page_offset = 11."""
    start = reader.at
    for number, type_ in reader.fields():
        if number == 5:
            chunk.values = reader.number()
        elif number == 9:
            chunk.data = reader.number()
        elif number == 11:
            chunk.dictionary = reader.number()
        else:
            reader.skip(type_)
            if number == 4:
                chunk.head = reader.data[start : reader.at]


def _leaf(chunk: _ColumnChunk, tail: bytes, offset: int) -> _Leaf:
    """OffsetIndex: page_locations = 1. PageLocation: offset = 1, compressed_page_size = 2, first_row_index = 3."""
    reader = thrift.ThriftReader(tail, chunk.index - offset)
    places: list[list[int]] = []
    for number, type_ in reader.fields():
        if number != 1:
            reader.skip(type_)
            continue
        places = [reader.numbers() for _ in reader.structs()]
    ends = [place[0] + place[1] for place in places[-1:]]
    starts = tuple(place[2] for place in places)
    return _Leaf(chunk.head, chunk.values, chunk.dictionary or None, (*(place[0] for place in places), *ends), starts)
