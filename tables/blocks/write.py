"""Writes a block: the bytes of its segments, the filters of their trace ids, then meta.json."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tables.blocks.bloom import NO_IDS, BloomWriter, FileFilter, Ids, bloom_path
from tables.blocks.meta import BlockMeta, FileMeta, block_id
from tables.columns.arrays import one_array
from tables.columns.trace_index import trace_index
from tables.storage.checksum import Tail, tail_of
from tables.storage.object_store import ObjectStore


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A segment, or several small ones merged, that becomes a file of a block.

    received_min_ms, received_max_ms: Kafka's timestamps of its records, Unix ms; max 0: unknown
    merged: it is made of several segments. Its name has a checksum: another version may merge them to other bytes
    """

    data: Any  # Parquet bytes: bytes or an Arrow buffer
    spans: int
    start_min_ns: int
    end_max_ns: int
    received_min_ms: int = 0
    received_max_ms: int = 0
    merged: bool = False


@dataclass(frozen=True, slots=True)
class BlockRange:
    """The tenant, partition and offsets of a block.

    redactions: ids of those that have been applied. own_id: of a block of which they removed something
    """

    cluster_id: str
    tenant: str
    partition: int
    partition_count: int
    first_offset: int
    last_offset: int
    redactions: tuple[str, ...] = ()
    own_id: str = ""

    @property
    def id(self) -> str:
        """The block id, which follows from the range."""
        return self.own_id or block_id(
            self.cluster_id, self.tenant, self.partition, self.first_offset, self.last_offset
        )


def describe(block: BlockRange, segments: Sequence[tuple[SegmentFile, int, Tail, FileFilter]]) -> BlockMeta:
    """The meta of a block. segments: (segment, size in bytes, checksum of its end, its trace ids)"""
    files = [
        FileMeta(
            name=_name(number, segment),
            size_bytes=size,
            spans=segment.spans,
            start_min_ns=segment.start_min_ns,
            end_max_ns=segment.end_max_ns,
            tail_bytes=tail.size_bytes,
            tail_crc32=tail.crc32,
            crc32=zlib.crc32(segment.data),
            **ids._asdict(),
        )
        for number, (segment, size, tail, ids) in enumerate(segments)
    ]
    received_min_ms, received_max_ms = _received([segment for segment, *_ in segments])
    return BlockMeta(
        block_id=block.id,
        tenant=block.tenant,
        cluster_id=block.cluster_id,
        partition=block.partition,
        partition_count=block.partition_count,
        first_offset=block.first_offset,
        last_offset=block.last_offset,
        spans=sum(file.spans for file in files),
        start_min_ns=min(file.start_min_ns for file in files),
        end_max_ns=max(file.end_max_ns for file in files),
        size_bytes=sum(file.size_bytes for file in files),
        files=files,
        redactions=list(block.redactions),
        received_min_ms=received_min_ms,
        received_max_ms=received_max_ms,
    )


def _name(number: int, segment: SegmentFile) -> str:
    mark = f"-{zlib.crc32(segment.data):08x}" if segment.merged else ""
    return f"data-{number:04d}{mark}.parquet"


def _received(segments: Sequence[SegmentFile]) -> tuple[int, int]:
    """When the block's first and last record were received; 0 if that is not known of one of its segments."""
    if not all(segment.received_max_ms for segment in segments):
        return 0, 0
    first_ms = min(segment.received_min_ms for segment in segments)
    return first_ms, max(segment.received_max_ms for segment in segments)


def write_block(store: ObjectStore, block: BlockRange, segments: Sequence[SegmentFile]) -> BlockMeta:
    """Writes the files, then meta.json. Raises: StorageError; the caller may then repeat it"""
    bloom = BloomWriter()
    described = [(s, len(memoryview(s.data)), tail_of(s.data), bloom.add(trace_ids_of(s.data))) for s in segments]
    meta = describe(block, described)
    for file, segment in zip(meta.files, segments, strict=True):
        store.put(f"{meta.folder}/{file.name}", segment.data)
    if filters := bloom.data():
        store.put(bloom_path(meta), filters)
    store.put(meta.path, meta.encode())
    return meta


def trace_ids_of(data: Any) -> Ids:
    """The trace ids of a segment, each once, ascending. In: its Parquet bytes

    None of a file that Arrow cannot read: it gets no filter, and whoever reads it learns of the damage.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
        ids = one_array(file.read(["trace_id"], use_threads=False)["trace_id"])
    except (pa.ArrowException, OSError):
        return NO_IDS
    return trace_index(ids).ids if len(ids) else NO_IDS
