"""Segments are this process's own files: their footers are not checked, because RocksDB checks all that it reads."""

from pathlib import Path
from typing import Any, Never

import faust
import pytest

from tables.live import merged_segments
from tables.live.segment_table import SegmentInfo, SegmentTable
from tests.helpers.live.live_store import TP0, message, world
from tests.helpers.loops import in_loop


@in_loop
async def test_the_footers_of_segments_are_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by queries, nor where small segments become a block's file. Of that one the end is known."""

    def fail(*_: Any) -> Never:
        raise AssertionError

    monkeypatch.setattr("tables.parquet.open_file.read_guarded", fail)
    monkeypatch.setattr("tables.merge.inputs.read_guarded", fail)
    monkeypatch.setattr(merged_segments, "_SMALL_SPANS", 8)
    with world(tmp_path, column_cache_bytes=1) as w:
        await w.manager.resume([TP0])
        for number in range(2):
            await w.manager.take(message(number, 3, seconds=100.0 + 0.1 * number))
            await w.manager.seal_all()
            await w.manager.drain(0)
        first, other = map(w.store.source, w.state.segments)
        assert len(first.read(["span_id"])["span_id"]) == len(other.read(["span_id"])["span_id"]) == 3
        await w.manager.take(message(2, 9, seconds=110.0))
        await w.flush_all()
        (meta,) = w.store.view("t").blocks.blocks
        assert [file.spans for file in meta.files] == [6]
        assert [len(source.read(["span_id"])["span_id"]) for source in w.store.blocks.sources(meta)] == [6]


@pytest.mark.parametrize("size_bytes", [100, 10_000], ids=["in the tree", "beside it"])
def test_a_damaged_disk_is_noticed(tmp_path: Path, size_bytes: int) -> None:
    info = SegmentInfo("t", 0, 0, 0, 1, size_bytes, 0, 0, 0)
    table = opened(tmp_path)
    table.open("cluster").put(info, b"A" * size_bytes)
    table.data.db.flush()
    table.close()
    damaged = 0
    for path in sorted(tmp_path.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        if (at := data.find(b"A" * size_bytes)) >= 0:
            path.write_bytes(data[: at + 50] + b"B" + data[at + 51 :])
            damaged += 1
    assert damaged == 1
    table = opened(tmp_path)
    with pytest.raises(Exception, match="Corruption"):  # rocksdict raises plain Exception
        table.open("cluster").data(info)
    table.close()


def opened(folder: Path) -> SegmentTable:
    return SegmentTable(faust.App("own", broker="kafka://127.0.0.1:1", store="memory://"), folder / "live")
