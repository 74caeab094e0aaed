"""Columns of a Parquet file whose pages have codes of a dictionary, read as these codes.

Arrow takes three times as long for a text from a dictionary as for a number. But the pages do not say what the codes
stand for: behind a dictionary of the numbers 0, 1, 2 … they are a column of numbers, the codes. So a file is made in
memory, with the pages as they are, and Arrow reads numbers. No text is looked up, and no number is hashed.

    PAR1 | dictionary 0, 1, 2 …, page, page (a column) | dictionary 0, 1, 2 …, page, page (the next) | … | footer, PAR1

Source: github.com/apache/parquet-format, parquet.thrift (the names below)
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from zlib_ng import zlib_ng

from tables.columns.arrays import one_array
from tables.parquet import thrift
from tables.parquet.encode_pages import PLAIN, RLE, RLE_DICTIONARY, dictionary_page
from tables.parquet.footer import MAGIC, column_chunk, file_end, row_group
from tables.parquet.layout import Storing, column_type, layout, leaf_head, storing

# Dictionaries of more values, or bytes, are left to Arrow: here each value of one costs.
VALUES_MAX: Final = 1024
# Arrow goes on without a dictionary where it grows beyond 1 MB: then pages of both kinds lie in one column.
_DICTIONARY_BYTES_MAX: Final = 1 << 19
_CODECS: Final = {0: None, 6: "zstd", 7: "lz4_raw"}
# Known to write what is said here.
_WRITER: Final = "parquet-cpp-arrow "
_INT32: Final = 1
_INT64: Final = 2
_INT8_VALUES_MAX: Final = np.iinfo(np.int8).max


class _Coded(NamedTuple):
    """A column. start, pages, end: offsets of its dictionary, its first data page, and behind its last one"""

    name: str
    storing: Storing
    start: int
    pages: int
    end: int


def read_codes(data: pa.Buffer, metadata: pq.FileMetaData) -> dict[str, Any]:
    """DictionaryArrays of the columns of texts and of attributes with integers that can be read so.

    In: a whole file with one row group. Raises: ArrowException, OSError where it is damaged
    """
    if not (metadata.created_by or "").startswith(_WRITER):
        return {}
    view = memoryview(data).cast("B")
    found: list[tuple[_Coded, Any]] = []
    for column in _candidates(metadata):
        values = _dictionary_values(view, column)
        if values is not None:
            found.append((column, values))
    if not found:
        return {}
    codes = _read_numbers(view, found, metadata.num_rows)
    return {
        column.name: pa.DictionaryArray.from_arrays(codes[number], values, safe=False)
        for number, (column, values) in enumerate(found)
    }


def _candidates(metadata: pq.FileMetaData) -> list[_Coded]:
    group = metadata.row_group(0)
    found = []
    for number in range(metadata.num_columns):
        chunk = group.column(number)
        if not chunk.has_dictionary_page or chunk.physical_type not in ("BYTE_ARRAY", "INT64"):
            continue
        name = chunk.path_in_schema
        # Facts and times are numbers for whoever merges them.
        if not (_is_text(name) or (chunk.physical_type == "INT64" and name.endswith(":int"))):
            continue
        start, pages = chunk.dictionary_page_offset, chunk.data_page_offset
        kind = storing(chunk)
        if kind is None or kind.codec not in _CODECS or not set(kind.encodings) <= {PLAIN, RLE, RLE_DICTIONARY}:
            continue
        if chunk.num_values == metadata.num_rows and 0 < start < pages <= start + _DICTIONARY_BYTES_MAX:
            found.append(_Coded(name, kind, start, pages, start + chunk.total_compressed_size))
    return found


@lru_cache(maxsize=8192)
def _is_text(name: str) -> bool:
    return bool(column_type(name) == pa.string())


def _dictionary_values(view: memoryview, column: _Coded) -> Any | None:
    """The values; None: there are too many, or they are damaged, which Arrow says as it does of other columns.

    PageHeader: uncompressed_page_size = 2, compressed_page_size = 3, crc = 4, dictionary_page_header = 7.
    DictionaryPageHeader: num_values = 1
    """
    page = bytes(view[column.start : column.pages])
    reader = thrift.ThriftReader(page)
    said: dict[int, int] = {}
    count = -1
    try:
        for number, type_ in reader.fields():
            if number == 7:
                for inner, inner_type in reader.fields():
                    if inner == 1:
                        count = reader.number()
                    else:
                        reader.skip(inner_type)
            elif type_ == thrift.I32:
                said[number] = reader.number()
            else:
                reader.skip(type_)
        size, packed = said[2], page[reader.at :]
        if not 0 <= count <= VALUES_MAX or size > _DICTIONARY_BYTES_MAX or len(packed) != said[3]:
            return None
        if 4 in said and zlib_ng.crc32(packed) != said[4] & 0xFFFFFFFF:
            return None
        codec = _CODECS[column.storing.codec]
        body = packed if codec is None or not size else pa.decompress(packed, size, codec=codec, asbytes=True)
        return _numbers(body, count) if column.storing.type == _INT64 else _texts(body, count)
    except (IndexError, KeyError, ValueError, OSError, pa.ArrowException):
        return None


def _numbers(body: bytes, count: int) -> Any | None:
    return pa.array(np.frombuffer(body, "<i8")) if len(body) == 8 * count else None


def _texts(body: bytes, count: int) -> Any | None:
    """PLAIN: each text behind its length."""
    texts = []
    at = 0
    for _ in range(count):
        end = at + 4 + int.from_bytes(body[at : at + 4], "little")
        texts.append(body[at + 4 : end])
        at = end
    return pa.array(texts, pa.binary()).cast(pa.string()) if at == len(body) else None


def _read_numbers(view: memoryview, columns: Sequence[tuple[_Coded, Any]], rows: int) -> list[Any]:
    parts: list[Any] = [MAGIC]
    chunks: list[bytes] = []
    described: list[tuple[bytes, int]] = []
    at = len(MAGIC)
    for column, values in columns:
        numbers = _numbers_page(len(values), column.storing.codec)
        known = layout(column.name)
        assert known is not None
        head = leaf_head(column.storing._replace(type=_INT32), known.paths[0][1])
        size = len(numbers) + column.end - column.pages
        chunks.append(column_chunk(head, rows, at, len(numbers), size))
        described.append((_element(column.name, len(values)), 1))
        parts += (numbers, view[column.pages : column.end])
        at += size
    parts.append(file_end(described, [row_group(chunks, at, rows)], rows))
    file = pq.ParquetFile(pa.BufferReader(b"".join(parts)), pre_buffer=False, page_checksum_verification=True)
    table = file.reader.read_row_group(0, use_threads=False)
    return [one_array(column) for column in table.columns]


@lru_cache(maxsize=4096)
def _numbers_page(count: int, codec: int) -> bytes:
    """The dictionary page of the numbers 0 to count - 1."""
    return dictionary_page(np.arange(count, dtype="<i4").tobytes(), count, _CODECS[codec])


@lru_cache(maxsize=8192)
def _element(name: str, count: int) -> bytes:
    """SchemaElement: type = 1, repetition_type = 3, name = 4, converted_type = 6. INT_8 = 15, INT_16 = 16, OPTIONAL = 1

    Arrow makes the codes as narrow as they may be: what is read is a row of dictionaries' indices.
    """
    field, number = thrift.field, thrift.number
    return b"".join(
        [
            field(1, thrift.I32, number(_INT32)),
            field(2, thrift.I32, number(1)),
            field(1, thrift.BINARY, thrift.binary(name.encode())),
            field(2, thrift.I32, number(15 if count <= _INT8_VALUES_MAX else 16)),
            thrift.STOP,
        ]
    )
