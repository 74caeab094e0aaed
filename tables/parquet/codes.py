"""Columns of a Parquet file whose pages have codes of a dictionary, read as these codes.

Arrow takes three times as long for a text from a dictionary as for a number. But the pages do not say what the codes
stand for: behind a dictionary of the numbers 0, 1, 2 … they are a column of numbers, the codes. So a file is made in
memory, with the pages as they are, and Arrow reads numbers. No text is looked up, and no number is hashed.

    PAR1 | dictionary 0, 1, 2 …, page, page (a column) | dictionary 0, 1, 2 …, page, page (the next) | … | footer, PAR1

Pages of one run need no Arrow at all (`code_pages`).
Source: github.com/apache/parquet-format, parquet.thrift (the names below)
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tables.columns.arrays import index_array, one_array
from tables.parquet import thrift
from tables.parquet.code_pages import CODECS, CodePage, code_pages, decoded, page_body, page_header, uncompressed
from tables.parquet.encode_pages import PLAIN, RLE, RLE_DICTIONARY, UNCOMPRESSED, dictionary_page
from tables.parquet.footer import MAGIC, column_chunk, file_end, row_group
from tables.parquet.layout import Storing, column_type, layout, leaf_head, storing

# Dictionaries of more values, or bytes, are left to Arrow: here each value of one costs.
VALUES_MAX: Final = 1024
_DICTIONARY_BYTES_MAX: Final = 1 << 19
# What Arrow reads at once, decompressed.
_TOGETHER_BYTES: Final = 4 << 20
_INT32: Final = 1
_INT64: Final = 2
_INT8_VALUES_MAX: Final = np.iinfo(np.int8).max
# Arrow reads what is damaged, and says so as it does of other columns.
_DAMAGE: Final = (IndexError, ValueError, OSError, pa.ArrowException)


class _Coded(NamedTuple):
    """A column.

    leaf: its number; start, pages, end: offsets of its dictionary, its first data page, and behind its last one
    """

    leaf: int
    name: str
    storing: Storing
    start: int
    pages: int
    end: int


class _Pending(NamedTuple):
    """A column that Arrow decodes. values: its dictionary"""

    leaf: int
    name: str
    values: Any
    pages: list[CodePage]


def read_codes(data: pa.Buffer, metadata: pq.FileMetaData) -> dict[int, Any]:
    """DictionaryArrays of the columns of texts and of attributes with integers that can be read so, by number of leaf.

    In: a whole file with one row group. Raises: ArrowException, OSError where it is damaged
    """
    view = memoryview(data).cast("B")
    found: dict[int, Any] = {}
    waiting: list[_Pending] = []
    waiting_bytes = 0
    for column in _candidates(metadata):
        try:
            values = _dictionary_values(bytes(view[column.start : column.pages]), column.storing)
            if values is None:
                continue
            pages = list(code_pages(bytes(view[column.pages : column.end]), column.storing.codec))
            if sum(page.rows for page in pages) != metadata.num_rows:
                continue
            made = decoded(pages, len(values))
        except _DAMAGE:
            continue
        if made is not None:
            found[column.leaf] = pa.DictionaryArray.from_arrays(index_array(*made), values, safe=False)
            continue
        waiting.append(_Pending(column.leaf, column.name, values, pages))
        waiting_bytes += sum(len(page.body) for page in pages)
        if waiting_bytes >= _TOGETHER_BYTES:
            found |= _read_numbers(waiting, metadata.num_rows)
            waiting, waiting_bytes = [], 0
    return found | _read_numbers(waiting, metadata.num_rows)


def _candidates(metadata: pq.FileMetaData) -> list[_Coded]:
    # Not metadata.schema: that and the metadata would know each other, and so stay for good.
    group, schema = metadata.row_group(0), pq.ParquetSchema(metadata)
    found = []
    for number in range(metadata.num_columns):
        chunk = group.column(number)
        if not chunk.has_dictionary_page or chunk.physical_type not in ("BYTE_ARRAY", "INT64"):
            continue
        name = chunk.path_in_schema
        # Facts and times are numbers for whoever merges them.
        if not (_is_text(name) or (chunk.physical_type == "INT64" and name.endswith(":int"))):
            continue
        leaf = schema.column(number)
        if leaf.max_repetition_level or leaf.max_definition_level != 1:
            continue
        start, pages = chunk.dictionary_page_offset, chunk.data_page_offset
        kind = storing(chunk)
        if kind is None or kind.codec not in CODECS or not set(kind.encodings) <= {PLAIN, RLE, RLE_DICTIONARY}:
            continue
        if chunk.num_values == metadata.num_rows and 0 < start < pages <= start + _DICTIONARY_BYTES_MAX:
            found.append(_Coded(number, name, kind, start, pages, start + chunk.total_compressed_size))
    return found


@lru_cache(maxsize=8192)
def _is_text(name: str) -> bool:
    return bool(column_type(name) == pa.string())


def _dictionary_values(page: bytes, kind: Storing) -> Any | None:
    """The values of a dictionary page; None: there are too many. DictionaryPageHeader: num_values = 1"""
    header = page_header(page, 0)
    count = header.inner[0]
    if not 0 <= count <= VALUES_MAX or header.size > _DICTIONARY_BYTES_MAX:
        return None
    body = page_body(page, header, kind.codec)
    if kind.type != _INT64:
        return _texts(body, count)
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


def _read_numbers(columns: Sequence[_Pending], rows: int) -> dict[int, Any]:
    if not columns:
        return {}
    parts: list[Any] = [MAGIC]
    chunks: list[bytes] = []
    described: list[tuple[bytes, int]] = []
    at = len(MAGIC)
    for _, name, values, pages in columns:
        numbers = _numbers_page(len(values))
        known = layout(name)
        assert known is not None
        head = leaf_head(Storing(_INT32, (PLAIN, RLE, RLE_DICTIONARY), UNCOMPRESSED), known.paths[0][1])
        bodies = uncompressed(pages)
        size = len(numbers) + sum(map(len, bodies))
        chunks.append(column_chunk(head, rows, at, len(numbers), size))
        described.append((_element(name, len(values)), 1))
        parts += (numbers, *bodies)
        at += size
    parts.append(file_end(described, [row_group(chunks, at, rows)], rows))
    file = pq.ParquetFile(pa.BufferReader(b"".join(parts)), pre_buffer=False)
    table = file.reader.read_row_group(0, use_threads=False)
    return {
        column.leaf: pa.DictionaryArray.from_arrays(one_array(table.column(number)), column.values, safe=False)
        for number, column in enumerate(columns)
    }


@lru_cache(maxsize=4096)
def _numbers_page(count: int) -> bytes:
    """The dictionary page of the numbers 0 to count - 1."""
    return dictionary_page(np.arange(count, dtype="<i4").tobytes(), count)


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
