"""Whoever changes an index again and again reads it once: of later versions only what has changed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents.compactor.executor import MergeExecutor
from agents.compactor.job import MERGE, Job
from tables.blocks.meta import BlockMeta, merged_block_id
from tables.blocks.trace_filters import TraceFilters
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.catalog.block_list import BlockList
from tables.catalog.changes import add_blocks
from tables.catalog.check import Finding, cut_ranges
from tables.catalog.index_delta import is_delta
from tables.catalog.index_store import Folding, IndexStore
from tables.catalog.redactor import Redactor
from tables.catalog.repair import Repair
from tables.catalog.tenant_index import index_path
from tables.merge.merge_blocks import MergedBlock, merge_blocks
from tables.parquet.write import to_parquet
from tables.redaction.rules import Redaction
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.tempo.ledger import Ledger
from tests.helpers.blocks.catalog import Counted
from tests.query.golden import load_table

DELTAS = Folding(whole_bytes_min=0, share=100.0, deltas_max=100)
PLACE = ("e", 0)
LOADS = ["t1 a\n t2 a", "t1 b\n t3 a", "t4 c", "t5 a"]
BASE = index_path("t", 1)


def flush(store: ObjectStore, number: int, load: str) -> BlockMeta:
    table = load_table(f"load\n {load}\n")
    segment = SegmentFile(to_parquet(table), table.num_rows, 0, 2**62, 1, 2)
    return write_block(store, BlockRange("e", "t", 0, 1, number, number), [segment])


@pytest.fixture
def store(tmp_path: Path) -> Counted:
    """A bucket whose index is a whole version and deltas behind it."""
    made = Counted(StorageConfig("local", str(tmp_path)))
    indexes = IndexStore(made, folding=DELTAS)
    for number, load in enumerate(LOADS):
        meta, covered = flush(made, number, load), {PLACE: number + 1}
        assert indexes.commit("t", lambda index, meta=meta, covered=covered: add_blocks(index, [meta], covered))
    assert [is_delta(made.get(index_path("t", version)) or b"") for version in (1, 2, 3, 4)] == [False, *[True] * 3]
    made.read.clear()
    return made


def polled(store: Counted) -> BlockList:
    """The blocks, of which nothing counts as read."""
    blocks = BlockList(store, "e", ByteCache("known", 1 << 20))
    blocks.poll([0])
    assert BASE in store.read
    store.read.clear()
    return blocks


def test_redactions(store: Counted) -> None:
    trace = b"t1".rjust(16, b"\0").hex()
    with ThreadPoolExecutor(1) as pool:
        filters = TraceFilters(pool, ByteCache("bloom-known", 1 << 20))
        redactor = Redactor(polled(store), IndexStore(store, folding=DELTAS), filters, [0], lambda: 5.0)
        redactor.put_in_force("t", Redaction(trace_id=trace, created_s=1.0, kept_until_s=2.0))
        report = redactor.run("t")
        redactor.delete_replaced("t", report.replaced)
    assert (report.spans, len(report.replaced)) == (2, 2)
    assert BASE not in store.read
    index = IndexStore(store).latest("t")
    assert index is not None
    assert (index.redactions, index.removed) == ((), ())


def test_repairs(store: Counted) -> None:
    blocks = polled(store)
    meta = blocks.snapshot("t").blocks[0]
    repair = Repair(blocks, cut_ranges(store), lambda _: [])
    finding = Finding("error", meta.folder, "a file is missing", tenant="t", block_id=meta.block_id, repair="missing")
    assert list(repair.run([finding], drop_missing=True)) == [f"block {meta.key} is not shown any more"]
    assert BASE not in store.read


def test_a_merge_that_comes_too_late(store: Counted) -> None:
    """Another compactor replaces its inputs meanwhile."""
    blocks, indexes = polled(store), IndexStore(store, folding=DELTAS)
    metas = blocks.snapshot("t").blocks
    others = BlockList(store, "e", ByteCache("known-other", 1 << 20))

    def job(some: list[BlockMeta]) -> Job:
        return Job(kind=MERGE, tenant="t", block_ids=tuple(meta.block_id for meta in some))

    def merge(some: list[BlockMeta]) -> MergedBlock:
        return merge_blocks(store, some, 100)

    def late(some: list[BlockMeta]) -> MergedBlock:
        merged = merge(some)
        MergeExecutor(others, indexes, merge, [0], lambda: 1.0).run(job(metas))
        store.read.clear()
        return merged

    MergeExecutor(blocks, indexes, late, [0], lambda: 1.0).run(job(metas[:2]))
    assert [meta.block_id for meta in blocks.snapshot("t").blocks] == [merged_block_id(one.block_id for one in metas)]
    assert BASE not in store.read


def test_imports(store: Counted) -> None:
    ledger = Ledger(store, "t")
    ledger.known()
    assert BASE in store.read
    store.read.clear()
    ledger.known()
    ledger.tidy()
    assert BASE not in store.read
