"""A bucket on which a compactor has worked: every kind of answer is whole, or says what it lacks."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.api.errors import Unavailable
from query.requests import TraceRequest
from tables.storage.object_store import StorageConfig
from tests.helpers.blocks.damage import NONE, counts, is_told, is_whole, started, two_blocks
from tests.helpers.blocks.fragile_compactor import Compactor
from tests.helpers.live.live_store import world
from tests.helpers.loops import in_loop
from tests.helpers.querying.queriers import TRACE


async def compacted(folder: Path) -> Path:
    """The two blocks are in indexes only. Returns the bucket's path."""
    bucket = await two_blocks(folder) / "storage"
    compactor = Compactor(StorageConfig("local", str(bucket)), "cluster_id")
    compactor.blocks.poll([0])
    for tenant in ("t", "u"):
        compactor.fold(tenant)
    compactor.blocks.poll([0])
    compactor.checkpoint()
    shutil.rmtree(bucket / "cuts")
    return bucket


@in_loop
async def test_blocks_of_indexes(tmp_path: Path) -> None:
    """The worker goes on behind them, without any cut."""
    await compacted(tmp_path)
    with world(tmp_path) as w:
        asked = await started(w)
        for tenant in ("t", "u"):
            await is_whole(asked, tenant)
        assert asked.damage() == []
        asked.close()


def remove(path: Path) -> None:
    path.unlink()


def garble(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("damage", [remove, garble])
@in_loop
async def test_an_index_that_cannot_be_read(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    """No answer to its tenant is silently less; the other tenant does not notice; once it is back, all is there."""
    bucket = await compacted(tmp_path)
    (path,) = (bucket / "index" / "t").iterdir()
    data = path.read_bytes()
    damage(path)
    with world(tmp_path) as w:
        asked = await started(w)
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"not all blocks of partition 0 are known.*allow_partial=true"):
                await counts(asked, "t")
            missing_data: list[str] = []
            assert await counts(asked, "t", missing_data) == NONE
            assert len(missing_data) == 1
            answer = await asked.trace("t", TraceRequest(trace_id=TRACE))
            assert (answer.table, answer.complete) == (None, False)
            await is_whole(asked, "u")
            w.store.blocks.poll([0])
        if damage is garble:
            assert "index/t/" in asked.damage()[0]
        path.write_bytes(data)
        w.store.blocks.poll([0])
        await is_whole(asked, "t")
        assert asked.damage() == []
        asked.close()


@in_loop
async def test_a_file_of_an_index_s_block(tmp_path: Path) -> None:
    """As of any other block."""
    bucket = await compacted(tmp_path)
    (path,) = (bucket / "blocks" / "t").rglob("*.parquet")
    data = path.read_bytes()
    path.unlink()
    with world(tmp_path) as w:
        asked = await started(w)
        await is_told(asked, "t")
        await is_whole(asked, "u")
        path.write_bytes(data)
        w.store.blocks.poll([0])
        await is_whole(asked, "t")
        asked.close()


@in_loop
async def test_a_block_that_retention_removed_while_a_query_read_it(tmp_path: Path) -> None:
    """The query begins anew, and lacks nothing that there still is."""
    bucket = await compacted(tmp_path)
    with world(tmp_path) as w:
        asked = await started(w)
        compactor = Compactor(StorageConfig("local", str(bucket)), "cluster_id")
        compactor.blocks.poll([0])
        compactor.remove("t", 0)
        compactor.delete_removed("t", before_s=1.0)
        assert not list((bucket / "blocks" / "t").rglob("*.parquet"))
        assert await counts(asked, "t") == NONE
        await is_whole(asked, "u")
        assert asked.damage() == []
        asked.close()
