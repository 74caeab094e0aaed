"""Filters of trace ids: whether a file of a block may hold a trace, without a look into the file.

A filter is a split-block Bloom filter, as Parquet and Impala have it: blocks of 256 bits, of which an id sets eight,
one in each word of 32. So an id needs one cache line, and a filter is made with whole columns. 12 bits an id let 0.6 %
of the ids pass that are not there.

    blocks/<tenant>/<block id>/bloom    the filters of the block's files, one behind the other, in their order

FileMeta says how long each is, and its checksum. A small filter is in FileMeta itself: it costs no request. A file
without a filter may hold every trace.
"""

import base64
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tables.blocks.meta import BlockMeta, FileMeta
from tables.errors import DamagedError

Ids = npt.NDArray[np.bytes_]
NO_IDS: Final[Ids] = np.empty(0, "S16")

# What an id needs of a filter. A constant of the format, as all below: other values would not find what was written.
LINE_BYTES: Final = 32
_BITS_PER_ID: Final = 12
_SALTS: Final = np.array(
    [0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31], np.uint32
)
_MIX_1: Final = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2: Final = np.uint64(0xC4CEB9FE1A85EC53)
_WORD_BITS: Final = 32
_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64(0xFFFFFFFF)
# A filter up to this size is written into the meta. That saves a request when the block is written, and one per query
# that has not read it yet; it is about 340 traces.
INLINE_BYTES_MAX: Final = 512


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The end of MurmurHash3: every bit of a number changes about half of the bits."""
    shift = np.uint64(33)
    values = (values ^ (values >> shift)) * _MIX_1
    values = (values ^ (values >> shift)) * _MIX_2
    mixed: npt.NDArray[np.uint64] = values ^ (values >> shift)
    return mixed


def _hashes(ids: Ids) -> npt.NDArray[np.uint64]:
    """64 bits for each id. Ids are not random in all their bits: some clients fill up 64 bits with zeros."""
    halves = np.ascontiguousarray(ids).view(">u8").astype(np.uint64).reshape(-1, 2)
    return _mixed(_mixed(halves[:, 0]) ^ halves[:, 1])


def _block_numbers(hashes: npt.NDArray[np.uint64], blocks: int) -> npt.NDArray[np.uint64]:
    numbers: npt.NDArray[np.uint64] = ((hashes >> _HALF) * np.uint64(blocks)) >> _HALF
    return numbers


def _bits(hashes: npt.NDArray[np.uint64], word: int) -> npt.NDArray[np.uint32]:
    """Which bit of a word each id sets."""
    keys = (hashes & _LOW).astype(np.uint32)
    bits: npt.NDArray[np.uint32] = (keys * _SALTS[word]) >> np.uint32(27)
    return bits


def make_filter(ids: Ids) -> bytes:
    """The filter of some trace ids, dtype `S16`, in any order; b"" without ids."""
    if not len(ids):
        return b""
    blocks = -(-len(ids) * _BITS_PER_ID // (8 * LINE_BYTES))
    hashes = _hashes(ids)
    begin = _block_numbers(hashes, blocks) * np.uint64(8 * LINE_BYTES)
    bits = np.zeros(blocks * 8 * LINE_BYTES, np.uint8)
    for word in range(len(_SALTS)):
        bits[begin + np.uint64(_WORD_BITS * word) + _bits(hashes, word)] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def passing(ids: Ids, data: bytes) -> npt.NDArray[np.bool_]:
    """Which of some ids the file of a filter may have. In: dtype `S16`; a filter"""
    high, bits = _questions(ids.tobytes())
    lines = np.frombuffer(data, "<u4").reshape(-1, LINE_BYTES // 4)
    wanted = lines[(high * np.uint64(len(lines))) >> _HALF]
    passes: npt.NDArray[np.bool_] = ((wanted & bits) == bits).all(axis=1)
    return passes


@lru_cache(maxsize=64)
def _questions(ids: bytes) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
    """Upper halves of the hashes of some ids, and the bits that a line must have, in words of 32. A query asks many
    filters for the same ids.
    """
    hashes = _hashes(np.frombuffer(ids, "S16"))
    bits = np.stack([np.uint32(1) << _bits(hashes, word) for word in range(len(_SALTS))], axis=1)
    return hashes >> _HALF, bits


class FilterQuestion:
    """One trace id, hashed once, that many filters are asked for.

    high: the upper 32 bits of the hash: they choose the line of a filter
    """

    def __init__(self, trace_id: bytes) -> None:
        """In: 16 bytes"""
        hashes = _hashes(np.frombuffer(trace_id, "S16"))
        self.high = int(hashes[0]) >> _WORD_BITS
        self._mask = sum(1 << (_WORD_BITS * word + int(_bits(hashes, word)[0])) for word in range(len(_SALTS)))

    @property
    def words(self) -> npt.NDArray[np.uint32]:
        """The bits that a line must have, in words of 32."""
        return np.frombuffer(self._mask.to_bytes(LINE_BYTES, "little"), "<u4")

    def may_be_in(self, data: Any) -> bool:
        """Whether the file of this filter may hold the trace. In: a filter, as bytes"""
        begin = (self.high * (len(data) // LINE_BYTES) >> _WORD_BITS) * LINE_BYTES
        return int.from_bytes(data[begin : begin + LINE_BYTES], "little") & self._mask == self._mask


class FileFilter(NamedTuple):
    """What FileMeta says of the filter and the trace ids of a file: fields of the same names."""

    traces: int
    trace_id_min: str
    trace_id_max: str
    bloom_bytes: int
    bloom_crc32: int
    bloom_inline: str


class BloomWriter:
    """Makes the filters of a block, file by file, and then its object `bloom`."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, ids: Ids) -> FileFilter:
        """The filter of the next file. In: its trace ids, dtype `S16`, ascending. Out: what its FileMeta says"""
        data = make_filter(ids)
        low, high = (ids[at].ljust(16, b"\0").hex() for at in (0, -1)) if len(ids) else ("", "")
        if len(data) <= INLINE_BYTES_MAX:
            return FileFilter(len(ids), low, high, 0, zlib.crc32(data), base64.b64encode(data).decode())
        self._parts.append(data)
        return FileFilter(len(ids), low, high, len(data), zlib.crc32(data), "")

    def data(self) -> bytes:
        """The bytes of the object `bloom`; b"": the block needs none."""
        return b"".join(self._parts)


def bloom_path(meta: BlockMeta) -> str:
    """The path of the block's object `bloom`."""
    return f"{meta.folder}/bloom"


def inline_filter(meta: BlockMeta, file: FileMeta) -> bytes | None:
    """The filter that the meta itself holds; None: it holds none. Raises: DamagedError"""
    if not file.bloom_inline:
        return None
    try:
        data = base64.b64decode(file.bloom_inline, validate=True)
    except ValueError as err:
        raise DamagedError(meta.path, f"has a filter of {file.name} that is not base64") from err
    return checked_filter(meta, file, data)


def checked_filter(meta: BlockMeta, file: FileMeta, data: Any) -> bytes:
    """The filter as bytes. Raises: DamagedError if it is not the one that was written"""
    found = bytes(data)
    size_is_wrong = not file.bloom_inline and len(found) != file.bloom_bytes
    if size_is_wrong or not found or len(found) % LINE_BYTES or zlib.crc32(found) != file.bloom_crc32:
        raise DamagedError(bloom_path(meta), f"is damaged: the filter of {file.name} has another checksum")
    return found


def filter_ranges(files: Sequence[FileMeta]) -> list[tuple[int, int]]:
    """(start, length) of each file's filter in the object `bloom`; length 0: it is not there."""
    ranges, at = [], 0
    for file in files:
        ranges.append((at, file.bloom_bytes))
        at += file.bloom_bytes
    return ranges
