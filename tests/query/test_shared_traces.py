"""Keys of traces find what several workers have, and what is settled before all have answered stays as it is."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from query.requests import SearchRequest
from query.scan.pieces import UNKNOWN_NS, latest_start_ns
from query.scan.reader import Reader
from query.scan.scan import trace_ids
from query.scan.shared_traces import NO_KEYS, ids_with_keys, keys_in_several, trace_keys
from query.scan.stitch import ids_in_several
from query.search import search
from query.search.settled import may_be_settled, settled
from tables.columns.in_memory import TableSource
from tables.columns.sorted_sets import is_among
from tests.helpers.examples import examples
from tests.query.strategies import QUERIES, spans, split

IDS = st.lists(st.binary(min_size=16, max_size=16), unique=True, max_size=6)


@given(st.lists(st.lists(st.integers(0, 8), unique=True, max_size=6), max_size=4))
def test_the_same_as_by_ids(workers: list[list[int]]) -> None:
    lists = [np.array(sorted(n.to_bytes(16, "little") for n in one), "S16") for one in workers]
    shared = keys_in_several([trace_keys(ids) for ids in lists])
    for ids in lists:
        wanted = np.intersect1d(ids, ids_in_several(lists))
        assert ids_with_keys(ids, shared).tolist() == wanted.tolist()
    assert len(keys_in_several([])) == 0


def test_nothing_is_among_nothing() -> None:
    some = np.array([1, 2**64 - 1], np.uint64)
    assert is_among(some, NO_KEYS).tolist() == [False, False]
    assert is_among(some, some).tolist() == [True, True]
    assert is_among(some[:0], some).tolist() == []


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=spans(), query=QUERIES | st.just("{ }"), limit=st.integers(0, 4), pages=st.booleans(), data=st.data())
def test_settled(table: pa.Table, query: str, limit: int, pages: bool, data: st.DataObject) -> None:
    """Whoever has answered, and in whatever order: what is told is the beginning of the answer; the whole is whole."""
    request = SearchRequest(query=query, limit=limit, spans_per_span_set=0, cursor="" if pages else None)
    workers = [TableSource(part) for part in split(table, data)]
    want = search.search(workers, request)
    keys = [trace_keys(trace_ids([one])) for one in workers]
    shared = keys_in_several(keys)
    ids = [ids_with_keys(trace_ids([one]), shared) for one in workers]
    order = data.draw(st.permutations(range(len(workers))))
    partials = []
    for done, number in enumerate(order, 1):
        partials.append(search.search_partial([workers[number]], request, elsewhere=ids[number]))
        left = order[done:]
        if not left:
            break
        latest_ns = max(latest_start_ns(Reader(workers[n])) if workers[n].rows else 0 for n in left)
        unready = np.unique(np.concatenate([keys[n][is_among(keys[n], shared)] for n in left]))
        early, whole = settled(partials, request, latest_ns, unready)
        assert list(early.traces) == list(want.traces)[: len(early.traces)]
        if whole:
            assert may_be_settled(partials, request, latest_ns)
            assert (list(early.traces), early.next_cursor) == (list(want.traces), want.next_cursor)


@pytest.mark.parametrize("more", [{"order": "duration"}, {"total": True}])
def test_what_never_settles(more: dict) -> None:
    """The longest may be in any source, and a total counts all."""
    request = SearchRequest(query="{ }", **more)
    assert not may_be_settled([], request, 0)
    assert settled([], request, 0, NO_KEYS)[1] is False
    assert settled([], SearchRequest(query="{ }"), UNKNOWN_NS, NO_KEYS)[1] is False
