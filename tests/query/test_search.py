"""Which traces a search answers, and what it says about them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query.errors import QueryCancelled
from query.requests import SearchRequest
from query.results import ServiceStats
from query.scan.stitch import whole
from query.search.search import search
from tables.columns.in_memory import TableSource
from tests.helpers.examples import examples
from tests.query.golden import START_NS, load_table
from tests.query.sources import MS, SPLIT, TRACES, sources, traces


@pytest.mark.parametrize("parts", [(), SPLIT], ids=["one source", "three sources"])
def test_facts_are_the_whole_traces(parts: tuple[list[int], ...]) -> None:
    """Start, duration, root and services count every span of the trace, matched or not, wherever it lies."""
    result = search(sources(TRACES, *parts), SearchRequest(query="{ span.x = 1 }", spans_per_span_set=1))
    assert traces(result) == ["t3", "t4", "t2", "t1"]
    first, *_, last = result.traces
    assert (first.root_name, first.root_service) == (None, None)
    assert (last.root_name, last.root_service) == ("GET", "web")
    assert (last.start_ns, last.duration_ns) == (START_NS, 140 * MS)
    assert last.service_stats == {"web": ServiceStats(1, 0), "db": ServiceStats(2, 1)}
    assert first.service_stats == {"": ServiceStats(1, 0)}
    (span_set,) = last.span_sets
    assert span_set.matched == 2
    assert [span.span_id.lstrip(b"\0") for span in span_set.spans] == [b"b"]


@pytest.mark.parametrize("parts", [(), SPLIT], ids=["one source", "three sources"])
@pytest.mark.parametrize(
    ("start_ms", "end_ms", "found"),
    [
        pytest.param(0, 1000, ["t3", "t4", "t2", "t1"], id="all"),
        pytest.param(140, 200, ["t1"], id="the trace's end is in it, t2's start is not"),
        pytest.param(141, 201, ["t2"], id="the trace's end is before it"),
        pytest.param(35, 45, ["t1"], id="inside of the trace, between its pieces"),
        pytest.param(110, 130, ["t1"], id="only the last piece reaches it"),
        pytest.param(400, 500, [], id="nothing"),
        pytest.param(None, 1, ["t1"], id="no start"),
        pytest.param(210, None, ["t3", "t4", "t2"], id="no end"),
    ],
)
@pytest.mark.parametrize("query", ["{ span.x = 1 }", "{ traceDuration > 1ms && span.x = 1 }"])
def test_window(
    start_ms: int | None, end_ms: int | None, found: list[str], query: str, parts: tuple[list[int], ...]
) -> None:
    """A trace counts if it, as a whole, overlaps [start, end)."""
    start_ns = None if start_ms is None else START_NS + start_ms * MS
    end_ns = None if end_ms is None else START_NS + end_ms * MS
    assert (
        traces(search(sources(TRACES, *parts), SearchRequest(query=query, start_ns=start_ns, end_ns=end_ns))) == found
    )


def test_window_in_a_gap_between_pieces() -> None:
    """Neither source has a span near the window; the trace that both share spans it."""
    load = "load\n  t1 a start=0s\n  t1 b start=10s\n  t2 a start=0s\n  t3 a start=10s"
    split = sources(load, [0, 2], [1, 3])
    window = {"start_ns": START_NS + 5_000 * MS, "end_ns": START_NS + 6_000 * MS}
    assert traces(search(split, SearchRequest(query="{ }", **window))) == ["t1"]


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=300), st.integers(1, 80), st.integers(1, 4))
def test_true_newest(starts: list[int], limit: int, parts: int) -> None:
    """The newest N by the whole trace's start, ties by id, although a trace's first span may be in any source."""
    lines = [f"  {number % 97:03d} s{number} start={start}s" for number, start in enumerate(starts)]
    table = load_table("\n".join(["load", *lines]))
    first: dict[bytes, int] = {}
    for trace_id, start in zip(table["trace_id"].to_pylist(), table["start_ns"].to_pylist(), strict=True):
        first[trace_id] = min(start, first.get(trace_id, start))
    want = sorted(first, key=lambda trace_id: (-first[trace_id], trace_id))[:limit]
    number = np.arange(table.num_rows) % parts
    split = [
        TableSource(whole(table.filter(pa.array(number == part)))) for part in range(parts) if (number == part).any()
    ]
    assert [trace.trace_id for trace in search(split, SearchRequest(query="{ }", limit=limit)).traces] == want


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_limit(limit: int) -> None:
    """At most so many traces; none at all is no error."""
    assert traces(search(sources(TRACES), SearchRequest(query="{ }", limit=limit))) == ["t3", "t4"][:limit]


def test_no_sources() -> None:
    """Nothing stored, nothing found, nothing inspected."""
    result = search([], SearchRequest(query="{ }"))
    assert (list(result.traces), result.inspected.spans) == ([], 0)


def test_inspected() -> None:
    """The answer says how much was looked at."""
    inspected = search(sources(TRACES, *SPLIT), SearchRequest(query="{ span.x = 1 }")).inspected
    assert (inspected.spans, inspected.sources) == (6, 3)
    assert inspected.bytes > 0


def test_cancelled() -> None:
    """Between two sources it is asked whether anybody still waits."""
    asked = iter([False, True])
    with pytest.raises(QueryCancelled):
        search(sources(TRACES, *SPLIT), SearchRequest(query="{ }"), cancelled=lambda: next(asked))


def test_ids_with_zero_bytes_stay_whole() -> None:
    """Numpy cuts zero bytes off the end of its strings; ids must not lose them."""
    table = load_table("load\n  t1 a span.x=1")
    ids = {"trace_id": bytes([7]) + bytes(15), "span_id": bytes([9]) + bytes(7)}
    for name, value in ids.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pa.array([value], table.schema.field(name).type))
    (trace,) = search([TableSource(table)], SearchRequest(query="{ span.x = 1 }")).traces
    assert trace.trace_id == ids["trace_id"]
    assert trace.span_sets[0].spans[0].span_id == ids["span_id"]


class Watched(TableSource):
    """Writes down which columns are read."""

    def __init__(self, table: pa.Table) -> None:
        super().__init__(table)
        self.seen: list[str] = []

    def read(self, columns, rows=None):  # type: ignore[no-untyped-def]
        self.seen += columns
        return super().read(columns, rows)


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        pytest.param('{ span.nosuch = 1 && name = "x" }', [], id="no such column: the rest is not read"),
        pytest.param('{ duration > 1h && name = "x" }', [], id="bounds exclude it"),
        pytest.param('{ kind = server && span.x = "1" }', [], id="no column of that type"),
        pytest.param('{ name = "x" && span.x =~ "1" }', [], id="absent column before a regex"),
        pytest.param(
            '{ resource.service.name = "nosuch" && span.x > 0 }', ["resource.service.name", "span.x:int"], id="both"
        ),
    ],
)
def test_reads_no_more_than_needed(query: str, columns: list[str]) -> None:
    """Cheap facts first; a source that cannot match is left alone."""
    source = Watched(load_table(TRACES))
    search([source], SearchRequest(query=query))
    assert set(source.seen) <= {*columns, "kind", "name"}
    if not columns:
        assert "span.x:int" not in source.seen
