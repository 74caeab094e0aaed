"""Files of blocks are read ahead and asked by their filters: same answers, fewer reads while the query waits."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query.errors import QueryCancelled
from query.requests import SearchRequest
from query.search.search import search
from tables.blocks.bloom import FilterQuestion, make_filter, passing
from tables.blocks.meta import BlockMeta
from tables.blocks.trace_filters import TraceFilters
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.catalog.block_list import BlockList
from tables.catalog.cuts import Cut
from tables.errors import DamagedError
from tables.parquet.write import to_parquet
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.storage.read_ahead import AheadBytes, ReadAhead, reading_ahead
from tests.helpers.examples import examples
from tests.helpers.pool_at_once import AtOnce
from tests.query.golden import load_table

TRACES = 600  # of a file: their filter is not in the meta
BLOCKS = 6


class NotedStore(ObjectStore):
    """Notes who reads what."""

    def __init__(self, config: StorageConfig) -> None:
        super().__init__(config)
        self.reads: list[tuple[str, str]] = []

    def get_ranges(self, path, ranges):
        self.reads.append((threading.current_thread().name.partition("_")[0], path.rpartition("/")[2]))
        return super().get_ranges(path, ranges)

    def count(self, thread: str, name: str) -> int:
        return sum(one[0].startswith(thread) and one[1].startswith(name) for one in self.reads)


def trace_id(number: int, trace: int) -> bytes:
    """Ids of all blocks lie in one range."""
    return (trace * BLOCKS + number + 1).to_bytes(16, "big")


def block(store: ObjectStore, number: int) -> BlockMeta:
    lines = [f"  t{at} a start={number * 1000 + at}s name=n{at % 3} span.of={number}" for at in range(TRACES)]
    table = load_table("load\n" + "\n".join(lines) + "\n")
    ids = pa.array([trace_id(number, at) for at in range(TRACES)], pa.binary(16))
    table = table.set_column(table.schema.get_field_index("trace_id"), "trace_id", ids)
    times = (number * 1000 * 10**9, (number * 1000 + TRACES) * 10**9)
    return write_block(
        store, BlockRange("e", "t", 0, 1, number, number), [SegmentFile(to_parquet(table), TRACES, *times)]
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[NotedStore, list[BlockMeta]]:
    store = NotedStore(StorageConfig("local", str(tmp_path_factory.mktemp("blocks"))))
    return store, [block(store, number) for number in range(BLOCKS)]


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4, "read-ahead") as threads:
        yield threads


def opened(store: NotedStore, metas: list[BlockMeta], pool: ThreadPoolExecutor, cache_bytes: int = 1 << 24):
    store.reads = []
    blocks = BlockList(store, "e", ByteCache("test", cache_bytes))
    for meta in metas:
        blocks.add(Cut(0, meta.first_offset, meta.last_offset, (meta.key,)), [meta])
    filters = TraceFilters(pool, ByteCache("bloom-test", 1 << 20))
    return [source for meta in metas for source in blocks.sources(meta, filters)]


@pytest.mark.parametrize(
    "query",
    ["{ }", '{ name = "n1" }', "{ span.of = 2 }", "{ span.of = 9 }", '{ name = "n1" } | select(span.of)', "{ } >> { }"],
)
@pytest.mark.parametrize("limit", [3, 10_000])
@pytest.mark.parametrize("room", [0, 20_000, 1 << 24])
def test_answers_are_the_same(written, pool: ThreadPoolExecutor, query: str, limit: int, room: int) -> None:
    store, metas = written
    request, found, bytes_ = SearchRequest(query=query, limit=limit), [], AheadBytes(room)
    for ahead in (nullcontext(), reading_ahead(ReadAhead(pool, bytes_))):
        sources = opened(store, metas, pool)
        with ahead:
            found.append(list(search(sources, request).traces))
    assert found[0] == found[1]


def test_the_next_files_are_read_ahead(written, pool: ThreadPoolExecutor) -> None:
    """Of the newest file what its evaluation needs, of each other one what that has read."""
    store, metas = written
    sources, at_once = opened(store, metas, pool), AtOnce()
    for source in sources:
        source.describe()
    ahead = ReadAhead(at_once, AheadBytes(1 << 24))
    waited: list[str] = []

    def take(path: str, ranges: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Any]:
        found = ReadAhead.take(ahead, path, ranges)
        waited.extend(path for one in ranges if one not in found)
        return found

    with reading_ahead(ahead), pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "take", take)
        assert len(search(sources, SearchRequest(query='{ name = "n1" }', limit=10_000)).traces) == BLOCKS * TRACES // 3
    assert at_once.calls >= BLOCKS
    assert not waited


def test_filters_spare_the_trace_ids_of_other_files(written, pool: ThreadPoolExecutor) -> None:
    """The newest traces of the newest file are not in the others, though their ids lie between theirs."""
    store, metas = written
    sources = opened(store, metas, pool)
    for source in sources:
        source.describe()
    described = len(store.reads)
    found = search(sources, SearchRequest(query="{ }", limit=2)).traces
    assert [one.trace_id for one in found] == [trace_id(BLOCKS - 1, TRACES - at) for at in (1, 2)]
    read = [name for _, name in store.reads[described:]]
    assert read.count("bloom") == BLOCKS - 1
    with_ids = [source for source in sources if source.knows_traces()]
    assert len(with_ids) < BLOCKS // 2


def test_a_search_that_has_its_answer_reads_no_more(written, pool: ThreadPoolExecutor) -> None:
    store, metas = written
    sources = opened(store, metas, pool)
    for source in sources:
        source.describe()
    described = len(store.reads)
    with reading_ahead(ReadAhead(pool, AheadBytes(1 << 24))):
        assert len(search(sources, SearchRequest(query='{ name = "n1" }', limit=2)).traces) == 2
    assert sum(name.startswith("data") for _, name in store.reads[described:]) <= 6  # of the newest file
    assert [source.ready_bytes("name") is not None for source in sources] == [False] * (BLOCKS - 1) + [True]


def test_a_cancelled_query_leaves_nothing(written, pool: ThreadPoolExecutor) -> None:
    store, metas = written
    sources, bytes_, asked = opened(store, metas, pool), AheadBytes(1 << 24), 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    with reading_ahead(ReadAhead(pool, bytes_)), pytest.raises(QueryCancelled):
        search(sources, SearchRequest(query='{ name = "n1" }', limit=10_000), cancelled=cancelled)
    barrier = threading.Barrier(4)  # as many as the pool has threads: what they had begun is done then
    list(pool.map(lambda _: barrier.wait(60), range(4)))
    assert bytes_.take_bytes(1 << 24)


def test_a_missing_file_is_damage_as_ever(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    store = NotedStore(StorageConfig("local", str(tmp_path)))
    metas = [block(store, number) for number in range(3)]
    sources = opened(store, metas, pool)
    for source in sources:
        source.describe()
    store.delete([metas[0].path_of(metas[0].files[0])])
    bytes_ = AheadBytes(1 << 24)
    with (
        reading_ahead(ReadAhead(pool, bytes_)),
        pytest.raises(DamagedError, match="is missing"),
    ):
        search(sources, SearchRequest(query='{ name = "n1" }', limit=10_000))


@settings(max_examples=examples(30), deadline=None)
@given(
    here=st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=300, unique=True),
    asked=st.lists(st.binary(min_size=16, max_size=16), max_size=50, unique=True),
)
def test_filters_say_the_same_of_many_ids_as_of_one(here: list[bytes], asked: list[bytes]) -> None:
    data = make_filter(np.array(here, "S16"))
    every = [*here, *asked]
    passed = passing(np.array(every, "S16"), data).tolist()
    assert passed == [FilterQuestion(one).may_be_in(data) for one in every]
    assert all(passed[: len(here)])
