"""Writes a block of Tempo as a block of ours, file by file."""

import logging
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from tables.blocks.meta import BlockMeta
from tables.blocks.write import BlockRange, BlockWriter, SegmentFile, draft_of
from tables.columns.arrays import numbers, one_array
from tables.columns.trace_facts import time_range_ns
from tables.columns.trace_index import trace_index
from tables.errors import DamagedError
from tables.parquet.write import to_parquet
from tables.seal.raw_fallback import seal_whole
from tables.storage.object_store import ObjectStore
from tables.tempo.bucket import TempoBlock
from tables.tempo.file import open_tempo_file
from tables.tempo.limits import EVERYTHING, TimeLimits
from tables.tempo.rows import TraceRows, span_rows
from tables.wall import walled

log = logging.getLogger(__name__)

# The Kafka cluster of imported blocks: to readers it is a former one, whose offsets nobody continues. All are of one
# partition, so that the parts of a trace that lie in several of them meet when they are compacted.
CLUSTER_ID: Final = "tempo-import"
_SECOND_BITS: Final = 30

# Rows of a file. Two files are in memory at a time: as columns, and as Parquet.
_FILE_SPANS: Final = 262_144

Progress = Callable[[int], None]  # called with numbers of spans that were read


@dataclass(slots=True)
class ConvertedBlock:
    """What became of a block.

    spans_wanted: those of spans_read that are within the limits; spans: those of them that were written
    odd_ids: ids of another length than OTLP's, padded or cut
    meta: of our block; None if no span is within the limits
    """

    traces: int = 0
    spans_read: int = 0
    spans_wanted: int = 0
    spans: int = 0
    odd_ids: int = 0
    meta: BlockMeta | None = None

    @property
    def repeated(self) -> int:
        """How many spans were left out since others equal them in every field."""
        return self.spans_wanted - self.spans


def block_range(block: TempoBlock, tenant: str) -> BlockRange:
    """Where the block's spans go. The offset is unique, grows with the block's time, and follows from the block: a
    second import writes the same objects.
    """
    offset = (block.meta.end_ms // 1000 << _SECOND_BITS) | zlib.crc32(block.id.encode()) >> (32 - _SECOND_BITS)
    return BlockRange(CLUSTER_ID, tenant, 0, 1, offset, offset)


def convert(  # noqa: PLR0913
    source: ObjectStore,
    target: ObjectStore,
    block: TempoBlock,
    tenant: str,
    attribute_columns_max: int,
    limits: TimeLimits = EVERYTHING,
    progress: Progress = lambda _: None,
) -> ConvertedBlock:
    """Reads the block and writes ours, which nobody sees before an index names it.

    source: Tempo's bucket; target: ours; tenant: ours
    Raises: DamagedError, which names the block: it cannot be read, or does not have what its meta.json says;
        StorageError
    """
    received_ms = (block.meta.start_ms, block.meta.end_ms)
    done, writer = ConvertedBlock(), BlockWriter(target, draft_of(block_range(block, tenant), received_ms))
    for batches in _groups(_batches(source, block, limits, done, progress)):
        table, data = seal_whole(batches, attribute_columns_max, to_parquet)
        writer.add(_segment(table, data), trace_index(one_array(table["trace_id"])).ids)
        done.spans += len(table)
    if done.traces != block.meta.traces:
        raise DamagedError(block.folder, f"has {done.traces} traces; its meta.json says {block.meta.traces}")
    if writer.files:
        done.meta = writer.finish()
    if done.meta is not None and done.meta.spans != done.spans:
        raise RuntimeError(f"{block.folder} has {done.spans} spans, of which {done.meta.spans} were written")
    return done


def _batches(
    source: ObjectStore, block: TempoBlock, limits: TimeLimits, done: ConvertedBlock, progress: Progress
) -> Iterator[pa.RecordBatch]:
    """The block's spans that are to be imported. Counts in `done` what it reads."""
    stamp = source.stamp(block.data_path)
    if stamp is None or stamp.size_bytes != block.meta.size_bytes:
        there = "is missing" if stamp is None else f"has {stamp.size_bytes} bytes"
        raise DamagedError(block.data_path, f"{there}; its meta.json says {block.meta.size_bytes}")
    assigned = tuple(block.meta.assigned())
    whole = limits.hold(block.meta)
    for traces in open_tempo_file(source, block.data_path, block.meta.size_bytes, assigned).batches():
        rows = _span_rows(block, traces)
        if rows.wrong:
            raise DamagedError(block.folder, f"has trace {rows.wrong.hex()} with other spans than it says")
        done.traces += len(traces)
        done.spans_read += len(rows.spans)
        done.odd_ids += rows.odd_ids
        progress(len(rows.spans))
        wanted = rows.spans if whole else limits.within(rows.spans)
        done.spans_wanted += len(wanted)
        if len(wanted):
            yield wanted


def _span_rows(block: TempoBlock, traces: pa.RecordBatch) -> TraceRows:
    """Raises: DamagedError"""
    try:
        return walled(span_rows, traces, tuple(block.meta.assigned()))
    except MemoryError:
        raise
    except Exception as err:
        log.exception("rows of %s cannot be converted", block.data_path)
        raise DamagedError(block.data_path, f"has rows that are not Tempo's: {str(err)[:200]}") from err


def _groups(batches: Iterator[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Batches for one file each. A trace is in one batch, so it is in one file."""
    group: list[pa.RecordBatch] = []
    for batch in batches:
        if group and sum(map(len, group)) + len(batch) > _FILE_SPANS:
            yield group
            group = []
        group.append(batch)
    if group:
        yield group


def _segment(table: pa.Table, data: Any) -> SegmentFile:
    start_ns, end_ns = time_range_ns(numbers(one_array(table["start_ns"])), numbers(one_array(table["duration_ns"])))
    # With a checksum in its name: should two imports write the block at once, each meta names its own files.
    return SegmentFile(data, len(table), start_ns, end_ns, merged=True)
