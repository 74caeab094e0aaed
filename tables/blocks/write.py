"""Writes a block: its segments' bytes as they are, then meta.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tables.blocks.meta import BlockMeta, FileMeta, block_id
from tables.storage.checksum import Tail, tail_of
from tables.storage.object_store import ObjectStore


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """One segment that goes into a block."""

    data: Any  # Parquet bytes: bytes or an Arrow buffer
    spans: int
    start_min_ns: int
    end_max_ns: int


@dataclass(frozen=True, slots=True)
class BlockRange:
    """What a block covers."""

    cluster_id: str
    tenant: str
    partition: int
    partition_count: int
    first_offset: int
    last_offset: int

    @property
    def id(self) -> str:
        """The block's id."""
        return block_id(self.cluster_id, self.tenant, self.partition, self.first_offset, self.last_offset)


def describe(block: BlockRange, segments: Sequence[tuple[SegmentFile, int, Tail]]) -> BlockMeta:
    """The meta of a block of (segment, size in bytes, checksum of its end)."""
    files = [
        FileMeta(
            name=f"data-{number:04d}.parquet",
            size_bytes=size,
            spans=segment.spans,
            start_min_ns=segment.start_min_ns,
            end_max_ns=segment.end_max_ns,
            tail_bytes=tail.size_bytes,
            tail_crc32=tail.crc32,
        )
        for number, (segment, size, tail) in enumerate(segments)
    ]
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
    )


def write_block(store: ObjectStore, block: BlockRange, segments: Sequence[SegmentFile]) -> BlockMeta:
    """Writes the files, then meta.json. Raises: StorageError; doing it again later is right."""
    meta = describe(block, [(s, len(memoryview(s.data)), tail_of(s.data)) for s in segments])
    for file, segment in zip(meta.files, segments, strict=True):
        store.put(f"{meta.folder}/{file.name}", segment.data)
    store.put(meta.path, meta.encode())
    return meta
