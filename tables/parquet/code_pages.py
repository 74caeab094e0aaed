"""The pages of a flat column, one by one, decompressed, and their runs.

Levels and codes of a page are runs: of equal numbers, or of packed ones. The pages of merged files have one run of each
(`encode_pages`), as have those of columns that are the same in all rows: numpy decodes them at memory speed.

Source: github.com/apache/parquet-format, Encodings.md and parquet.thrift (the names below)
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from zlib_ng import zlib_ng

from tables import zstd_contexts
from tables.parquet import thrift
from tables.parquet.encode_pages import DATA_PAGE, RLE, ZSTD

CODECS: Final = {0: None, ZSTD: "zstd", 7: "lz4_raw"}

_NEXT_I32: Final = 1 << 4 | thrift.I32  # the header of a field whose number is one above that of the field before
_PAGE_BYTES_MAX: Final = 16 << 20
# Of the codes of which `one_run` reads runs.
WIDTHS: Final = (1, 2, 4, 8, 16)


class Header(NamedTuple):
    """A PageHeader. inner: the first numbers of its DataPageHeader or DictionaryPageHeader; end: behind it"""

    type: int
    size: int
    packed_bytes: int
    crc: int | None
    inner: Sequence[int]
    end: int


class FlatPage(NamedTuple):
    """encoding: of its values; rows: how many there are; body: levels and values, decompressed"""

    encoding: int
    rows: int
    body: bytes


def page_header(data: bytes, at: int) -> Header:
    """The PageHeader at `at`: type = 1, uncompressed_page_size = 2, compressed_page_size = 3, crc = 4,
    data_page_header = 5, dictionary_page_header = 7. Raises: IndexError, ValueError
    """
    said, at = _leading_numbers(data, at)
    byte = data[at]
    inner: list[int] = []
    if byte & 15 == thrift.STRUCT and byte >> 4:
        inner, at = _leading_numbers(data, at + 1)
        at = thrift.skipped(data, at, thrift.STRUCT)
    crc = said[3] if len(said) > 3 else None  # its number less one
    return Header(said[0], said[1], said[2], crc, inner, thrift.skipped(data, at, thrift.STRUCT))


def _leading_numbers(data: bytes, at: int) -> tuple[list[int], int]:
    """The first fields of a struct as far as they are I32, none left out: that they are, in the headers of pages. And
    where the next one begins.
    """
    found = []
    while data[at] == _NEXT_I32:
        byte = data[at + 1]
        at += 2
        number, shift = byte & 0x7F, 7
        while byte > 0x7F:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
        found.append((number >> 1) ^ -(number & 1))
    return found, at


def page_body(data: bytes, header: Header, codec: int) -> bytes:
    """What a page has, decompressed. Raises: ValueError, OSError, ArrowException where it is damaged"""
    packed = data[header.end : header.end + header.packed_bytes]
    if len(packed) != header.packed_bytes or not 0 <= header.size <= _PAGE_BYTES_MAX:
        raise ValueError("a page of no possible size")
    if header.crc is not None and zlib_ng.crc32(packed) != header.crc & 0xFFFFFFFF:
        raise ValueError("a page whose checksum is another one")
    if codec == ZSTD:
        return zstd_contexts.decompress(packed, header.size) if header.size else b""
    name = CODECS[codec]
    return packed if name is None else bytes(pa.decompress(packed, header.size, codec=name, asbytes=True))


def flat_pages(data: bytes, codec: int) -> Iterator[FlatPage]:
    """The pages of a flat column. Raises: as `page_body`, and for pages of another kind"""
    at = 0
    while at < len(data):
        header = page_header(data, at)
        rows, encoding, levels = header.inner[:3]
        if header.type != DATA_PAGE or levels != RLE:
            raise ValueError("a page of another kind")
        yield FlatPage(encoding, rows, page_body(data, header, codec))
        at = header.end + header.packed_bytes


def one_run(body: bytes, at: int, end: int, width: int, count: int) -> int | npt.NDArray[Any] | None:
    """The numbers of a run of `count` of them, from `at` to `end`: one that all are, or an array; None: it is not one.

    A run begins with a varint: how often its number comes, times two, or how many times eight packed ones, times two,
    and one more.
    """
    reader = thrift.ThriftReader(body, at)
    said, size = reader.varint(), end - reader.at
    if not said & 1:
        equal = said >> 1 == count and size == -(-width // 8)
        return int.from_bytes(body[reader.at : end], "little") if equal else None
    if said >> 1 != -(-count // 8) or size != (said >> 1) * width:
        return None
    packed = np.frombuffer(body, np.uint8, size, reader.at)
    if width == 16:
        return packed.view("<u2")[:count]
    if width == 1:
        return np.unpackbits(packed, count=count, bitorder="little")
    half = 8
    while half > width:  # each number becomes two, its lower half first
        half //= 2
        packed = np.stack([packed & np.uint8((1 << half) - 1), packed >> np.uint8(half)], axis=1).reshape(-1)
    return packed[:count]
