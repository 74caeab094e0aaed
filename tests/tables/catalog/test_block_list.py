"""What readers see: blocks of cuts and of indexes, each span once; and what they are told where something lacks."""

from pathlib import Path
from typing import Any

import pytest

from tables.blocks.meta import BlockMeta
from tables.catalog import index_store
from tables.catalog.block_list import BlockList
from tables.catalog.changes import add_blocks, forget_removed, remove_blocks, replace_blocks
from tables.catalog.checkpoints import Checkpoint, Checkpoints, checkpoint_path
from tables.catalog.cuts import Cut, Cuts, cut_path
from tables.catalog.index_store import IndexStore
from tables.catalog.poll_metrics import REQUESTS
from tables.catalog.snapshot import BlockSnapshot
from tables.catalog.tenant_index import index_path
from tables.errors import StorageError
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.catalog import CLUSTER, block_meta, merged_meta

P0, P1 = (CLUSTER, 0), (CLUSTER, 1)


class Bucket:
    """A bucket of metas without data; flushes, folds and merges as the live store and the compactor do."""

    def __init__(self, folder: Path) -> None:
        self.store = ObjectStore(StorageConfig("local", str(folder)))
        self.indexes, self.checkpoints = IndexStore(self.store), Checkpoints(self.store)
        self.compactor = self.reader()

    def reader(self, cluster_id: str = CLUSTER) -> BlockList:
        columns: ByteCache[Any, Any] = ByteCache("columns-blocks", 1 << 20)
        return BlockList(self.store, cluster_id, columns)

    def flush(
        self, first: int, last: int, *tenants: str, partition: int = 0, cluster_id: str = CLUSTER, old: bool = False
    ) -> list[BlockMeta]:
        """old: as earlier versions wrote cuts: without metas"""
        made: dict[str, Any] = {"partition": partition, "cluster_id": cluster_id}
        metas = [block_meta(first, last, tenant=tenant, **made) for tenant in tenants or ("t",)]
        for meta in metas:
            self.store.put(meta.path, meta.encode())
        inline = () if old else tuple(metas)
        cut = Cut(partition, first, last, tuple(sorted(meta.key for meta in metas)), inline)
        Cuts(self.store, cluster_id).write(cut)
        return metas

    def fold(self, *tenants: str, partitions: Any = (0,)) -> None:
        """What cuts have goes to the indexes."""
        self.compactor.poll(partitions)
        for tenant in tenants or sorted(self.compactor.tenants()):
            change = self.compactor.uncovered(tenant)
            index = self.indexes.commit(tenant, lambda at, change=change: add_blocks(at, *change))
            assert index is not None
            self.compactor.take_index(index)
        self.compactor.poll(partitions)

    def merge(self, *metas: BlockMeta) -> BlockMeta:
        """Blocks of an index become one."""
        merged = merged_meta(metas)
        names = [meta.block_id for meta in metas]
        assert self.indexes.commit(merged.tenant, lambda at: replace_blocks(at, [merged], names, 1.0)) is not None
        return merged

    def checkpoint(self, *, delete: bool = True) -> None:
        """Writes the checkpoints that are due, and deletes what they make unneeded."""
        for place in self.compactor.places():
            if checkpoint := self.compactor.checkpoint(place):
                self.checkpoints.write(checkpoint)
            if delete:
                self.checkpoints.delete_covered(place, 0)


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


def keys(snapshot: BlockSnapshot) -> list[str]:
    assert (snapshot.damaged, snapshot.problems) == ([], {})
    return sorted(meta.key for meta in snapshot.blocks)


def named(*metas: BlockMeta) -> list[str]:
    return sorted(meta.key for meta in metas)


def requests(blocks: BlockList, partitions: Any) -> dict[str, float]:
    """What one poll asks of the storage, by operation."""

    def count() -> dict[str, float]:
        return {
            s.labels["operation"]: s.value for m in REQUESTS.collect() for s in m.samples if s.name.endswith("_total")
        }

    before = count()
    blocks.poll(partitions)
    return {name: value - before.get(name, 0) for name, value in count().items() if value != before.get(name, 0)}


# ---- cuts


def test_a_block_counts_once_its_cut_is_there(bucket: Bucket) -> None:
    """Files, then meta.json, then the cut: only then the flushed offset moves."""
    blocks, meta = bucket.reader(), block_meta(0, 9)
    bucket.store.put(meta.path, meta.encode())
    blocks.poll([0])
    assert (blocks.snapshot("t").blocks, blocks.flushed_offset(0)) == ([], 0)
    blocks.cuts.write(Cut(0, 0, 9, (meta.key,)))
    blocks.poll([0])
    snapshot = blocks.snapshot("t")
    assert keys(snapshot) == named(meta)
    assert (snapshot.flushed_offsets, blocks.flushed_offset(0)) == ({0: 10}, 10)


@pytest.mark.parametrize("old", [False, True])
def test_metas_of_cuts(bucket: Bucket, old: bool) -> None:
    """They are in the cuts; those of earlier versions are read one by one, once."""
    metas = [meta for first in range(0, 30, 10) for meta in bucket.flush(first, first + 9, "t", "u", old=old)]
    blocks = bucket.reader()
    assert requests(blocks, [0])["get"] == (3 + 6 if old else 3)
    assert keys(blocks.snapshot("t")) == named(*metas[::2])
    assert blocks.tenants() == {"t", "u"}
    assert "get" not in requests(blocks, [0])


def test_blocks_of_another_kafka_always_count(bucket: Bucket) -> None:
    """Their offsets mean nothing here."""
    old = bucket.flush(0, 999, cluster_id="old")
    blocks = bucket.reader()
    blocks.poll([0])
    assert keys(blocks.snapshot("t")) == named(*old)
    assert (blocks.flushed_offset(0), blocks.snapshot("t").flushed_offsets) == (0, {})


def test_a_block_of_a_writer_that_came_too_late(bucket: Bucket) -> None:
    """The cut that holds names other blocks: its spans must not be there twice."""
    late = block_meta(0, 9)
    bucket.store.put(late.path, late.encode())
    good = [*bucket.flush(0, 5), *bucket.flush(6, 12)]
    blocks = bucket.reader()
    blocks.poll([0])
    assert keys(blocks.snapshot("t")) == named(*good)
    assert late.key not in named(*good)


def test_a_damaged_cut_of_one_partition(bucket: Bucket) -> None:
    """No other partition minds; answers say which partition it is."""
    bucket.store.put(cut_path(P0, 0), b"{}")
    bucket.flush(0, 9, partition=1)
    blocks = bucket.reader()
    blocks.poll([0, 1])
    assert (blocks.flushed_offset(0), blocks.flushed_offset(1)) == (0, 10)
    assert list(blocks.snapshot("t").problems) == [P0]
    assert "is not a cut" in blocks.unknown_end(0)
    assert blocks.unknown_end(1) == ""


def test_blocks_of_a_missing_cut(bucket: Bucket) -> None:
    """Whatever lies in the bucket and may be one of them is served, as an incomplete answer."""
    first, lost, last = bucket.flush(0, 9), bucket.flush(10, 19), bucket.flush(20, 29)
    data = bucket.store.get(cut_path(P0, 10)) or b""
    bucket.store.delete([cut_path(P0, 10)])
    blocks = bucket.reader()
    blocks.poll([0])
    snapshot = blocks.snapshot("t")
    assert named(*snapshot.blocks) == named(*first, *lost, *last)
    assert "no cut leads from offset 10 to 20" in snapshot.problems[P0]
    assert blocks.uncovered("t").covered == {P0: 10}
    bucket.store.put(cut_path(P0, 10), data)
    blocks.poll([0])
    assert keys(blocks.snapshot("t")) == named(*first, *lost, *last)
    assert blocks.uncovered("t").covered == {P0: 30}


# ---- requests


def test_a_poll_with_nothing_new(bucket: Bucket) -> None:
    """Two requests and one for each partition, whatever lies in the bucket, also of former clusters."""
    for cluster in (CLUSTER, "former", "before"):
        for partition in range(4):
            for first in range(0, 50, 10):
                bucket.flush(first, first + 9, "t", "u", partition=partition, cluster_id=cluster)
    blocks = bucket.reader()
    blocks.poll(range(4))
    for _ in range(14):
        assert requests(blocks, range(4)) == {"list": 6}
    bucket.fold(partitions=range(4))
    bucket.checkpoint()
    assert requests(blocks, range(4)) == {"list": 6, "get": 2}
    assert requests(blocks, range(4)) == {"list": 6}
    assert len(blocks.snapshot("t").blocks) == 3 * 4 * 5


def test_new_cuts_of_former_clusters_are_found(bucket: Bucket) -> None:
    """After a while: that cluster may still be in use."""
    bucket.flush(0, 9, cluster_id="former")
    blocks = bucket.reader()
    blocks.poll([0])
    new = [bucket.flush(10, 19, cluster_id="former"), bucket.flush(0, 9, cluster_id="former", partition=1)]
    new.append(bucket.flush(0, 9, cluster_id="another"))
    for _ in range(12):
        blocks.poll([0])
    assert set(named(*(meta for metas in new for meta in metas))) < set(keys(blocks.snapshot("t")))


def test_old_cuts_are_not_read_again(bucket: Bucket) -> None:
    """Neither at a poll nor at a start: the checkpoint stands for them."""
    for first in range(0, 500, 10):
        bucket.flush(first, first + 9, "t", "u")
    bucket.fold()
    bucket.checkpoint(delete=False)
    bucket.flush(500, 509)
    blocks = bucket.reader()
    assert requests(blocks, [0])["get"] == 4  # the checkpoint, the cut, two indexes
    assert len(keys(blocks.snapshot("t"))) == 51
    assert len(keys(blocks.snapshot("u"))) == 50
    assert blocks.flushed_offset(0) == 510


# ---- indexes


def test_blocks_go_from_cuts_to_the_index(bucket: Bucket) -> None:
    """For each tenant at its own time; what its index covers, cuts do not show any more."""
    t, u = bucket.flush(0, 9, "t", "u")
    blocks = bucket.reader()
    blocks.poll([0])
    bucket.fold("t")
    for _ in range(2):
        assert keys(blocks.snapshot("t")) == named(t)
        assert keys(blocks.snapshot("u")) == named(u)
        blocks.poll([0])
    assert blocks.index("u") is None
    assert bucket.compactor.uncovered("t").metas == []
    assert bucket.compactor.uncovered("u") == ([u], {P0: 10}, {P0: 0})
    bucket.indexes.commit("t", lambda index: remove_blocks(index, [t.block_id], 1.0))
    assert keys(blocks.snapshot("t")) == named(t)
    blocks.poll([0])
    assert keys(blocks.snapshot("t")) == []
    bucket.indexes.commit("t", lambda index: forget_removed(index, [t.block_id]))
    blocks.poll([0])
    assert (keys(blocks.snapshot("t")), blocks.flushed_offset(0)) == ([], 10)


def test_merged_blocks(bucket: Bucket) -> None:
    """They are there at once instead of those that they replace: for a reader that knows the cuts, and a new one."""
    metas = [bucket.flush(first, first + 9)[0] for first in range(0, 40, 10)]
    blocks = bucket.reader()
    blocks.poll([0])
    bucket.fold()
    merged = bucket.merge(*metas[:3])
    blocks.poll([0])
    for reader in (blocks, bucket.reader()):
        reader.poll([0])
        assert keys(reader.snapshot("t")) == named(merged, metas[3])
        assert reader.snapshot("t").flushed_offsets == {0: 40}


def test_an_index_that_is_ahead_of_the_cuts(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut is written and folded between the two listings of a poll."""
    blocks = bucket.reader()
    bucket.flush(0, 9, "t", "u")
    blocks.poll([0])
    real = IndexStore.listed

    def listed(self: IndexStore, tenant: str = "") -> Any:
        monkeypatch.undo()
        bucket.flush(10, 19, "t", "u")
        bucket.fold("t")
        return real(self, tenant)

    monkeypatch.setattr(IndexStore, "listed", listed)
    blocks.poll([0])
    for tenant in ("t", "u"):
        snapshot = blocks.snapshot(tenant)
        assert (len(keys(snapshot)), snapshot.flushed_offsets) == (2, {0: 20})
    assert blocks.flushed_offset(0) == 20


def test_a_reader_that_slept(bucket: Bucket) -> None:
    """The cuts that it would read next are deleted; a checkpoint says why."""
    bucket.flush(0, 9, "t", "u")
    blocks = bucket.reader()
    blocks.poll([0])
    for first in range(10, 60, 10):
        bucket.flush(first, first + 9, "t", "u")
        bucket.fold()
        bucket.checkpoint()
    assert bucket.store.get(cut_path(P0, 10)) is None
    assert keys(blocks.snapshot("t")) == named(block_meta(0, 9))
    blocks.poll([0])
    for tenant in ("t", "u"):
        assert len(keys(blocks.snapshot(tenant))) == 6
    assert (blocks.flushed_offset(0), blocks.problems()) == (60, [])


def test_known_cuts_are_bounded(bucket: Bucket) -> None:
    """Those that all their tenants' indexes cover are forgotten, with their metas."""
    blocks = bucket.reader()
    for first in range(0, 100, 10):
        bucket.flush(first, first + 9, "t", "u")
        bucket.fold("t") if first < 90 else bucket.fold()
        blocks.poll([0])
    state = blocks._state
    assert (state.chains[P0].cuts, state.metas, state.chains[P0].tenants) == ({}, {}, {"t": 100, "u": 100})
    assert blocks.checkpoint(P0) == Checkpoint(P0, 100, {"t": 100, "u": 100})
    assert len(keys(blocks.snapshot("u"))) == 10


def test_only_blocks_of_the_time_range_become_objects(bucket: Bucket) -> None:
    hour = 3600 * 10**9
    metas = [
        block_meta(n, n, start_min_ns=n * hour, end_max_ns=n * hour + 1, partition=n % 4, partition_count=4)
        for n in range(20)
    ]
    bucket.indexes.commit("t", lambda index: add_blocks(index, metas, {}))
    blocks = bucket.reader()
    blocks.poll([])
    found = blocks.snapshot("t", 10 * hour, 10 * hour)
    assert [meta.first_offset for meta in found.blocks] == [9, 10]  # a trace's slack is an hour, without its end
    assert len(blocks.snapshot("t").blocks) == 20
    of_trace = blocks.snapshot("t", trace_id=b"\1" * 16).blocks
    assert (len(of_trace), len({meta.partition for meta in of_trace})) == (5, 1)


# ---- damage


def test_a_meta_that_is_missing(bucket: Bucket) -> None:
    """Of a cut of an earlier version: the block is told of, and is not folded past."""
    good, bad, later = (bucket.flush(first, first + 9, "t", "u", old=True) for first in (0, 10, 20))
    bucket.store.delete([bad[0].path])
    blocks = bucket.reader()
    blocks.poll([0])
    snapshot = blocks.snapshot("t")
    assert named(*snapshot.blocks) == named(good[0], later[0])
    assert [str(each) for each in snapshot.damaged] == [
        f"block {bad[0].block_id} of tenant t: its meta.json is missing"
    ]
    assert keys(blocks.snapshot("u")) == named(good[1], bad[1], later[1])
    assert blocks.uncovered("t")[:2] == ([good[0]], {P0: 10})
    assert blocks.uncovered("u")[1] == {P0: 30}
    bucket.store.put(bad[0].path, bad[0].encode())
    blocks.poll([0])
    assert keys(blocks.snapshot("t")) == named(good[0], bad[0], later[0])
    assert (blocks.damaged(), blocks.uncovered("t")[1]) == ([], {P0: 30})


def folded(bucket: Bucket, versions: int) -> None:
    """A bucket whose index has so many versions, and whose cuts are gone."""
    for number in range(versions):
        bucket.flush(10 * number, 10 * number + 9, "t", "u")
        bucket.fold()
        bucket.checkpoint()


def test_a_damaged_index_with_a_version_before(bucket: Bucket) -> None:
    """That one and the cuts since say the same. It is told, but no answer lacks anything."""
    folded(bucket, 4)
    known = bucket.reader()
    known.poll([0])
    bucket.store.put(index_path("t", 4), b"nonsense")
    blocks = bucket.reader()
    for _ in range(2):
        blocks.poll([0])
        assert len(keys(blocks.snapshot("t"))) == 4
        assert len(keys(blocks.snapshot("u"))) == 4
        assert blocks.problems() == [f"{index_path('t', 4)} is not a tenant's index: it has no checksum"]
    known.poll([0])
    assert (len(keys(known.snapshot("t"))), known.problems()) == (4, [])
    # The compactor comes to it later, and its reader has the good one.
    assert bucket.compactor.uncovered("t").metas == []


@pytest.mark.parametrize("damage", ["nonsense", "deleted"])
def test_an_index_of_which_no_version_can_be_read(bucket: Bucket, damage: str) -> None:
    """The tenant is told; other tenants do not notice; a process that has it still serves it."""
    folded(bucket, 4)
    known = bucket.reader()
    known.poll([0])
    kept = {version: bucket.store.get(index_path("t", version)) or b"" for version in (3, 4)}
    for version in range(1, 5):
        if damage == "deleted":
            bucket.store.delete([index_path("t", version)])
        else:
            bucket.store.put(index_path("t", version), b"nonsense")
    blocks = bucket.reader()
    blocks.poll([0])
    snapshot = blocks.snapshot("t")
    assert list(snapshot.problems) == [P0]
    assert ("index/t" in snapshot.problems[P0], len(snapshot.blocks)) == (True, 1)
    assert blocks.uncovered("t").covered == {}
    assert len(keys(blocks.snapshot("u"))) == 4
    known.poll([0])
    assert len(keys(known.snapshot("t"))) == 4
    assert len(known.problems()) == (1 if damage == "deleted" else 0)
    for version, data in kept.items():
        bucket.store.put(index_path("t", version), data)
    for reader in (blocks, known):
        reader.poll([0])
        assert (len(keys(reader.snapshot("t"))), reader.problems()) == (4, [])


def test_an_old_version_whose_cuts_are_still_there(bucket: Bucket) -> None:
    """The cuts below the checkpoint are read again, for the tenant whose index was set back."""
    for number in range(4):
        bucket.flush(10 * number, 10 * number + 9, "t", "u")
        bucket.fold()
        bucket.checkpoint(delete=False)
    bucket.store.put(index_path("t", 4), b"nonsense")
    bucket.store.put(index_path("t", 3), b"nonsense")
    blocks = bucket.reader()
    blocks.poll([0])
    assert len(keys(blocks.snapshot("t"))) == 4
    assert len(keys(blocks.snapshot("u"))) == 4
    assert blocks.flushed_offset(0) == 40


def test_a_version_that_vanishes_between_listing_and_reading(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was replaced: the indexes are listed again."""
    folded(bucket, 2)
    blocks = bucket.reader()
    real = bucket.store.get

    def get(path: str) -> bytes | None:
        if path == index_path("t", 2):
            monkeypatch.undo()
            bucket.flush(20, 29, "t", "u")
            bucket.fold()
            return None
        return real(path)

    monkeypatch.setattr(bucket.store, "get", get)
    blocks.poll([0])
    assert len(keys(blocks.snapshot("t"))) == 3
    monkeypatch.setattr(bucket.store, "get", lambda path: None if path.startswith("index/") else real(path))
    with pytest.raises(StorageError, match="faster than they can be read"):
        bucket.reader().poll([0])


def test_damaged_checkpoints(bucket: Bucket) -> None:
    """An older one is as true; without any nobody knows what was before the first cut."""
    folded(bucket, 4)
    bucket.store.put(checkpoint_path(P0, 40), b"{}")
    blocks = bucket.reader()
    blocks.poll([0])
    assert len(keys(blocks.snapshot("t"))) == 4
    for offset in bucket.checkpoints.listed(P0)[P0]:
        bucket.store.put(checkpoint_path(P0, offset), b"{}")
    blocks = bucket.reader()
    blocks.poll([0])
    assert (len(keys(blocks.snapshot("t"))), blocks.flushed_offset(0)) == (4, 40)
    assert "is not a checkpoint" in blocks.problems()[0]
    # A tenant whose index covers less than the first cut may have had blocks before it.
    assert "is not a checkpoint" in blocks.snapshot("v").problems[P0]


def test_all_cuts_and_checkpoints_are_gone(bucket: Bucket) -> None:
    """What an index covers was flushed: nobody reads it from Kafka again."""
    folded(bucket, 2)
    bucket.store.delete([path for kind in ("cuts", "checkpoints") for path in bucket.store.paths(kind)])
    blocks = bucket.reader()
    blocks.poll([0])
    assert (blocks.flushed_offset(0), len(keys(blocks.snapshot("t")))) == (20, 2)


def test_files_that_vanish_are_noticed_before_anybody_needs_them(bucket: Bucket) -> None:
    """An audit goes through the bucket, slowly."""
    for first in range(0, 50, 10):
        for meta in bucket.flush(first, first + 9):
            bucket.store.put(f"{meta.folder}/data-0000.parquet", b"123456789")
    bucket.fold()
    gone, short = bucket.flush(50, 59)[0], block_meta(20, 29)
    bucket.store.put(f"{short.folder}/data-0000.parquet", b"1234")
    blocks = bucket.reader()
    blocks.poll([0])
    for _ in range(3):
        blocks.audit()
    assert {str(each) for each in blocks.damaged()} == {
        f"block {gone.block_id} of tenant t: a file of it is missing",
        f"block {short.block_id} of tenant t: a file of it is shorter than what was written",
    }
    assert len(blocks.snapshot("t").blocks) == 4
    for meta in (gone, short):
        bucket.store.put(f"{meta.folder}/data-0000.parquet", b"123456789")
    blocks.poll([0])
    assert len(keys(blocks.snapshot("t"))) == 6


def test_the_storage_is_away_at_the_first_poll(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one begins anew."""
    bucket.flush(0, 9, cluster_id="former")
    bucket.flush(0, 9)
    blocks = bucket.reader()
    with monkeypatch.context() as patched:
        patched.setattr(index_store.IndexStore, "listed", away)
        with pytest.raises(StorageError):
            blocks.poll([0])
    assert blocks.snapshot("t").blocks == []
    blocks.poll([0])
    assert len(keys(blocks.snapshot("t"))) == 2


def away(*_: Any, **__: Any) -> Any:
    raise StorageError("away")
