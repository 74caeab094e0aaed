"""Pages of one column of many small files as one column chunk: Arrow then decodes page after page in one call.

Arrow takes ten times longer to begin with a column chunk than to decode the page of a small file. Pages without a
dictionary need nothing but each other:

    PAR1 | page of file 1 | page of file 2 | … | footer, PAR1

A chunk has one dictionary. So where each file has its own, the pages are read as codes: behind a dictionary of the
numbers 0, 1, 2 … they are a column of numbers (as in `pages_together`). The dictionaries become pages of values of a
second chunk: their bodies are the same, only the headers are others. That pays for texts; numbers with dictionaries
become a row group for each file, which are described all at once.

    PAR1 | dictionary 0, 1, 2 …, page of file 1, page of file 2, … | footer, PAR1
    PAR1 | header, dictionary of file 1, header, dictionary of file 2, … | footer, PAR1

Only files whose pages are known to be right (`Directory.checked`) are read so.
Source: github.com/apache/parquet-format, parquet.thrift (the names below)
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tables.columns.arrays import index_array, one_array, ranges
from tables.columns.types import Int64s
from tables.parquet import thrift
from tables.parquet.code_pages import CODECS
from tables.parquet.encode_pages import DATA_PAGE, DICTIONARY_PAGE, PLAIN, RLE, RLE_DICTIONARY
from tables.parquet.footer import MAGIC, file_end
from tables.parquet.layout import ColumnLayout, Storing, column_type, layout_of, leaf_head
from tables.parquet.made_column import checked, numbers_page, read_column

_INT32: Final = 1
_CODES: Final = pa.field("codes", pa.int32())
_NUMBERS_MAX: Final = 1 << 16
_VARINT_BYTES: Final = 5
_I32: Final = 1 << 4 | thrift.I32  # the header of a field whose number is one above that of the field before
# Of a page header as far as it is read: four numbers with their headers, the header of a struct, two numbers.
_HEADER_BYTES: Final = 6 * (1 + _VARINT_BYTES) + 1
_WORDS: Final = 13


class Chunk(NamedTuple):
    """A flat column of one file. data: its pages, those of a dictionary first, which take dictionary_bytes"""

    data: memoryview
    rows: int
    dictionary_bytes: int
    storing: Storing


def joined(column: str, chunks: Sequence[Chunk]) -> Any | None:
    """The column of all files, one below the other: texts as DictionaryArray in which no value is twice; None: some are
    written in another way. In: at least one. Raises: ArrowException, OSError where something is damaged
    """
    alike: dict[tuple[bool, Storing], list[int]] = {}
    for number, (_, _, dictionary_bytes, storing) in enumerate(chunks):
        alike.setdefault((dictionary_bytes > 0, storing), []).append(number)
    arrays = []
    for (has_dictionary, storing), numbers in alike.items():
        if storing.codec not in CODECS:
            return None
        some = chunks if len(alike) == 1 else [chunks[number] for number in numbers]
        array = _with_dictionaries(column, some) if has_dictionary else _plain(column, some)
        if array is None:
            return None
        arrays.append(array)
    if len(arrays) == 1:
        return arrays[0]
    rows = np.array([chunk.rows for chunk in chunks])
    order = np.array([number for numbers in alike.values() for number in numbers])
    begins = np.empty(len(rows), np.int64)
    begins[order] = np.cumsum(rows[order]) - rows[order]
    return one_array(pa.chunked_array(arrays)).take(pa.array(ranges(begins, rows)))


def _with_dictionaries(column: str, chunks: Sequence[Chunk]) -> Any | None:
    return _coded(column, chunks) if column_type(column) == pa.string() else _row_groups(column, chunks)


def _row_groups(column: str, chunks: Sequence[Chunk]) -> Any:
    """Chunks with dictionaries, each as a row group."""
    described = layout_of(pa.field(column, column_type(column)))
    sizes, rows, dictionaries = np.array([(len(data), rows, dictionary) for data, rows, dictionary, _ in chunks]).T
    begins = len(MAGIC) + np.cumsum(sizes) - sizes
    head = leaf_head(chunks[0].storing, described.paths[0][1])
    # As of `footer.column_chunk` and `footer.row_group`.
    groups = _repeated_bytes(
        b"\x19" + thrift.structs(1) + b"\x26\0\x1c" + head + b"\x16", rows, b"\x16", sizes, b"\x16", sizes,
        b"\x26", begins + dictionaries, b"\x26", begins, b"\0\0\x16", sizes, b"\x16", rows, b"\0",
    )  # fmt: skip
    total = int(rows.sum())
    end = file_end([(described.elements, described.element_count)], groups, total)
    file = pq.ParquetFile(pa.BufferReader(b"".join([MAGIC, *(chunk.data for chunk in chunks), end])), pre_buffer=False)
    read = file.reader.read_row_groups(range(len(chunks)), column_indices=[0], use_threads=False)
    return checked(one_array(read.column(0)), total)


def _plain(column: str, chunks: Sequence[Chunk]) -> Any:
    rows = sum([chunk.rows for chunk in chunks])
    described = layout_of(pa.field(column, column_type(column)))
    array = _read(described, chunks[0].storing, b"", [chunk.data for chunk in chunks], rows)
    return array.dictionary_encode() if array.type == pa.string() else array


def _coded(column: str, chunks: Sequence[Chunk]) -> Any | None:
    rows, dictionary_bytes = np.array([(chunk.rows, chunk.dictionary_bytes) for chunk in chunks]).T
    headers = _headers([chunk.data for chunk in chunks], dictionary_bytes)
    if headers is None:
        return None
    of_values, of_codes = headers
    # One page of codes of each file: more may be of values, where a dictionary was full.
    good = (of_codes.type == DATA_PAGE) & (of_codes.encoding == RLE_DICTIONARY) & (of_codes.values == rows)
    if not (good & (of_values.type == DICTIONARY_PAGE) & (of_values.packed < dictionary_bytes)).all():
        return None
    counts = of_values.values
    most = max(1, int(counts.max()))
    if most > _NUMBERS_MAX:
        return None
    values = _values(column, chunks, of_values)
    kind = Storing(_INT32, (PLAIN, RLE, RLE_DICTIONARY), chunks[0].storing.codec)
    pages = [data[begin:] for data, _, begin, _ in chunks]
    codes = _read(layout_of(_CODES), kind, numbers_page(most, kind.codec), pages, int(rows.sum()))
    return _looked_up(column, codes, values, counts, rows)


def _looked_up(column: str, codes: Any, values: Any, counts: Int64s, rows: Int64s) -> Any:
    """Texts. In: codes of each file's own values; all values; how many values and rows each file has"""
    valid = codes.is_valid().to_numpy(zero_copy_only=False) if codes.null_count else None
    own = np.frombuffer(codes.buffers()[1], np.int32, len(codes), 4 * codes.offset)
    if valid is not None:
        own = np.where(valid, own, 0)
    if int(own.max(initial=0)) >= int(counts.min()) and (own >= np.repeat(np.maximum(counts, 1), rows)).any():
        raise pa.ArrowInvalid(f"column {column} has codes without values")
    places = own + np.repeat((np.cumsum(counts) - counts).astype(np.int32), rows)
    if not len(values):  # no row has one
        return pa.nulls(len(places), pa.dictionary(pa.int32(), values.type))
    # Files without values have only nulls, and the last of them lie behind all values.
    np.minimum(places, len(values) - 1, out=places)
    encoded = values.dictionary_encode()
    known = np.frombuffer(encoded.indices.buffers()[1], np.int32, len(encoded), 4 * encoded.offset)
    return pa.DictionaryArray.from_arrays(index_array(known[places], valid), encoded.dictionary, safe=False)


class _Headers(NamedTuple):
    """What the headers of pages say. values, encoding: the first fields of a DataPageHeader or DictionaryPageHeader"""

    type: Int64s
    size: Int64s
    packed: Int64s
    values: Int64s
    encoding: Int64s


def _headers(data: Sequence[memoryview], dictionary_bytes: Int64s) -> tuple[_Headers, _Headers] | None:
    """Those of the pages of dictionaries, and of the first pages behind them; None: they have other fields.

    PageHeader: type = 1, uncompressed_page_size = 2, compressed_page_size = 3, crc = 4 (perhaps), then a struct whose
    first fields are num_values = 1 and encoding = 2. Each header and each number is a varint: a word here.
    """
    whole = np.frombuffer(b"".join([*data, bytes(_HEADER_BYTES)]), np.uint8)
    sizes = np.array(list(map(len, data)))
    begins = np.cumsum(sizes) - sizes
    at = np.minimum(np.concatenate([begins, begins + dictionary_bytes]), len(whole) - _HEADER_BYTES)
    heads = whole[at[:, None] + np.arange(_HEADER_BYTES)]
    is_last = heads < 0x80
    words = is_last.sum(axis=1)
    if words.min() < _WORDS:
        return None
    before = np.arange(0, heads.size, _HEADER_BYTES)[:, None]
    ends = np.flatnonzero(is_last)[(np.cumsum(words) - words)[:, None] + np.arange(_WORDS)]
    flat = heads.reshape(-1)
    has_crc = flat[ends[:, 6]] == _I32
    struct = 8 if has_crc.all() else 6
    if has_crc.any() and struct == 6:
        return None
    number = np.array([1, 3, 5, struct + 2, struct + 4])
    last, first = ends[:, number], ends[:, number - 1] + 1
    # Before each number stands the header of its field, a byte: so do two of them.
    same = (flat[first - 1] == _I32) & (first - 1 == np.maximum(ends[:, number - 2], before - 1) + 1)
    if not same[:, 1:].all() or (flat[before[:, 0]] != _I32).any() or (ends[:, 0] != before[:, 0]).any():
        return None
    if ((flat[ends[:, struct]] & 15) != thrift.STRUCT).any() or int((last - first).max()) >= _VARINT_BYTES:
        return None
    found = np.zeros(last.shape, np.int64)
    for back in range(int((last - first).max()) + 1):
        # From the last byte of each number to its first: each is seven bits above the one before.
        there = last - back >= first
        found = np.where(there, found << 7 | (flat[np.maximum(last - back, 0)] & 0x7F), found)
    if (found & 1).any():  # below 0
        return None
    found, count = found >> 1, len(data)
    return _Headers(*found[:count].T), _Headers(*found[count:].T)


def _values(column: str, chunks: Sequence[Chunk], headers: _Headers) -> Any:
    """The values of all dictionaries, one below the other."""
    field = pa.field(column, column_type(column), nullable=False)
    parts: list[Any] = []
    begins, counts = ([chunk.dictionary_bytes for chunk in chunks] - headers.packed).tolist(), headers.values.tolist()
    for head, chunk, begin, count in zip(_value_headers(headers), chunks, begins, counts, strict=True):
        if count:
            parts += (head, chunk.data[begin : chunk.dictionary_bytes])
    if not parts:
        return pa.array([], field.type)
    storing = chunks[0].storing
    kind = Storing(storing.type, (PLAIN, RLE), storing.codec)
    return _read(layout_of(field), kind, b"", parts, sum(counts))


def _value_headers(headers: _Headers) -> list[bytes]:
    """PageHeaders of pages of plain values: type = 1, uncompressed_page_size = 2, compressed_page_size = 3,
    data_page_header = 5. DataPageHeader: num_values = 1, encoding = 2, the encodings of levels = 3 and 4.
    """
    field, number = thrift.field, thrift.number
    rest = b"".join([field(1, thrift.I32, number(each)) for each in (PLAIN, RLE, RLE)]) + 2 * thrift.STOP
    return _repeated_bytes(
        field(1, thrift.I32, number(DATA_PAGE)) + bytes([_I32]), headers.size, bytes([_I32]), headers.packed,
        field(2, thrift.STRUCT, bytes([_I32])), headers.values, rest,
    )  # fmt: skip


def _repeated_bytes(*parts: bytes | Int64s) -> list[bytes]:
    """The same bytes again and again, each time with the next one of the numbers in their places."""
    count = next(len(part) for part in parts if not isinstance(part, bytes))
    columns = [
        np.broadcast_to(np.frombuffer(part, np.uint8), (count, len(part)))
        if isinstance(part, bytes)
        else _long_varints(part)
        for part in parts
    ]
    rows = np.concatenate(columns, axis=1)
    data, width = rows.tobytes(), rows.shape[1]
    return [data[at : at + width] for at in range(0, count * width, width)]


def _long_varints(numbers: Int64s) -> Any:
    """Integers of Thrift, 0 or more, all of them in as many bytes."""
    shifted = (numbers << 1)[:, None] >> np.arange(0, 7 * _VARINT_BYTES, 7)
    digits = (shifted & 0x7F).astype(np.uint8)
    digits[:, :-1] |= 0x80
    return digits


def _read(described: ColumnLayout, storing: Storing, dictionary: bytes, pages: Sequence[Any], rows: int) -> Any:
    """The column that some pages are. dictionary: the page of one, or nothing"""
    elements = described.elements, described.element_count
    return read_column(leaf_head(storing, described.paths[0][1]), elements, dictionary, pages, rows)
