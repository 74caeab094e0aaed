"""Blocks in storage: what is written, and metas that are strange."""

from pathlib import Path

import pytest

from tables.blocks.meta import decode_meta
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.errors import DamagedError, StorageError
from tables.storage.checksum import with_checksum
from tables.storage.object_store import ObjectStore, StorageConfig


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(StorageConfig("local", str(tmp_path)))


def write(store: ObjectStore, first: int, last: int, *, tenant: str = "t", cluster_id: str = "e") -> str:
    segment = SegmentFile(b"parquet", 3, 100, 200)
    return write_block(store, BlockRange(cluster_id, tenant, 0, 4, first, last), [segment]).block_id


def test_writing_a_block_twice_writes_the_same(store: ObjectStore, tmp_path: Path) -> None:
    """Ids and bytes follow from what is in it."""
    first = write(store, 5, 9)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert write(store, 5, 9) == first
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert write(store, 5, 10) != first
    assert write(store, 5, 9, tenant="u") != first


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param([(5, 9), (3, 7)], (3, 9), id="known"),
        pytest.param([(5, 9), (3, 0)], (0, 0), id="not of a segment of an earlier version"),
    ],
)
def test_when_its_records_were_received(
    store: ObjectStore, times: list[tuple[int, int]], expected: tuple[int, int]
) -> None:
    """Windows of compaction and retention count from there."""
    segments = [SegmentFile(b"parquet", 3, 100, 200, *received) for received in times]
    meta = write_block(store, BlockRange("e", "t", 0, 4, 0, 9), segments)
    assert (meta.received_min_ms, meta.received_max_ms) == expected


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
        pytest.param(b',"crc32"', b',"crc42"', "", id="the checksum's name: all else is right"),
    ],
)
def test_metas_with_wrong_numbers(store: ObjectStore, old: bytes, new: bytes, problem: str) -> None:
    """JSON that reads well and is not what was written."""
    path = f"blocks/t/{write(store, 0, 9)}/meta.json"
    data = new.join((store.get(path) or b"").rsplit(old, 1))
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
