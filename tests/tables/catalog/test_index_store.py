"""Commits of indexes: no update is lost, whoever writes at the same time; versions are read, kept and deleted."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tables.catalog.changes import add_blocks, remove_blocks, replace_blocks
from tables.catalog.index_store import IndexStore
from tables.catalog.tenant_index import TenantIndex, index_path
from tables.errors import DamagedError, StorageError
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.blocks.catalog import CLUSTER, block_meta, merged_meta

Change = Callable[[TenantIndex], TenantIndex | None]


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(StorageConfig("local", str(tmp_path)))


def adding(number: int, partition: int = 0, tenant: str = "t") -> Change:
    """Adds block `number` of a partition, which follows the one before."""
    meta = block_meta(10 * number, 10 * number + 9, partition=partition, tenant=tenant)
    return lambda index: add_blocks(index, [meta], {(CLUSTER, partition): 10 * number + 10})


def test_commit_and_read(store: ObjectStore) -> None:
    indexes = IndexStore(store)
    assert (indexes.latest("t"), indexes.versions()) == (None, {})
    first = indexes.commit("t", adding(0))
    second = indexes.commit("t", adding(1))
    assert first is not None
    assert second is not None
    assert (first.version, second.version, len(second)) == (1, 2, 2)
    assert indexes.latest("t") == second
    assert indexes.read("t", 1) == first
    assert indexes.read("t", 3) is None
    indexes.commit("u", adding(0, tenant="u"))
    assert indexes.versions() == {"t": 2, "u": 1}
    assert list(indexes.listed("t")) == ["t"]


def test_nothing_to_change_writes_nothing(store: ObjectStore) -> None:
    indexes = IndexStore(store)
    indexes.commit("t", adding(0))
    same, stale = indexes.commit("t", adding(0)), indexes.commit("t", lambda _: None)
    assert same is not None
    assert (same.version, stale, indexes.versions()) == (1, None, {"t": 1})


def test_writers_at_the_same_time(store: ObjectStore) -> None:
    """Two processes add the blocks of a partition each, in small steps: all of them are there, none twice."""
    steps, begin = 15, threading.Barrier(2)

    def run(partition: int) -> None:
        indexes = IndexStore(store)
        begin.wait()
        for number in range(steps):
            assert indexes.commit("t", adding(number, partition)) is not None

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, (0, 1)))
    index = IndexStore(store).latest("t")
    assert index is not None
    assert index.covered == {(CLUSTER, 0): 150, (CLUSTER, 1): 150}
    assert sorted((meta.partition, meta.first_offset) for meta in index.metas()) == [
        (partition, 10 * number) for partition in (0, 1) for number in range(steps)
    ]
    assert index.version == 2 * steps


def test_two_compactors_merge_the_same(store: ObjectStore) -> None:
    """One of them comes second: its merge is stale, and the block that it wrote is one that the index names."""
    indexes = IndexStore(store)
    indexes.commit("t", adding(0))
    index = indexes.commit("t", adding(1))
    assert index is not None
    inputs = index.metas()
    merged, names = merged_meta(inputs), [meta.block_id for meta in inputs]

    def change(at: TenantIndex) -> TenantIndex | None:
        return replace_blocks(at, [merged], names, 1.0)

    assert indexes.commit("t", change) is not None
    assert indexes.commit("t", change) is None
    latest = indexes.latest("t")
    assert latest is not None
    assert (latest.metas(), latest.names(merged.block_id)) == ([merged], True)


class Interrupted(ObjectStore):
    """Before each creation, something else happens."""

    before_create: Callable[[], object] = staticmethod(lambda: None)

    def create(self, path: str, data: object) -> bool:
        happens, self.before_create = self.before_create, lambda: None  # type: ignore[assignment]
        happens()
        return super().create(path, data)


def test_another_writer_was_first(store: ObjectStore) -> None:
    """The change is applied to what that one wrote."""
    slow = Interrupted(store.config)
    IndexStore(store).commit("t", adding(0))
    block = block_meta(0, 9).block_id
    slow.before_create = lambda: IndexStore(store).commit("t", lambda index: remove_blocks(index, [block], 1.0))  # type: ignore[assignment]
    made = IndexStore(slow).commit("t", adding(1))
    assert made is not None
    assert (made.version, made.metas(), [one.block_id for one in made.removed]) == (3, [block_meta(10, 19)], [block])


def test_a_writer_that_stood_still(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not create a version that was there, was replaced, and is deleted by now: nobody would read it."""
    clock = iter([0.0, 1000.0, 1000.0, 1001.0])
    monkeypatch.setattr("tables.catalog.index_store.time.monotonic", lambda: next(clock))
    seen: list[int] = []

    def change(index: TenantIndex) -> TenantIndex | None:
        seen.append(index.version)
        return adding(0)(index)

    made = IndexStore(store).commit("t", change)
    assert made is not None
    assert (seen, made.version) == ([0, 0], 1)


def test_old_versions_are_deleted(store: ObjectStore) -> None:
    """The newest ones stay: somebody has just listed them."""
    indexes = IndexStore(store, kept_s=-1)
    for number in range(5):
        indexes.commit("t", adding(number))
    assert sorted(indexes.listed("t")["t"]) == [4, 5]
    kept = IndexStore(store)
    for number in range(5, 8):
        kept.commit("t", adding(number))
    assert sorted(kept.listed("t")["t"]) == [4, 5, 6, 7, 8]


def test_a_damaged_version(store: ObjectStore) -> None:
    """Readers take the one before; nobody writes on top of what may name deleted blocks."""
    indexes = IndexStore(store)
    first = indexes.commit("t", adding(0))
    indexes.commit("t", adding(1))
    store.put(index_path("t", 2), b"nonsense")
    assert indexes.latest("t") == first
    with pytest.raises(DamagedError, match=index_path("t", 2)):
        indexes.commit("t", adding(2))
    store.put(index_path("t", 1), b"")
    with pytest.raises(DamagedError, match=index_path("t", 2)):
        indexes.latest("t")


def test_a_version_that_vanishes_after_the_listing(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was replaced and deleted: what counts is listed again."""
    indexes = IndexStore(store)
    for number in range(2):
        indexes.commit("t", adding(number))
    listings = [{"t": {1: indexes.listed()["t"][1]}}]
    real = indexes.listed
    monkeypatch.setattr(indexes, "listed", lambda tenant="": listings.pop() if listings else real(tenant))
    store.delete([index_path("t", 1)])
    latest = indexes.latest("t")
    assert latest is not None
    assert latest.version == 2


def test_versions_that_vanish_for_ever(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    indexes = IndexStore(store)
    indexes.commit("t", adding(0))
    monkeypatch.setattr(store, "get", lambda _: None)
    with pytest.raises(StorageError, match="index/t change faster"):
        indexes.latest("t")
    with pytest.raises(StorageError, match="other writers were first"):
        indexes.commit("t", adding(1))


def test_other_objects_are_nobodys_index(store: ObjectStore) -> None:
    for path in ("index/t/x.arrow", "index/t/1.json", "index/readme"):
        store.put(path, b"?")
    assert IndexStore(store).versions() == {}
