"""What readers see: blocks of cuts and of indexes, each span once; and what they are told where something lacks."""

import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tables.catalog.block_list import BlockList
from tables.catalog.changes import add_blocks, forget_removed, remove_blocks
from tables.catalog.checkpoints import Checkpoint
from tables.catalog.cuts import Cut, cut_path
from tables.catalog.index_store import IndexStore
from tables.catalog.poll_metrics import REQUESTS
from tables.errors import StorageError
from tests.helpers.blocks.catalog import CLUSTER, Bucket, block_meta, keys, named

P0, P1 = (CLUSTER, 0), (CLUSTER, 1)


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


def requests(blocks: BlockList, partitions: Any) -> dict[str, float]:
    """What one poll asks of the storage, by operation."""

    def count() -> dict[str, float]:
        return {
            s.labels["operation"]: s.value for m in REQUESTS.collect() for s in m.samples if s.name.endswith("_total")
        }

    before = count()
    blocks.poll(partitions)
    return {name: value - before.get(name, 0) for name, value in count().items() if value != before.get(name, 0)}


def test_a_poll_that_another_one_has_just_made(bucket: Bucket) -> None:
    """Costs no request where the other one read all of its partitions, is new enough, and succeeded."""
    blocks = bucket.reader()
    bucket.flush(0, 9)
    with patch.object(blocks._reader, "read", side_effect=StorageError("away")), pytest.raises(StorageError):
        blocks.poll([0, 1])
    blocks.poll([0, 1], 60.0)
    assert len(blocks.snapshot("t").blocks) == 1  # the failed one does not count
    bucket.flush(10, 19)
    for polled, age_max_s, seen in ([0], 60.0, 1), ([0, 1], 60.0, 1), ([0, 2], 60.0, 2), ([0, 1], 0.0, 2):
        blocks.poll(polled, age_max_s)
        assert len(blocks.snapshot("t").blocks) == seen, (polled, age_max_s)
    bucket.flush(20, 29)
    with patch.object(time, "monotonic", return_value=time.monotonic() + 61):
        blocks.poll([0, 1], 60.0)
    assert len(blocks.snapshot("t").blocks) == 3


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
    for _ in range(2):  # also where nothing was ever cut
        blocks.poll(range(8))
    assert requests(blocks, range(8)) == {"list": 10}
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


def test_a_reader_without_a_cluster_sees_new_cuts_at_once(bucket: Bucket) -> None:
    """A command that removes a trace while processes flush, however many clusters and partitions there are."""
    for cluster_id in ("c", "d", "e"):
        bucket.flush(0, 9, cluster_id=cluster_id)
    blocks = bucket.reader("")
    blocks.poll([])
    for first in (10, 20, 30):
        bucket.flush(first, first + 9, cluster_id="d")
        blocks.poll([])
        assert len(blocks.snapshot("t").blocks) == 3 + first // 10


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


def test_partitions_whose_cuts_are_not_read_yet(bucket: Bucket) -> None:
    """A process that opens some partitions reads their cuts only, but the indexes of all: what these cover is not to be
    asked of live stores, too. What is in cuts only is, until they are read.
    """
    bucket.flush(0, 9, partition=0)
    covered = bucket.flush(0, 9, partition=1)
    bucket.fold("t", partitions=[0, 1])
    later = bucket.flush(10, 19, partition=1)
    blocks = bucket.reader()
    blocks.poll([0])
    snapshot = blocks.snapshot("t")
    assert (len(keys(snapshot)), snapshot.flushed_offsets) == (2, {0: 10, 1: 10})
    blocks.poll([0, 1])
    snapshot = blocks.snapshot("t")
    assert (len(keys(snapshot)), snapshot.flushed_offsets) == (3, {0: 10, 1: 20})
    assert {*named(*covered, *later)} <= {*keys(snapshot)}


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


# ---- snapshots that are kept


def test_a_snapshot_is_made_once(bucket: Bucket) -> None:
    """Until something changes: of each query it would take more time the more blocks there are. Clients cannot make a
    process keep anything by asking for tenants that do not exist.
    """
    blocks = bucket.reader()
    bucket.flush(0, 9)
    blocks.poll([0])
    first, again = blocks.snapshot("t"), blocks.snapshot("t", 0, 1)
    assert again.flushed_offsets is first.flushed_offsets
    assert blocks.snapshot("nobody").flushed_offsets == first.flushed_offsets
    assert list(blocks._snapshots._known) == ["t"]
    bucket.flush(10, 19)
    blocks.poll([0])
    assert blocks.snapshot("t").flushed_offsets == {0: 20}
    assert first.flushed_offsets == {0: 10}
