"""Blocks in storage merged into one: what its meta says, that nothing is lost, and that it can be repeated."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tables.blocks.bloom import FilterQuestion, bloom_path, filter_ranges, inline_filter
from tables.blocks.meta import BlockMeta, decode_meta, merged_block_id
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.errors import DamagedError
from tables.merge import merge_blocks as module
from tables.merge.merge import merge
from tables.merge.merge_blocks import MergeCancelled, merge_blocks
from tables.parquet.write import to_parquet
from tables.seal import seal
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.wire.otlp.decoder import OtlpDecoder

DECODER = OtlpDecoder()


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(StorageConfig("local", str(tmp_path)))


def span(trace: int, number: int = 1, start_ns: int = 100, name: str = "op") -> Span:
    return Span(
        trace_id=trace.to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        parent_span_id=b"" if number == 1 else (1).to_bytes(8, "big"),
        name=name,
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + 10,
    )


def block(store: ObjectStore, first: int, files: Sequence[Sequence[Span]], partition: int = 0) -> BlockMeta:
    """A flushed block of the record `first`, received at first * 1000 ms. files: the spans of each"""
    segments = []
    for spans in files:
        request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])])
        table = seal([DECODER.decode([request.SerializeToString()]).spans])
        starts = [one.start_time_unix_nano for one in spans]
        segments.append(SegmentFile(to_parquet(table), table.num_rows, min(starts), max(starts) + 10))
    meta = write_block(store, BlockRange("e", "t", partition, 4, first, first), segments)
    return meta.model_copy(update={"received_min_ms": first * 1000, "received_max_ms": first * 1000 + 9})


def rows(store: ObjectStore, meta: BlockMeta) -> list[tuple[int, int]]:
    """(trace, span) of each row, in the order of the files."""
    found = []
    for file in meta.files:
        data = store.get(f"{meta.folder}/{file.name}")
        assert data is not None
        assert len(data) == file.size_bytes
        table = pq.read_table(pa.BufferReader(data), columns=["trace_id", "span_id"])
        assert table.num_rows == file.spans
        found += [
            (int.from_bytes(row["trace_id"], "big"), int.from_bytes(row["span_id"], "big")) for row in table.to_pylist()
        ]
    return found


def test_a_merged_block_has_each_span_once_and_says_what_it_replaces(store: ObjectStore) -> None:
    """The parts of a trace lie together, and what was sent twice is there once."""
    blocks = [
        block(store, 3, [[span(7), span(2, 2)], [span(1)]]),
        block(store, 5, [[span(2, 1, 90), span(7), span(9, 1, 500)]]),
    ]
    merged = merge_blocks(store, blocks, 100)
    meta = merged.meta
    assert rows(store, meta) == [(1, 1), (2, 1), (2, 2), (7, 1), (9, 1)]
    assert (meta.spans, merged.repeated) == (5, 1)
    assert meta.block_id == merged_block_id(one.block_id for one in blocks)
    assert meta.replaces == sorted(one.block_id for one in blocks)
    assert (meta.level, meta.first_offset, meta.last_offset) == (1, 3, 5)
    assert (meta.received_min_ms, meta.received_max_ms) == (3000, 5009)
    assert (meta.start_min_ns, meta.end_max_ns) == (90, 510)
    data = store.get(meta.path)
    assert data is not None
    assert decode_meta(meta.path, data) == meta


def test_a_merged_block_can_be_merged_again(store: ObjectStore) -> None:
    """Levels go up; files follow each other by trace id, each with its range and filter."""
    blocks = [block(store, n, [[span(trace) for trace in range(n, 41, 4)]]) for n in range(1, 5)]
    upper = [merge_blocks(store, pair, 100, file_rows=8).meta for pair in (blocks[:2], blocks[2:])]
    assert all(len(one.files) > 1 for one in upper)
    meta = merge_blocks(store, upper, 100, file_rows=8).meta
    assert rows(store, meta) == [(trace, 1) for trace in range(1, 41)]
    assert meta.level == 2
    ranges = [(file.trace_id_min, file.trace_id_max) for file in meta.files]
    assert len(ranges) > 3
    assert [low for low, _ in ranges] == sorted(low for low, _ in ranges)
    assert all(high < low for (_, high), (low, _) in pairwise(ranges))
    at = 1
    for file in meta.files:
        data = inline_filter(meta, file)
        assert data is not None
        for _ in range(file.spans):
            assert FilterQuestion(at.to_bytes(16, "big")).may_be_in(data)
            at += 1


def test_filters_of_large_files_have_their_object(store: ObjectStore) -> None:
    """Where they are too large for the meta."""
    meta = merge_blocks(store, [block(store, 0, [[span(trace) for trace in range(1, 2000)]])], 100).meta
    data = store.get(bloom_path(meta))
    assert data is not None
    ((start, length),) = filter_ranges(meta.files)
    assert (start, length) == (0, len(data))
    assert all(FilterQuestion(trace.to_bytes(16, "big")).may_be_in(data) for trace in range(1, 2000))


def test_a_merge_is_done_once(store: ObjectStore) -> None:
    """Whoever comes second finds the block and writes nothing."""
    blocks = [block(store, n, [[span(1), span(n + 5)]]) for n in range(2)]
    first = merge_blocks(store, blocks, 100)
    with patch.object(store, "put") as put:
        assert merge_blocks(store, blocks, 100) == first
    assert not put.called
    assert first.repeated == 1


def test_a_cancelled_merge_is_invisible_and_can_be_repeated(store: ObjectStore) -> None:
    """It ends before the next file."""
    blocks = [block(store, n, [[span(trace) for trace in range(n, 41, 2)]]) for n in range(1, 3)]
    answers = iter([False, True])
    with pytest.raises(MergeCancelled):
        merge_blocks(store, blocks, 100, file_rows=8, is_cancelled=lambda: next(answers))
    folder = f"blocks/t/{merged_block_id(one.block_id for one in blocks)}"
    assert len(list(store.paths(folder))) == 1
    meta = merge_blocks(store, blocks, 100, file_rows=8).meta
    assert rows(store, meta) == [(trace, 1) for trace in range(1, 41)]


def test_damage_is_named_and_nothing_is_written(store: ObjectStore) -> None:
    """A block that cannot be read stops the merge of its neighbours."""
    blocks = [block(store, n, [[span(n + 1)]]) for n in range(2)]
    path = f"{blocks[1].folder}/{blocks[1].files[0].name}"
    data = store.get(path)
    assert data is not None
    store.put(path, data[:-30] + bytes(30))
    with pytest.raises(DamagedError, match=path):
        merge_blocks(store, blocks, 100)
    store.delete([path])
    with pytest.raises(DamagedError, match="missing"):
        merge_blocks(store, blocks, 100)
    assert store.get(f"blocks/t/{merged_block_id(one.block_id for one in blocks)}/meta.json") is None


def test_a_merge_that_loses_spans_writes_no_meta(store: ObjectStore) -> None:
    """Whatever the reason: the blocks stay as they are."""
    blocks = [block(store, n, [[span(n + 1)]]) for n in range(2)]
    with (
        patch.object(module, "merge", side_effect=lambda inputs, *rest: merge(inputs[:1], *rest)),
        pytest.raises(RuntimeError, match="lost"),
    ):
        merge_blocks(store, blocks, 100)


def test_only_blocks_of_one_place_are_merged(store: ObjectStore) -> None:
    """Offsets of other partitions mean something else."""
    with pytest.raises(ValueError, match="one tenant and partition"):
        merge_blocks(store, [block(store, 0, [[span(1)]]), block(store, 1, [[span(2)]], partition=1)], 100)
    with pytest.raises(ValueError, match="one tenant and partition"):
        merge_blocks(store, [], 100)
