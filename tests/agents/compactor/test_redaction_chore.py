"""Redactions beside merges: whoever dies at whatever point, readers see each other span once."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from agents.compactor.executor import MergeExecutor
from agents.compactor.job import MERGE, Job
from agents.compactor.redaction_chore import RedactionChore
from tables.blocks.meta import BlockMeta, merged_block_id
from tables.blocks.trace_filters import TraceFilters
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.catalog.block_list import BlockList
from tables.catalog.cuts import Cut, Cuts
from tables.catalog.index_store import IndexStore
from tables.catalog.redactor import Redactor
from tables.merge.merge_blocks import merge_blocks
from tables.parquet.write import to_parquet
from tables.redaction.rules import Redaction
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.blocks.compactors import Killed, MortalStore
from tests.query.golden import load_table

TRACE = b"t1".rjust(16, b"\0")
GONE = Redaction(trace_id=TRACE.hex(), created_s=1.0, kept_until_s=100.0)
LOADS = ["t1 a\n t2 a", "t1 b\n t3 a", "t1 c", "t4 a\n t5 a"]
LEFT = Counter([b"t2", b"t3", b"t4", b"t5"])


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def flush(store: ObjectStore, number: int, load: str) -> BlockMeta:
    table = load_table(f"load\n {load}\n")
    segment = SegmentFile(to_parquet(table), table.num_rows, 0, 2**62, 1, 2)
    meta = write_block(store, BlockRange("e", "t", 0, 1, number, number), [segment])
    Cuts(store, "e").write(Cut(0, number, number, (meta.key,), (meta,)))
    return meta


class Process:
    """One compactor, which may die."""

    def __init__(self, folder: Path, pool: ThreadPoolExecutor, now_s: float = 5.0) -> None:
        self.store = MortalStore(folder)
        self.blocks = BlockList(self.store, "e", ByteCache("chore", 1 << 20))
        indexes = IndexStore(self.store)
        filters = TraceFilters(pool, ByteCache("bloom-chore", 1 << 20))
        self.redactor = Redactor(self.blocks, indexes, filters, [0], lambda: now_s)
        self.chore = RedactionChore(self.blocks, self.redactor, lambda: now_s)
        merge = partial(merge_blocks, self.store, attribute_columns_max=100)
        self.executor = MergeExecutor(self.blocks, indexes, merge, [0], lambda: now_s)

    def merge(self, *metas: BlockMeta) -> str:
        ids = tuple(meta.block_id for meta in metas)
        return self.executor.run(Job(kind=MERGE, tenant="t", block_ids=ids))

    def visible(self) -> list[BlockMeta]:
        self.blocks.poll([0])
        return self.blocks.snapshot("t").blocks


def traces(folder: Path) -> Counter[bytes]:
    """What a reader that has just started finds in all visible blocks."""
    store = ObjectStore(StorageConfig("local", str(folder)))
    blocks = BlockList(store, "e", ByteCache("chore-reader", 1 << 20))
    blocks.poll([0])
    found: Counter[bytes] = Counter()
    for meta in blocks.snapshot("t").blocks:
        for source in blocks.sources(meta):
            found.update(one.lstrip(b"\0") for one in source.read(["trace_id"])["trace_id"].to_pylist())
    assert blocks.damaged() == []
    assert blocks.problems() == []
    return found


def with_t1(found: Counter[bytes]) -> int:
    """How often the trace is there; of the others none is missing, none there twice."""
    assert Counter({name: count for name, count in found.items() if name != b"t1"}) == LEFT
    return found[b"t1"]


@pytest.mark.parametrize("after", [False, True])
def test_whoever_dies_at_any_request(tmp_path: Path, pool: ThreadPoolExecutor, *, after: bool) -> None:
    for requests in range(1, 60):
        folder = tmp_path / str(requests)
        store = ObjectStore(StorageConfig("local", str(folder)))
        for number, load in enumerate(LOADS):
            flush(store, number, load)
        dies = Process(folder, pool)
        dies.redactor.put_in_force("t", GONE)
        dies.store.requests_left, dies.store.after = requests, after
        try:
            dies.redactor.run("t")
        except Killed:
            assert with_t1(traces(folder)) in (0, 1, 2, 3)
            lives = Process(folder, pool)
            lives.blocks.poll([0])
            lives.chore.run("t")
            lives.chore.run("t")
            assert with_t1(traces(folder)) == 0
            continue
        assert requests > 10
        assert with_t1(traces(folder)) == 0
        return
    raise AssertionError("a redaction without an end")


def test_a_merge_in_between(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """A merge of blocks that still have the trace is shown first: the merged one is redacted."""
    store = ObjectStore(StorageConfig("local", str(tmp_path)))
    metas = [flush(store, number, load) for number, load in enumerate(LOADS)]
    one, two = Process(tmp_path, pool), Process(tmp_path, pool)
    one.redactor.put_in_force("t", GONE)
    show, merged = one.redactor._show, list[str]()

    def merging(*args):
        if not merged:
            merged.append(two.merge(*metas))
        return show(*args)

    one.redactor._show = merging
    report = one.redactor.run("t")
    assert merged == ["done"]
    assert with_t1(traces(tmp_path)) == 0
    (meta,) = one.visible()
    assert (meta.level, meta.replaces, report.spans) == (1, [merged_block_id([each.block_id for each in metas])], 3)
    # Nothing of the void work is left: the objects are of what is shown, or of what is deleted later.
    removed = {each.block_id for each in IndexStore(store).latest("t").removed}
    folders = {path.split("/")[2] for path in store.paths("blocks")}
    assert folders == {meta.block_id} | removed
    # A merge of redacted blocks is redacted.
    flush(store, 4, "t6 a")
    one.blocks.poll([0])
    one.chore.run("t")
    assert two.merge(*two.visible()) == "done"
    (meta,) = one.visible()
    assert (meta.level, meta.redactions) == (2, [GONE.id])


def test_the_chore_does_nothing_without_need(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    store = ObjectStore(StorageConfig("local", str(tmp_path)))
    flush(store, 0, LOADS[0])
    process = Process(tmp_path, pool)
    process.blocks.poll([0])
    process.chore.run("t")
    assert list(store.paths("index")) == []
    process.redactor.put_in_force("t", GONE)
    process.chore.run("t")
    assert sum(meta.spans for meta in process.visible()) == 1
    process.store.requests_left = 1  # the next request kills it
    process.chore.run("t")
    process.store.requests_left = None
    late = Process(tmp_path, pool, now_s=200.0)
    late.blocks.poll([0])
    late.chore.run("t")
    assert late.blocks.redactions("t") == ()
    assert list(store.paths("redactions")) == []
