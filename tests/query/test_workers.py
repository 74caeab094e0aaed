"""Several workers, each with some of the sources, answer together what one pass over all sources answers."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from query.language.compile import compile_query
from query.metrics import metrics
from query.metrics.metrics_partial import MetricsPartial
from query.requests import InstantRequest, RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest
from query.results import Series
from query.scan.arrays import Ids
from query.scan.scan import trace_ids
from query.scan.stitch import ids_in_several
from query.search import search
from query.search.partial import SearchPartial, merge
from query.tags import tags
from query.tags.partial import TagPartial
from query.tags.partial import merge as merge_tags
from query.tags.tag_text import parse_tag
from tables.columns.in_memory import TableSource
from tests.helpers.examples import examples
from tests.query.golden import START_NS, load_table
from tests.query.sources import MS, SPLIT, TRACES, sources, traces
from tests.query.strategies import END, FILTERS, LEAVES, QUERIES, SERIES, START, STEP_NS, spans, split

SLOW = settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
COMPARE = FILTERS.map(lambda text: f"{{ }} | compare({text})")


def dealt(table: pa.Table, data: st.DataObject) -> tuple[list[TableSource], list[list[TableSource]], Ids]:
    """The spans in several sources, these dealt to workers, some of whom may have none; and what workers share."""
    every = [TableSource(part) for part in split(table, data)]
    workers: list[list[TableSource]] = [[] for _ in range(data.draw(st.integers(1, 3)))]
    for source in every:
        workers[data.draw(st.integers(0, len(workers) - 1))].append(source)
    return every, workers, ids_in_several([trace_ids(worker) for worker in workers])


def together(partials: Sequence[Any], merge_some: Callable[[list[Any]], Any], data: st.DataObject) -> list[Any]:
    """Some of them merged before the others come, in any order."""
    left = data.draw(st.permutations(partials))
    while len(left) > 1 and data.draw(st.booleans()):
        left = [merge_some(left[:2]), *left[2:]]
    return left


@SLOW
@given(
    table=spans(),
    query=QUERIES | st.just("{ }"),
    limit=st.integers(0, 5),
    order=st.sampled_from(["start", "duration"]),
    total=st.booleans(),
    pages=st.booleans(),
    window=st.tuples(st.none() | st.integers(0, 60), st.none() | st.integers(0, 60)),
    data=st.data(),
)
def test_search(
    table: pa.Table,
    query: str,
    limit: int,
    order: Any,
    total: bool,
    pages: bool,
    window: tuple[int | None, int | None],
    data: st.DataObject,
) -> None:
    """The same traces, word for word, the same total, the same next page; also after a way through Arrow IPC."""
    request = SearchRequest(
        query=query,
        start_ns=window[0],
        end_ns=window[1],
        limit=limit,
        spans_per_span_set=2,
        order=order,
        total=total,
        cursor="" if pages else None,
    )
    every, workers, shared = dealt(table, data)
    want = search.search(every, request)
    projections = compile_query(query).projections
    # Workers of former versions give rows.
    pieces = [data.draw(st.booleans()) for _ in workers]
    partials = [
        search.search_partial(worker, request, elsewhere=shared, in_pieces=knows)
        for worker, knows in zip(workers, pieces, strict=True)
    ]
    partials = [SearchPartial.from_ipc(one.to_ipc(), projections) for one in partials]
    got = search.finish(together(partials, partial(merge, request=request), data), request)
    assert list(got.traces) == list(want.traces)
    assert (got.total, got.next_cursor) == (want.total, want.next_cursor)


def comparable(series: Sequence[Series]) -> list[Any]:
    """Sums of floats depend on their order, in the last digits."""
    return [
        (line.labels, [(at, "nan" if math.isnan(value) else pytest.approx(value)) for at, value in line.samples])
        for line in series
    ]


@SLOW
@given(table=spans(), query=LEAVES | SERIES | COMPARE, instant=st.booleans(), data=st.data())
def test_metrics(table: pa.Table, query: str, instant: bool, data: st.DataObject) -> None:
    """The same series, also after a way through Arrow IPC."""
    request: Any = (
        InstantRequest(query=query, start_ns=START, end_ns=END)
        if instant
        else RangeRequest(query=query, start_ns=START, end_ns=END, step_ns=STEP_NS)
    )
    every, workers, shared = dealt(table, data)
    want = metrics.metrics_instant(every, request) if instant else metrics.metrics_range(every, request)
    partials = [metrics.metrics_partial(worker, request, elsewhere=shared) for worker in workers]
    partials = [MetricsPartial.from_ipc(one.to_ipc()) for one in partials]
    got = metrics.finish(together(partials, partial(metrics.merge, request=request), data), request)
    assert comparable(got.series) == comparable(want.series)


@SLOW
@given(table=spans(), query=st.just("") | QUERIES, data=st.data())
def test_tags(table: pa.Table, query: str, data: st.DataObject) -> None:
    """The same names, and the same values."""
    every, workers, shared = dealt(table, data)
    names = TagNamesRequest(query=query, limit=data.draw(st.integers(0, 3)))
    partials = [tags.tag_names_partial(worker, names, elsewhere=shared) for worker in workers]
    partials = [TagPartial.from_ipc(one.to_ipc()) for one in partials]
    got = tags.finish_names(together(partials, merge_tags, data), names)
    assert got.scopes == tags.tag_names(every, names).scopes
    tag = data.draw(st.sampled_from([".a", "event.a", "status", "rootName", "rootServiceName", "span:childCount"]))
    asked = TagValuesRequest(fields=(parse_tag(tag),), query=query)
    partials = [tags.tag_values_partial(worker, asked, elsewhere=shared) for worker in workers]
    partials = [TagPartial.from_ipc(one.to_ipc()) for one in partials]
    assert (
        tags.finish_values(together(partials, merge_tags, data), asked).values == tags.tag_values(every, asked).values
    )


def test_only_shared_traces_travel_as_rows() -> None:
    """What one worker has alone it answers; nothing at all travels where single spans decide."""
    workers = [[one] for one in sources(TRACES, *SPLIT)]
    shared = ids_in_several([trace_ids(worker) for worker in workers])
    assert [raw.lstrip(b"\0") for raw in shared.tolist()] == [b"t1"]
    request = SearchRequest(query="{ span.x = 1 }", start_ns=START_NS, end_ns=START_NS + 1000 * MS)
    partials = [search.search_partial(worker, request, elsewhere=shared) for worker in workers]
    assert [len(one.shared_rows) for one in partials if one.shared_rows is not None] == [1, 1, 1]
    assert [sum(map(len, one.parts)) for one in partials] == [1, 1, 1]
    assert traces(search.finish(partials, request)) == ["t3", "t4", "t2", "t1"]
    rate = RangeRequest(query="{ } | rate()", start_ns=START_NS, end_ns=START_NS + 1000 * MS, step_ns=100 * MS)
    assert metrics.metrics_partial(workers[0], rate, elsewhere=shared).shared_rows is None
    assert tags.tag_names_partial(workers[0], TagNamesRequest(), elsewhere=shared).shared_rows is None


def test_nobody_has_anything() -> None:
    """Workers without sources, or without a match."""
    request = SearchRequest(query="{ span.nosuch = 1 }", total=True, cursor="")
    workers: list[list[Any]] = [[], [TableSource(load_table(TRACES))]]
    partials = [SearchPartial.from_ipc(search.search_partial(w, request).to_ipc(), ()) for w in workers]
    result = search.finish(partials, request)
    assert (list(result.traces), result.total, result.next_cursor) == ([], 0, None)
