"""Segments that are in blocks, and are still on the worker's disk."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from benchmarks.soak.events import storage_away
from tables.errors import StorageError
from tests.helpers.live.live_store import TP0, message, world
from tests.helpers.loops import in_loop


@in_loop
async def test_blocks_are_read_while_storage_is_away(tmp_path: Path) -> None:
    """Of what is on this worker's disk still; the oldest goes when there is too much, and then storage is asked."""

    def readable() -> int:
        rows = 0
        for meta in w.store.view("t").blocks.blocks:
            for source in w.store.blocks.sources(meta):
                with suppress(StorageError):
                    rows += len(source.read(["span_id"])["span_id"])
        return rows

    with world(tmp_path, flushed=(0.0, 1 << 20), column_cache_bytes=1) as w:
        await w.manager.resume([TP0])
        for number in range(4):
            await w.manager.take(message(number, spans=3, seconds=100.0 + 10 * number))
        await w.flush_all()
        assert w.spans() == 12
        sizes = [info.size_bytes for flushed in w.flusher._flushed for info in flushed.infos]
        assert len(sizes) == 3
        with storage_away(tmp_path / "storage"):
            await w.flusher.trim()
            assert readable() == 9
            w.flusher._copy_bytes_max = sizes[2]
            await w.flusher.trim()
            assert readable() == 3
        assert readable() == 9


@in_loop
async def test_a_copy_that_another_segment_replaced(tmp_path: Path) -> None:
    """A segment that begins at the same offset is not taken for the block's file."""
    with world(tmp_path, flushed=(3600, 0)) as w:
        await w.manager.resume([TP0])
        await w.manager.take(message(0, spans=3))
        await w.manager.take(message(1, spans=3, seconds=110.0))
        await w.flush_all()
        ((info,),) = [flushed.infos for flushed in w.flusher._flushed]
        segments = w.store._segments
        assert segments.copy(info) == segments.data(info)
        segments.put(replace(info, last_offset=info.last_offset + 1), b"other")
        assert segments.copy(info) is None
        segments.delete([info])
        assert segments.copy(info) is None


@in_loop
async def test_a_block_outlives_its_segment(tmp_path: Path) -> None:
    """A file that was opened as a segment is read from storage once the segment is gone."""
    with world(tmp_path, flushed=(0.0, 0)) as w:
        await w.manager.resume([TP0])
        await w.manager.take(message(0, spans=3))
        w.manager.run(w.state, w.state.seal_all())
        await w.manager.drain(0)
        (segment,) = [source for part in w.store.view("t").parts[0] for source in part(None)]
        assert len(segment.read(["name"])["name"]) == 3  # open, and in the cache
        await w.manager.take(message(1, spans=3, seconds=110.0))
        await w.flush_all()
        await w.flusher.trim()
        assert not w.flusher._flushed
        (block,) = [s for meta in w.store.view("t").blocks.blocks for s in w.store.blocks.sources(meta)]
        assert block.key == segment.key
        assert len(block.read(["span_id"])["span_id"]) == 3
