"""Bytes that were damaged on their way into a cache are not taken for damage of the block."""

from pathlib import Path
from typing import Any

import pytest

from app.api.errors import Unavailable
from app.querying.damage import MissingData, past_damage
from query.requests import SearchRequest
from query.search.search import search
from tables.blocks.meta import BlockMeta
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.catalog.block_list import BlockList
from tables.catalog.cuts import Cut
from tables.parquet.write import to_parquet
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.storage.range_cache import RangeCache
from tests.query.golden import load_table


def known_block(folder: Path, *, large: bool) -> tuple[BlockList, BlockMeta, str]:
    """A block with one file, read through a cache in memory; and the file's path."""
    store = ObjectStore(StorageConfig("local", str(folder)))
    table = load_table("load\n  t1 a start=1s duration=1s name=GET resource.service.name=web\n")
    block = BlockRange("c", "t", 0, 1, 0, 0)
    meta = write_block(store, block, [SegmentFile(to_parquet(table), table.num_rows, 1, 2)])
    cache: Any = ByteCache("test", 1 << 24)
    blocks = BlockList(store, "c", cache, ranges=RangeCache(store, 1 << 24, {}))
    blocks.cuts.write(Cut(0, 0, 0, (meta.key,)))
    blocks.poll([0])
    if large:
        blocks.query_sources = lambda metas: [one for meta in metas for one in blocks.sources(meta)]  # type: ignore[method-assign]
    return blocks, meta, f"{meta.folder}/{meta.files[0].name}"


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("repaired", [False, True])
def test_the_storage_is_asked_again(tmp_path: Path, repaired: bool, large: bool) -> None:
    blocks, meta, path = known_block(tmp_path, large=large)
    good = blocks.store.get(path)
    assert good is not None
    blocks.store.put(path, b"PAR1" + bytes(len(good) - 8) + b"PAR1")
    runs = 0

    def run(metas: Any) -> int:
        nonlocal runs
        runs += 1
        try:
            return len(search(blocks.query_sources(metas), SearchRequest(query="{ }")).traces)
        finally:
            if repaired:
                blocks.store.put(path, good)

    texts: list[str] = []
    if repaired:
        assert past_damage(blocks, [meta], run, MissingData(texts)) == 1
        assert (runs, texts, blocks.damaged()) == (2, [], [])
        return
    assert past_damage(blocks, [meta], run, MissingData(texts)) == 0
    assert (runs, len(texts), len(blocks.damaged())) == (3, 1, 1)
    with pytest.raises(Unavailable):
        past_damage(blocks, [meta], run, MissingData(None))
