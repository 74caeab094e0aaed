"""Writes a block: the bytes of its segments, the filters of their trace ids, then meta.json."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tables.blocks.bloom import NO_IDS, BloomWriter, Ids, bloom_path
from tables.blocks.meta import BlockMeta, FileMeta, block_id
from tables.columns.arrays import numbers, one_array
from tables.columns.trace_index import trace_index
from tables.storage.checksum import tail_of
from tables.storage.object_store import ObjectStore

_TRACE_ID: Final = "trace_id"
_TRACE_TIMES: Final = ("trace_start_ns", "trace_duration_ns")


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


class BlockWriter:
    """Writes the files of a block as they come, then the filters of their trace ids, then meta.json, without which the
    block does not exist. All methods may raise StorageError.
    """

    def __init__(self, store: ObjectStore, draft: BlockMeta) -> None:
        """draft: the block's meta, but for what its files say"""
        self._store, self._draft, self._bloom = store, draft, BloomWriter()
        self.files: list[FileMeta] = []

    def add(self, segment: SegmentFile, ids: Ids | None = None, number: int | None = None) -> None:
        """Writes a file.

        ids: its trace ids, each once, ascending; None: they are read from it
        number: in its name; None: it is the next one
        """
        data = segment.data
        tail, crc32 = tail_of(data), zlib.crc32(data)
        mark = f"-{crc32:08x}" if segment.merged else ""
        times_ns = segment.start_min_ns, segment.end_max_ns
        found, latest_ns = traces_of(data, times_ns, ids)
        filters = self._bloom.add(found)
        file = FileMeta(
            name=f"data-{len(self.files) if number is None else number:04d}{mark}.parquet",
            size_bytes=len(memoryview(data)),
            spans=segment.spans,
            start_min_ns=times_ns[0],
            end_max_ns=times_ns[1],
            tail_bytes=tail.size_bytes,
            tail_crc32=tail.crc32,
            crc32=crc32,
            trace_start_max_ns=latest_ns,
            **filters._asdict(),
        )
        self._put(file, data)

    def copy(self, file: FileMeta, data: Any) -> None:
        """Writes a file of another block as it is, under its name."""
        found, latest_ns = traces_of(data, (file.start_min_ns, file.end_max_ns))
        filters = self._bloom.add(found)
        self._put(file.model_copy(update={**filters._asdict(), "trace_start_max_ns": latest_ns}), data)

    def _put(self, file: FileMeta, data: Any) -> None:
        self._store.put(self._draft.path_of(file), data)
        self.files.append(file)

    def finish(self) -> BlockMeta:
        """Writes filters and meta.json. There is at least one file."""
        files = self.files
        meta = self._draft.model_copy(
            update={
                "files": files,
                "spans": sum(file.spans for file in files),
                "size_bytes": sum(file.size_bytes for file in files),
                "start_min_ns": min(file.start_min_ns for file in files),
                "end_max_ns": max(file.end_max_ns for file in files),
            }
        )
        if filters := self._bloom.data():
            self._store.put(bloom_path(meta), filters)
        self._store.put(meta.path, meta.encode())
        return meta


def draft_of(block: BlockRange, received_ms: tuple[int, int]) -> BlockMeta:
    """The meta of a block without what its files say. received_ms: first and last Kafka timestamp; 0: unknown"""
    return BlockMeta(
        block_id=block.id,
        tenant=block.tenant,
        cluster_id=block.cluster_id,
        partition=block.partition,
        partition_count=block.partition_count,
        first_offset=block.first_offset,
        last_offset=block.last_offset,
        spans=0,
        start_min_ns=0,
        end_max_ns=0,
        size_bytes=0,
        files=[],
        redactions=list(block.redactions),
        received_min_ms=received_ms[0],
        received_max_ms=received_ms[1],
    )


def _received(segments: Sequence[SegmentFile]) -> tuple[int, int]:
    """When the block's first and last record were received; 0 if that is not known of one of its segments."""
    if not all(segment.received_max_ms for segment in segments):
        return 0, 0
    first_ms = min(segment.received_min_ms for segment in segments)
    return first_ms, max(segment.received_max_ms for segment in segments)


def write_block(store: ObjectStore, block: BlockRange, segments: Sequence[SegmentFile]) -> BlockMeta:
    """Writes the files, then meta.json. Raises: StorageError; the caller may then repeat it"""
    writer = BlockWriter(store, draft_of(block, _received(segments)))
    for segment in segments:
        writer.add(segment)
    return writer.finish()


def trace_ids_of(data: Any) -> Ids:
    """The trace ids of a segment, each once, ascending. In: its Parquet bytes

    None of a file that Arrow cannot read: it gets no filter, and whoever reads it learns of the damage.
    """
    return _ids(_columns_of(data, [_TRACE_ID]))


def traces_of(data: Any, times_ns: tuple[int, int], ids: Ids | None = None) -> tuple[Ids, int]:
    """As `trace_ids_of`, and `FileMeta.trace_start_max_ns` of the file.

    In: its Parquet bytes; its start_min_ns and end_max_ns; ids: if they are known
    """
    columns = _columns_of(data, _TRACE_TIMES if ids is not None else (_TRACE_ID, *_TRACE_TIMES))
    return _ids(columns) if ids is None else ids, _latest_ns(columns, times_ns)


def _ids(columns: dict[str, Any]) -> Ids:
    ids = columns.get(_TRACE_ID)
    return trace_index(ids).ids if ids is not None and len(ids) else NO_IDS


def _latest_ns(columns: dict[str, Any], times_ns: tuple[int, int]) -> int:
    if not all(name in columns and len(columns[name]) for name in _TRACE_TIMES):
        return 0
    starts, durations = (numbers(columns[name]) for name in _TRACE_TIMES)
    ends = starts + durations  # of hostile times it may be beyond the largest number, which makes it negative
    within = times_ns[0] <= starts.min() and ends.max() <= times_ns[1] and (ends >= starts).all()
    return int(starts.max()) if within and starts.min() > 0 else 0


def _columns_of(data: Any, names: Sequence[str]) -> dict[str, Any]:
    """Those of some columns that a file has; none if Arrow cannot read it."""
    try:
        table = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(list(names), use_threads=False)
    except (pa.ArrowException, OSError):
        return {}
    return {name: one_array(table[name]) for name in table.column_names}
