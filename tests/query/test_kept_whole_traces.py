"""Traces that lie in several files are put together once: later queries get the same rows, whatever they ask for."""

from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from query.metrics.metrics import metrics_instant
from query.requests import InstantRequest, SearchRequest
from query.scan import stitch
from query.search.search import search
from tables.columns.in_memory import TableSource
from tables.parquet.read import ColumnCache, ParquetSource
from tables.parquet.write import to_parquet
from tables.seal import seal
from tables.storage.byte_cache import ByteCache
from tests.helpers.examples import examples
from tests.helpers.files import file_of
from tests.helpers.live.whole_way import DECODER, START_NS, request, span

QUERIES = [
    "{ } >> { }",
    "{ } !< { }",
    "{ span.a = `x` } << { name = `op 1` }",
    "{ } | count() > 1 | select(span.a, span.b)",
    "{ nestedSetParent < 0 } | by(span.b)",
    "{ } ~ { } | rate() by (span.a, rootName)",
    "{ } &>> { span.b > 1 } | count_over_time() by (name)",
]
# (file, trace, number, parent, attributes); some spans come twice.
ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(1, 3),
        st.integers(1, 6),
        st.integers(0, 6),
        st.fixed_dictionaries(
            {},
            optional={
                "a": st.sampled_from(["x", "y"]),
                "b": st.sampled_from([AnyValue(int_value=n) for n in range(3)]),
            },
        ),
    ),
    min_size=2,
    max_size=14,
)


def tables(rows: list[Any]) -> list[Any]:
    files: dict[int, list[Any]] = {}
    for file, trace, number, parent, attributes in rows:
        parent_id = parent.to_bytes(8, "big") if parent else b""
        made = span(number, trace=trace.to_bytes(16, "big"), parent_span_id=parent_id, attributes=attributes)
        made.name = f"op {number % 3}"
        files.setdefault(file, []).append(made)
    return [seal([DECODER.decode([request(spans, service_name="s")]).spans]) for _, spans in sorted(files.items())]


def answer(sources: list[Any], query: str) -> Any:
    window = {"start_ns": START_NS - 10**9, "end_ns": START_NS + 10**9}
    if "rate" in query or "over_time" in query:
        found = metrics_instant(sources, InstantRequest(query=query, **window))
        return [(one.labels, list(one.samples)) for one in found.series]
    return list(search(sources, SearchRequest(query=query, limit=100, spans_per_span_set=100, **window)).traces)


def parquet_sources(made: list[Any], cache: ColumnCache) -> list[ParquetSource]:
    files = [to_parquet(table) for table in made]
    return [
        ParquetSource(f"file {number}", partial(file_of, data), cache, len(table))
        for number, (table, data) in enumerate(zip(made, files, strict=True))
    ]


@settings(max_examples=examples(25), deadline=None)
@given(ROWS, st.lists(st.sampled_from(QUERIES), min_size=1, max_size=5), st.sampled_from([1 << 24, 2000]))
def test_as_if_nothing_were_kept(rows: list[Any], queries: list[str], cache_bytes: int) -> None:
    """Nor does it matter what the cache has evicted."""
    made = tables(rows)
    kept = parquet_sources(made, ByteCache("test", cache_bytes))
    for query in queries:
        assert answer(kept, query) == answer([TableSource(table) for table in made], query), query


def test_it_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For sources that keep something; rows of a head are put together by each query."""
    count = 0
    whole = stitch.whole

    def counting(table: Any) -> Any:
        nonlocal count
        count += 1
        return whole(table)

    monkeypatch.setattr(stitch, "whole", counting)
    made = tables([(number % 2, 1, number, number - 1, {"a": "x"}) for number in range(1, 6)])
    sources = parquet_sources(made, ByteCache("test", 1 << 24))
    for query in QUERIES:
        answer(sources, query)
    assert count == 1
    for _ in range(2):
        answer([sources[0], TableSource(made[1])], QUERIES[0])
    assert count == 3
