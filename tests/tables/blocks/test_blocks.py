"""Blocks and cuts in storage: what counts as visible, and what happens when objects are missing or strange."""

from pathlib import Path
from typing import Any

import pytest

from tables.blocks.meta import decode_meta
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.catalog.block_list import BlockList
from tables.catalog.chain import Chain, chain
from tables.catalog.cuts import Cut, Cuts
from tables.errors import DamagedError, StorageError
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import with_checksum
from tables.storage.object_store import ObjectStore, StorageConfig


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(StorageConfig("local", str(tmp_path)))


def block_list(store: ObjectStore, cluster_id: str = "e") -> BlockList:
    columns: ByteCache[Any, Any] = ByteCache("columns-blocks", 1 << 20)
    return BlockList(store, cluster_id, columns)


def write(store: ObjectStore, first: int, last: int, *, tenant: str = "t", cluster_id: str = "e") -> str:
    segment = SegmentFile(b"parquet", 3, 100, 200)
    return write_block(store, BlockRange(cluster_id, tenant, 0, 4, first, last), [segment]).block_id


def test_a_block_counts_once_its_cut_is_there(store: ObjectStore) -> None:
    """Files, then meta.json, then the cut: only then the flushed offset moves."""
    blocks = block_list(store)
    block = write(store, 0, 9)
    blocks.poll([0])
    assert (blocks.snapshot("t").blocks, blocks.flushed_offset(0)) == ([], 0)
    blocks.cuts.write(Cut(0, 0, 9, (f"t/{block}",)))
    blocks.poll([0])
    snapshot = blocks.snapshot("t")
    assert [meta.block_id for meta in snapshot.blocks] == [block]
    assert (snapshot.flushed_offsets, blocks.flushed_offset(0)) == ({0: 10}, 10)


def test_blocks_of_another_kafka_always_count(store: ObjectStore) -> None:
    """Their offsets mean nothing here."""
    old = write(store, 0, 999, cluster_id="old")
    blocks = block_list(store)
    blocks.poll([0])
    assert [meta.block_id for meta in blocks.snapshot("t").blocks] == [old]
    assert blocks.flushed_offset(0) == 0


def test_blocks_that_vanish_are_forgotten(store: ObjectStore) -> None:
    """Where no cut names them: of another Kafka, or replaced by a merged block."""
    blocks = block_list(store)
    other, block = write(store, 0, 9, cluster_id="old"), write(store, 0, 9)
    blocks.cuts.write(Cut(0, 0, 9, (f"t/{block}",)))
    merged = decode_meta(f"blocks/t/{block}/meta.json", store.get(f"blocks/t/{block}/meta.json") or b"")
    merged = merged.model_copy(update={"block_id": "merged", "cluster_id": "", "replaces": [block]})
    blocks.poll([0])
    assert {meta.block_id for meta in blocks.snapshot("t").blocks} == {other, block}
    store.put(merged.path, merged.encode())
    blocks.poll([0])
    assert {meta.block_id for meta in blocks.snapshot("t").blocks} == {other, "merged"}
    store.delete([f"blocks/t/{other}/meta.json", f"blocks/t/{block}/meta.json"])
    blocks.poll([0])
    assert {meta.block_id for meta in blocks.snapshot("t").blocks} == {"merged"}
    assert (blocks.damaged(), blocks.flushed_offset(0)) == ([], 10)


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


def cuts_of(store: ObjectStore, partition: int = 0) -> Chain | None:
    return chain(Cuts(store, "e").read(lambda place: place == ("e", partition)).get(("e", partition), {}))


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
    """The error says which object, and no other partition minds."""
    store.put(f"cuts/e/00000/{0:020d}.json", data)
    Cuts(store, "e").write(Cut(1, 0, 9, ()))
    found = cuts_of(store)
    assert found is not None
    assert f"cuts/e/00000/{0:020d}.json is not a cut" in found.problem()
    blocks = block_list(store)
    blocks.poll([0, 1])
    assert (blocks.flushed_offset(0), blocks.flushed_offset(1)) == (0, 10)
    assert list(blocks.snapshot("t").problems) == [0]


def test_cuts_of_earlier_versions(store: ObjectStore) -> None:
    """They have no checksum, but names that follow from their offsets."""
    block = BlockRange("e", "t", 0, 4, 0, 9)
    path = f"cuts/e/00000/{0:020d}.json"
    store.put(path, b'{"last_offset": 9, "blocks": ["t/%s"]}' % block.id.encode())
    assert cuts_of(store) == Chain(0, 10, {f"t/{block.id}"})
    store.put(path, b'{"last_offset": 8, "blocks": ["t/%s"]}' % block.id.encode())
    found = cuts_of(store)
    assert found is not None
    assert found.open_end


def test_a_block_of_a_writer_that_came_too_late(store: ObjectStore) -> None:
    """The cut that holds names other blocks: its spans must not be there twice."""
    late, block, rest = write(store, 0, 9), write(store, 0, 5), write(store, 6, 12)
    blocks = block_list(store)
    blocks.cuts.write(Cut(0, 0, 5, (f"t/{block}",)))
    blocks.cuts.write(Cut(0, 6, 12, (f"t/{rest}",)))
    blocks.poll([0])
    assert {meta.block_id for meta in blocks.snapshot("t").blocks} == {block, rest}
    assert late not in {block, rest}


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
    path = f"blocks/t/{block}/meta.json"
    data = store.get(path) or b""
    with pytest.raises(StorageError, match="stretto2"):
        decode_meta(path, data.replace(b'"stretto1"', b'"stretto2"'))
    body = data[: data.rindex(b',"crc32"')] + b"}"
    more = with_checksum(body.replace(b"{", b'{"unheard_of": 1,', 1))
    assert decode_meta(path, more).block_id == block


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        pytest.param(b'"start_min_ns": 100', b'"start_min_ns": 900', "checksum", id="a time"),
        pytest.param(b'"tenant": "t"', b'"tenant": "u"', "checksum", id="another tenant"),
        pytest.param(b'"spans": 3', b'"spans": 2', "checksum", id="a count"),
        pytest.param(b'"crc32"', b'"crc42"', "", id="the checksum's name: all else is right"),
    ],
)
def test_metas_with_wrong_numbers(store: ObjectStore, old: bytes, new: bytes, problem: str) -> None:
    """JSON that reads well and is not what was written."""
    path = f"blocks/t/{write(store, 0, 9)}/meta.json"
    data = (store.get(path) or b"").replace(old, new, 1)
    if not problem:
        assert decode_meta(path, data).spans == 3
        return
    with pytest.raises(DamagedError, match=problem):
        decode_meta(path, data)


def test_a_meta_in_the_wrong_place(store: ObjectStore) -> None:
    """Copied to another tenant's folder it shows nobody's spans."""
    data = store.get(f"blocks/t/{write(store, 0, 9)}/meta.json") or b""
    with pytest.raises(DamagedError, match=r"is the meta\.json of blocks/t/"):
        decode_meta("blocks/u/x/meta.json", data)


def test_metas_of_earlier_versions(store: ObjectStore) -> None:
    """The cluster id was called epoch."""
    path = f"blocks/t/{write(store, 0, 9)}/meta.json"
    meta = decode_meta(path, store.get(path) or b"")
    old = with_checksum(meta.model_dump_json(indent=1).replace('"cluster_id"', '"epoch"').encode())
    assert decode_meta(path, old) == meta
