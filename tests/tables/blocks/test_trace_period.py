"""When the traces of a file lie: said by whoever writes it, in metas and indexes, and used to read less."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from query.requests import SearchRequest
from query.search.search import search
from tables.blocks.block_file import BlockFile
from tables.blocks.bloom import NO_IDS
from tables.blocks.meta import BlockMeta, FileMeta
from tables.blocks.trace_filters import TraceFilters
from tables.blocks.write import BlockRange, SegmentFile, traces_of, write_block
from tables.catalog.block_list import BlockList
from tables.catalog.check_block import check_block
from tables.catalog.cuts import Cut
from tables.catalog.tenant_index import rows_of
from tables.parquet.write import to_parquet
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.storage.read_ahead import AheadBytes, ReadAhead, reading_ahead
from tests.helpers.querying.otlp_rows import make_table

S = 10**9
BLOCKS, TRACES = 5, 600


class PathStore(ObjectStore):
    """A storage that remembers the paths of the objects that were read."""

    def __init__(self, config: StorageConfig) -> None:
        super().__init__(config)
        self.read: set[str] = set()

    def get_ranges(self, path: str, ranges: Any) -> Any:
        self.read.add(path)
        return super().get_ranges(path, ranges)


def table_of(number: int, starts_s: list[int]) -> pa.Table:
    return make_table(
        [
            {
                "trace_id": (at * BLOCKS + number + 1).to_bytes(16, "big"),
                "span_id": (at + 1).to_bytes(8, "big"),
                "start_ns": start_s * S,
                "duration_ns": S,
                "name": f"n{at % 3}",
                "resource.service.name": "a",
            }
            for at, start_s in enumerate(starts_s)
        ]
    )


@pytest.mark.parametrize(
    ("starts_s", "times_s", "latest_s"),
    [
        ([3, 7], (3, 8), 7),
        ([3, 7], (1, 9), 7),
        ([3, 7], (4, 8), 0),  # a trace begins before the file's times
        ([3, 7], (3, 7), 0),  # one ends behind them
        ([0, 7], (0, 8), 0),  # one has no time
        ([0], (0, 0), 0),
    ],
)
def test_what_a_file_says(starts_s: list[int], times_s: tuple[int, int], latest_s: int) -> None:
    data = to_parquet(table_of(0, starts_s))
    assert traces_of(data, (times_s[0] * S, times_s[1] * S))[1] == latest_s * S


def test_an_end_beyond_all_numbers_is_not_early() -> None:
    """Of hostile times the sum is negative."""
    times = {"trace_start_ns": pa.array([S, 2**63 - 5]), "trace_duration_ns": pa.array([S, 2**62])}
    assert traces_of(to_parquet(pa.table(times)), (S, 2**63 - 1), NO_IDS)[1] == 0


def test_what_is_no_file_says_nothing() -> None:
    assert traces_of(b"no file", (0, 1))[1] == 0


def block(store: ObjectStore, number: int) -> BlockMeta:
    table = table_of(number, [number * 1000 + at + 1 for at in range(TRACES)])
    times = ((number * 1000 + 1) * S, (number * 1000 + TRACES + 1) * S)
    file = SegmentFile(to_parquet(table), TRACES, *times)
    return write_block(store, BlockRange("e", "t", 0, 1, number, number), [file])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[PathStore, list[BlockMeta]]:
    store = PathStore(StorageConfig("local", str(tmp_path_factory.mktemp("blocks"))))
    return store, [block(store, number) for number in range(BLOCKS)]


def sources_of(store: ObjectStore, metas: list[BlockMeta], pool: ThreadPoolExecutor) -> list[BlockFile]:
    blocks = BlockList(store, "e", ByteCache("test", 1 << 24))
    for meta in metas:
        blocks.add(Cut(0, meta.first_offset, meta.last_offset, (meta.key,)), [meta])
    filters = TraceFilters(pool, ByteCache("bloom-test", 1 << 20))
    return [source for meta in metas for source in blocks.sources(meta, filters)]


def unknown(metas: list[BlockMeta]) -> list[BlockMeta]:
    """As an earlier version wrote them."""
    return [
        meta.model_copy(update={"files": [file.model_copy(update={"trace_start_max_ns": 0}) for file in meta.files]})
        for meta in metas
    ]


def test_metas_say_it(written: tuple[PathStore, list[BlockMeta]]) -> None:
    _, metas = written
    assert [meta.files[0].trace_start_max_ns for meta in metas] == [(n * 1000 + TRACES) * S for n in range(BLOCKS)]
    said = json.loads(metas[0].files[0].model_dump_json())
    assert FileMeta.model_validate(said) == metas[0].files[0]
    del said["trace_start_max_ns"]
    assert FileMeta.model_validate(said).trace_period is None
    assert rows_of(metas).to_pylist() == [meta.model_dump() for meta in metas]


@pytest.mark.parametrize("ahead", [False, True])
def test_the_newest_are_found_without_the_ends_of_older_files(
    written: tuple[PathStore, list[BlockMeta]], *, ahead: bool
) -> None:
    store, metas = written
    request = SearchRequest(query='{ resource.service.name = "a" }', limit=3)
    read = {}
    with ThreadPoolExecutor(4) as pool:
        for name, some in (("known", metas), ("unknown", unknown(metas))):
            sources = sources_of(store, some, pool)
            store.read = set()
            with reading_ahead(ReadAhead(pool, AheadBytes(1 << 24 if ahead else 0))):
                found = search(sources, request).traces
            assert [one.start_ns for one in found] == [((BLOCKS - 1) * 1000 + TRACES - at) * S for at in range(3)]
            read[name] = sum(path.endswith(".parquet") for path in store.read)
            described = [source.is_described for source in sources]
        assert read["unknown"] == BLOCKS
        assert all(described)
        # The newest, and those whose filters take one of its traces for one of theirs.
        assert read["known"] <= 1 + BLOCKS // 2


@pytest.mark.parametrize("query", ["{ }", '{ name = "n1" }', "{ } >> { }", "{ span.nosuch = 1 }"])
@pytest.mark.parametrize("window_s", [(None, None), (1500, 2300), (2601, 3001), (None, 900), (3602, None)])
def test_answers_are_those_without_it(
    written: tuple[PathStore, list[BlockMeta]], query: str, window_s: tuple[int | None, int | None]
) -> None:
    store, metas = written
    start_ns, end_ns = (None if each is None else each * S for each in window_s)
    request = SearchRequest(query=query, limit=1000, start_ns=start_ns, end_ns=end_ns)
    with ThreadPoolExecutor(4) as pool:
        found = []
        for some in (metas, unknown(metas)):
            sources = sources_of(store, some, pool)
            with reading_ahead(ReadAhead(pool, AheadBytes(1 << 24))):
                found.append(list(search(sources, request).traces))
    assert found[0] == found[1]


def test_a_wrong_one_is_found(written: tuple[PathStore, list[BlockMeta]], tmp_path: Path) -> None:
    store, metas = written
    meta = metas[0]
    objects = {path.rpartition("/")[2]: stamp.size_bytes for path, stamp in store.objects(meta.folder)}
    assert not list(check_block(store, meta, objects, data=True))
    assert not list(check_block(store, unknown([meta])[0], objects, data=True))
    wrong = meta.model_copy(update={"files": [meta.files[0].model_copy(update={"trace_start_max_ns": 5})]})
    (problem,) = check_block(store, wrong, objects, data=True)
    assert "last trace" in problem.problem
