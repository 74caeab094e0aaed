"""Small segments share a file of their block; large ones are its files as they are."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from benchmarks.soak.events import storage_away
from tables.errors import StorageError
from tables.live import merged_segments
from tables.live.merged_segments import MergedSegments
from tables.live.partition_jobs import FlushJob
from tables.live.store import FlushResult
from tables.storage.object_store import ObjectStore
from tests.helpers.live.live_store import TP0, World, message, world
from tests.helpers.loops import in_loop


async def seal_one_by_one(made: World, *messages: Any) -> None:
    """A segment for each message."""
    await made.manager.resume([TP0])
    for one in messages:
        await made.manager.take(one)
        await made.manager.seal_all()
        await made.manager.drain(0)


def flush(made: World) -> FlushResult:
    job = FlushJob(0, made.state.next_offset - 1)
    result = made.store.flush(0, job, made.state.to_flush(job))
    if result.ours:
        made.store.flushed(made.state, job, result)
    return result


def span_ids(made: World) -> list[int]:
    """The span ids of all sources."""
    live = made.store.view("t")
    sources = [source for meta in live.blocks.blocks for source in made.store.blocks.sources(meta)]
    sources += [source for parts in live.parts.values() for part in parts for source in part(None)]
    return sorted(int.from_bytes(one, "big") for s in sources for one in s.read(["span_id"])["span_id"].to_pylist())


def count(place: str) -> float:
    return REGISTRY.get_sample_value("stretto_spans_duplicate_total", {"place": place}) or 0.0


@in_loop
async def test_small_segments_share_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The large one stays what it was, byte by byte. The meta says when all of them were received."""
    monkeypatch.setattr(merged_segments, "_SMALL_SPANS", 8)
    with world(tmp_path, column_cache_bytes=1) as w:
        await seal_one_by_one(w, *(message(n, spans, seconds=100 + n) for n, spans in enumerate((2, 9, 3))))
        before = span_ids(w)
        large = w.state.segments[1]
        data = bytes(w.store._data.data(large))
        (meta,) = flush(w).blocks
        assert [(file.spans, file.name[:9]) for file in meta.files] == [(9, "data-0000"), (5, "data-0001")]
        assert w.storage.get(f"{meta.folder}/{meta.files[0].name}") == data
        assert (meta.received_min_ms, meta.received_max_ms) == (100_000, 102_000)
        assert len(before) == 14
        assert span_ids(w) == before


@in_loop
async def test_one_small_segment_is_a_file_as_it_is(tmp_path: Path) -> None:
    """There is nothing to merge it with."""
    with world(tmp_path) as w:
        await seal_one_by_one(w, message(0, 3))
        data = bytes(w.store._data.data(w.state.segments[0]))
        (meta,) = flush(w).blocks
        assert [w.storage.get(f"{meta.folder}/{file.name}") for file in meta.files] == [data]


@in_loop
async def test_a_second_flush_writes_the_same(tmp_path: Path) -> None:
    """As after a crash between the blocks and the cut: of the same segments the same bytes."""
    with world(tmp_path) as w:
        await seal_one_by_one(w, *(message(n, 3) for n in range(4)))
        job = FlushJob(0, w.state.next_offset - 1)
        first = w.store.flush(0, job, w.state.to_flush(job))
        files = {path: w.storage.get(path) for path in w.storage.paths("blocks")}
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        assert first.ours
        assert {path: w.storage.get(path) for path in w.storage.paths("blocks")} == files
        assert len(files) == 2
        assert len(span_ids(w)) == 12


@in_loop
async def test_what_shares_a_file_is_read_here_while_storage_is_away(tmp_path: Path) -> None:
    """It is made again of the segments, as long as all of them are on disk."""
    with world(tmp_path, column_cache_bytes=1) as w:
        await seal_one_by_one(w, *(message(n, 3) for n in range(4)))
        result = flush(w)
        with storage_away(tmp_path / "storage"):
            assert len(span_ids(w)) == 12
        (path,) = result.merged
        assert w.store._data.block_file(path) is not None
        w.store.delete([result.merged[path][0].infos[2]])
        assert w.store._data.block_file(path) is None
        assert len(span_ids(w)) == 12  # from storage


@in_loop
async def test_a_query_merges_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither after the flush, whose bytes are still in memory, nor later, while the storage has the file: not for a
    footer, nor for columns. While the storage is away one query makes the file, for all.
    """
    merges: list[Any] = []
    again = MergedSegments.again
    monkeypatch.setattr(MergedSegments, "again", lambda self, parts: merges.append(self) or again(self, parts))
    with world(tmp_path, column_cache_bytes=1) as w:
        await seal_one_by_one(w, *(message(n, 3) for n in range(4)))
        (path,) = flush(w).merged
        with storage_away(tmp_path / "storage"):
            assert len(span_ids(w)) == 12
        assert merges == []
        w.store._data._recent.discard(path)
        assert len(span_ids(w)) == 12
        assert merges == []
        with storage_away(tmp_path / "storage"):
            assert len(span_ids(w)) == 12
            assert len(span_ids(w)) == 12
        assert len(merges) == 1


@in_loop
async def test_what_is_away_is_not_asked_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that fails may take seconds: the next file is made again without waiting for one."""
    with world(tmp_path, column_cache_bytes=1) as w:
        await seal_one_by_one(w, *(message(n, 3) for n in range(4)))
        (path,) = flush(w).merged
        asked: list[str] = []

        def away(_: ObjectStore, path: str, __: Any) -> Any:
            asked.append(path)
            raise StorageError("the storage is away")

        monkeypatch.setattr(ObjectStore, "get_ranges", away)
        for _ in range(3):
            w.store._data._recent.discard(path)
            assert len(span_ids(w)) == 12
        assert asked == [path]


@in_loop
async def test_a_retry_is_counted_once(tmp_path: Path) -> None:
    """In one segment when it is sealed, in two small ones when they are flushed."""
    sealed, merged = count("seal"), count("flush")
    with world(tmp_path) as w:
        retry = message(0, 3).value
        await w.manager.resume([TP0])
        await w.manager.take(message(0, 3))
        await w.manager.take(message(1, value=retry))
        await w.manager.seal_all()
        await w.manager.drain(0)
        assert len(span_ids(w)) == 3
        assert count("seal") == sealed + 3
        await w.manager.take(message(2, value=retry))
        await w.manager.seal_all()
        await w.manager.drain(0)
        assert len(span_ids(w)) == 6
        assert flush(w).blocks[0].spans == 3
        assert len(span_ids(w)) == 3
        assert count("flush") == merged + 3
