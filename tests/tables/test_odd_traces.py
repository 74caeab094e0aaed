"""Traces that are not what the specification says: what becomes of each, from the request to the answer."""

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from query.requests import SearchRequest
from query.search.search import search
from query.trace.trace import find_trace
from tables.wire.otlp.writer import to_resource_spans
from tests.helpers.live.whole_way import MANY, START_NS, TRACE, Way, request, span

HOUR_NS = 3600 * 10**9
ID = [n.to_bytes(8, "big") for n in range(10)]


def test_a_trace_of_200k_spans() -> None:
    """Is one trace: found whole, counted whole, its nested set and its root right, all spans by id."""
    count = 200_000
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    for n in range(1, count + 1):
        spans.add(
            trace_id=TRACE,
            span_id=n.to_bytes(8, "big"),
            parent_span_id=(n - 1).to_bytes(8, "big") if n % 1000 != 1 else ID[1] if n > 1 else b"",
            name="root" if n == 1 else "op",
            start_time_unix_nano=START_NS + n,
            end_time_unix_nano=START_NS + n + 5,
        )
    way = Way(message.SerializeToString())
    (trace,) = search(
        [way.source], SearchRequest(query='{ name = "op" && rootName = "root" }', spans_per_span_set=5)
    ).traces
    assert trace.span_sets[0].matched == count - 1
    assert trace.root_name == "root"
    assert trace.duration_ns == count + 4
    left, right = way.table["nested_left"].to_numpy(), way.table["nested_right"].to_numpy()
    assert (left[0], right[0]) == (1, 2 * count)
    assert (right > left).all()
    assert way.table["nested_parent"].to_numpy()[1:].min() > 0
    assert way.found(f"{{ nestedSetLeft = {2 * count - 2000} }}") == [count - 999]
    table = find_trace([way.source], TRACE)
    assert table is not None
    (group,) = to_resource_spans(table)
    assert [s.span_id for s in group.scope_spans[0].spans] == [s.span_id for s in spans]


def test_empty_names_and_keys() -> None:
    """Are names and keys like any other."""
    way = Way(request([span(1, name="", attributes={"": "v", "k": ""}), span(2)], service_name=""))
    assert way.found('{ name = "" }') == [1]
    assert way.found('{ span.k = "" && resource.service.name = "" }') == [1]
    assert {pair.key: pair.value.string_value for pair in way.spans()[0].attributes} == {"": "v", "k": ""}


def test_parents_that_never_arrive() -> None:
    """Orphans are no roots: the trace has no root name, its spans are found and come back with their parent's id."""
    way = Way(request([span(1, parent_span_id=ID[9]), span(2, parent_span_id=ID[1])], service_name="s"))
    assert way.found("{ nestedSetParent = 0 }") == [1]
    assert way.found("{ nestedSetParent < 0 }") == []
    assert way.found('{ name = "op" }') == [1, 2]
    assert [s.parent_span_id for s in way.spans()] == [ID[9], ID[1]]
    (trace,) = search([way.source], SearchRequest(query="{ }")).traces
    assert (trace.root_name, trace.root_service) == (None, None) or not trace.root_name


@pytest.mark.parametrize(
    "parents",
    [
        pytest.param({1: 1}, id="its own parent"),
        pytest.param({1: 2, 2: 1}, id="two"),
        pytest.param({1: 3, 2: 1, 3: 2, 4: 1, 5: 4}, id="three, with a tail"),
        pytest.param({1: 2, 2: 1, 3: 4, 4: 3, 5: 0}, id="two cycles beside a root"),
    ],
)
def test_cycles_of_parents(parents: dict[int, int]) -> None:
    """Are cut at one span; every span keeps a place, is found, and comes back with the parent it was sent with."""
    way = Way(request([span(n, parent_span_id=ID[p] if p else b"") for n, p in parents.items()]))
    assert way.found('{ name = "op" }') == sorted(parents)
    left, right = way.table["nested_left"].to_pylist(), way.table["nested_right"].to_pylist()
    assert sorted(left + right) == list(range(1, 2 * len(parents) + 1))
    assert {s.span_id: s.parent_span_id for s in way.spans()} == {
        ID[n]: ID[p] if p else b"" for n, p in parents.items()
    }


def test_a_child_before_its_parent() -> None:
    """Clocks differ between machines: durations and the tree are as sent, the trace spans all of it."""
    parent = span(1, start_time_unix_nano=START_NS, end_time_unix_nano=START_NS + 1000)
    child = span(2, parent_span_id=ID[1], start_time_unix_nano=START_NS - 5000, end_time_unix_nano=START_NS + 9000)
    way = Way(request([parent, child]))
    assert way.found("{ nestedSetParent = 1 }") == [2]
    assert way.found("{ traceDuration = 14us }") == [1, 2]
    assert way.found("{ duration = 14us }") == [2]
    assert {s.span_id: s for s in way.spans()} == {s.span_id: s for s in (parent, child)}


@pytest.mark.parametrize(
    ("start", "end", "duration"),
    [
        pytest.param(START_NS, START_NS, "0ns", id="zero duration"),
        pytest.param(START_NS, START_NS - 5, "-5ns", id="negative duration"),
        pytest.param(START_NS, 0, None, id="never ended"),
        pytest.param(0, START_NS, None, id="never started"),
        pytest.param(0, 0, "0ns", id="no times"),
        pytest.param(2**63 + 5, 2**63 + 10, "5ns", id="above 2^63"),
        pytest.param(2**64 - 1, 2**64 - 1, "0ns", id="largest"),
        pytest.param(5, 2**64 - 1, None, id="from the first to the last"),
        pytest.param(2**63 - 1, 2**63, "1ns", id="across 2^63"),
    ],
)
def test_times(start: int, end: int, duration: str | None) -> None:
    """Times come back as sent, to the nanosecond; the span is found, and by its duration where that has a meaning."""
    sent = span(1, start_time_unix_nano=start, end_time_unix_nano=end)
    way = Way(request([sent]))
    assert way.found('{ name = "op" }') == [1]
    assert way.spans() == [sent]
    if duration is not None and not duration.startswith("-"):
        assert way.found(f"{{ duration = {duration} }}") == [1]
    elif duration is not None:
        assert way.found("{ duration = 0s }") == [1]


def test_windows_of_time() -> None:
    """A span an hour old or an hour ahead is in the window of its own time, not in today's; one without an end is
    in the window in which it began.
    """
    now = START_NS
    traces = {
        1: (now, now + 1),
        2: (now - HOUR_NS, now - HOUR_NS + 1),
        3: (now + HOUR_NS, now + HOUR_NS + 1),
        4: (now, 0),
    }
    sent = [
        span(n, trace=n.to_bytes(16, "big"), start_time_unix_nano=a, end_time_unix_nano=b)
        for n, (a, b) in traces.items()
    ]
    minute = 60 * 10**9
    for way in (Way(request(sent)), Way(request(sent[3:]))):
        have = {int.from_bytes(i, "big") for i in way.source.traces().ids.tolist()} or {4}
        shown = {1, 4} if len(have) > 1 else {4}
        assert set(way.found("{ }", start_ns=now - minute, end_ns=now + minute)) == shown
    way = Way(request(sent))
    assert way.found("{ }", start_ns=now - HOUR_NS - minute, end_ns=now - HOUR_NS + minute) == [2]
    assert way.found("{ }", start_ns=now + HOUR_NS - minute, end_ns=now + HOUR_NS + minute) == [3]
    assert way.found("{ }") == [1, 2, 3, 4]


def test_duplicate_spans() -> None:
    """A span sent twice is kept once, as the seal sees. One that shares an id but nothing else is another span."""
    twice, other = span(1, attributes={"k": "v"}), span(1, name="other")
    way = Way(request([twice, other]), request([twice]))
    assert way.spans() == [twice, other]
    (trace,) = search([way.source], SearchRequest(query='{ span.k = "v" }')).traces
    assert trace.span_sets[0].matched == 1
    assert way.found('{ name = "other" }') == [1]


def test_ids_that_differ_in_the_last_byte() -> None:
    """Are different traces, also where that byte is zero."""
    traces = [TRACE[:15] + bytes([n]) for n in (0, 1, 255)]
    way = Way(request([span(n, trace=trace) for n, trace in enumerate(traces, 1)]))
    result = search([way.source], SearchRequest(query="{ }", limit=MANY))
    assert sorted(trace.trace_id for trace in result.traces) == sorted(traces)
    for n, trace in enumerate(traces, 1):
        assert [s.span_id for s in way.spans(trace)] == [ID[n]]
        assert way.found(f'{{ trace:id = "{trace.hex()}" }}') == [n]
