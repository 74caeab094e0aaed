"""Spans that a client sent twice, with thousands of attribute keys: they are compared within the memory of a query."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.hostile.wide import Wide
from query.memory import MemoryBudget, QueryTooLarge, SharedMemory
from query.requests import SearchRequest
from query.search.search import search
from tables.columns.in_memory import TableSource
from tables.seal import seal
from tables.storage.byte_cache import ByteCache
from tests.helpers.blocks.resting import DECODER, file_source, group_source

MIB = 1 << 20
SPANS = 2_000
COUNTED = SearchRequest(query="{ } | count() = 5", limit=1000)


@pytest.fixture(scope="module")
def batches() -> list[Any]:
    made = Wide(keys=5_000, spans=SPANS, huge_trace_spans=0, key_chars=20, events=0).requests()
    return [DECODER.decode([request]).spans for request in made]


def sources(kind: str, batches: list[Any]) -> list[Any]:
    tables = [seal(batches, columns_max) for columns_max in (300, 100)]
    cache: Any = ByteCache("test", 64 * MIB)
    match kind:
        case "head":
            return [TableSource(table) for table in tables]
        case "file":
            return [file_source(str(number), table, cache) for number, table in enumerate(tables)]
    return [group_source("group", tables, cache)]


@pytest.mark.parametrize("kind", ["head", "file", "group"])
def test_no_columns_of_all_rows_are_made(batches: list[Any], kind: str) -> None:
    """5,000 columns of 4,000 rows would take 300 MB. Each trace has its five spans once."""
    asked = sources(kind, batches)
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    POOLS.append(pool)  # what was made has its address
    pa.set_memory_pool(pool)
    try:
        with MemoryBudget(48 * MIB, SharedMemory(1 << 40)).active() as budget:
            assert len(search(asked, COUNTED).traces) == SPANS // 5
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() < 48 * MIB
    assert budget.bytes == 0


POOLS: list[Any] = []


def test_it_is_counted_before_it_is_made(batches: list[Any]) -> None:
    shared = SharedMemory(1 << 40)
    with (
        pytest.raises(QueryTooLarge, match="digests of 2000 spans"),
        MemoryBudget(2 * MIB, shared).active(),
    ):
        search(sources("head", batches), COUNTED)
    assert shared.bytes == 0


def test_digests_do_not_depend_on_what_has_a_column(batches: list[Any]) -> None:
    """A row has the same digest whether its attributes have columns or lie in the overflow."""
    rows = np.arange(30)
    found = [TableSource(seal(batches, columns_max)).row_digests(rows).tolist() for columns_max in (10_000, 300, 0)]
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == len(rows)
