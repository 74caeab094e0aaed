"""Checkpoints: read and written, damaged ones passed over, and what they make unneeded deleted."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.catalog.checkpoints import Checkpoint, Checkpoints, checkpoint_path, decode_checkpoint
from tables.catalog.cuts import Cut, Cuts
from tables.errors import DamagedError
from tables.storage.object_store import ObjectStore, StorageConfig

P0, P1 = ("e", 0), ("e", 1)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(StorageConfig("local", str(tmp_path)))


@given(offset=st.integers(0, 2**62), tenants=st.dictionaries(st.text("abc-_.*'!", min_size=1), st.integers(0, 2**62)))
def test_round_trip(offset: int, tenants: dict[str, int]) -> None:
    made = Checkpoint(("cluster", 12), offset, tenants)
    assert decode_checkpoint(made.path, made.encode()) == made


@given(st.data())
def test_any_other_byte_is_damage(data: st.DataObject) -> None:
    made = Checkpoint(P0, 10, {"t": 10, "u": 5})
    good = made.encode()
    at = data.draw(st.integers(0, len(good) - 1))
    other = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    for bad in (good[:at], other):
        with pytest.raises(DamagedError, match="checkpoints/e/00000"):
            decode_checkpoint(made.path, bad)


def test_the_newest_counts(store: ObjectStore) -> None:
    checkpoints = Checkpoints(store)
    assert checkpoints.latest(P0) is None
    for offset in (10, 20):
        checkpoints.write(Checkpoint(P0, offset, {"t": offset}))
    checkpoints.write(Checkpoint(P1, 5))
    checkpoints.write(Checkpoint(P0, 20))
    assert checkpoints.latest(P0) == Checkpoint(P0, 20, {"t": 20})
    assert {place: sorted(found) for place, found in checkpoints.listed().items()} == {P0: [10, 20], P1: [5]}


def test_damaged_checkpoints(store: ObjectStore) -> None:
    """The one before is true, too."""
    checkpoints = Checkpoints(store)
    for offset in (10, 20):
        checkpoints.write(Checkpoint(P0, offset))
    store.put(checkpoint_path(P0, 20), b"{}")
    assert checkpoints.latest(P0) == Checkpoint(P0, 10)
    store.put(checkpoint_path(P0, 10), b'{"tenants":{}}')
    with pytest.raises(DamagedError, match=checkpoint_path(P0, 20)):
        checkpoints.latest(P0)


def test_what_is_not_needed_any_more(store: ObjectStore) -> None:
    """Cuts below a checkpoint that has had a successor for long enough, and the checkpoints before it."""
    checkpoints, cuts = Checkpoints(store), Cuts(store, "e")
    for first in range(0, 50, 10):
        cuts.write(Cut(0, first, first + 9, ()))
        cuts.write(Cut(1, first, first + 9, ()))
    store.put("cuts/e/00000/readme", b"?")
    assert checkpoints.delete_covered(P0, 0) == 0
    for offset in (20, 30, 40):
        checkpoints.write(Checkpoint(P0, offset))
    assert checkpoints.delete_covered(P0, 3600) == 0
    assert checkpoints.delete_covered(P0, 0) == 4
    left = sorted(store.paths("cuts/e/00000"))
    assert left == [*(f"cuts/e/00000/{first:020d}.json" for first in (30, 40)), "cuts/e/00000/readme"]
    assert sorted(checkpoints.listed(P0)[P0]) == [30, 40]
    assert len(list(store.paths("cuts/e/00001"))) == 5
