"""Footers of Parquet files, read and written by hand: what describes a column is copied as it is, only places are new.

Source: github.com/apache/parquet-format, parquet.thrift (the names below)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from tables.columns.varint import varint
from tables.parquet import thrift

MAGIC: Final = b"PAR1"
END_BYTES: Final = 8  # the footer's length and the magic number
_VERSION: Final = 2


class ColumnSchema(NamedTuple):
    """A column of the table. elements: its SchemaElements, `element_count` of them; leaves: how many leaves it has"""

    name: str
    elements: bytes
    element_count: int
    leaves: int


@dataclass(slots=True)
class ColumnChunk:
    """The pages of a leaf column.

    head: its ColumnMetaData up to codec; data, dictionary: offsets of its first pages, 0: no dictionary
    size_bytes: of all pages; index, index_bytes: place of its OffsetIndex, -1 without one
    statistics: a serialized Statistics, b"": none
    """

    head: bytes = b""
    values: int = 0
    uncompressed_bytes: int = 0
    size_bytes: int = 0
    data: int = 0
    dictionary: int = 0
    index: int = -1
    index_bytes: int = 0
    statistics: bytes = b""

    @property
    def start(self) -> int:
        """The offset of its first byte."""
        return self.dictionary if 0 < self.dictionary < self.data else self.data


class Footer(NamedTuple):
    """What a file with one row group says of itself."""

    rows: int
    columns: list[ColumnSchema]
    chunks: list[ColumnChunk]
    created_by: bytes


def footer_start(data: memoryview) -> int:
    """The offset of the footer, from the end of a file. Raises: ValueError where it is not Parquet's"""
    size = int.from_bytes(data[-END_BYTES:-4], "little")
    if len(data) < END_BYTES or bytes(data[-4:]) != MAGIC or size + END_BYTES > len(data):
        raise ValueError("does not end as a Parquet file does")
    return len(data) - END_BYTES - size


def parse_footer(data: bytes, at: int) -> Footer:
    """The footer that begins at `at`. Of several row groups the last counts. Raises: IndexError, ValueError

    FileMetaData: schema = 2, num_rows = 3, row_groups = 4, created_by = 6.
    """
    reader = thrift.ThriftReader(data, at)
    columns: list[ColumnSchema] = []
    chunks: list[ColumnChunk] = []
    rows, created_by = 0, b""
    for number, type_ in reader.fields():
        if number == 2:
            columns = _schema(reader)
        elif number == 3:
            rows = reader.number()
        elif number == 4:
            for _ in reader.structs():
                chunks = _row_group(reader)
        elif number == 6:
            created_by = reader.binary()
        else:
            reader.skip(type_)
    return Footer(rows, columns, chunks, created_by)


def _schema(reader: thrift.ThriftReader) -> list[ColumnSchema]:
    """SchemaElement: name = 4, num_children = 5; a group's children follow it."""
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
        whole = reader.data[elements[first][1] : elements[at - 1][2]]
        columns.append(ColumnSchema(elements[first][0], whole, at - first, leaves))
    return columns


def _row_group(reader: thrift.ThriftReader) -> list[ColumnChunk]:
    """RowGroup: columns = 1. ColumnChunk: meta_data = 3, offset_index_offset = 4, offset_index_length = 5."""
    chunks = []
    for number, type_ in reader.fields():
        if number != 1:
            reader.skip(type_)
            continue
        for _ in reader.structs():
            chunk = ColumnChunk()
            for inner, inner_type in reader.fields():
                if inner == 3:
                    _column_meta(reader, chunk)
                elif inner == 4:
                    chunk.index = reader.number()
                elif inner == 5:
                    chunk.index_bytes = reader.number()
                else:
                    reader.skip(inner_type)
            chunks.append(chunk)
    return chunks


def _column_meta(reader: thrift.ThriftReader, chunk: ColumnChunk) -> None:
    """ColumnMetaData: codec = 4, num_values = 5, total_uncompressed_size = 6, total_compressed_size = 7,
    data_page_offset = 9, dictionary_page_offset = 11, statistics = 12.
    """
    start = reader.at
    for number, type_ in reader.fields():
        if number == 5:
            chunk.values = reader.number()
        elif number == 6:
            chunk.uncompressed_bytes = reader.number()
        elif number == 7:
            chunk.size_bytes = reader.number()
        elif number == 9:
            chunk.data = reader.number()
        elif number == 11:
            chunk.dictionary = reader.number()
        else:
            value = reader.at
            reader.skip(type_)
            if number == 4:
                chunk.head = reader.data[start : reader.at]
            elif number == 12:
                chunk.statistics = reader.data[value : reader.at]


# ---- written anew


def column_chunk(head: bytes, values: int, at: int, dictionary_bytes: int, size_bytes: int) -> bytes:
    """ColumnChunk: file_offset = 2, meta_data = 3. ColumnMetaData, behind codec = 4: num_values = 5,
    total_uncompressed_size = 6, total_compressed_size = 7, data_page_offset = 9, dictionary_page_offset = 11.

    at: where its bytes begin, with the dictionary, of dictionary_bytes (0: none)
    """
    # Not with thrift's functions: thousands of these are written for a query over small files.
    size = varint(size_bytes << 1)
    pages = varint(at + dictionary_bytes << 1)
    dictionary = b"\x26" + varint(at << 1) if dictionary_bytes else b""
    return b"\x26\0\x1c%b\x16%b\x16%b\x16%b\x26%b%b\0\0" % (
        head,
        varint(values << 1),
        size,
        size,
        pages,
        dictionary,
    )


def row_group(chunks: Sequence[bytes], size_bytes: int, rows: int) -> bytes:
    """RowGroup: columns = 1, total_byte_size = 2, num_rows = 3. In: as of `column_chunk`"""
    described = b"".join([thrift.structs(len(chunks)), *chunks])
    return b"\x19%b\x16%b\x16%b\0" % (described, varint(size_bytes << 1), varint(rows << 1))


def file_end(
    columns: Iterable[tuple[bytes, int]], groups: Sequence[bytes], rows: int, created_by: bytes = b""
) -> bytes:
    """The footer, its length and the magic number. In: SchemaElements of each column, and their number; row groups

    FileMetaData: version = 1, schema = 2, num_rows = 3, row_groups = 4, created_by = 6.
    The schema begins with its root: name = 4, num_children = 5.
    """
    field, number, structs = thrift.field, thrift.number, thrift.structs
    described = list(columns)
    root = field(4, thrift.BINARY, thrift.binary(b"schema")) + field(1, thrift.I32, number(len(described)))
    elements = structs(1 + sum(count for _, count in described))
    footer = b"".join(
        [
            field(1, thrift.I32, number(_VERSION)),
            field(1, thrift.LIST, elements + root + thrift.STOP + b"".join(schema for schema, _ in described)),
            field(1, thrift.I64, number(rows)),
            field(1, thrift.LIST, structs(len(groups)) + b"".join(groups)),
            field(2, thrift.BINARY, thrift.binary(created_by)) if created_by else b"",
            thrift.STOP,
        ]
    )
    return footer + len(footer).to_bytes(4, "little") + MAGIC
