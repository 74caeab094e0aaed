"""The pages of a leaf column, written by hand: levels and codes whose width divides a byte, in whole arrays.

Arrow's writer takes 20 to 30 ns for each row of each column, most of it for levels and for codes of odd widths. Here
levels of flat columns are bitmaps, and codes have 1, 2, 4, 8 or 16 bits: numpy makes them at memory speed, and zstd
finds more in them, for equal rows have equal bytes.
Source: github.com/apache/parquet-format, Encodings.md and parquet.thrift (the names below)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

from tables import zstd_contexts
from tables.columns.arrays import list_offsets
from tables.columns.types import Bools, Int64s
from tables.columns.varint import varint, zigzag
from tables.parquet import thrift

# Numbers of parquet.thrift.
PLAIN: Final = 0
RLE: Final = 3
RLE_DICTIONARY: Final = 8
UNCOMPRESSED: Final = 0
ZSTD: Final = 6
DATA_PAGE: Final = 0
DICTIONARY_PAGE: Final = 2

# More values than this have no dictionary: two bytes are the widest code.
DICTIONARY_VALUES_MAX: Final = 1 << 16
# Compression that does not save so much of the first page is left out: readers are faster without.
_USEFUL_SHARE: Final = 0.95
_SAMPLE_BYTES: Final = 4096
_IDENTIFIER_BYTES_MAX: Final = 256
# Pages of so few bytes each are not worth it either.
_TINY_BYTES: Final = 48

_WIDTHS: Final = (1, 2, 4, 8, 16)
# Of a run of equal codes: its length, times two, as a varint of always so many bytes.
RUN_LENGTH_BYTES: Final = 3
_RUN_MAX: Final = 1 << (7 * RUN_LENGTH_BYTES - 1)
_Compress = Callable[[bytes], bytes]


class CodePacker:
    """Packs the codes of a dictionary of `count` values."""

    def __init__(self, count: int) -> None:
        self.width = next(width for width in _WIDTHS if count <= 1 << width) if count else 0

    def pack(self, codes: npt.NDArray[Any]) -> bytes:
        """The body of a page: the width, then one run. In: codes, of any integer type"""
        head, count = bytes([self.width]), len(codes)
        if not count:
            return head
        first = codes[0]
        if bool((codes == first).all()):
            return head + varint(count << 1) + int(first).to_bytes(-(-self.width // 8), "little")
        groups = -(-count // 8)
        run = varint(groups << 1 | 1)
        if self.width == 16:
            return head + run + _padded(codes, groups * 8, np.dtype("<u2")).tobytes()
        packed = _padded(codes, groups * 8, np.dtype(np.uint8))
        if self.width == 1:
            return head + run + np.packbits(packed, bitorder="little").tobytes()
        if self.width == 2:
            # Four codes become one byte: each is moved next to the one before it.
            fours = packed.view("<u4")
            fours = fours | fours >> 6
            packed = (fours | fours >> 12).astype(np.uint8)
        elif self.width == 4:
            twos = packed.view("<u2")
            packed = (twos | twos >> 4).astype(np.uint8)
        return head + run + packed.tobytes()

    def pack_runs(self, begins: Int64s, codes: npt.NDArray[Any], count: int) -> bytes:
        """As `pack`, where equal codes lie together: a run for each of them, all of one length in bytes, so that
        readers find them without looking at each. Few runs only.

        begins: where runs begin, 0 first; codes: of each run; count: of all
        """
        lengths = np.diff(begins, append=count)
        run_bytes = RUN_LENGTH_BYTES + -(-self.width // 8)
        if run_bytes * len(begins) >= count * self.width // 8 or count > _RUN_MAX:
            return self.pack(np.repeat(codes, lengths))
        runs = np.empty((len(begins), run_bytes), np.uint8)
        put_varints(runs, lengths << 1, RUN_LENGTH_BYTES)
        values = codes.astype("<u2").view(np.uint8).reshape(-1, 2)
        runs[:, RUN_LENGTH_BYTES:] = values[:, : run_bytes - RUN_LENGTH_BYTES]
        return bytes([self.width]) + runs.tobytes()


def put_varints(out: npt.NDArray[np.uint8], numbers: npt.NDArray[Any], size: int) -> None:
    """Writes varints of always `size` bytes into the first columns of `out`."""
    for byte in range(size):
        out[:, byte] = numbers >> 7 * byte & 0x7F | (0x80 if byte < size - 1 else 0)


def _padded(codes: npt.NDArray[Any], length: int, type_: np.dtype[Any]) -> npt.NDArray[Any]:
    if len(codes) == length:
        return codes.astype(type_, copy=False)
    out = np.zeros(length, type_)
    out[: len(codes)] = codes
    return out


def bit_levels(valid: Bools) -> bytes:
    """Definition levels of a flat column: which rows have a value."""
    bits = np.packbits(valid, bitorder="little").tobytes()
    return _with_length(varint(len(bits) << 1 | 1) + bits)


@lru_cache(maxsize=256)
def equal_levels(level: int, count: int) -> bytes:
    """So many equal levels."""
    return _with_length(varint(count << 1) + bytes([level]))


class SparseLevels:
    """Levels of a leaf that few rows have entries of: the same for all others. Pages take parts of them.

    rows: of each entry, ascending; starts: the first row of each page, and the number of rows
    """

    def __init__(self, rows: Int64s, starts: Sequence[int]) -> None:
        new = np.ones(len(rows), np.bool_)
        new[1:] = rows[1:] != rows[:-1]
        # A row has a level for each of its entries, and one if it has none.
        places = np.arange(len(rows)) + rows - (np.cumsum(new) - 1)
        firsts = np.searchsorted(rows, starts)
        before = np.r_[0, np.cumsum(new)][firsts]
        self.pages: Int64s = np.asarray(starts) - before + firsts  # the first level of each page, and their number
        self.entries: Int64s = firsts  # the first entry of each page, and their number
        # Where a level may differ from the one before it: at entries, behind them, and where pages begin.
        begins = np.sort(np.concatenate([places, places + 1, self.pages[:-1]]))
        begins = begins[begins < self.pages[-1]]
        begins = begins[np.r_[True, begins[1:] != begins[:-1]]]
        entry = np.searchsorted(places, begins)
        found = np.append(places, -1)[entry] == begins
        self._begins, self._found, self._entry = begins, found, entry[found]
        self._first_of_page = np.zeros(len(begins), np.bool_)
        self._first_of_page[np.searchsorted(begins, self.pages[:-1])] = True

    def encode(self, levels: npt.NDArray[np.uint8], between: int) -> list[bytes]:
        """The levels of each page. In: a level for each entry, and that of rows without one"""
        values = np.full(len(self._begins), between, np.uint8)
        values[self._found] = levels[self._entry]
        kept = self._first_of_page.copy()
        kept[1:] |= values[1:] != values[:-1]
        begins, values = self._begins[kept], values[kept]
        lengths = np.diff(begins, append=self.pages[-1]).astype(np.uint32) << 1
        # The level behind a varint.
        runs = np.empty((len(begins), 5), np.uint8)
        put_varints(runs, lengths, 4)
        runs[:, 4] = values
        data = runs.tobytes()
        ends = (5 * np.searchsorted(begins, self.pages)).tolist()
        return [_with_length(data[first:end]) for first, end in pairwise(ends)]


def _with_length(levels: bytes) -> bytes:
    return len(levels).to_bytes(4, "little") + levels


def plain_texts(texts: Any) -> bytes:
    """Texts or bytes in the encoding PLAIN: each behind its length. In: string or binary Array without nulls"""
    offsets = list_offsets(texts).astype(np.int64)
    lengths = np.diff(offsets)
    if len(lengths) and bool((lengths == lengths[0]).all()):
        return _equally_long(texts, int(offsets[0]), int(lengths[0]))
    starts = offsets[:-1] - offsets[0] + 4 * np.arange(len(texts))
    out = np.empty(int(lengths.sum()) + 4 * len(texts), np.uint8)
    out[starts[:, None] + np.arange(4)] = lengths.astype("<u4").view(np.uint8).reshape(-1, 4)
    data = texts.buffers()[2]
    if data is not None and len(out) > 4 * len(texts):
        places = np.repeat(starts + 4 - offsets[:-1], lengths) + np.arange(offsets[0], offsets[-1])
        out[places] = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    return out.tobytes()


def _equally_long(texts: Any, first: int, length: int) -> bytes:
    """As `plain_texts`, for identifiers. first: the offset of the first one's bytes"""
    out = np.empty((len(texts), 4 + length), np.uint8)
    out[:, :4] = np.frombuffer(length.to_bytes(4, "little"), np.uint8)
    if length:
        out[:, 4:] = np.frombuffer(texts.buffers()[2], np.uint8)[first:][: length * len(texts)].reshape(-1, length)
    return out.tobytes()


def are_identifiers(texts: Any) -> bool:
    """Whether all have one length, and a short one: then `plain_texts` is quick, and no page becomes large. In: string
    or binary Array without nulls
    """
    lengths = np.diff(list_offsets(texts))
    return len(lengths) == 0 or (int(lengths[0]) <= _IDENTIFIER_BYTES_MAX and bool((lengths == lengths[0]).all()))


@dataclass(slots=True)
class EncodedChunk:
    """The pages of a leaf column, from offset 0 on.

    encodings, codec: numbers of parquet.thrift; values: with nulls, and with the levels of empty lists
    uncompressed_bytes: with headers; dictionary_bytes: of the dictionary page, 0: none
    pages: offset, bytes and first row of each data page; statistics: a serialized Statistics, b"": none
    """

    encodings: tuple[int, ...]
    codec: int
    values: int
    statistics: bytes = b""
    parts: list[Any] = field(default_factory=list)
    size_bytes: int = 0
    uncompressed_bytes: int = 0
    dictionary_bytes: int = 0
    pages: list[tuple[int, int, int]] = field(default_factory=list)


@dataclass(slots=True)
class ChunkDraft:
    """What becomes a chunk: bodies of pages, not compressed yet.

    dictionary: body and number of values; None: none. pages: body, number of values, first row
    encodings: of the pages' values; none: PLAIN, or codes of the dictionary
    """

    dictionary: tuple[bytes, int] | None = None
    pages: list[tuple[bytes, int, int]] = field(default_factory=list)
    statistics: bytes = b""
    encodings: list[int] = field(default_factory=list)

    def encode(self) -> EncodedChunk:
        """Compresses the pages where that saves something."""
        bodies = [body for body, _, _ in self.pages]
        compress = _compress_for(bodies if self.dictionary is None else [self.dictionary[0], *bodies])
        of_pages = self.encodings or [PLAIN if self.dictionary is None else RLE_DICTIONARY] * len(self.pages)
        encodings = tuple(sorted({RLE, *of_pages, *(() if self.dictionary is None else (PLAIN, RLE_DICTIONARY))}))
        values = sum(count for _, count, _ in self.pages)
        chunk = EncodedChunk(encodings, UNCOMPRESSED if compress is None else ZSTD, values, self.statistics)
        if self.dictionary is not None:
            body, count = self.dictionary
            _add_page(chunk, compress, body, DICTIONARY_PAGE, _dictionary_page(count))
            chunk.dictionary_bytes = chunk.size_bytes
        for (body, count, first_row), encoding in zip(self.pages, of_pages, strict=True):
            start = chunk.size_bytes
            _add_page(chunk, compress, body, DATA_PAGE, data_page(count, encoding))
            chunk.pages.append((start, chunk.size_bytes - start, first_row))
        return chunk


@lru_cache(maxsize=4096)
def data_page(values: int, encoding: int) -> bytes:
    """DataPageHeader, field 5 of a PageHeader: num_values = 1, encoding = 2, definition_level_encoding = 3,
    repetition_level_encoding = 4.
    """
    inner = b"".join(thrift.field(1, thrift.I32, thrift.number(each)) for each in (values, encoding, RLE, RLE))
    return thrift.field(1, thrift.STRUCT, inner + thrift.STOP) + thrift.STOP


def dictionary_page(body: bytes, count: int, packed: bytes | None = None) -> bytes:
    """A whole dictionary page. In: its values in the encoding PLAIN, how many; the same compressed; None: not so"""
    return b"".join(_page(body, body if packed is None else packed, DICTIONARY_PAGE, _dictionary_page(count)))


def _dictionary_page(values: int) -> bytes:
    """DictionaryPageHeader, field 7 of a PageHeader: num_values = 1, encoding = 2."""
    inner = b"".join(thrift.field(1, thrift.I32, thrift.number(each)) for each in (values, PLAIN))
    return thrift.field(3, thrift.STRUCT, inner + thrift.STOP) + thrift.STOP


def _add_page(chunk: EncodedChunk, compress: _Compress | None, body: bytes, type_: int, described: bytes) -> None:
    if compress is not None:
        head, data = _page(body, compress(body), type_, described)
    elif len(body) <= _TINY_BYTES:
        head, data = _tiny_page(body, type_, described)
    else:
        head, data = _page(body, body, type_, described)
    chunk.parts += (head, data)
    chunk.size_bytes += len(head) + len(data)
    chunk.uncompressed_bytes += len(head) + len(body)


def _page(body: bytes, data: bytes, type_: int, described: bytes) -> tuple[bytes, bytes]:
    """Header and data. PageHeader: type = 1, uncompressed_page_size = 2, compressed_page_size = 3, crc = 4."""
    crc = zlib_ng.crc32(data)
    size, packed, check = varint(len(body) << 1), varint(len(data) << 1), varint(zigzag(crc - (crc >> 31 << 32)))
    return b"\x15%b\x15%b\x15%b\x15%b%b" % (varint(type_ << 1), size, packed, check, described), data


@lru_cache(maxsize=4096)
def _tiny_page(body: bytes, type_: int, described: bytes) -> tuple[bytes, bytes]:
    """Of many columns all rows of a page are alike."""
    return _page(body, body, type_, described)


def _compress_for(bodies: list[bytes]) -> _Compress | None:
    if sum(map(len, bodies)) <= _TINY_BYTES * len(bodies):
        return None
    largest = max(bodies, key=len)
    sample = largest[len(largest) // 2 :][:_SAMPLE_BYTES]
    return zstd_contexts.compress if len(zstd_contexts.compress(sample)) < _USEFUL_SHARE * len(sample) else None
