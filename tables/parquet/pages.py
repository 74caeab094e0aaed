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

import numpy as np
import numpy.typing as npt

from tables.columns.varint import unsigned_varints
from tables.parquet import thrift
from tables.parquet.directory import Directory
from tables.parquet.footer import (
    END_BYTES,
    MAGIC,
    ColumnChunk,
    ColumnSchema,
    column_chunk,
    file_end,
    parse_footer,
    row_group,
)
from tables.parquet.layout import known_layout

# A PageLocation, as Arrow and Stretto write it: the headers of its fields, with a number behind each, and its end.
_LOCATION: Final = np.array([0x16, 0, 0x15, 0, 0x16, 0, 0], np.uint64)
_PLACES_HEADER: Final = 0x19  # of an OffsetIndex's first field, a list
# Bytes between two wanted ranges that are read along with them: less than another request costs.
_HOLE_BYTES_MAX: Final = 256 << 10

_BYTES: Final = 8  # of an int64

Places = npt.NDArray[np.int64]  # a row for each page: its offset, its bytes with its header, its first row
Range = tuple[int, int]
ReadRanges = Callable[[Sequence[Range]], Sequence[Any]]  # the file's bytes from start to end, of several ranges at once


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A leaf column.

    head: its ColumnMetaData up to codec; dictionary: its offset; None: no dictionary
    pages: offset of each page, and the end of the last one; starts: the first row of each page, int64 as bytes
    """

    head: bytes
    values: int
    dictionary: int | None
    pages: "memoryview[int]"
    starts: bytes

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
        parts: list[Any] = [MAGIC]
        chunks = []
        at = len(MAGIC)
        for leaf in leaves:
            ranges = leaf.ranges(first, end)
            parts += [source.bytes(each) for each in ranges]
            size = sum(stop - start for start, stop in ranges)
            dictionary = 0 if leaf.dictionary is None else ranges[0][1] - ranges[0][0]
            # An upper bound if rows have several values, or none: Arrow stops at the end of the chunk's bytes.
            values = rows if leaf.values == self.starts[-1] else leaf.values
            chunks.append(column_chunk(leaf.head, values, at, dictionary, size))
            at += size
        group = row_group(chunks, sum(len(chunk) for chunk in chunks), rows)
        described = ((column.schema, column.elements) for column in wanted)
        return b"".join([*parts, file_end(described, [group], rows, self.created_by)])


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


def parse_pages(tail: bytes, offset: int, directory: Directory | None = None) -> Pages:
    """The pages of a file. Without columns: the file has no offset index. Raises: IndexError, ValueError

    tail: the file's bytes from `offset` on, which is after its pages. directory: of the file; None: not known
    """
    if directory is not None and (found := _by_directory(tail, directory)) is not None:
        return found
    size = int.from_bytes(tail[-END_BYTES:-4], "little")
    rows, columns, chunks, created_by = parse_footer(tail, len(tail) - END_BYTES - size)
    if not chunks or any(chunk.index < offset for chunk in chunks):
        return Pages(b"", (0, rows), {})
    placed = _placed(*_all_places(chunks, tail, offset))
    if placed is None:
        return Pages(b"", (0, rows), {})
    leaves = [
        _Leaf(chunk.head, chunk.values, chunk.dictionary or None, *of_chunk)
        for chunk, of_chunk in zip(chunks, placed, strict=True)
    ]
    return _pages(rows, columns, leaves, created_by)


def _pages(rows: int, columns: Iterable[ColumnSchema], leaves: Sequence[_Leaf], created_by: bytes) -> Pages:
    # Large values, and dictionaries that grew too large, begin pages of their own: where most begin counts.
    starts = Counter(leaf.starts for leaf in leaves).most_common(1)[0][0]
    found: dict[str, _Column] = {}
    at = 0
    for name, schema, elements, count in columns:
        of_column = tuple(leaves[at : at + count])
        at += count
        if all(leaf.starts == starts for leaf in of_column):
            found[name] = _Column(schema, elements, of_column)
    return Pages(created_by, (*memoryview(starts).cast("q"), rows), found)


def _by_directory(tail: bytes, directory: Directory) -> Pages | None:
    """Without the footer, which it takes longer to parse than to decode the pages of a trace; None: the offset indexes
    do not lie one behind the other in front of all else, as a merge writes them.
    """
    lying = [leaf for name in directory.numbers for leaf in directory.leaves(name)]
    places = _places_in_order(tail, len(lying))
    placed = None if places is None else _placed(*places)
    if placed is None:
        return None
    leaves = []
    for leaf, (pages, starts) in zip(lying, placed, strict=True):
        if pages[0] != leaf.start + leaf.dictionary_bytes or pages[-1] != leaf.start + leaf.size_bytes:
            return None
        dictionary = leaf.start if leaf.dictionary_bytes else None
        leaves.append(_Leaf(leaf.head, leaf.values, dictionary, pages, starts))
    layouts = {name: known_layout(name) for name in directory.numbers}
    columns = [ColumnSchema(name, of.elements, of.element_count, len(of.paths)) for name, of in layouts.items()]
    return _pages(directory.rows, columns, leaves, b"")


def _places_in_order(tail: bytes, count: int) -> tuple[Places, list[int]] | None:
    """As `_all_places`, of so many offset indexes one behind the other; None: there are not so many."""
    # Each number of a place, each header of its fields and its end is a varint.
    number_ends = np.flatnonzero(np.frombuffer(tail, np.uint8) < 0x80)
    at, bodies, counts = 0, [], []
    try:
        for _ in range(count):
            reader = thrift.ThriftReader(tail, at + 1)
            counts.append(len(reader.structs()))
            begin = reader.at
            end = int(number_ends[np.searchsorted(number_ends, begin) + len(_LOCATION) * counts[-1] - 1]) + 1
            if tail[at] != _PLACES_HEADER or tail[end] != 0:
                return None
            bodies.append(tail[begin:end])
            at = end + 1
    except (IndexError, ValueError):
        return None
    found = _located(bodies, counts)
    return None if found is None else (found, counts)


def _all_places(chunks: Sequence[ColumnChunk], tail: bytes, offset: int) -> tuple[Places, list[int]]:
    """The places of the pages of all leaves, and how many each leaf has: a file has thousands of pages."""
    bodies, counts = [], []
    for chunk in chunks:
        reader = thrift.ThriftReader(tail, chunk.index - offset + 1)
        counts.append(len(reader.structs()))
        bodies.append(tail[reader.at : chunk.index - offset + chunk.index_bytes - 1])
    found = _located(bodies, counts)
    if found is not None:
        return found, counts
    places = [page_places(tail, chunk.index - offset) for chunk in chunks]
    table = np.array([place for of_chunk in places for place in of_chunk], np.int64).reshape(-1, 3)
    return table, [len(of_chunk) for of_chunk in places]


def _located(bodies: Sequence[bytes], counts: Sequence[int]) -> Places | None:
    """The places of all leaves. In: the PageLocations of each, and how many; None: they have other fields than are
    known here
    """
    numbers = unsigned_varints(b"".join(bodies))
    places = numbers.reshape(-1, len(_LOCATION)) if len(numbers) == len(_LOCATION) * sum(counts) else None
    if places is None or bool((places[:, ::2] != _LOCATION[::2]).any()):
        return None
    # None of the numbers is less than 0.
    return (places[:, 1::2] >> np.uint64(1)).view(np.int64)


def _placed(places: Places, counts: Sequence[int]) -> list[tuple["memoryview[int]", bytes]] | None:
    """The `pages` and `starts` of each leaf; None: one has no pages."""
    if not all(counts):
        return None
    page_ends = np.cumsum(counts)
    behind = page_ends + np.arange(len(counts))  # each leaf has one offset more than pages
    offsets = np.empty(len(places) + len(counts), np.int64)
    offsets[behind] = places[page_ends - 1, 0] + places[page_ends - 1, 1]
    offsets[np.arange(len(places)) + np.repeat(np.arange(len(counts)), counts)] = places[:, 0]
    pages, starts = offsets.data, places[:, 2].tobytes()
    of_leaves = zip(behind.tolist(), page_ends.tolist(), counts, strict=True)
    return [
        (pages[stop - count : stop + 1], starts[_BYTES * (end - count) : _BYTES * end])
        for stop, end, count in of_leaves
    ]


def page_places(data: Any, at: int) -> list[list[int]]:
    """Offset, bytes and first row of each page of a leaf. In: bytes that have an OffsetIndex at `at`

    OffsetIndex: page_locations = 1. PageLocation: offset = 1, compressed_page_size = 2, first_row_index = 3.
    """
    reader = thrift.ThriftReader(data, at)
    places: list[list[int]] = []
    for number, type_ in reader.fields():
        if number != 1:
            reader.skip(type_)
            continue
        places = [reader.numbers() for _ in reader.structs()]
    return places
