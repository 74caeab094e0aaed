"""The live store of one worker: its partitions, their segments on disk and in memory, and the flush of cuts to
blocks.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, Protocol

from prometheus_client import Counter

from tables.blocks.meta import BlockMeta
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.catalog.block_list import BlockList
from tables.catalog.cuts import Cut
from tables.catalog.snapshot import BlockSnapshot
from tables.columns.arrays import numbers, one_array
from tables.columns.duplicates import DUPLICATES
from tables.columns.trace_facts import time_range_ns
from tables.columns.trace_index import trace_index
from tables.errors import DamagedError, WireError
from tables.live.decode_together import GoOn, keep_going
from tables.live.head import Head, seal_and
from tables.live.merged_segments import MergedSegments, merge_segments, segment_file, small_segments
from tables.live.partition import CutPolicy, LivePartition
from tables.live.partition_jobs import FlushJob, SealJob
from tables.live.segment_bytes import SegmentBytes
from tables.live.segment_table import SegmentInfo, Segments
from tables.live.shared_records import BadRecord
from tables.parquet.read import ColumnCache, ParquetSource, keep_traces
from tables.parquet.write import to_parquet
from tables.redaction.flush import redacted_block
from tables.seal.raw_fallback import raw_spans
from tables.storage.object_store import RangeFile
from tables.wire.split import SEVERAL

log = logging.getLogger(__name__)

SEALED = Counter("stretto_live_store_spans_sealed_total", "Spans sealed into segments.")
RAW_SPANS = Counter(
    "stretto_live_store_spans_raw_total",
    "Spans that could not be shredded into columns. They are kept whole and found by trace id only.",
)
SEGMENTS = Counter("stretto_live_store_segments_total", "Segments sealed.")
FLUSHED = Counter("stretto_block_spans_flushed_total", "Spans in flushed, visible blocks.")
BLOCKS = Counter("stretto_blocks_flushed_total", "Blocks written and made visible.")
BLOCK_BYTES = Counter("stretto_block_bytes_flushed_total", "Bytes of flushed, visible blocks.")


@dataclass(frozen=True, slots=True)
class FlushResult:
    """cut: the valid cut; ours: whether it names this worker's blocks

    copies: files that are segments, byte by byte; merged: files that several segments share, with their bytes, as
        pyarrow Buffers; both by their paths
    """

    cut: Cut
    blocks: list[BlockMeta]
    ours: bool
    copies: dict[str, SegmentInfo]
    merged: dict[str, tuple[MergedSegments, Any]]


class LivePart(Protocol):
    """Sources of a live part; with a trace id, at least those that hold that trace."""

    def __call__(self, trace_id: bytes | None, go_on: GoOn = keep_going, /) -> list[Any]:
        """go_on: called now and then; what it raises ends the work"""
        ...


@dataclass(frozen=True, slots=True)
class Live:
    """A tenant's data at one moment: the visible blocks, and live parts only above them.

    parts: by partition; each opens or shreds a live part when called (on a worker thread), whole or for one trace
    overtaken: partitions that another worker has cut where the live data here has no border: they have no parts
    """

    blocks: BlockSnapshot
    parts: dict[int, list[LivePart]] = field(default_factory=dict)
    overtaken: list[int] = field(default_factory=list)


class LiveStore:
    """Partitions by number. The docstrings of methods that use disk or storage say so: call them off the event loop.
    All others belong to the event loop's thread.
    """

    def __init__(
        self,
        segments: Segments,
        blocks: BlockList,
        policy: CutPolicy,
        data: SegmentBytes,
        columns: ColumnCache,
    ) -> None:
        self.partitions: dict[int, LivePartition] = {}
        self.blocks = blocks
        self.policy = policy
        self._segments = segments
        self._columns = columns
        self._data = data
        self._sources: dict[SegmentInfo, ParquetSource] = {}

    def load(self, partition: int) -> LivePartition:
        """Reads a partition's cuts and segments (disk, storage). The caller then `adopt`s it.

        Raises: StorageError; DamagedError if the last cut cannot be read, because the offset to resume from is then
        unknown
        """
        self.blocks.poll([partition])
        if problem := self.blocks.unknown_end(partition):
            raise DamagedError(f"partition {partition}", f"waits until it is known where its blocks end: {problem}")
        flushed_offset = self.blocks.flushed_offset(partition)
        try:
            local = self._segments.of_partition(partition)
        except WireError as err:
            # As if the disk were lost: Kafka has these spans.
            log.warning("partition %d: its local segments are made again from Kafka: %s", partition, err)
            self._segments.clear(partition)
            local = []
        sealed_offset = self._segments.sealed_offset(partition)
        if any(s.first_offset < flushed_offset <= s.last_offset for s in local):
            # Another worker has cut at a different offset: the local data does not match the blocks.
            self._segments.delete(local)
            local, sealed_offset = [], flushed_offset
            self._segments.set_sealed_offset(partition, sealed_offset)
        old = [s for s in local if s.last_offset < flushed_offset]
        if old:
            self._segments.delete(old)
        kept = [s for s in local if s.first_offset >= flushed_offset]
        return LivePartition.open(partition, self.policy, flushed_offset, kept, sealed_offset)

    def adopt(self, partition: LivePartition) -> None:
        """Serves the partition from now on, instead of its older state."""
        self.release(partition.partition)
        self.partitions[partition.partition] = partition

    def release(self, partition: int) -> None:
        """Stops serving a partition that was revoked. Its local segments stay, in case it comes back."""
        state = self.partitions.pop(partition, None)
        if state is not None:
            state.closed = True
            for info in state.segments:
                self.forget(info)

    def reset(self, partition: int) -> None:
        """Deletes the partition's local segments (disk), because they do not match the blocks."""
        self._segments.clear(partition)

    def seal(self, partition: int, job: SealJob) -> tuple[SegmentInfo | None, list[BadRecord]]:
        """Seals a head into a segment and stores it (disk). Raises: StorageError"""
        head = job.head
        table, data, bad = seal_and(to_parquet, head.records, head.attribute_columns_max, job.shared)
        if table is None or data is None:
            return None, bad
        RAW_SPANS.inc(raw_spans(table))
        start_min_ns, end_max_ns = time_range_ns(
            numbers(one_array(table["start_ns"])), numbers(one_array(table["duration_ns"]))
        )
        info = SegmentInfo(
            tenant=job.tenant,
            partition=partition,
            first_offset=job.first_offset,
            last_offset=job.last_offset,
            spans=table.num_rows,
            size_bytes=data.size,
            start_min_ns=start_min_ns,
            end_max_ns=end_max_ns,
            first_timestamp_ms=job.first_timestamp_ms,
            last_timestamp_ms=job.last_timestamp_ms,
            partition_count=job.partition_count,
        )
        self._segments.put(info, data)
        self._data.keep(info, data)
        keep_traces(self._columns, _cache_key(info), trace_index(one_array(table["trace_id"])))
        SEALED.inc(info.spans)
        SEGMENTS.inc()
        return info, bad

    def save_sealed_offset(self, partition: int, offset: int) -> None:
        """Stores the sealed offset (disk)."""
        self._segments.set_sealed_offset(partition, offset)

    def flush(self, partition: int, job: FlushJob, segments: Iterable[SegmentInfo]) -> FlushResult:
        """Writes the blocks of a cut and makes them visible (disk, storage). Raises: StorageError."""
        metas: list[BlockMeta] = []
        copies: dict[str, SegmentInfo] = {}
        merged: dict[str, tuple[MergedSegments, Any]] = {}
        cluster_id = self.blocks.cluster_id
        for tenant, of_tenant in groupby(segments, key=lambda s: s.tenant):
            infos = list(of_tenant)
            files = self._files(infos)
            count = one_count(infos, self.policy.partitions)
            block = BlockRange(cluster_id, tenant, partition, count, job.first_offset, job.last_offset)
            # What redactions leave untouched is the very same object.
            origins = {id(file): origin for file, origin in files}
            block, written = redacted_block(block, [file for file, _ in files], self.blocks.redactions(tenant))
            if not written:
                continue
            meta = write_block(self.blocks.store, block, written)
            metas.append(meta)
            for named, file in zip(meta.files, written, strict=True):
                path, origin = f"{meta.folder}/{named.name}", origins.get(id(file))
                if isinstance(origin, MergedSegments):
                    merged[path] = origin, file.data
                elif origin is not None:
                    copies[path] = origin
        names = tuple(sorted(f"{meta.tenant}/{meta.block_id}" for meta in metas))
        wanted = Cut(partition, job.first_offset, job.last_offset, names, tuple(metas))
        cut = self.blocks.cuts.write(wanted)
        return FlushResult(cut, metas, cut == wanted, copies, merged)

    def _files(self, infos: list[SegmentInfo]) -> list[tuple[SegmentFile, SegmentInfo | MergedSegments]]:
        """The files of a block, and what each is made of: large segments as they are, small ones together."""
        small = small_segments(infos)
        files: list[tuple[SegmentFile, SegmentInfo | MergedSegments]] = [
            (self._segment_file(info), info) for info in infos if info not in small
        ]
        if small:
            columns_max = self.policy.attribute_columns_max
            parts = [self._data.data(info) for info in small]
            for number, one in enumerate(merge_segments(small, parts, columns_max)):
                origin = MergedSegments(tuple(small), columns_max, number, one.data.size)
                files.append((segment_file(one, small), origin))
                DUPLICATES.labels("flush").inc(one.repeated)
        return files

    def _segment_file(self, info: SegmentInfo) -> SegmentFile:
        received = (info.first_timestamp_ms, info.last_timestamp_ms)
        return SegmentFile(self._data.data(info), info.spans, info.start_min_ns, info.end_max_ns, *received)

    def flushed(self, partition: LivePartition, job: FlushJob, result: FlushResult) -> list[SegmentInfo]:
        """Makes the blocks visible to queries of this process. Returns the segments that may be deleted after a
        while.
        """
        done = partition.flushed(job)
        self._data.add_copies(result.copies)
        for path, merged in result.merged.items():
            self._data.add_merged(path, *merged)
        # Decoded columns of a segment also serve its block, where the bytes are the same.
        self.blocks.add(result.cut, result.blocks, {path: _cache_key(info) for path, info in result.copies.items()})
        FLUSHED.inc(sum(meta.spans for meta in result.blocks))
        BLOCKS.inc(len(result.blocks))
        BLOCK_BYTES.inc(sum(meta.size_bytes for meta in result.blocks))
        return done

    def retire(self, infos: Iterable[SegmentInfo]) -> None:
        """No query begins with these flushed segments any more: they are about to be deleted."""
        for info in infos:
            partition = self.partitions.get(info.partition)
            if partition is not None:
                partition.retire(info.last_offset + 1)

    def delete(self, infos: list[SegmentInfo]) -> None:
        """Deletes segments that readers no longer need (disk)."""
        for info in infos:
            self.forget(info)
        self._data.delete(infos)

    def forget(self, info: SegmentInfo) -> None:
        """Drops a segment from the memory cache."""
        self._data.discard(info)
        self._sources.pop(info, None)

    def view(
        self, tenant: str, start_ns: int | None = None, end_ns: int | None = None, trace_id: bytes | None = None
    ) -> Live:
        """The tenant's data, each span exactly once: blocks below the flushed offset, live parts from it on.

        start_ns, end_ns: the blocks that a query over this time range reads; None: open
        trace_id: the blocks of the partitions that the trace may be in
        """
        snapshot = self.blocks.snapshot(tenant, start_ns, end_ns, trace_id)
        live = Live(snapshot)
        for number, partition in self.partitions.items():
            flushed_offset = snapshot.flushed_offsets.get(number, 0)
            if not partition.fits(flushed_offset):
                live.overtaken.append(number)
                continue
            live.parts[number] = self.parts_from(partition, flushed_offset, tenant)
        return live

    def parts_from(self, partition: LivePartition, flushed_offset: int, tenant: str) -> list[LivePart]:
        """What the partition has of the tenant from the offset on. In: an offset that it `fits`, and `holds_from`"""
        view = partition.live(flushed_offset, tenant)
        parts: list[LivePart] = []
        if view.segments:
            parts.append(partial(_segments, [self.source(info) for info in view.segments]))
        for head, count in view.heads:
            parts.append(partial(_head_sources, head, count))
        return parts

    def overtaken(self) -> list[LivePartition]:
        """Partitions to open again, because another worker has cut them at an offset where nothing ends here."""
        offsets = {number: self.blocks.flushed_offset(number) for number in self.partitions}
        return [partition for number, partition in self.partitions.items() if not partition.fits(offsets[number])]

    def source(self, info: SegmentInfo) -> ParquetSource:
        """The segment as a source for queries."""
        source = self._sources.get(info)
        if source is None:
            source = self._sources[info] = ParquetSource(
                _cache_key(info),
                lambda: RangeFile(partial(self._data.ranges, info), info.size_bytes),
                self._columns,
                info.spans,
            )
            source.is_own = True  # RocksDB checks what it reads
        return source


def one_count(infos: Iterable[SegmentInfo], unnoted: int) -> int:
    """The partition count of a block of these segments. unnoted: of segments of earlier versions"""
    counts = {unnoted if info.partition_count is None else info.partition_count for info in infos}
    return counts.pop() if len(counts) == 1 else SEVERAL


def _cache_key(info: SegmentInfo) -> str:
    # With both ends: after a reset, another segment may begin at the same offset, and the cache outlives both.
    return f"segment {info.partition}/{info.tenant}/{info.first_offset}-{info.last_offset}"


def _segments(sources: list[ParquetSource], _: bytes | None, __: GoOn = keep_going) -> list[Any]:
    return list(sources)


def _head_sources(head: Head, count: int, trace_id: bytes | None, go_on: GoOn = keep_going) -> list[Any]:
    if trace_id is not None:
        return list(head.trace_sources(trace_id, count, go_on))
    return list(head.sources(count, go_on))
