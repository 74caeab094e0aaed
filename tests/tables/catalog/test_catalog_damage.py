"""Objects of the catalogue that are damaged, lost or deleted: the same answers, or answers that say what they lack."""

from pathlib import Path
from typing import Any

import pytest

from tables.catalog import index_store
from tables.catalog.checkpoints import checkpoint_path
from tables.catalog.tenant_index import index_path
from tables.errors import StorageError
from tests.helpers.blocks.catalog import CLUSTER, Bucket, block_meta, keys, named

P0 = (CLUSTER, 0)


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


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
    bucket.flush(40, 49, "t", "u")
    bucket.fold()
    bucket.checkpoint()
    blocks.poll([0])
    assert (keys(blocks.snapshot("v")), len(keys(blocks.snapshot("t"))), blocks.problems()) == ([], 5, [])


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
