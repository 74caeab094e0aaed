"""Pages of many columns, decoded by Arrow at once: one below the other they are one column of a file made in memory.

    PAR1 | dictionary 0, 1, 2 …, page of a column, page of it, page of the next one … | footer, PAR1

What a page has does not say which column it is of. Definition levels are a column of booleans. Codes of a dictionary
are numbers, where the dictionary is 0, 1, 2 …; so nothing is looked up, and nothing is hashed. Dictionaries are texts.
Arrow makes a reader, and a context for decompression, for each page of each column: here it makes one reader for all.
Source: github.com/apache/parquet-format, parquet.thrift (the names below)
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tables.parquet import thrift
from tables.parquet.encode_pages import PLAIN, RLE, RLE_DICTIONARY, UNCOMPRESSED, data_page
from tables.parquet.layout import Storing, leaf_head
from tables.parquet.made_column import numbers_page, read_column

_BOOLEAN: Final = 0
_INT32: Final = 1
_BYTE_ARRAY: Final = 6
_INT_16: Final = 16  # a ConvertedType
_SHORT: Final = np.iinfo(np.int16).max + 1


class JoinedPage(NamedTuple):
    """values: how many it has; body: as Parquet has it, decompressed"""

    values: int
    body: bytes


def booleans(pages: Sequence[JoinedPage]) -> list[npt.NDArray[np.bool_]]:
    """Of each page of runs of bits behind their length, as definition levels are written."""
    array = _read(_BOOLEAN, RLE, pages)
    packed = np.frombuffer(array.buffers()[1], np.uint8)
    return _parted(np.unpackbits(packed, count=len(array), bitorder="little").view(np.bool_), pages)


def codes(pages: Sequence[JoinedPage], values_max: int) -> list[npt.NDArray[Any]]:
    """Of each page with codes of a dictionary, behind their width. values_max: of all dictionaries the most"""
    array = _read(_INT32, RLE_DICTIONARY, pages, values_max)
    return _parted(np.frombuffer(array.buffers()[1], array.type.to_pandas_dtype(), len(array)), pages)


def texts(pages: Sequence[JoinedPage]) -> list[Any]:
    """Of each page of texts in the encoding PLAIN, a string Array. Raises: ArrowInvalid for what is no UTF-8"""
    array = _read(_BYTE_ARRAY, PLAIN, pages).cast(pa.string())
    ends = np.cumsum([0, *(page.values for page in pages)]).tolist()
    return [array[first:end] for first, end in pairwise(ends)]


def _parted(values: npt.NDArray[Any], pages: Sequence[JoinedPage]) -> list[npt.NDArray[Any]]:
    ends = np.cumsum([page.values for page in pages])
    return np.split(values, ends[:-1])


def _read(type_: int, encoding: int, pages: Sequence[JoinedPage], numbers: int = 0) -> Any:
    """The column of the pages. numbers: how many its dictionary has; 0: it has none. Raises: ArrowException, OSError"""
    dictionary = numbers_page(numbers) if numbers else b""
    parts: list[bytes] = []
    for count, body in pages:
        size = thrift.number(len(body))
        # Behind compressed_page_size: there is no checksum in between.
        parts += (b"\x15\0\x15%b\x15%b\x2c" % (size, size), data_page(count, encoding)[1:], body)
    element = _element(type_, _INT_16 if 0 < numbers <= _SHORT else 0)
    return read_column(_head(type_, encoding), (element, 1), dictionary, parts, sum(page.values for page in pages))


@lru_cache(maxsize=16)
def _head(type_: int, encoding: int) -> bytes:
    path = thrift.field(1, thrift.LIST, bytes([1 << 4 | thrift.BINARY]) + thrift.binary(b"c"))
    encodings = (PLAIN, RLE, RLE_DICTIONARY) if encoding == RLE_DICTIONARY else (encoding,)
    return leaf_head(Storing(type_, encodings, UNCOMPRESSED), path)


@lru_cache(maxsize=16)
def _element(type_: int, converted: int) -> bytes:
    """SchemaElement: type = 1, repetition_type = 3, name = 4, converted_type = 6. REQUIRED = 0"""
    field, number = thrift.field, thrift.number
    kind = field(2, thrift.I32, number(converted)) if converted else b""
    name = field(1, thrift.BINARY, thrift.binary(b"c"))
    return field(1, thrift.I32, number(type_)) + field(2, thrift.I32, number(0)) + name + kind + thrift.STOP
