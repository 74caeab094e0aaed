"""Cuts and the chains that they make: how far blocks reach, and what is told of cuts that are missing or strange."""

from pathlib import Path

import pytest

from tables.blocks.write import BlockRange
from tables.catalog.chain import Chain, chain
from tables.catalog.cuts import Cut, Cuts, cut_path, decode_cut
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.blocks.catalog import CLUSTER, block_meta


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(StorageConfig("local", str(tmp_path)))


def test_the_first_cut_holds(store: ObjectStore) -> None:
    """A second writer is told of it; the same cut again is no conflict."""
    cuts = Cuts(store, "e")
    cut = Cut(0, 0, 9, ("t/a",))
    assert cuts.write(cut) == cut
    assert cuts.write(cut) == cut
    assert cuts.write(Cut(0, 0, 5, ("t/b",))) == cut
    assert Cuts(store, "other").write(Cut(0, 0, 5, ())).last_offset == 5


def cuts_of(store: ObjectStore, partition: int = 0) -> Chain | None:
    place = ("e", partition)
    return chain(Cuts(store, "e").read({place: 0}, {})[place])


@pytest.mark.parametrize(
    ("ranges", "end"),
    [
        pytest.param([], None, id="none"),
        pytest.param([(0, 9)], 10, id="one"),
        pytest.param([(5, 9), (10, 10), (11, 30)], 31, id="contiguous, the first ones deleted"),
    ],
)
def test_covered(store: ObjectStore, ranges: list[tuple[int, int]], end: int | None) -> None:
    """The end of the ranges that follow each other, in whatever order they were written."""
    for first, last in reversed(ranges):
        Cuts(store, "e").write(Cut(3, first, last, ()))
    found = cuts_of(store, 3)
    assert (found and found.end) == end
    assert found is None or not found.problem()


NONSENSE = "nonsense"


@pytest.mark.parametrize(
    ("cuts", "end", "gaps", "open_end"),
    [
        pytest.param({0: 9, 20: 29}, 30, [(10, 20)], False, id="one was deleted"),
        pytest.param({0: 9, 10: NONSENSE, 20: 29}, 30, [(10, 20)], False, id="one in the middle"),
        pytest.param({0: NONSENSE, 10: 19}, 20, [(0, 10)], False, id="the first"),
        pytest.param({0: 9, 10: NONSENSE}, 10, [], True, id="the last: the flushed offset stays before it"),
        pytest.param({0: 9, 10: NONSENSE, 20: NONSENSE}, 20, [(10, 20)], True, id="the last two"),
        pytest.param({0: 14, 10: 19}, 20, [(0, 10)], False, id="an end that is wrong"),
        pytest.param({0: NONSENSE}, 0, [], True, id="the only one"),
    ],
)
def test_cuts_that_are_damaged(
    cuts: dict[int, int | str], end: int, gaps: list[tuple[int, int]], open_end: bool
) -> None:
    """The flushed offset never jumps over offsets that were not cut; a neighbour tells where a damaged cut ends."""
    found = chain({n: e if isinstance(e, str) else Cut(0, n, e, (f"t/{n}",)) for n, e in cuts.items()})
    assert found is not None
    assert (found.end, found.gaps, found.open_end) == (end, gaps, open_end)
    assert found.problem()


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'{"last_offset": "x", "blocks": []}', b"[1]", b'{"last_offset":-1,"blocks":[]}']
)
def test_strange_cuts_are_named(store: ObjectStore, data: bytes) -> None:
    """The error says which object."""
    store.put(f"cuts/e/00000/{0:020d}.json", data)
    found = cuts_of(store)
    assert found is not None
    assert f"cuts/e/00000/{0:020d}.json is not a cut" in found.problem()


def test_cuts_of_earlier_versions(store: ObjectStore) -> None:
    """They have no checksum, but names that follow from their offsets."""
    block = BlockRange("e", "t", 0, 4, 0, 9)
    path = f"cuts/e/00000/{0:020d}.json"
    store.put(path, b'{"last_offset": 9, "blocks": ["t/%s"]}' % block.id.encode())
    assert cuts_of(store) == Chain(0, 10, {0: Cut(0, 0, 9, (f"t/{block.id}",))})
    store.put(path, b'{"last_offset": 8, "blocks": ["t/%s"]}' % block.id.encode())
    found = cuts_of(store)
    assert found is not None
    assert found.open_end


def test_cuts_carry_the_metas_of_their_blocks(store: ObjectStore) -> None:
    """Nobody needs to read them one by one."""
    metas = (block_meta(0, 9), block_meta(0, 9, tenant="u"))
    Cuts(store, CLUSTER).write(Cut(0, 0, 9, tuple(meta.key for meta in metas), metas))
    place = (CLUSTER, 0)
    (found,) = Cuts(store, CLUSTER).read({place: 0}, {})[place].values()
    assert isinstance(found, Cut)
    assert found.metas == metas


def test_metas_that_this_build_cannot_read_are_left_out(store: ObjectStore) -> None:
    """The cut counts all the same; that block's meta.json says what is wrong."""
    good, later, foreign = (
        block_meta(0, 9),
        block_meta(0, 9, tenant="u", format="stretto2"),
        block_meta(0, 9, tenant="v"),
    )
    Cuts(store, CLUSTER).write(Cut(0, 0, 9, (good.key, later.key), (good, later, foreign)))
    path = cut_path((CLUSTER, 0), 0)
    found = decode_cut(path, store.get(path) or b"")
    assert (found.blocks, found.metas) == ((good.key, later.key), (good,))


def test_cuts_are_listed_from_an_offset(store: ObjectStore) -> None:
    """Those before are not read, nor those that are known."""
    cuts = Cuts(store, "e")
    for first in range(0, 40, 10):
        cuts.write(Cut(0, first, first + 9, ()))
    place = ("e", 0)
    assert list(cuts.read({place: 20}, {})[place]) == [20, 30]
    assert list(cuts.read({place: 20}, {place: {20: Cut(0, 20, 29, ())}})[place]) == [30]
    assert cuts.read({place: 40, ("e", 1): 0}, {}) == {place: {}, ("e", 1): {}}
    assert (cuts.clusters(), cuts.partitions("e")) == (["e"], [place])


@pytest.mark.parametrize(
    ("firsts", "start", "known_end", "expected"),
    [
        pytest.param([], 20, 0, (20, 20, []), id="all below the checkpoint"),
        pytest.param([0, 10, 20], 20, 0, (20, 30, []), id="some below"),
        pytest.param([30], 20, 0, (20, 40, [(20, 30)]), id="one is missing after the checkpoint"),
        pytest.param([0], None, 20, (0, 20, [(10, 20)]), id="an index has seen more"),
        pytest.param([0, 10], None, 20, (0, 20, []), id="an index has seen as much"),
        pytest.param([], None, 20, (20, 20, []), id="only an index is left"),
    ],
)
def test_chains_from_checkpoints(firsts: list[int], start: int | None, known_end: int, expected: object) -> None:
    found = chain({first: Cut(0, first, first + 9, ()) for first in firsts}, start, {}, known_end)
    assert found is not None
    assert (found.start, found.end, found.gaps) == expected


def test_a_damaged_last_cut_whose_end_an_index_knows() -> None:
    """Its blocks are unknown, but not how far they reach."""
    found = chain({0: Cut(0, 0, 9, ()), 10: "damaged"}, None, {}, known_end=20)
    assert found is not None
    assert (found.end, found.open_end, found.gaps, found.sure_end()) == (20, False, [(10, 20)], 10)
    assert found.problem() == "damaged"
    assert found.problem(after=20) == ""
    assert found.sure_end(after=20) == 20


def test_cuts_that_indexes_cover_are_forgotten() -> None:
    """From the first on, and no further than all tenants' indexes reach."""
    cuts = [Cut(0, 0, 9, ("t/a", "u/b")), Cut(0, 10, 19, ()), Cut(0, 20, 29, ("u/c",)), Cut(0, 30, 39, ("t/d",))]
    found = chain({cut.first_offset: cut for cut in cuts})
    assert found is not None
    covered = {"t": 40, "u": 20}
    found.without(list(found.covered_cuts(lambda tenant, end: covered[tenant] >= end)))
    assert (found.start, found.end, list(found.cuts), found.tenants) == (20, 40, [20, 30], {"t": 10, "u": 10})
