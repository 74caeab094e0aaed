"""Indexes written as a base and deltas: whoever reads them, knowing whatever, has what was committed."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tables.blocks.filter_pack import PackRef
from tables.catalog.changes import add_blocks, forget_removed, remove_blocks, replace_blocks, replace_packs
from tables.catalog.index_delta import decode_delta, encode_delta, is_delta
from tables.catalog.index_store import Folding, IndexStore
from tables.catalog.tenant_index import TenantIndex, index_path, rows_of
from tables.errors import DamagedError
from tables.storage.config import StorageConfig
from tables.storage.object_store import ObjectStore
from tests.helpers.blocks.catalog import CLUSTER, Counted, block_meta, merged_meta

DELTAS = Folding(whole_bytes_min=0, share=100.0, deltas_max=8)
Change = Callable[[TenantIndex], TenantIndex | None]


@pytest.fixture
def store(tmp_path: Path) -> Counted:
    return Counted(StorageConfig("local", str(tmp_path)))


def adding(number: int) -> Change:
    meta = block_meta(10 * number, 10 * number + 9)
    return lambda index: add_blocks(index, [meta], {(CLUSTER, 0): 10 * number + 10})


def commits(store: ObjectStore, count: int, folding: Folding = DELTAS) -> list[TenantIndex]:
    indexes, made = IndexStore(store, folding=folding), []
    for number in range(count):
        index = indexes.commit("t", adding(number))
        assert index is not None
        made.append(index)
    return made


def deltas(store: ObjectStore) -> list[bool]:
    """Whether each stored version is a delta."""
    return [is_delta(store.get(path) or b"") for path in sorted(store.paths("index/t"))]


def test_every_version_can_be_read(store: Counted) -> None:
    made = commits(store, 12)
    assert deltas(store) == [False, *[True] * 8, False, True, True]
    for index in made:
        assert IndexStore(store).read("t", index.version) == index
    assert [len(index) for index in made] == list(range(1, 13))


def test_who_knows_a_version_reads_what_is_new(store: Counted) -> None:
    made = commits(store, 6)
    versions = range(1, 7)
    store.read.clear()
    found = IndexStore(store).newest_of("t", versions, 4, made[3])
    assert found is not None
    assert found.index == made[5]
    assert sorted(store.read) == [index_path("t", 5), index_path("t", 6)]
    store.read.clear()
    IndexStore(store, folding=DELTAS).commit("t", adding(6), made[5])
    assert store.read == [index_path("t", 6)]


def test_a_small_index_is_written_whole(store: Counted) -> None:
    commits(store, 3, Folding())
    assert deltas(store) == [False, False, False]


def test_large_deltas_are_folded(store: Counted) -> None:
    """Deltas are never more than their share of the base."""
    commits(store, 10, Folding(whole_bytes_min=0, share=0.0))
    assert not any(deltas(store))


def test_a_delta_is_small(store: Counted) -> None:
    metas = [block_meta(number, number) for number in range(2_000)]
    indexes = IndexStore(store)
    first = indexes.commit("t", lambda index: add_blocks(index, metas, {(CLUSTER, 0): 2_000}))
    assert first is not None
    inputs = [one.block_id for one in metas[100:116]]
    made = indexes.commit("t", lambda index: replace_blocks(index, [merged_meta(metas[100:116])], inputs, 5.0))
    assert made is not None
    assert made.lineage.delta_bytes * 5 < made.lineage.whole_bytes
    assert IndexStore(store).latest("t") == made


def test_what_no_delta_can_say_is_written_whole(store: Counted) -> None:
    """A row that has changed in its place."""
    made = commits(store, 3)[-1]
    metas = made.metas()
    changed = replace(
        made, version=4, table=rows_of([metas[0], metas[1].model_copy(update={"redactions": ["r"]}), metas[2]])
    )
    assert encode_delta(made, changed) is None
    index = IndexStore(store, folding=DELTAS).commit("t", lambda at: replace(at, table=changed.table))
    assert index is not None
    assert index.metas()[1].redactions == ["r"]
    assert deltas(store) == [False, True, True, False]


def test_a_block_that_goes_and_comes_back(store: Counted) -> None:
    commits(store, 2)
    indexes, meta = IndexStore(store, folding=DELTAS), block_meta(0, 9)
    indexes.commit("t", lambda index: remove_blocks(index, [meta.block_id], 1.0))
    made = indexes.commit("t", lambda index: replace(index, table=rows_of([*index.metas(), meta])))
    assert made is not None
    assert deltas(store) == [False, True, True, True]
    assert IndexStore(store).latest("t") == made


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_damage(store: Counted, version: int) -> None:
    """Whatever is damaged, readers have the newest version that does not need it; nobody writes on top."""
    made = commits(store, 4)
    store.put(index_path("t", version), b"\xff\xff\xff\xffnonsense")
    if version == 1:
        with pytest.raises(DamagedError, match=index_path("t", 1)):
            IndexStore(store).latest("t")
    else:
        assert IndexStore(store).latest("t") == made[version - 2]
    with pytest.raises(DamagedError, match=index_path("t", version)):
        IndexStore(store).commit("t", adding(9))


def test_a_damaged_base(store: Counted) -> None:
    """The version before it is still there, with all that it consists of."""
    made = commits(store, 12)
    store.put(index_path("t", 10), b"")
    assert IndexStore(store).latest("t") == made[8]


def test_a_lost_delta(store: Counted) -> None:
    """It is damage, not a version that has been replaced since it was listed."""
    made = commits(store, 4)
    store.delete([index_path("t", 2)])
    with pytest.raises(DamagedError, match=f"{index_path('t', 2)} is missing"):
        IndexStore(store).read("t", 4)
    assert IndexStore(store).latest("t") == made[0]


def test_another_history(store: Counted, tmp_path: Path) -> None:
    """A known version that was deleted, and written otherwise, is not what a delta follows."""
    other = ObjectStore(StorageConfig("local", str(tmp_path / "other")))
    indexes = IndexStore(other, folding=DELTAS)
    for number in range(5, 8):
        known = indexes.commit("t", adding(number))
    made = commits(store, 5)
    found = IndexStore(store).newest_of("t", range(1, 6), 3, known)
    assert found is not None
    assert found.index == made[4]


def test_bytes_of_others(store: Counted) -> None:
    commits(store, 3)
    data = store.get(index_path("t", 3)) or b""
    assert decode_delta(index_path("t", 3), data).version == 3
    for path in (index_path("t", 4), index_path("u", 3)):
        with pytest.raises(DamagedError, match="is version 3"):
            decode_delta(path, data)
    for at in range(0, len(data), 7):
        with pytest.raises(DamagedError):
            decode_delta(index_path("t", 3), data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])


NUMBERS = st.lists(st.integers(0, 7), min_size=1, max_size=3, unique=True)


class IndexMachine(RuleBasedStateMachine):
    """Two writers and readers that know what was true some polls ago, beside an index that is only in memory."""

    @initialize(
        deltas_max=st.integers(0, 6), share=st.sampled_from([0.5, 2.0, 100.0]), kept_s=st.sampled_from([-1.0, 300.0])
    )
    def start(self, deltas_max: int, share: float, kept_s: float) -> None:
        self.folder = TemporaryDirectory()
        self.store = ObjectStore(StorageConfig("local", self.folder.name))
        folding = Folding(0, share, deltas_max)
        self.writers = [IndexStore(self.store, kept_s, folding) for _ in range(2)]
        self.known: list[TenantIndex | None] = [None, None]
        self.readers: list[TenantIndex | None] = [None, None]
        self.model, self.end, self.packs = TenantIndex("t"), 0, 0

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def commit(self, who: int, change: Change) -> None:
        wanted = change(self.model)
        made = self.writers[who].commit("t", change, self.known[who])
        if wanted is None or wanted is self.model:
            return
        assert made is not None
        self.model = replace(wanted, version=self.model.version + 1)
        self.known[who] = made
        assert made == self.model

    @rule(who=st.integers(0, 1), count=st.integers(1, 3))
    def add(self, who: int, count: int) -> None:
        metas = [block_meta(at, at) for at in range(self.end, self.end + count)]
        self.end += count
        self.commit(who, partial(add_blocks, metas=metas, covered={(CLUSTER, 0): self.end}))

    @rule(who=st.integers(0, 1), picks=NUMBERS)
    def merge(self, who: int, picks: list[int]) -> None:
        metas = [meta for number, meta in enumerate(self.model.metas()) if number in picks]
        if metas:
            merged, names = merged_meta(metas), [meta.block_id for meta in metas]
            self.commit(who, partial(replace_blocks, merged=[merged], replaced=names, now_s=float(self.end)))

    @rule(who=st.integers(0, 1), picks=NUMBERS)
    def remove(self, who: int, picks: list[int]) -> None:
        ids = [meta.block_id for number, meta in enumerate(self.model.metas()) if number in picks]
        self.commit(who, partial(remove_blocks, block_ids=ids, now_s=2.0))

    @rule(who=st.integers(0, 1), picks=NUMBERS)
    def forget(self, who: int, picks: list[int]) -> None:
        ids = [one.block_id for number, one in enumerate(self.model.removed) if number in picks]
        self.commit(who, partial(forget_removed, block_ids=ids))

    @rule(who=st.integers(0, 1))
    def pack(self, who: int) -> None:
        self.packs += 1
        pack = PackRef(
            id=f"p{self.packs}", cluster_id=CLUSTER, partition=0, size_bytes=9, head_bytes=3, head_crc32=self.packs
        )
        replaced = [one.id for one in self.model.filter_packs][:1] if self.packs % 2 else []
        self.commit(who, partial(replace_packs, made=[pack], replaced=replaced))

    @rule(who=st.integers(0, 1))
    def reader_polls(self, who: int) -> None:
        known = self.readers[who]
        found = IndexStore(self.store)
        listed = found.listed("t").get("t", {})
        if listed:
            newest = found.newest_of("t", listed, 0 if known is None else known.version, known)
            if newest is not None:
                assert newest.damage is None
                self.readers[who] = newest.index
        assert self.readers[who] == (self.model if self.model.version else None)

    @invariant()
    def a_new_reader_has_it_all(self) -> None:
        if hasattr(self, "store"):
            latest: Any = IndexStore(self.store).latest("t")
            assert latest == (self.model if self.model.version else None)


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
