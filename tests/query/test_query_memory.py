"""Budgets of memory: what is counted, what is refused and how early, and that all of it comes back."""

import gc
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.hostile.files import files, sources
from benchmarks.hostile.wide import Wide
from query import memory
from query.memory import FREE_BYTES, MemoryBudget, QueriesTooLarge, QueryTooLarge, SharedMemory
from query.metrics.metrics import metrics_instant, metrics_range
from query.metrics.partials import Partial
from query.metrics.value_counts import META_ERROR_KEY, ValueCounts
from query.requests import InstantRequest, RangeRequest, SearchRequest, TagNamesRequest
from query.scan.pieces import whole_pieces
from query.scan.reader import Reader
from query.scan.scan import shared_ids
from query.search.search import search
from query.tags.tags import tag_names
from query.trace.pages import trace_page
from query.trace.trace import find_trace
from tables.columns.in_memory import TableSource
from tests.helpers.live.whole_way import START_NS, Way, request, span
from tests.query.golden import load_table

MIB = 1 << 20
NS = 10**9
WIDE = Wide(keys=600, spans=3_000, huge_trace_spans=2_000, values=3_000, key_chars=80)
WINDOW = {"start_ns": WIDE.start_ns, "end_ns": WIDE.start_ns + 3600 * NS}


@pytest.fixture(scope="module")
def wide() -> list[Any]:
    """Four files, each with hundreds of attributes that have no column of their own."""
    return sources(list(files(WIDE, rows_max=1_500)))


# ---- the budget


def test_over_its_limit_a_query_is_told_what_to_change() -> None:
    """The setting, what was needed and for what, and what would be cheaper; nothing is reserved."""
    budget = MemoryBudget(10 * MIB, SharedMemory(100 * MIB))
    budget.reserve(8 * MIB, "columns")
    refused = memory.REFUSED.labels(memory.QUERY_SETTING)
    before = refused._value.get()
    with pytest.raises(QueryTooLarge, match=r"query\.memory_bytes_max.*12\.6 MB with series.*Cheaper.*shorter") as err:
        budget.reserve(4 * MIB, "series")
    assert err.value.setting == "query.memory_bytes_max"
    assert (budget.bytes, refused._value.get()) == (8 * MIB, before + 1)
    budget.release(6 * MIB)
    budget.reserve(4 * MIB, "series")


def test_all_queries_share_a_limit_but_small_ones_are_answered() -> None:
    """Two large ones do not fit; beside them one that takes little does."""
    shared = SharedMemory(20 * MIB)
    large, other, small = (MemoryBudget(64 * MIB, shared) for _ in range(3))
    large.reserve(20 * MIB, "columns")
    with pytest.raises(QueriesTooLarge, match=r"query\.memory_total_bytes_max.*later"):
        other.reserve(20 * MIB, "columns")
    small.reserve(FREE_BYTES, "columns")
    large.release(20 * MIB)
    assert shared.bytes == 0
    other.reserve(20 * MIB, "columns")


def test_what_is_reserved_comes_back_with_the_last_user() -> None:
    """Also of work that was handed to a thread and never run."""
    shared = SharedMemory(100 * MIB)
    budget = MemoryBudget(64 * MIB, shared)
    with budget.active():
        memory.reserve(30 * MIB, "columns")
        work = memory.running_in(budget, lambda: memory.reserve(10 * MIB, "more"))
    assert shared.bytes == 26 * MIB
    work()
    assert shared.bytes == 0
    with budget.active():
        memory.reserve(30 * MIB, "columns")
        work = memory.running_in(budget, lambda: None)
    assert shared.bytes > 0
    del work
    gc.collect()
    assert shared.bytes == 0
    assert memory.current() is memory.UNLIMITED


def test_one_budget_for_a_request() -> None:
    """The query and its answer have the same; the next request another."""
    shared = SharedMemory(100 * MIB)
    budgets = []
    for _ in range(2):
        with memory.request():
            budgets += [memory.request_budget(lambda: MemoryBudget(64 * MIB, shared)) for _ in range(2)]
            budgets[-1].reserve(10 * MIB, "an answer")
            assert shared.bytes > 0
        assert shared.bytes == 0
    assert budgets[0] is budgets[1] is not budgets[2]


def test_several_queries_of_a_request_have_a_budget_each() -> None:
    """With the limits of the request; what one has reserved is free when it has ended."""
    shared = SharedMemory(100 * MIB)
    with memory.request():
        memory.limit_request(memory.RequestLimit(32 * MIB, "the tenant's own"))
        memory.limit_reading(memory.ReadLimit(5, "the tenant's own", "acme"))
        for _ in range(3):
            with memory.further_query():
                budget = memory.request_budget(lambda: MemoryBudget(64 * MIB, shared))
                budget.reserve(20 * MIB, "columns")
                with pytest.raises(QueryTooLarge, match="the tenant's own"):
                    budget.reserve(20 * MIB, "more columns")
                with pytest.raises(memory.ReadsTooMuch, match="acme"):
                    budget.check_read(6)
            assert shared.bytes == 0


# ---- estimates


def test_columns_are_about_as_large_as_estimated(wide: list[Any]) -> None:
    """Never much more than was reserved for them, and not many times less."""
    for source in wide:
        for column in [name for name in source.columns if name not in source.sparse_columns()]:
            estimate, size = source.decoded_bytes([column]), source.read([column])[column].nbytes
            assert size <= 1.3 * estimate + 1000, column
            assert estimate <= 4 * size + 70_000, column


def test_long_texts_in_a_dictionary_are_counted_as_often_as_they_come() -> None:
    """A text that the file has once, and ten thousand events have, is not decoded to see that it is too much."""
    text = "x" * 20_000
    spans = [span(n + 1) for n in range(500)]
    for one in spans:
        for _ in range(2):
            one.events.add(name="e", time_unix_nano=START_NS).attributes.add(key="stack").value.string_value = text
    source = Way(request(spans)).source
    assert source.decoded_bytes(["events"]) > 500 * 2 * 20_000
    budget = MemoryBudget(8 * MIB, SharedMemory(64 * MIB))
    with budget.active(), pytest.raises(QueryTooLarge):
        search([source], SearchRequest(query='{ event.stack = "y" }'))


def test_a_long_text_of_many_spans_is_refused_before_it_is_copied() -> None:
    """Answers have each span's text in full."""
    text = "x" * 30_000
    source = Way(request([span(n + 1, attributes={"long": text}) for n in range(2_000)])).source
    budget = MemoryBudget(32 * MIB, SharedMemory(64 * MIB))
    before = pa.total_allocated_bytes()
    with budget.active(), pytest.raises(QueryTooLarge, match="texts"):
        search([source], SearchRequest(query="{ } | select(span.long)", spans_per_span_set=2_000))
    assert pa.total_allocated_bytes() - before < 32 * MIB


# ---- queries


@pytest.mark.parametrize(
    ("name", "budget_kib"),
    [("compare", 1024), ("by", 1024), ("search", 300), ("trace", 2048), ("instant", 1024)],
)
def test_too_large_is_refused_and_gives_back(wide: list[Any], name: str, budget_kib: int) -> None:
    """With little memory every kind of query is refused, with enough it is answered; nothing stays reserved."""
    by = ", ".join(f"span.{WIDE.key(n)}" for n in range(12))
    ask = {
        "compare": lambda: metrics_range(
            wide, RangeRequest(query="{ } | compare({ status = error })", step_ns=60 * NS, **WINDOW)
        ),
        "by": lambda: metrics_range(
            wide, RangeRequest(query="{ } | rate() by (span.like.id, name)", step_ns=600 * NS, **WINDOW)
        ),
        "instant": lambda: metrics_instant(
            wide, InstantRequest(query=f"{{ }} | rate() by (span.like.id, {by})", **WINDOW)
        ),
        "search": lambda: search(
            wide,
            SearchRequest(query="{ } >> { } | select(span.like.id)", limit=10**6, spans_per_span_set=10**6, **WINDOW),
        ),
        "trace": lambda: find_trace(wide, WIDE.huge_trace),
    }[name]
    shared = SharedMemory(1 << 30)
    with MemoryBudget(budget_kib << 10, shared).active(), pytest.raises(QueryTooLarge):
        ask()
    assert shared.bytes == 0
    with MemoryBudget(512 * MIB, shared).active() as budget:
        assert ask() is not None
        assert budget.peak_bytes > budget_kib << 10
    assert shared.bytes == 0


def test_compare_reads_attributes_where_they_rest(wide: list[Any]) -> None:
    """The same whether attributes have columns or lie in the overflow, and whether traces lie in several sources."""
    query = "{ } | compare({ status = error }, 3)"
    dense = sources(list(files(WIDE, rows_max=10**9, columns_max=10_000)))
    assert not dense[0].sparse_columns()
    want, got = (
        metrics_range(one, RangeRequest(query=query, step_ns=600 * NS, **WINDOW)).series for one in (dense, wide)
    )
    assert len(want) > 1000
    assert got == want


def test_many_series_come_in_the_order_of_few(wide: list[Any]) -> None:
    """By their labels, however they are put in order."""
    series = metrics_instant(wide, InstantRequest(query="{ } | count_over_time() by (span.like.id)", **WINDOW)).series
    labels = [[str(value) for _, value in one.labels] for one in series]
    assert len(labels) > 1_000
    assert labels == sorted(labels)


def test_tags_with_structure_in_little_memory(wide: list[Any]) -> None:
    """All names, though all columns of one source together would not fit."""
    everything = sum(source.decoded_bytes(sorted(source.columns)) for source in wide)
    shared = SharedMemory(1 << 30)
    with MemoryBudget(everything // 3, shared).active():
        found = tag_names(wide, TagNamesRequest(query="{ } << { }")).scopes
    assert found == tag_names(wide, TagNamesRequest(query="{ } << { }")).scopes
    assert len(found["span"]) > 500
    assert len(found["event"]) > 300


def test_a_page_is_as_long_as_memory_allows(wide: list[Any]) -> None:
    """The pages of a trace with too many columns are shorter, and have all spans together."""
    after, pages, spans = None, 0, 0
    while True:
        with MemoryBudget(8 * MIB, SharedMemory(1 << 30)).active():
            table, more = trace_page(wide, WIDE.huge_trace, after, 1_000)
        assert table is not None
        pages, spans = pages + 1, spans + table.num_rows
        after = table["start_ns"][-1].as_py(), table["span_id"][-1].as_py()
        if not more:
            break
    assert spans == WIDE.huge_trace_spans
    assert pages > 4


def test_stitched_rows_know_where_they_came_from() -> None:
    """Source and row of each, ascending by row."""
    table = load_table("load\n  t1 a name=x\n  t1 b<a name=y\n  t1 c<b name=z\n  t2 d name=w")
    halves = [TableSource(table.slice(0, 2)), TableSource(table.slice(2))]
    readers = [Reader(half) for half in halves]
    shared = shared_ids(readers)
    (piece,) = [one for one in whole_pieces(readers, shared, ["name"], [True, True]) if one.stitched]
    reader, _ = piece.open()
    names = reader.column("name").to_pylist()
    for origin, rows, places in reader.source.origins(np.arange(reader.rows)):
        there = origin.column("name").to_pylist()
        assert [names[i] for i in places] == [there[row] for row in rows]
        assert (np.diff(rows) > 0).all()


# ---- values of attributes


def counted(observed: list[tuple[str, int, int]], top_n: int, tracked_max: int) -> Partial:
    """In: (value, kind, interval), in batches of seven."""
    counts = ValueCounts(2, top_n, tracked_max)
    for first in range(0, len(observed), 7):
        some = observed[first : first + 7]
        values = pa.array(sorted({value for value, _, _ in some}))
        codes = np.array([values.to_pylist().index(value) for value, _, _ in some])
        counts.add_spans("span.x", np.array([kind * 2 + interval for _, kind, interval in some]), codes, values)
    return counts.partial(top_n)


OBSERVED = st.lists(
    st.tuples(st.sampled_from([f"v{n}" for n in range(30)]), st.integers(0, 1), st.integers(0, 1)), max_size=200
)


@settings(deadline=None)
@given(observed=OBSERVED, top_n=st.integers(1, 5))
def test_few_values_are_counted_exactly(observed: list[tuple[str, int, int]], top_n: int) -> None:
    """As a plain count of each; the most frequent of each kind, of equal ones the first by text."""
    partial = counted(observed, top_n, 1000)
    sums, cells = Counter[Any](), Counter[Any]()
    for value, kind, interval in observed:
        sums[kind, value] += 1
        cells[kind, value, interval] += 1
    for kind, word in enumerate(("baseline", "selection")):
        there = sorted((v for k, v in sums if k == kind), key=lambda v: (-sums[kind, v], str(("str", v))))[:top_n]
        got = {key[2][1]: row for key, row in zip(partial.keys, partial.cells["count"], strict=True) if _is(key, word)}
        assert got.keys() == set(there)
        for value, row in got.items():
            assert row.tolist() == [cells[kind, value, interval] for interval in (0, 1)]


def _is(key: Any, word: str) -> bool:
    return key[0] == ("str", word)


@settings(deadline=None)
@given(observed=OBSERVED, top_n=st.integers(1, 3))
def test_many_values_are_never_counted_too_often(observed: list[tuple[str, int, int]], top_n: int) -> None:
    """With room for few of them; totals are exact all the same."""
    partial = counted(observed, top_n, 6)
    sums = Counter((kind, value) for value, kind, _ in observed)
    totals = Counter(kind for _, kind, _ in observed)
    for key, row in zip(partial.keys, partial.cells["count"], strict=True):
        kind = int(str(key[0][1]).startswith("selection"))
        if key[2] is None:
            assert row.sum() == totals[kind]
        else:
            assert 0 < row.sum() <= sums[kind, key[2][1]]


def test_frequent_values_survive_where_there_is_no_room_for_all() -> None:
    """What comes in every batch is counted in full, whatever comes between."""
    observed = [("often", 0, 0) if n % 2 else (f"v{n}", 0, 1) for n in range(800)]
    partial = counted(observed, 1, 50)
    (best,) = [
        (key[2][1], row.sum())
        for key, row in zip(partial.keys, partial.cells["count"], strict=True)
        if _is(key, "baseline")
    ]
    assert best == ("often", 400)


def test_an_attribute_like_an_id_is_only_named() -> None:
    """Its values take no memory any more, and are counted as distinct also where most were dropped."""
    partial = counted([(f"v{n}", 0, 0) for n in range(1_100)], 3, 100)
    assert (("str", META_ERROR_KEY), ("str", "span.x")) in partial.keys
    assert not any(_is(key, "baseline") for key in partial.keys)
    few = counted([(f"v{n % 700}", 0, 0) for n in range(1_400)], 3, 100)
    assert (("str", META_ERROR_KEY), ("str", "span.x")) not in few.keys
