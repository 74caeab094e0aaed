"""Filters of trace ids: no trace that is there is ever missed, few that are not there pass, damage is seen."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.blocks.bloom import (
    INLINE_BYTES_MAX,
    BloomWriter,
    FilterQuestion,
    bloom_path,
    checked_filter,
    filter_ranges,
    inline_filter,
    make_filter,
)
from tables.blocks.meta import BlockMeta, FileMeta, decode_meta
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.errors import DamagedError
from tables.parquet.write import to_parquet
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.examples import examples
from tests.query.golden import load_table

IDS = {
    "random": lambda n: np.random.default_rng(n).bytes(16 * n),
    "64 bits, zeros before": lambda n: b"".join(bytes(8) + i.to_bytes(8, "big") for i in range(n)),
    "64 bits, zeros behind": lambda n: b"".join(i.to_bytes(8, "big") + bytes(8) for i in range(n)),
    "a counter": lambda n: b"".join(i.to_bytes(16, "big") for i in range(n)),
}


FORMAT_OF_FIVE = "0140010c0924000001041410014410080103200803102080010608000100020c"


def array(raw: bytes) -> np.ndarray:
    return np.sort(np.frombuffer(raw, "S16"))


@settings(max_examples=examples(65), deadline=None)
@given(st.sets(st.binary(min_size=16, max_size=16) | st.integers(0, 300).map(lambda n: n.to_bytes(16, "little"))))
def test_every_id_that_is_there_passes(ids: set[bytes]) -> None:
    data = make_filter(array(b"".join(ids)))
    assert all(FilterQuestion(one).may_be_in(data) for one in ids)
    assert bool(data) == bool(ids)


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("count", [1, 21, 22, 1000, 20_000])
def test_few_ids_pass_that_are_not_there(kind: str, count: int) -> None:
    """At most 1 %, whatever clients make their ids of, at 12 to 13 bits an id."""
    raw = IDS[kind](count + 4000)
    ids = [raw[at : at + 16] for at in range(0, len(raw), 16)]
    data = make_filter(array(raw[: 16 * count]))
    assert all(FilterQuestion(one).may_be_in(data) for one in ids[:count])
    assert sum(FilterQuestion(one).may_be_in(data) for one in ids[count:]) <= 40
    assert len(data) <= 32 + count * 12 / 8


def test_a_filter_of_a_fixed_format() -> None:
    """Other bytes for the same ids would make what is in storage wrong."""
    data = make_filter(array(IDS["a counter"](5)))
    assert data.hex() == FORMAT_OF_FIVE


def block_of(files: list[bytes]) -> tuple[BlockMeta, bytes]:
    """A meta with a file for each list of ids, and its object `bloom`."""
    bloom = BloomWriter()
    metas = [
        FileMeta(name=f"{n}", size_bytes=1, spans=1, start_min_ns=0, end_max_ns=1, **bloom.add(array(ids))._asdict())
        for n, ids in enumerate(files)
    ]
    meta = BlockMeta(
        block_id="b",
        tenant="t",
        cluster_id="c",
        partition=0,
        partition_count=1,
        first_offset=0,
        last_offset=0,
        spans=len(files),
        start_min_ns=0,
        end_max_ns=1,
        size_bytes=1,
        files=metas,
    )
    return meta, bloom.data()


def test_small_filters_are_in_the_meta_and_large_ones_in_an_object() -> None:
    few, many, none = IDS["random"](INLINE_BYTES_MAX * 8 // 13), IDS["random"](500), b""
    meta, data = block_of([few, many, none, many[16:]])
    meta = decode_meta(meta.path, meta.encode())
    ranges = filter_ranges(meta.files)
    assert [length > 0 for _, length in ranges] == [False, True, False, True]
    assert (meta.bloom_bytes, sum(length for _, length in ranges)) == (len(data), len(data))
    assert [inline_filter(meta, file) for file in meta.files] == [make_filter(array(few)), None, None, None]
    assert [
        checked_filter(meta, meta.files[at], data[start : start + length]) == make_filter(array(many[skipped:]))
        for (at, skipped), (start, length) in zip([(1, 0), (3, 16)], [ranges[1], ranges[3]], strict=True)
    ] == [True, True]
    assert meta.files[1].trace_id_min == min(many[at : at + 16].hex() for at in range(0, len(many), 16))
    assert meta.files[1].trace_id_max == max(many[at : at + 16].hex() for at in range(0, len(many), 16))
    assert (meta.files[2].trace_id_min, meta.files[2].trace_id_max) == ("", "")


@settings(max_examples=examples(40), deadline=None)
@given(st.data())
def test_any_other_byte_is_damage(data: st.DataObject) -> None:
    meta, object_ = block_of([IDS["random"](400)])
    (_, length) = filter_ranges(meta.files)[0]
    at = data.draw(st.integers(0, length - 1))
    other = data.draw(st.integers(1, 255))
    changed = bytearray(object_)
    changed[at] ^= other
    for wrong in (bytes(changed), object_[:at], object_ + b"\0", b""):
        with pytest.raises(DamagedError, match="blocks/t/b/bloom"):
            checked_filter(meta, meta.files[0], wrong)


@pytest.mark.parametrize("text", ["!", "AAAA", "A" * 44])
def test_an_inline_filter_that_is_damaged(text: str) -> None:
    meta, _ = block_of([IDS["random"](5)])
    file = meta.files[0].model_copy(update={"bloom_inline": text})
    with pytest.raises(DamagedError):
        inline_filter(meta, file)


def test_a_flushed_block_has_filters(tmp_path: Path) -> None:
    """Of each of its files; small ones cost no object."""
    store = ObjectStore(StorageConfig("local", str(tmp_path)))
    tables = [load_table("load\n  t1 a name=x\n  t2 a name=x\n"), load_table("load\n  t7 a name=x\n")]
    segments = [SegmentFile(to_parquet(table), table.num_rows, 0, 1) for table in tables]
    meta = write_block(store, BlockRange("e", "t", 0, 1, 0, 0), segments)
    assert store.get(bloom_path(meta)) is None
    for table, file in zip(tables, meta.files, strict=True):
        ids = table["trace_id"].to_pylist()
        assert inline_filter(meta, file) == make_filter(array(b"".join(ids)))
        assert (file.trace_id_min, file.trace_id_max) == (min(ids).hex(), max(ids).hex())
    many = load_table("load\n" + "".join(f"  t{number} a name=x\n" for number in range(600)))
    meta = write_block(store, BlockRange("e", "t", 0, 1, 1, 1), [SegmentFile(to_parquet(many), 600, 0, 1)])
    data = store.get(bloom_path(meta))
    assert data is not None
    assert len(data) == meta.bloom_bytes == meta.files[0].bloom_bytes > INLINE_BYTES_MAX
    assert checked_filter(meta, meta.files[0], data) == make_filter(array(b"".join(many["trace_id"].to_pylist())))
