"""How Parquet writes a column of the span table: its name fixes its type, and so what a footer says of it."""

from collections.abc import Collection
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tables.columns import overflow
from tables.parquet import thrift
from tables.parquet.footer import footer_start, parse_footer
from tables.schema import ATTRIBUTE_TYPES, FIXED, OPTIONAL, parse_attribute_column

# The numbers of parquet.thrift, by the names that Arrow gives them. What it calls LZ4 is LZ4_RAW in the file.
_TYPES: Final = {
    "BOOLEAN": 0, "INT32": 1, "INT64": 2, "INT96": 3, "FLOAT": 4, "DOUBLE": 5, "BYTE_ARRAY": 6,
    "FIXED_LEN_BYTE_ARRAY": 7
}  # fmt: skip
_ENCODINGS: Final = {
    "PLAIN": 0, "PLAIN_DICTIONARY": 2, "RLE": 3, "BIT_PACKED": 4, "DELTA_BINARY_PACKED": 5,
    "DELTA_LENGTH_BYTE_ARRAY": 6, "DELTA_BYTE_ARRAY": 7, "RLE_DICTIONARY": 8, "BYTE_STREAM_SPLIT": 9
}  # fmt: skip
_CODECS: Final = {"UNCOMPRESSED": 0, "SNAPPY": 1, "GZIP": 2, "BROTLI": 4, "ZSTD": 6, "LZ4": 7}
# How Parquet stores numbers: there are no narrow ones.
STORED_NUMBERS: Final[dict[Any, npt.DTypeLike]] = {
    pa.int8(): "<i4",
    pa.int32(): "<i4",
    pa.uint32(): "<u4",
    pa.int64(): "<i8",
    pa.float64(): "<f8",
}
_DISTINCT_MAX: Final = 8192


class Storing(NamedTuple):
    """How the pages of a leaf are written: numbers of parquet.thrift."""

    type: int
    encodings: tuple[int, ...]
    codec: int


class ColumnLayout(NamedTuple):
    """A column in a footer.

    elements: its SchemaElements, `element_count` of them
    paths: for each of its leaves, the path as Arrow says it and as ColumnMetaData has it (its field 3)
    types: of each of its leaves
    """

    elements: bytes
    element_count: int
    paths: tuple[tuple[str, bytes], ...]
    types: tuple[int, ...]


def column_type(column: str) -> Any | None:
    """The Arrow type of a column of the span table; None: it is none."""
    for schema in (FIXED, OPTIONAL):
        if (at := schema.get_field_index(column)) >= 0:
            return schema.field(at).type
    attribute = parse_attribute_column(column)
    return None if attribute is None else ATTRIBUTE_TYPES[attribute.type]


@lru_cache(maxsize=_DISTINCT_MAX)
def layout(column: str) -> ColumnLayout | None:
    """How Arrow writes the column; None: it is none of the span table."""
    type_ = column_type(column)
    return None if type_ is None else layout_of(pa.field(column, type_))


def known_layout(column: str) -> ColumnLayout:
    """As `layout`, of a column that is one of the span table, as all are that a directory names."""
    found = layout(column)
    assert found is not None
    return found


def dictionary_leaves(columns: Collection[str]) -> list[str]:
    """The leaves of some columns that Arrow is to read as dictionaries: texts, and the texts of the overflow."""
    texts = [column for column in columns if column_type(column) == pa.string()]
    return [*texts, *overflow.DICTIONARIES] if overflow.COLUMN in columns else texts


@lru_cache(maxsize=_DISTINCT_MAX)
def layout_of(field: pa.Field) -> ColumnLayout:
    """How Arrow writes a column. Found out by writing no row."""
    sink = pa.BufferOutputStream()
    table = pa.schema([field]).empty_table()
    pq.write_table(table, sink, store_schema=False, write_statistics=False)
    data = sink.getvalue()
    footer = parse_footer(data.to_pybytes(), footer_start(memoryview(data).cast("B")))
    ((_, elements, count, _),) = footer.columns
    group = pq.read_metadata(pa.BufferReader(data)).row_group(0)
    paths = [
        (group.column(number).path_in_schema, _path_field(chunk.head)) for number, chunk in enumerate(footer.chunks)
    ]
    types = tuple(_TYPES[group.column(number).physical_type] for number in range(len(paths)))
    return ColumnLayout(elements, count, tuple(paths), types)


def _path_field(head: bytes) -> bytes:
    """Field 3, path_in_schema, with its header."""
    reader = thrift.ThriftReader(head + thrift.STOP)
    start = 0
    for number, type_ in reader.fields():
        reader.skip(type_)
        if number == 3:
            return head[start : reader.at]
        start = reader.at
    raise ValueError("a ColumnMetaData without a path")


@lru_cache(maxsize=_DISTINCT_MAX)
def leaf_head(storing: Storing, path: bytes) -> bytes:
    """ColumnMetaData up to its codec: type = 1, encodings = 2, path_in_schema = 3, codec = 4."""
    field, number = thrift.field, thrift.number
    encodings = bytes([len(storing.encodings) << 4 | thrift.I32]) + b"".join(map(number, storing.encodings))
    head = field(1, thrift.I32, number(storing.type)) + field(1, thrift.LIST, encodings)
    return head + path + field(1, thrift.I32, number(storing.codec))


def storing(chunk: Any) -> Storing | None:
    """How the pages of a leaf are written. In: Arrow's ColumnChunkMetaData. None: in a way that is not known here"""
    encodings = [_ENCODINGS.get(name, -1) for name in chunk.encodings]
    found = Storing(_TYPES.get(chunk.physical_type, -1), tuple(encodings), _CODECS.get(chunk.compression, -1))
    return None if -1 in (found.type, found.codec, *encodings) or len(encodings) > 14 else found
