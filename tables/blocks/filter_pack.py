"""Filters of trace ids of many blocks in one object, for readers that have read none of them yet.

    filters/<tenant>/<pack id>      head, then slices

Of a filter an id needs one line of 32 bytes (`tables.blocks.bloom`): which one follows from the upper bits of the id's
hash. So a pack is cut by these bits: a slice has, of every filter, the lines of the ids whose hashes begin with its
number. A lookup reads the head, once, and one slice, whatever the number of blocks.

The head is JSON, compressed by zlib: which filters there are, and place and checksum of each slice. The tenant's index
names the packs (`PackRef`), with size and checksum of the head. Packs only save requests: a block that is in none, and
one whose pack cannot be read, has its own object `bloom`.
"""

import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel, ConfigDict

from tables.blocks.bloom import LINE_BYTES, FilterQuestion
from tables.blocks.meta import BlockMeta
from tables.errors import DamagedError

FORMAT: Final = "stretto-filters1"
_NAMESPACE: Final = uuid.UUID("0b0f8f5e-6a0c-5e5b-9c53-8f5f2f3a7c21")
# What a lookup reads of a pack, about.
_SLICE_BYTES: Final = 64 << 10
_SLICES_MAX: Final = 4096
# Slices have whole lines: many slices of small filters would hold the same lines again and again.
_GROWTH_MAX: Final = 1.5
# A filter takes 20 to 30 bytes of the head, and moves slices by a line or two.
_MARGIN: Final = 4
_KEY_BYTES: Final = 300  # of a filter's name and numbers in memory


class FilterKey(NamedTuple):
    """Names the filter of one file of a block. crc32: of the filter: a block that was written anew may have another"""

    block_id: str
    file: int
    crc32: int


def filter_key(meta: BlockMeta, number: int) -> FilterKey:
    """The key of the filter of a block's file."""
    return FilterKey(meta.block_id, number, meta.files[number].bloom_crc32)


class PackedFilter(NamedTuple):
    """A filter that goes to a pack. data: whole lines, at least one"""

    key: FilterKey
    data: bytes


class PackRef(BaseModel):
    """What a tenant's index says of a pack.

    cluster_id, partition: of all of its blocks. size_bytes: of the object; head_bytes, head_crc32: of its head
    slices: how many it has; 0: only the head says it
    """

    model_config = ConfigDict(frozen=True, extra="ignore")  # a later version may say more
    id: str
    cluster_id: str
    partition: int
    size_bytes: int
    head_bytes: int
    head_crc32: int
    slices: int = 0

    @property
    def place(self) -> tuple[str, int]:
        """The Kafka cluster and the partition of its blocks."""
        return self.cluster_id, self.partition

    def about(self, question: FilterQuestion) -> tuple[int, int] | None:
        """(start, length) of what most likely has the slice that answers the question; None: not known. Slices have
        nearly the same size: each has as many lines of each filter, or one more.
        """
        if not self.slices:
            return None
        number = question.high * self.slices >> 32
        size, margin = (self.size_bytes - self.head_bytes) / self.slices, _MARGIN * self.head_bytes
        start = max(self.head_bytes, self.head_bytes + int(number * size) - margin)
        end = min(self.size_bytes, self.head_bytes + int((number + 1) * size) + margin)
        return start, end - start


def pack_folder(tenant: str) -> str:
    """The folder of a tenant's packs."""
    return f"filters/{tenant}"


def pack_path(tenant: str, pack_id: str) -> str:
    """The path of a pack."""
    return f"{pack_folder(tenant)}/{pack_id}"


def make_pack(place: tuple[str, int], filters: Sequence[PackedFilter]) -> tuple[PackRef, bytes]:
    """The pack of some filters, at least one, and what the index says of it. Equal filters make equal packs."""
    lines = np.array([len(one.data) // LINE_BYTES for one in filters], np.int64)
    bits = _slice_bits(lines)
    slices = []
    for number in range(1 << bits):
        firsts, ends = _pieces(lines, bits, number)
        pairs = zip(filters, (firsts * LINE_BYTES).tolist(), (ends * LINE_BYTES).tolist(), strict=True)
        slices.append(b"".join(one.data[first:end] for one, first, end in pairs))
    content = {
        "format": FORMAT,
        "filters": [[*one.key, len(one.data)] for one in filters],
        "slices": [[len(data), zlib.crc32(data)] for data in slices],
    }
    head = zlib.compress(orjson.dumps(content))
    data = b"".join([head, *slices])
    name = str(uuid.uuid5(_NAMESPACE, f"{place[0]}/{place[1]}/{zlib.crc32(data):08x}/{zlib.crc32(head):08x}"))
    found = PackRef(
        id=name,
        cluster_id=place[0],
        partition=place[1],
        size_bytes=len(data),
        head_bytes=len(head),
        head_crc32=zlib.crc32(head),
        slices=len(slices),
    )
    return found, data


def _slice_bits(lines: npt.NDArray[np.int64]) -> int:
    total, bits = int(lines.sum()), 0
    while 2 << bits <= _SLICES_MAX and total * LINE_BYTES >= _SLICE_BYTES << (bits + 1):
        # Where a slice ends within a line, the next one has the line again.
        if total + (len(lines) << (bits + 1)) > _GROWTH_MAX * total:
            break
        bits += 1
    return bits


def _pieces(lines: npt.NDArray[np.int64], bits: int, number: int) -> tuple[Any, Any]:
    """The first and the end of the lines that a slice has of each filter."""
    low, high = number << 32 >> bits, ((number + 1) << 32 >> bits) - 1
    return low * lines >> 32, (high * lines >> 32) + 1


@dataclass(frozen=True, slots=True, eq=False)
class PackHead:
    """keys, lines: of each filter. slices: place, size and checksum of each"""

    path: str
    keys: tuple[FilterKey, ...]
    lines: npt.NDArray[np.int64]
    slices: tuple[tuple[int, int, int], ...]

    @property
    def bits(self) -> int:
        """The number of a slice has so many bits."""
        return len(self.slices).bit_length() - 1

    @property
    def nbytes(self) -> int:
        """About how many bytes this takes in memory."""
        return _KEY_BYTES * len(self.keys) + 150 * len(self.slices)

    def slice_of(self, question: FilterQuestion) -> int:
        """The slice that answers the question."""
        return question.high >> (32 - self.bits)

    def range_of(self, number: int) -> tuple[int, int]:
        """Where a slice is: (start, length)."""
        return self.slices[number][:2]

    def checked(self, number: int, data: Any) -> bytes:
        """The bytes of a slice. Raises: DamagedError if they are not those that were written"""
        found = bytes(data)
        if len(found) != self.slices[number][1] or zlib.crc32(found) != self.slices[number][2]:
            raise DamagedError(self.path, f"is damaged: slice {number} has another checksum")
        return found

    def answers(self, question: FilterQuestion, data: bytes) -> dict[FilterKey, bool]:
        """For each filter whether its file may hold the trace. In: the slice that `slice_of` names"""
        firsts, ends = _pieces(self.lines, self.bits, self.slice_of(question))
        sizes = ends - firsts
        wanted = (question.high * self.lines >> 32) - firsts + np.cumsum(sizes) - sizes
        words = np.frombuffer(data, "<u4").reshape(-1, LINE_BYTES // 4)[wanted]
        mask = question.words
        return dict(zip(self.keys, ((words & mask) == mask).all(axis=1).tolist(), strict=True))


def decode_head(tenant: str, ref: PackRef, data: Any) -> PackHead:
    """The head of a pack. Raises: DamagedError if it is not the one that was written, or of a later version"""
    path, found = pack_path(tenant, ref.id), bytes(data)
    if len(found) != ref.head_bytes or zlib.crc32(found) != ref.head_crc32:
        raise DamagedError(path, "is damaged: its head has another checksum")
    try:
        content = orjson.loads(zlib.decompress(found))
        if content["format"] != FORMAT:
            raise DamagedError(path, f"has format {content['format']!r}; this build reads {FORMAT!r}")
        sizes = [int(size) for size, _ in content["slices"]]
        starts = (ref.head_bytes + np.cumsum([0, *sizes])).tolist()
        slices = tuple(
            (start, size, int(crc32)) for start, size, (_, crc32) in zip(starts, sizes, content["slices"], strict=False)
        )
        keys = tuple(FilterKey(str(block_id), int(file), int(crc32)) for block_id, file, crc32, _ in content["filters"])
        lines = np.array([size // LINE_BYTES for _, _, _, size in content["filters"]], np.int64)
    except (zlib.error, KeyError, TypeError, ValueError) as err:
        raise DamagedError(path, f"is not a pack of filters: {err}") from err
    return PackHead(path, keys, lines, slices)


def packed_filters(tenant: str, ref: PackRef, data: Any) -> list[PackedFilter]:
    """All filters of a whole pack. In: the bytes of the object. Raises: DamagedError"""
    view = memoryview(data)
    head = decode_head(tenant, ref, view[: ref.head_bytes])
    whole = [bytearray(int(count) * LINE_BYTES) for count in head.lines]
    for number in range(len(head.slices)):
        start, size = head.range_of(number)
        found, at = head.checked(number, view[start : start + size]), 0
        firsts, ends = _pieces(head.lines, head.bits, number)
        for one, first, end in zip(whole, (firsts * LINE_BYTES).tolist(), (ends * LINE_BYTES).tolist(), strict=True):
            one[first:end] = found[at : at + end - first]
            at += end - first
    return [PackedFilter(key, bytes(one)) for key, one in zip(head.keys, whole, strict=True)]
