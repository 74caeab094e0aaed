"""The traces of an answer, which are made when they are looked at."""

from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from query.requests import SearchRequest
from query.results import ServiceStats
from query.search import answer, span_sets
from query.search.search import search
from tables.columns.in_memory import TableSource
from tests.helpers.examples import examples
from tests.query.golden import load_table
from tests.query.strategies import QUERIES, KeepingSource, spans, split

LOAD = "\n".join(["load", *(f"  t{i:02} a start={i}s" for i in range(12))])


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=spans(), query=QUERIES, together=st.integers(1, 4), ends=st.tuples(*[st.integers(-5, 5)] * 2))
def test_however_they_are_looked_at(table: pa.Table, query: str, together: int, ends: tuple[int, int]) -> None:
    """One by one, some at a time, or a part of them: the same traces, again and again."""
    traces = search([TableSource(table)], SearchRequest(query=query, spans_per_span_set=2)).traces
    want = list(traces)
    with patch.object(answer, "_TOGETHER", together):
        assert list(traces) == want
    assert [traces[i] for i in range(len(traces))] == want
    assert list(traces[ends[0] : ends[1]]) == want[ends[0] : ends[1]]
    part = traces[1:]
    assert (len(part), list(part[: ends[1]])) == (len(want[1:]), want[1:][: ends[1]])


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=spans(), data=st.data())
def test_services_are_those_of_whole_traces(table: pa.Table, data: st.DataObject) -> None:
    """Counted row by row, whatever source a span is in."""
    want: dict[bytes, dict[str, list[int]]] = {}
    for row in table.to_pylist():
        figures = want.setdefault(row["trace_id"], {}).setdefault(row.get("resource.service.name") or "", [0, 0])
        figures[0] += 1
        figures[1] += row["status_code"] == 2
    found = search([KeepingSource(part) for part in split(table, data)], SearchRequest(query="{ }", limit=1000)).traces
    assert {trace.trace_id: trace.service_stats for trace in found} == {
        trace_id: {name: ServiceStats(*figures) for name, figures in services.items()}
        for trace_id, services in want.items()
    }
    assert all(list(trace.service_stats) == sorted(trace.service_stats) for trace in found)


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=spans(), query=QUERIES, count=st.integers(0, 3), data=st.data())
def test_what_is_not_shown_need_not_be_read(table: pa.Table, query: str, count: int, data: st.DataObject) -> None:
    """Of many matching spans only the first of each source are looked at; those that start together are told apart."""
    sources = [KeepingSource(part) for part in split(table, data)]
    with patch.object(span_sets, "_MANY", 1 << 40):
        want = list(search(sources, SearchRequest(query=query, spans_per_span_set=count)).traces)
    with patch.object(span_sets, "_MANY", 0):
        assert list(search(sources, SearchRequest(query=query, spans_per_span_set=count)).traces) == want


@pytest.mark.parametrize("place", [12, -13])
def test_there_are_no_others(place: int) -> None:
    """As of any sequence."""
    traces = search([TableSource(load_table(LOAD))], SearchRequest(query="{ }")).traces
    with pytest.raises(IndexError):
        traces[place]
    with pytest.raises(ValueError, match="without gaps"):
        traces[::2]
