"""Checksums (CRC-32) for bytes without a Parquet page checksum: small JSON objects, and footers."""

import re
import zlib
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from zlib_ng import zlib_ng

_MARK: Final = re.compile(rb',\s*"crc32":\s*([0-9]{1,10})\s*\}\s*\Z')
_FOOTER_END: Final = 8  # the footer's length and the magic number


def with_checksum(body: bytes) -> bytes:
    """A JSON object with an additional last field `crc32`, the checksum of all bytes before the field's comma. In: an
    object with at least one field
    """
    head = body.rstrip()[:-1].rstrip()
    return head + b',"crc32":%d}' % zlib.crc32(head)


def has_checksum(data: bytes) -> bool:
    """Whether the object has the field. Raises: ValueError if the checksum is wrong"""
    mark = _MARK.search(data)
    if mark is None:
        return False
    if zlib.crc32(data[: mark.start()]) != int(mark[1]):
        raise ValueError("its checksum is another one")
    return True


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a Parquet file after its pages: page index and footer. No checksum of Parquet covers it."""

    size_bytes: int
    crc32: int

    def problem(self, data: Any) -> str:
        """What is wrong with the bytes; "" if they are those that were written."""
        return "" if zlib_ng.crc32(data) == self.crc32 else "has a footer whose checksum is another one"


def tail_of(data: Any) -> Tail:
    """The tail of a whole file, given as bytes or an Arrow buffer; size 0 if it is not a Parquet file."""
    view = memoryview(data).cast("B")
    footer = int.from_bytes(view[-_FOOTER_END : 4 - _FOOTER_END], "little") + _FOOTER_END
    if len(view) < _FOOTER_END or bytes(view[-4:]) != b"PAR1" or footer > len(view):
        return Tail(0, 0)
    size = max(footer, len(view) - _pages_end(view[len(view) - footer :]))
    return Tail(size, zlib.crc32(view[len(view) - size :]))


def _pages_end(footer: memoryview) -> int:
    """The end of the last page."""
    metadata = pq.read_metadata(pa.BufferReader(pa.py_buffer(footer)))
    last = metadata.row_group(0).column(metadata.num_columns - 1)
    start = last.dictionary_page_offset if last.has_dictionary_page else last.data_page_offset
    return int(start + last.total_compressed_size)
