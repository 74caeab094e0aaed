"""Facts of traces: by the spans that have a time, the same in whatever order and parts the spans came."""

from itertools import permutations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from query.metrics.metrics import metrics_instant
from query.requests import InstantRequest, SearchRequest
from query.search.search import search
from query.trace.trace import find_trace
from tables.columns.trace_facts import elapsed_ns, time_range_ns
from tables.seal.resources import parse_resource, service_name
from tests.helpers.examples import examples
from tests.helpers.live.whole_way import START_NS, Way, request, span

FACTS = ["span_id", "kind", "nested_left", "nested_right", "nested_parent", "trace_start_ns", "trace_duration_ns"]
FACTS += ["root_name", "root_service"]
MS = 1_000_000
SERVER, CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT


@pytest.mark.parametrize(
    ("start", "end", "elapsed"),
    [
        pytest.param(START_NS, START_NS + 5, 5, id="good"),
        pytest.param(START_NS, START_NS, 0, id="nothing"),
        pytest.param(START_NS, START_NS - 1, 0, id="ends before it starts"),
        pytest.param(START_NS, 0, 0, id="no end"),
        pytest.param(0, START_NS, 0, id="no start"),
        pytest.param(0, 0, 0, id="no time"),
        pytest.param(2**63, 2**63 + 5, 5, id="starts at 2^63"),
        pytest.param(2**64 - 1, 0, 0, id="the last number"),
        pytest.param(START_NS, 2**63, 2**63 - START_NS, id="ends at 2^63"),
        pytest.param(START_NS, 2**63 - 1, 2**63 - 1 - START_NS, id="ends before 2^63"),
        pytest.param(START_NS, 2**64 - 1, 0, id="ends with the last number"),
        pytest.param(1, 2**63, 2**63 - 1, id="as long as can be"),
        pytest.param(1, 2**63 + 1, 0, id="longer"),
        pytest.param(2**63 - 1, 2**63, 1, id="across 2^63"),
    ],
)
def test_one_rule_for_how_long_a_span_took(start: int, end: int, elapsed: int) -> None:
    """In the function, in search, in metrics; by trace id comes back what was sent."""
    starts = np.array([start], np.uint64).view(np.int64)
    assert elapsed_ns(starts, np.array([end], np.uint64).view(np.int64) - starts).tolist() == [elapsed]
    way = Way(request([span(1, start_time_unix_nano=start, end_time_unix_nano=end)], service_name="s"))
    for sources in ([way.source], way.head):
        (trace,) = search(sources, SearchRequest(query="{ } | select(duration)")).traces
        (found,) = trace.span_sets[0].spans
        whole = min(elapsed, 2**63 - 1 - start) if 0 < start < 2**63 else 0
        assert (found.start_ns, found.duration_ns, trace.duration_ns) == (start, elapsed, whole)
        assert 0 <= trace.start_ns < 2**63
        assert (
            len(
                search(
                    sources,
                    SearchRequest(query=f"{{ duration >= {min(elapsed, 2**63 - 1)}ns && traceDuration = {whole}ns }}"),
                ).traces
            )
            == 1
        )
        assert not search(sources, SearchRequest(query="{ duration < 0s }")).traces
        if 0 < start < 2**63 - 10:
            series = metrics_instant(
                sources, InstantRequest(query="{ } | sum_over_time(duration)", start_ns=start - 1, end_ns=start + 1)
            ).series
            assert series[0].samples[0][1] == pytest.approx(elapsed / 1e9)
    (sent,) = way.spans()
    assert (sent.start_time_unix_nano, sent.end_time_unix_nano) == (start, end)


@pytest.mark.parametrize("spans", [1, 2, 3])
def test_averages_of_broken_clocks(spans: int) -> None:
    """Ends at 2^63 sum up to more than 64 bits: the sum is none, and no average turns negative."""
    way = Way(request([span(1 + i, start_time_unix_nano=1, end_time_unix_nano=2**63) for i in range(spans)]))
    everything = list(range(1, spans + 1))
    assert way.found("{ } | avg(duration) > 2562047h") == everything
    assert way.found("{ } | avg(duration) < 0ns") == []
    assert way.found("{ } | max(duration) > 2562047h") == everything
    assert way.found("{ } | sum(duration) < 0ns") == []


@pytest.mark.parametrize(
    ("start", "time", "since"),
    [
        pytest.param(START_NS, START_NS + 5, 5, id="good"),
        pytest.param(START_NS, 0, 0, id="no time"),
        pytest.param(START_NS, START_NS - 5, 0, id="before the span"),
        pytest.param(0, START_NS, 0, id="a span without a start"),
        pytest.param(START_NS, 2**64 - 1, 0, id="the last number"),
        pytest.param(START_NS, 2**63, 2**63 - START_NS, id="at 2^63"),
        pytest.param(2**63, 2**63 + 5, 5, id="both beyond"),
    ],
)
def test_the_same_rule_for_events(start: int, time: int, since: int) -> None:
    """One event without a time must not turn an average over."""
    event = Span.Event(time_unix_nano=time, name="e")
    way = Way(request([span(1, start_time_unix_nano=start, end_time_unix_nano=start + 9, events=[event])]))
    assert way.found(f"{{ event:timeSinceStart = {since}ns }}") == [1]
    assert way.found("{ event:timeSinceStart < 0ns }") == []
    if start == START_NS:
        for sources in ([way.source], way.head):
            query = "{ } | sum_over_time(event:timeSinceStart)"
            series = metrics_instant(sources, InstantRequest(query=query, start_ns=start - 1, end_ns=start + 1)).series
            assert series[0].samples[0][1] == pytest.approx(since / 1e9)
    assert [one.time_unix_nano for one in way.spans()[0].events] == [time]


@pytest.mark.parametrize("odd", [0, 2**63, 2**64 - 1], ids=["0", "2^63", "2^64 - 1"])
def test_a_span_without_a_time_does_not_move_its_trace(odd: int) -> None:
    """The trace begins and ends by the others, stays among the newest, and is found in its window, however split."""
    good = span(1, name="good")
    bad = span(2, name="bad", start_time_unix_nano=odd, end_time_unix_nano=odd)
    older = [span(3 + i, trace=bytes([9, i] * 8), start_time_unix_nano=START_NS - 1 - i) for i in range(5)]
    for parts in ([[good, bad, *older]], [[good], [bad], older], [[bad], [good, *older]]):
        sources = [Way(request(spans)).source for spans in parts]
        for query in (
            '{ name = "bad" || name = "op" }',
            '{ name = "good" || name = "bad" }',
            "{ }",
            "{ } | count() > 0",
        ):
            first = search(sources, SearchRequest(query=query, limit=1)).traces[0]
            assert (first.trace_id, first.start_ns, first.duration_ns) == (good.trace_id, START_NS, MS)
        window = {"start_ns": START_NS - 10, "end_ns": START_NS + 10}
        assert good.trace_id in {
            trace.trace_id for trace in search(sources, SearchRequest(query='{ name = "bad" }', **window)).traces
        }


def test_the_earliest_root_then_the_least_id_counts() -> None:
    """In segments, heads and traces of several sources alike, in whatever order the spans came."""
    roots = [span(number, name=f"r{number}") for number in (5, 3, 7)]
    later = span(1, name="r1", start_time_unix_nano=START_NS + 1)
    untimed = span(2, name="r2", start_time_unix_nano=0)
    alone = {one.name: Way(request([one])).source for one in (*roots, later, untimed)}
    for order in permutations([*roots, later, untimed]):
        whole = Way(request(order))
        split = [alone[one.name] for one in order]
        for sources in ([whole.source], whole.head, split):
            (trace,) = search(sources, SearchRequest(query="{ }")).traces
            assert trace.root_name == "r3"
            assert len(search(sources, SearchRequest(query='{ rootName = "r3" }')).traces) == 1


def test_roots_that_share_an_id() -> None:
    """Zipkin's first client and its server, in the same microsecond: one of them, wherever they lie."""
    roots = [span(5, name="call", kind=CLIENT), span(5, name="serve", kind=SERVER)]
    short = span(5, name="short", kind=SERVER, end_time_unix_nano=START_NS + 1)
    for order in permutations([*roots, short]):
        for sources in ([Way(request(order)).source], [Way(request([one])).source for one in order]):
            (trace,) = search(sources, SearchRequest(query="{ }")).traces
            assert trace.root_name == "short"
            (trace,) = search(sources, SearchRequest(query='{ rootName = "short" }')).traces
            assert trace.root_name == "short"


@settings(max_examples=examples(25), deadline=None)
@given(st.data())
def test_facts_are_the_same_in_any_order_and_parts(data: st.DataObject) -> None:
    """Whatever spans a trace has: sealed as they came, in another order, or put together from parts."""
    times = st.sampled_from([0, START_NS, START_NS + 1, START_NS + 2, 2**63 + 1])
    spans = [
        span(
            data.draw(st.integers(1, 5)),
            parent_span_id=data.draw(st.sampled_from([b"", *(n.to_bytes(8, "big") for n in range(1, 7))])),
            name="",
            kind=data.draw(st.sampled_from([SERVER, CLIENT])),
            start_time_unix_nano=data.draw(times),
            end_time_unix_nano=data.draw(times),
        )
        for _ in range(data.draw(st.integers(1, 8)))
    ]
    for one in spans:  # of those that are equal but for the name nothing tells which is first
        one.name = f"{one.start_time_unix_nano} {one.kind}"
    shuffled = data.draw(st.permutations(spans))
    first, second = Way(request(spans)), Way(request(shuffled))
    cut = data.draw(st.integers(0, len(spans)))
    parts = [Way(request(part)).source for part in (shuffled[:cut], shuffled[cut:]) if part]
    stitched = find_trace(parts, spans[0].trace_id)
    reply = [_facts(first.table), _facts(second.table)]
    assert reply[0] == reply[1]
    if stitched is not None and stitched.num_rows == len(spans):  # without those that were sent twice
        assert _facts(stitched) == reply[0]


def _facts(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.select(FACTS).to_pylist(), key=lambda row: (row["nested_left"], row["span_id"]))


@pytest.mark.parametrize("parts", [1, 2, 3], ids="{} sources".format)
def test_children_of_a_shared_id_are_the_servers(parts: int) -> None:
    """Zipkin's client and server span have one id: across segments, too."""
    spans = [
        span(1, name="call", kind=CLIENT),
        span(1, name="serve", kind=SERVER, start_time_unix_nano=START_NS + 10),
        span(2, name="query", parent_span_id=(1).to_bytes(8, "big"), start_time_unix_nano=START_NS + 20),
    ]
    sources = [Way(request(spans[part::parts])).source for part in range(parts)]
    found = search(sources, SearchRequest(query='{ kind = server } > { name = "query" }')).traces
    assert [one.span_id for trace in found for spans in trace.span_sets for one in spans.spans] == [b"\0" * 7 + b"\2"]
    assert not search(sources, SearchRequest(query='{ kind = client } > { name = "query" }')).traces


def test_two_service_names_of_one_resource() -> None:
    """The last one counts: as a column, for the root, for the statistics, for the generator."""
    message = ExportTraceServiceRequest.FromString(request([span(1)], service_name="first"))
    message.resource_spans[0].resource.attributes.add(key="service.name").value.string_value = "last"
    way = Way(message.SerializeToString())
    assert service_name(parse_resource(message.resource_spans[0].resource.SerializeToString())) == "last"
    for sources in ([way.source], way.head):
        (trace,) = search(
            sources, SearchRequest(query='{ resource.service.name = "last" && rootServiceName = "last" }')
        ).traces
        assert (trace.root_service, list(trace.service_stats)) == ("last", ["last"])
        assert not search(sources, SearchRequest(query='{ resource.service.name = "first" }')).traces


def test_time_range() -> None:
    """Of the spans that have a time."""
    assert time_range_ns(np.array([0, 5, -1]), np.array([99, 2, 1])) == (5, 7)
    assert time_range_ns(np.array([0]), np.array([5])) == (0, 0)
