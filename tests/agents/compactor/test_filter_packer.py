"""Packs of filters: written as blocks come and go, and what a process needs that has read nothing yet."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from agents.compactor import filter_packer
from agents.compactor.filter_packer import FilterPacker
from tables.blocks.bloom import BloomWriter, bloom_path
from tables.blocks.filter_pack import decode_head, pack_path
from tables.blocks.meta import BlockMeta, FileMeta, block_id
from tables.blocks.trace_filters import TraceFilters
from tables.catalog.block_list import BlockList
from tables.catalog.changes import add_blocks, remove_blocks, replace_blocks, replace_packs
from tables.catalog.index_store import IndexStore
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.wire.split import partition_of

PARTITIONS = 4
TRACES = 400  # more than a meta holds the filter of


class CountingStore(ObjectStore):
    """Counts what is read."""

    reads = 0
    bytes = 0

    def get_ranges(self, path, ranges):
        self.reads += 1
        self.bytes += sum(length for _, length in ranges)
        return super().get_ranges(path, ranges)


def trace_ids(number: int) -> np.ndarray:
    return np.sort(np.frombuffer(np.random.default_rng(number).bytes(16 * TRACES), "S16"))


class World:
    """A bucket of blocks without data, and the compactor's view of it."""

    def __init__(self, folder: Path) -> None:
        self.store = CountingStore(StorageConfig("local", str(folder)))
        self.indexes = IndexStore(self.store, kept_s=0.0)
        self.blocks = BlockList(self.store, "e", ByteCache("packer", 1 << 20))
        self.now_s = 0.0
        self.packer = FilterPacker(self.blocks, self.indexes, 60.0, lambda: self.now_s)

    def block(self, number: int, partition: int = 0) -> BlockMeta:
        """A block of which there is only the object `bloom`. Its traces are those of `trace_ids(number)`"""
        filters = BloomWriter()
        of_file = filters.add(trace_ids(number))
        file = FileMeta(name="data-0000.parquet", size_bytes=9, spans=1, start_min_ns=0, end_max_ns=1)
        meta = BlockMeta(
            block_id=block_id("e", "t", partition, number, number),
            tenant="t",
            cluster_id="e",
            partition=partition,
            partition_count=PARTITIONS,
            first_offset=number,
            last_offset=number,
            spans=1,
            start_min_ns=0,
            end_max_ns=1,
            size_bytes=9,
            files=[file.model_copy(update=of_file._asdict())],
        )
        self.store.put(bloom_path(meta), filters.data())
        return meta

    def commit(self, change) -> None:
        made = self.indexes.commit("t", change)
        assert made is not None
        self.blocks.take_index(made)

    def add(self, metas: Sequence[BlockMeta]) -> None:
        # All at once: offsets that the index covers already are not added.
        self.commit(partial(add_blocks, metas=metas, covered={}))

    def pack(self) -> None:
        self.packer.run("t")

    def packed(self) -> list[str]:
        """The blocks that packs have."""
        found = []
        for pack in self.blocks.filter_packs("t"):
            (data,) = self.store.get_ranges(pack_path("t", pack.id), [(0, pack.head_bytes)])
            found += [key.block_id for key in decode_head("t", pack, data).keys]
        return sorted(found)

    def objects(self) -> set[str]:
        return {path.rpartition("/")[2] for path in self.store.paths("filters")}

    def named(self) -> set[str]:
        return {pack.id for pack in self.blocks.filter_packs("t")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def ids_of(metas: Sequence[BlockMeta]) -> list[str]:
    return sorted(meta.block_id for meta in metas)


def test_a_cold_lookup_in_a_thousand_blocks_takes_a_handful_of_requests(world: World, pool: ThreadPoolExecutor) -> None:
    metas = [world.block(number, number % PARTITIONS) for number in range(1000)]
    world.add(metas)
    cold = BlockList(world.store, "e", ByteCache("packer-cold", 1 << 20))
    wanted = next(
        (number, one.ljust(16, b"\0"))
        for number in range(500, 510)
        for one in trace_ids(number)[100:300].tolist()
        if partition_of(one.ljust(16, b"\0"), PARTITIONS) == number % PARTITIONS
    )

    def look_up() -> tuple[int, int]:
        cold.poll(range(PARTITIONS))
        shown = cold.snapshot("t", trace_id=wanted[1])
        filters = TraceFilters(pool, ByteCache("bloom-cold", 1 << 20))
        world.store.reads = world.store.bytes = 0
        files = filters.files_with(world.store, shown.blocks, wanted[1], shown.filter_packs)
        assert metas[wanted[0]].block_id in [meta.block_id for meta, _ in files]
        assert len(files) < 8
        return world.store.reads, world.store.bytes

    assert look_up()[0] == 250
    world.pack()
    assert world.packed() == ids_of(metas)
    requests, size = look_up()
    assert requests == 1  # head and slice of the partition's pack
    assert size < 200_000


def test_packs_follow_the_blocks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filter_packer, "_PACK_BYTES", 30 * 640)
    metas = [world.block(number) for number in range(120)]
    for first in range(0, 120, 10):
        world.add(metas[first : first + 10])
        world.pack()
        assert world.packed() == ids_of(metas[: first + 10])
    packs = len(world.named())
    assert 3 <= packs <= 8
    # Few new blocks wait.
    version = world.blocks.index("t").version
    more = [world.block(number) for number in range(200, 203)]
    world.add(more)
    world.pack()
    assert world.blocks.index("t").version == version + 1
    # Most of the blocks are merged into one.
    merged = world.block(300)
    gone = ids_of(metas[:100])
    world.commit(lambda index: replace_blocks(index, [merged], gone, 1.0))
    world.pack()
    assert world.packed() == ids_of([*metas[100:], *more, merged])
    world.commit(lambda index: remove_blocks(index, [meta.block_id for meta in [*metas, *more, merged]], 2.0))
    world.pack()
    assert world.named() == set()


def test_a_pack_that_nobody_names_is_deleted_after_the_grace_period(world: World) -> None:
    world.add([world.block(number) for number in range(10)])
    world.pack()
    first = world.objects()
    assert first == world.named()
    world.add([world.block(number) for number in range(10, 20)])
    world.pack()
    second = world.named()
    assert world.objects() == first | second
    assert not first & second
    world.now_s = 2.0**40
    world.add([world.block(number) for number in range(20, 30)])
    world.pack()
    assert world.objects() == world.named()


@pytest.mark.parametrize("at", [0, -1], ids=["head", "slice"])
def test_a_damaged_pack_is_made_anew(world: World, tmp_path: Path, at: int) -> None:
    metas = [world.block(number) for number in range(10)]
    world.add(metas)
    world.pack()
    (name,) = world.named()
    bad = bytearray(world.store.get(pack_path("t", name)) or b"")
    bad[at] ^= 1
    world.store.put(pack_path("t", name), bytes(bad))
    again = World(tmp_path)
    again.blocks.poll(range(PARTITIONS))
    # A damaged slice is found when a pack takes up more filters; then its blocks are in no pack until the next change.
    for first in (10, 20):
        metas += [again.block(number) for number in range(first, first + 5)]
        again.add(metas[-5:])
        again.pack()
    assert again.packed() == ids_of(metas)
    assert name not in again.named()


def test_filters_that_cannot_be_read_are_not_packed(world: World) -> None:
    metas = [world.block(number) for number in range(10)]
    for meta in metas[:5]:
        world.store.put(bloom_path(meta), b"x")
    world.add(metas)
    world.pack()
    assert world.packed() == ids_of(metas[5:])
    version = world.blocks.index("t").version
    world.pack()
    assert world.blocks.index("t").version == version


def test_a_second_leader_replaces_nothing_that_is_replaced(world: World, tmp_path: Path) -> None:
    world.add([world.block(number) for number in range(10)])
    world.pack()
    index = world.blocks.index("t")
    assert replace_packs(index, [], ["another"]) is None
    late = World(tmp_path)
    late.blocks.poll(range(PARTITIONS))
    more = [world.block(number) for number in range(10, 20)]
    world.add(more)
    late.blocks.take_index(world.blocks.index("t"))
    world.pack()
    late.pack()
    late.blocks.poll(range(PARTITIONS))
    assert late.packed() == world.packed() == ids_of([world.block(number) for number in range(20)])
