"""The end of a Parquet file with one row group: offset index and footer, from what is known of its leaf columns.

Source: github.com/apache/parquet-format, parquet.thrift (the names below)
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from tables.columns.varint import varint
from tables.parquet import thrift
from tables.parquet.footer import MAGIC

_VERSION: Final = 2


class DescribedLeaf(NamedTuple):
    """What the footer says of a leaf column.

    head: its ColumnMetaData up to codec; statistics: a serialized Statistics, b"": none
    dictionary_bytes: of its dictionary page, with which it begins; 0: none
    pages: offset, from the beginning of the leaf on, bytes, and first row of each data page
    """

    head: bytes
    values: int
    uncompressed_bytes: int
    size_bytes: int
    dictionary_bytes: int
    statistics: bytes
    pages: Sequence[tuple[int, int, int]]


def file_end(
    schema: Iterable[tuple[bytes, int]],
    leaves: Sequence[DescribedLeaf],
    rows: int,
    sorted_by: Sequence[int],
    metadata: Mapping[str, str],
    created_by: str,
) -> bytes:
    """Offset indexes, the footer, its length and the magic number. The leaves lie one behind the other, from the magic
    number at the beginning of the file on.

    schema: SchemaElements of each column, and their number; sorted_by: numbers of leaves
    FileMetaData: version = 1, schema = 2, num_rows = 3, row_groups = 4, key_value_metadata = 5, created_by = 6,
    column_orders = 7. The schema begins with its root: name = 4, num_children = 5.
    """
    pages_end = len(MAGIC) + sum(leaf.size_bytes for leaf in leaves)
    indexes: list[bytes] = []
    chunks: list[bytes] = []
    at, index_at = len(MAGIC), pages_end
    for leaf in leaves:
        index = _offset_index(leaf, at)
        chunks.append(_column_chunk(leaf, at, index_at, len(index)))
        indexes.append(index)
        at += leaf.size_bytes
        index_at += len(index)
    field, number, structs = thrift.field, thrift.number, thrift.structs
    columns = list(schema)
    root = field(4, thrift.BINARY, thrift.binary(b"schema")) + field(1, thrift.I32, number(len(columns))) + thrift.STOP
    elements = structs(1 + sum(count for _, count in columns)) + root + b"".join(one for one, _ in columns)
    pairs = [
        field(1, thrift.BINARY, thrift.binary(key.encode())) + field(1, thrift.BINARY, thrift.binary(value.encode()))
        for key, value in metadata.items()
    ]
    # ColumnOrder: TYPE_ORDER = 1, a struct without fields.
    order = field(1, thrift.STRUCT, thrift.STOP) + thrift.STOP
    footer = b"".join(
        [
            field(1, thrift.I32, number(_VERSION)),
            field(1, thrift.LIST, elements),
            field(1, thrift.I64, number(rows)),
            field(1, thrift.LIST, structs(1) + _row_group(chunks, leaves, rows, sorted_by)),
            field(1, thrift.LIST, structs(len(pairs)) + b"".join(pair + thrift.STOP for pair in pairs)),
            field(1, thrift.BINARY, thrift.binary(created_by.encode())),
            field(1, thrift.LIST, structs(len(leaves)) + order * len(leaves)),
            thrift.STOP,
        ]
    )
    return b"".join(indexes) + footer + len(footer).to_bytes(4, "little") + MAGIC


def _offset_index(leaf: DescribedLeaf, at: int) -> bytes:
    """OffsetIndex: page_locations = 1. PageLocation: offset = 1, compressed_page_size = 2, first_row_index = 3."""
    # Not with thrift's functions: a file has thousands of pages.
    places = [
        b"\x16%b\x15%b\x16%b\0" % (varint(at + offset << 1), varint(size << 1), varint(row << 1))
        for offset, size, row in leaf.pages
    ]
    return thrift.field(1, thrift.LIST, thrift.structs(len(places)) + b"".join(places)) + thrift.STOP


def _column_chunk(leaf: DescribedLeaf, at: int, index_at: int, index_bytes: int) -> bytes:
    """ColumnChunk: file_offset = 2, meta_data = 3, offset_index_offset = 4, offset_index_length = 5.

    ColumnMetaData, behind codec = 4: num_values = 5, total_uncompressed_size = 6, total_compressed_size = 7,
    data_page_offset = 9, dictionary_page_offset = 11, statistics = 12.
    """
    field, number = thrift.field, thrift.number
    described = [
        leaf.head,
        field(1, thrift.I64, number(leaf.values)),
        field(1, thrift.I64, number(leaf.uncompressed_bytes)),
        field(1, thrift.I64, number(leaf.size_bytes)),
        field(2, thrift.I64, number(at + leaf.dictionary_bytes)),
    ]
    if leaf.dictionary_bytes:
        described.append(field(2, thrift.I64, number(at)))
    if leaf.statistics:
        described.append(field(1 if leaf.dictionary_bytes else 3, thrift.STRUCT, leaf.statistics))
    return b"".join(
        [
            field(2, thrift.I64, number(0)),
            field(1, thrift.STRUCT, b"".join(described) + thrift.STOP),
            field(1, thrift.I64, number(index_at)),
            field(1, thrift.I32, number(index_bytes)),
            thrift.STOP,
        ]
    )


def _row_group(chunks: Sequence[bytes], leaves: Sequence[DescribedLeaf], rows: int, sorted_by: Sequence[int]) -> bytes:
    """RowGroup: columns = 1, total_byte_size = 2, num_rows = 3, sorting_columns = 4, total_compressed_size = 6.
    SortingColumn: column_idx = 1, descending = 2, nulls_first = 3.
    """
    field, number = thrift.field, thrift.number
    ascending = field(1, thrift.FALSE, b"") + field(1, thrift.FALSE, b"") + thrift.STOP
    sorting = b"".join(field(1, thrift.I32, number(column)) + ascending for column in sorted_by)
    return b"".join(
        [
            field(1, thrift.LIST, thrift.structs(len(chunks)) + b"".join(chunks)),
            field(1, thrift.I64, number(sum(leaf.uncompressed_bytes for leaf in leaves))),
            field(1, thrift.I64, number(rows)),
            field(1, thrift.LIST, thrift.structs(len(sorted_by)) + sorting),
            field(2, thrift.I64, number(sum(leaf.size_bytes for leaf in leaves))),
            thrift.STOP,
        ]
    )
