"""Blocks and cuts in storage: what counts as visible, and what happens when objects are missing or strange."""

from pathlib import Path
from typing import Any

import pytest

from tables.blocks.block_list import BlockList
from tables.blocks.cuts import Cut, Cuts, covered_end
from tables.blocks.meta import decode_meta
from tables.blocks.object_store import ObjectStore, StorageConfig
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.cache import ByteCache
from tables.errors import StorageError


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(StorageConfig("local", str(tmp_path)))


def block_list(store: ObjectStore, epoch: str = "e") -> BlockList:
    columns: ByteCache[Any, Any] = ByteCache("columns-blocks", 1 << 20)
    return BlockList(store, epoch, columns)


def write(store: ObjectStore, first: int, last: int, *, tenant: str = "t", epoch: str = "e") -> str:
    segment = SegmentFile(b"parquet", 3, 100, 200)
    return write_block(store, BlockRange(epoch, tenant, 0, 4, first, last), [segment]).block_id


def test_a_block_counts_once_its_cut_is_there(store: ObjectStore) -> None:
    """Files, then meta.json, then the cut: only then F moves."""
    blocks = block_list(store)
    block = write(store, 0, 9)
    blocks.poll([0])
    assert (blocks.snapshot("t").blocks, blocks.covered(0)) == ([], 0)
    blocks.cuts.write(Cut(0, 0, 9, (f"t/{block}",)))
    blocks.poll([0])
    snapshot = blocks.snapshot("t")
    assert [meta.block_id for meta in snapshot.blocks] == [block]
    assert (snapshot.covered, blocks.covered(0)) == ({0: 10}, 10)


def test_blocks_of_another_kafka_always_count(store: ObjectStore) -> None:
    """Their offsets mean nothing here."""
    old = write(store, 0, 999, epoch="old")
    blocks = block_list(store)
    blocks.poll([0])
    assert [meta.block_id for meta in blocks.snapshot("t").blocks] == [old]
    assert blocks.covered(0) == 0


def test_blocks_that_vanish_are_forgotten(store: ObjectStore) -> None:
    """A compactor may delete them at any time."""
    blocks = block_list(store)
    block = write(store, 0, 9)
    blocks.cuts.write(Cut(0, 0, 9, (f"t/{block}",)))
    blocks.poll([0])
    store.delete([f"blocks/t/{block}/meta.json"])
    blocks.poll([0])
    assert blocks.snapshot("t").blocks == []
    assert blocks.covered(0) == 10


def test_writing_a_block_twice_writes_the_same(store: ObjectStore, tmp_path: Path) -> None:
    """Ids and bytes follow from what is in it."""
    first = write(store, 5, 9)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert write(store, 5, 9) == first
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert write(store, 5, 10) != first
    assert write(store, 5, 9, tenant="u") != first


def test_the_first_cut_holds(store: ObjectStore) -> None:
    """A second writer is told of it; the same cut again is no conflict."""
    cuts = Cuts(store, "e")
    cut = Cut(0, 0, 9, ("t/a",))
    assert cuts.write(cut) == cut
    assert cuts.write(cut) == cut
    assert cuts.write(Cut(0, 0, 5, ("t/b",))) == cut
    assert Cuts(store, "other").write(Cut(0, 0, 5, ())).last_offset == 5


@pytest.mark.parametrize(
    ("ranges", "end"),
    [
        pytest.param([], None, id="none"),
        pytest.param([(0, 9)], 10, id="one"),
        pytest.param([(5, 9), (10, 10), (11, 30)], 31, id="contiguous, the first ones deleted"),
    ],
)
def test_covered_end(store: ObjectStore, ranges: list[tuple[int, int]], end: int | None) -> None:
    """The end of the ranges that follow each other, in whatever order they were written."""
    cuts = Cuts(store, "e")
    for first, last in reversed(ranges):
        cuts.write(Cut(3, first, last, ()))
    assert covered_end(cuts.read(3)) == end


def test_a_gap_between_cuts_is_an_error(store: ObjectStore) -> None:
    """Somebody deleted a cut: answering would silently miss its spans."""
    cuts = Cuts(store, "e")
    for first, last in ((0, 9), (20, 29)):
        cuts.write(Cut(0, first, last, ()))
    with pytest.raises(StorageError, match="no cut begins at offset 10"):
        block_list(store).poll([0])


@pytest.mark.parametrize("data", [b"", b"{}", b'{"last_offset": "x", "blocks": []}', b"[1]"])
def test_strange_cuts_are_named(store: ObjectStore, data: bytes) -> None:
    """The error says which object."""
    store.put(f"cuts/e/00000/{0:020d}.json", data)
    with pytest.raises(StorageError, match=r"cuts/e/00000/0+\.json is not a cut"):
        Cuts(store, "e").read(0)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"{}", "not a block's meta.json", id="empty"),
        pytest.param(b"nonsense", "not a block's meta.json", id="no JSON"),
    ],
)
def test_strange_metas_are_named(data: bytes, problem: str) -> None:
    """The error says which object."""
    with pytest.raises(StorageError, match=problem):
        decode_meta("blocks/t/x/meta.json", data)


def test_metas_of_a_later_format_are_refused(store: ObjectStore) -> None:
    """Rather than read wrongly; fields that are not known are no harm."""
    block = write(store, 0, 9)
    data = store.get(f"blocks/t/{block}/meta.json") or b""
    later = data.replace(b'"stretto1"', b'"stretto2"')
    with pytest.raises(StorageError, match="stretto2"):
        decode_meta("m", later)
    assert decode_meta("m", data.replace(b"{", b'{"unheard_of": 1,', 1)).block_id == block
