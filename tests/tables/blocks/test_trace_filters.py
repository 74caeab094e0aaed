"""Which files of many blocks may hold a trace: never one too few, and in few requests."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.blocks.bloom import bloom_path, checked_filter, filter_ranges
from tables.blocks.filter_pack import PackedFilter, PackRef, filter_key, make_pack, pack_path
from tables.blocks.meta import BlockMeta
from tables.blocks.trace_filters import UNUSABLE, Files, TraceFilters
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.errors import StorageError
from tables.parquet.write import to_parquet
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.examples import examples
from tests.query.golden import load_table

TRACES = 700  # of a file: their filter is not in the meta


class CountingStore(ObjectStore):
    """Counts reads; says that it is away when told to."""

    reads = 0
    away = False

    def get_ranges(self, path, ranges):
        self.reads += 1
        if self.away:
            raise StorageError("away")
        return super().get_ranges(path, ranges)


def trace_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def segment(numbers: list[int]) -> SegmentFile:
    table = load_table("load\n" + "".join(f"  t{at} a name=x\n" for at in range(len(numbers))))
    ids = sorted(trace_id(number) for number in numbers)
    at = table.schema.get_field_index("trace_id")
    table = table.set_column(at, "trace_id", pa.array(ids, pa.binary(16)))
    return SegmentFile(to_parquet(table), len(ids), 0, 1)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(StorageConfig("local", str(tmp_path)))


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def filters(pool: ThreadPoolExecutor, cache_bytes: int = 1 << 20) -> TraceFilters:
    return TraceFilters(pool, ByteCache("bloom-test", cache_bytes))


def block(store: ObjectStore, number: int, files: list[list[int]]) -> BlockMeta:
    return write_block(store, BlockRange("e", "t", 0, 1, number, number), [segment(numbers) for numbers in files])


def names(files: Files) -> list[tuple[int, list[int]]]:
    return [(meta.first_offset, numbers) for meta, numbers in files]


def test_a_trace_costs_one_request_for_each_block_once(store: CountingStore, pool: ThreadPoolExecutor) -> None:
    """In a file for each block, of ten; what its range of ids excludes is not asked; again nothing is read."""
    # All ids of all blocks lie in one range, but for the last block.
    metas = [block(store, n, [list(range(n, 10 * TRACES, 10)), list(range(n, 10 * TRACES, 10))]) for n in range(9)]
    metas.append(block(store, 9, [list(range(10**6, 10**6 + TRACES))]))
    asked = filters(pool)
    assert names(asked.files_with(store, metas, trace_id(4))) == [(4, [0, 1])]
    assert store.reads == 5  # those whose least id is not above it
    assert names(asked.files_with(store, metas, trace_id(4007))) == [(7, [0, 1])]
    assert store.reads == 9
    assert names(asked.files_with(store, metas, trace_id(10**6 + 1))) == [(9, [0])]
    assert store.reads == 10
    assert asked.files_with(store, metas, trace_id(10**7)) == []
    assert asked.files_with(store, [], trace_id(1)) == []
    assert store.reads == 10


def test_a_cache_that_is_too_small_costs_requests_only(store: CountingStore, pool: ThreadPoolExecutor) -> None:
    metas = [block(store, n, [list(range(n, 3 * TRACES, 3))]) for n in range(3)]
    asked = filters(pool, cache_bytes=10)
    for _ in range(2):
        assert names(asked.files_with(store, metas, trace_id(1000))) == [(1, [0])]
    assert store.reads == 6


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(Path.unlink, "missing"), (emptied, "missing"), (shortened, "missing"), (zeroed, "damaged")],
)
def test_damaged_filters_rule_out_nothing(
    store: CountingStore, pool: ThreadPoolExecutor, tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    """A zeroed filter would say that nothing is there."""
    metas = [block(store, n, [list(range(n, 2 * TRACES, 2))]) for n in range(2)]
    for meta in metas:
        damage(tmp_path / bloom_path(meta))
    before = UNUSABLE.labels(reason)._value.get()
    assert names(filters(pool).files_with(store, metas, trace_id(5))) == [(0, [0]), (1, [0])]
    assert UNUSABLE.labels(reason)._value.get() == before + 2


def test_a_storage_that_is_away_rules_out_nothing(store: CountingStore, pool: ThreadPoolExecutor) -> None:
    """And is asked again by the next lookup."""
    metas, asked = [block(store, 0, [list(range(0, 2 * TRACES, 2))])], filters(pool)
    store.away = True
    assert names(asked.files_with(store, metas, trace_id(5))) == [(0, [0])]
    store.away = False
    assert asked.files_with(store, metas, trace_id(5)) == []


@settings(max_examples=examples(15), deadline=None)
@given(st.lists(st.lists(st.sets(st.integers(0, 2000), min_size=1, max_size=600), min_size=1, max_size=3), max_size=4))
def test_no_file_with_the_trace_is_left_out(tmp_path_factory, pool, blocks: list[list[set[int]]]) -> None:
    """Inline or not, old (without filters and ranges) or new; with few others."""
    store = ObjectStore(StorageConfig("local", str(tmp_path_factory.mktemp("blocks"))))
    metas = [block(store, n, [sorted(ids) for ids in files]) for n, files in enumerate(blocks)]
    unused = {"trace_id_min": "", "trace_id_max": "", "bloom_bytes": 0, "bloom_crc32": 0, "bloom_inline": ""}
    old = [meta.model_copy(update={"files": [file.model_copy(update=unused) for file in meta.files]}) for meta in metas]
    asked, false = filters(pool), 0
    for number in range(0, 2001, 13):
        holding = {(n, at) for n, files in enumerate(blocks) for at, ids in enumerate(files) if number in ids}
        found = {(n, at) for n, numbers in names(asked.files_with(store, metas, trace_id(number))) for at in numbers}
        assert holding <= found
        false += len(found - holding)
        assert len(asked.files_with(store, old, trace_id(number))) == len(blocks)
    assert false <= 0.05 * 154 * sum(map(len, blocks)) + 5


def test_calls_at_once_raise_what_the_first_raises(pool: ThreadPoolExecutor) -> None:
    def fails() -> None:
        raise StorageError("no")

    for calls in ([fails], [fails, lambda: None]):
        with pytest.raises(StorageError, match="no"):
            filters(pool).at_once(calls)
    filters(pool).at_once([])


def packed(store: ObjectStore, metas: list[BlockMeta]) -> PackRef:
    found = [
        PackedFilter(filter_key(meta, number), checked_filter(meta, meta.files[number], part))
        for meta in metas
        for number, part in enumerate(store.get_ranges(bloom_path(meta), filter_ranges(meta.files)))
    ]
    ref, data = make_pack(metas[0].place, found)
    store.put(pack_path("t", ref.id), data)
    return ref


def test_a_pack_answers_for_many_blocks_in_one_request(store: CountingStore, pool: ThreadPoolExecutor) -> None:
    metas = [block(store, n, [list(range(n, 40 * TRACES, 40))]) for n in range(40)]
    pack = packed(store, metas[:38])
    asked, store.reads = filters(pool), 0
    assert (7, [0]) in names(asked.files_with(store, metas, trace_id(7 + 40 * 600), [pack]))
    assert store.reads == 3  # the head with a slice, and the two blocks that are in no pack
    earlier = pack.model_copy(update={"slices": 0})  # written before the index said how many slices there are
    asked, store.reads = filters(pool), 0
    assert (7, [0]) in names(asked.files_with(store, metas, trace_id(7 + 40 * 600), [earlier]))
    assert store.reads == 4
    store.away = True
    for number in range(38):
        assert (number, [0]) in names(asked.files_with(store, metas, trace_id(number + 40 * 600), [pack]))


def test_without_its_pack_a_block_is_asked_itself(store: CountingStore, pool: ThreadPoolExecutor) -> None:
    """Deleted, damaged in its head or in a slice, or of a block that was written anew: answers stay as they are."""
    metas = [block(store, n, [list(range(n, 10 * TRACES, 10))]) for n in range(10)]
    pack = packed(store, metas)
    path, data = pack_path("t", pack.id), store.get(pack_path("t", pack.id))
    wanted = trace_id(4 + 10 * 300)
    without = names(filters(pool).files_with(store, metas, wanted))
    assert (4, [0]) in without
    for bad in (b"", data[:10] + b"x" + data[11:], data[: pack.head_bytes] + bytes(len(data) - pack.head_bytes)):
        store.put(path, bad)
        before = UNUSABLE.labels("damaged")._value.get() + UNUSABLE.labels("missing")._value.get()
        assert names(filters(pool).files_with(store, metas, wanted, [pack])) == without
        assert UNUSABLE.labels("damaged")._value.get() + UNUSABLE.labels("missing")._value.get() > before
    store.delete([path])
    assert names(filters(pool).files_with(store, metas, wanted, [pack])) == without
    store.put(path, data)
    other = [meta.model_copy(update={"block_id": metas[(at + 1) % 10].block_id}) for at, meta in enumerate(metas)]
    keys = {filter_key(meta, 0) for meta in metas}
    assert not keys & {filter_key(meta, 0) for meta in other}


def test_few_blocks_are_not_worth_a_pack(store: CountingStore, pool: ThreadPoolExecutor) -> None:
    metas = [block(store, n, [list(range(n, 10 * TRACES, 10))]) for n in range(10)]
    pack, store.reads = packed(store, metas), 0
    filters(pool).files_with(store, metas[:2], trace_id(3005), [pack])
    assert store.reads == 2
