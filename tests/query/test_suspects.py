"""Retries whose copies lie with several workers: the same answer as if one worker had each span once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from query.language.compile import compile_query
from query.memory import MemoryBudget, QueryTooLarge, SharedMemory
from query.metrics import metrics
from query.requests import RangeRequest, SearchRequest, TagValuesRequest
from query.scan.pieces import latest_start_ns
from query.scan.reader import Reader
from query.scan.scan import trace_ids
from query.scan.shared_traces import trace_keys
from query.scan.stitch import ids_in_several, whole
from query.scan.suspects import find_suspects, rows_of_suspects
from query.search import search
from query.search.settled import settled
from query.tags import tags
from query.tags.tag_text import parse_tag
from tables.columns.in_memory import TableSource
from tests.helpers.examples import examples
from tests.query.golden import load_table
from tests.query.strategies import END, LEAVES, QUERIES, START, STEP_NS, KeepingSource, spans

SLOW = settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
PARTS = 4
Workers = Sequence[Sequence[Any]]


def dealt(table: pa.Table, data: st.DataObject) -> Workers:
    """Each span in one to three sources, these dealt to workers; some sources keep what is made of them."""
    places = data.draw(
        st.lists(
            st.sets(st.integers(0, PARTS - 1), min_size=1, max_size=3), min_size=table.num_rows, max_size=table.num_rows
        )
    )
    workers: list[list[Any]] = [[] for _ in range(3)]
    for part in range(PARTS):
        here = np.array([part in one for one in places])
        if here.any():
            kind = data.draw(st.sampled_from([TableSource, KeepingSource]))
            workers[data.draw(st.integers(0, 2))].append(kind(whole(table.filter(pa.array(here)))))
    return workers


def shared_by(workers: Workers) -> Any:
    return ids_in_several([trace_ids(worker) for worker in workers])


def compared(partials: Sequence[Any], workers: Workers, at_first: int = 0) -> list[Any]:
    """What a frontend makes of partials. at_first: so many have come when it compares for the first time"""
    partials = list(partials)
    for known in (at_first, len(partials)):
        for number, asked in find_suspects([one.shared_rows for one in partials[:known]]).items():
            found = rows_of_suspects([Reader(source) for source in workers[number]], asked)
            rows = asked.replaced_in(partials[number].shared_rows, found)
            assert rows is not None
            partials[number] = replace(partials[number], shared_rows=rows)
        assert not find_suspects([one.shared_rows for one in partials[:known]])
    return partials


@SLOW
@given(table=spans(), query=QUERIES, data=st.data())
def test_search(table: pa.Table, query: str, data: st.DataObject) -> None:
    request = SearchRequest(query=query, limit=10, spans_per_span_set=0, total=True)
    workers = dealt(table, data)
    partials = [search.search_partial(one, request, elsewhere=shared_by(workers), in_pieces=True) for one in workers]
    got = search.finish(compared(partials, workers, data.draw(st.integers(0, 3))), request)
    every = [source for worker in workers for source in worker]
    want = search.search([TableSource(whole(table))] if compile_query(query).whole_traces else every, request)
    assert (list(got.traces), got.total) == (list(want.traces), want.total)
    alone = search.search(every, request)
    assert (list(alone.traces), alone.total) == (list(want.traces), want.total)


@SLOW
@given(table=spans(), query=QUERIES, limit=st.integers(0, 4), data=st.data())
def test_settled(table: pa.Table, query: str, limit: int, data: st.DataObject) -> None:
    """What is told before all have answered is the beginning of the answer, and a whole one is whole."""
    request = SearchRequest(query=query, limit=limit, spans_per_span_set=0)
    workers = [worker for worker in dealt(table, data) if worker]
    shared = shared_by(workers)
    every = [source for worker in workers for source in worker]
    want = search.search([TableSource(whole(table))] if compile_query(query).whole_traces else every, request)
    partials: list[Any] = []
    for done, worker in enumerate(workers[:-1], 1):
        fresh = search.search_partial(worker, request, elsewhere=shared, in_pieces=True)
        partials = compared([*partials, fresh], workers)
        left = workers[done:]
        latest_ns = max(latest_start_ns(Reader(source)) for some in left for source in some)
        unready = trace_keys(np.intersect1d(np.concatenate([trace_ids(some) for some in left]), shared))
        early, is_whole = settled(partials, request, latest_ns, unready)
        assert list(early.traces) == list(want.traces)[: len(early.traces)]
        assert not is_whole or len(early.traces) == len(want.traces)


@SLOW
@given(table=spans(), query=LEAVES, data=st.data())
def test_metrics(table: pa.Table, query: str, data: st.DataObject) -> None:
    request = RangeRequest(query=query, start_ns=START, end_ns=END, step_ns=STEP_NS, exemplars=0)
    workers = dealt(table, data)
    partials = [metrics.metrics_partial(one, request, elsewhere=shared_by(workers)) for one in workers]
    got = metrics.finish(compared(partials, workers), request)
    every = [source for worker in workers for source in worker]
    once = [TableSource(whole(table))] if metrics.concerns_traces(query) else every
    want = metrics.metrics_range(once, request)
    assert [(one.labels, str(np.round([v for _, v in one.samples], 6))) for one in got.series] == [
        (one.labels, str(np.round([v for _, v in one.samples], 6))) for one in want.series
    ]


@SLOW
@given(table=spans(), query=QUERIES, data=st.data())
def test_tag_values(table: pa.Table, query: str, data: st.DataObject) -> None:
    asked = TagValuesRequest(fields=(parse_tag("name"), parse_tag("span:childCount")), query=query)
    workers = dealt(table, data)
    partials = [tags.tag_values_partial(one, asked, elsewhere=shared_by(workers)) for one in workers]
    got = tags.finish_values(compared(partials, workers), asked)
    assert got.values == tags.tag_values([TableSource(whole(table))], asked).values


def test_nobody_is_asked_about_different_spans() -> None:
    """Spans with one id that differ in what travels; and spans of traces that nobody shares."""
    lines = ["  t1 a name=a", "  t1 a name=b\n  t2 c name=c", "  t1 a name=a start=1s\n  t1 b<a name=b"]
    tables = [whole(load_table(f"load\n{line}\n")) for line in lines]
    assert find_suspects(tables) == {}
    assert find_suspects([None, tables[0], None]) == {}
    assert find_suspects([]) == {}


def test_only_those_are_asked_who_have_them() -> None:
    """And with digests nobody is asked again, until another one has a copy, too."""
    lines = ["  t1 a name=a\n  t1 b<a name=b start=1s", "  t1 c<a name=c", *["  t1 b<a name=b start=1s"] * 2]
    sources = [TableSource(whole(load_table(f"load\n{line}\n"))) for line in lines]
    request = SearchRequest(query="{ } | count() > 0", spans_per_span_set=0)
    shared = ids_in_several([trace_ids([source]) for source in sources])
    partials = [search.search_partial([source], request, elsewhere=shared) for source in sources]
    asked = find_suspects([one.shared_rows for one in partials[:3]])
    assert {number: len(one.spans) for number, one in asked.items()} == {0: 1, 2: 1}
    known = compared(partials[:3], [[source] for source in sources])
    again = find_suspects([one.shared_rows for one in [*known, partials[3]]])
    assert list(again) == [3]
    (trace,) = search.finish(compared([*known, partials[3]], [[source] for source in sources]), request).traces
    assert [one.matched for one in trace.span_sets] == [3]


def test_within_the_memory_of_the_query() -> None:
    """Whoever looks for suspects, and whoever reads them."""
    table = whole(load_table("load\n  t1 a name=a\n  t1 b<a name=b\n"))
    asked = find_suspects([table, table])[0]
    budget = MemoryBudget(100, SharedMemory(100))
    with budget.active(), pytest.raises(QueryTooLarge, match=r"spans of workers|sent twice"):
        find_suspects([table] * 3)
    with budget.active(), pytest.raises(QueryTooLarge):
        rows_of_suspects([Reader(TableSource(table))], asked)


def test_a_worker_that_has_others_since() -> None:
    """Fewer rows than it gave, or none: then they are not put in the place of others."""
    table = whole(load_table("load\n  t1 a name=a\n  t1 b<a name=b\n"))
    request = SearchRequest(query="{ } | count() > 0")
    source = TableSource(table)
    partial = search.search_partial([source], request, elsewhere=trace_ids([source]))
    assert partial.shared_rows is not None
    asked = find_suspects([partial.shared_rows] * 2)[0]
    assert asked.replaced_in(partial.shared_rows, None) is None
    few = rows_of_suspects([Reader(TableSource(table.slice(0, 1)))], asked)
    assert asked.replaced_in(partial.shared_rows, few) is None
