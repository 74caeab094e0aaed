"""What a client sent twice counts once wherever whole traces are looked at."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from query.requests import SearchRequest
from query.scan.reader import Reader
from query.scan.stitch import ids_in_several, stitch
from query.scan.trace_lookup import find
from query.search.search import search
from query.trace.trace import find_trace
from tables.columns.in_memory import TableSource
from tables.columns.trace_index import trace_index
from tables.seal import seal
from tables.wire.otlp.decoder import OtlpDecoder
from tests.helpers.examples import examples
from tests.strategies import REQUESTS

DECODER = OtlpDecoder()


def source_of(request: ExportTraceServiceRequest, columns_max: int = 1000) -> TableSource:
    return TableSource(seal([DECODER.decode([request.SerializeToString()]).spans], columns_max))


def request(names: tuple[str, ...] = ("root", "child", "child"), *, events: bool = False) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    of_resource = made.resource_spans.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    spans = of_resource.scope_spans.add().spans
    for number, name in enumerate(names, 1):
        span = spans.add(trace_id=bytes([1] * 16), span_id=bytes([number] * 8), name=name)
        span.parent_span_id = b"" if number == 1 else bytes([1] * 8)
        span.start_time_unix_nano, span.end_time_unix_nano = 10**9 + number, 10**9 + 100
        span.attributes.add(key="n").value.int_value = number
    if events:
        other = spans.add(trace_id=bytes([2] * 16), span_id=bytes([9] * 8), name="other", trace_state="a=b", flags=1)
        other.events.add(name="event")
    return made


def counts(sources: list[TableSource], query: str) -> list[int]:
    found = search(sources, SearchRequest(query=query))
    return [one.matched for trace in found.traces for one in trace.span_sets]


def test_a_retry_in_another_source_counts_once() -> None:
    """Also where the source has columns that the first one has not, as its other spans have something there."""
    sources = [source_of(request()), source_of(request(events=True), 0)]
    assert counts(sources, '{ name = "child" } | count() = 2') == [2]
    assert counts(sources, '{ name = "child" } | count() > 2') == []
    assert counts(sources, '{ name = "root" } >> { name = "child" }') == [2]
    table = find_trace(sources, bytes([1] * 16))
    assert table is not None
    assert table["nested_left"].to_pylist() == [1, 2, 4]


def test_a_span_that_differs_counts() -> None:
    """A column that the query does not look at makes it another span."""
    other = request()
    other.resource_spans[0].scope_spans[0].spans[2].attributes[0].value.int_value = 7
    assert counts([source_of(request()), source_of(other)], '{ name = "child" } | count() > 0') == [3]
    wrong_clock = request()
    for at, one in enumerate((request(), wrong_clock)):
        span = one.resource_spans[0].scope_spans[0].spans[2]
        span.end_time_unix_nano = 10 + at
    first = request()
    first.resource_spans[0].scope_spans[0].spans[2].end_time_unix_nano = 9
    assert counts([source_of(first), source_of(wrong_clock)], '{ name = "child" } | count() > 0') == [3]


@settings(max_examples=examples(15), deadline=None)
@given(st.lists(REQUESTS, min_size=2, max_size=3), st.sampled_from([1000, 2]))
def test_stitched_is_as_sealed_together(requests: list[ExportTraceServiceRequest], columns_max: int) -> None:
    """Rows, order and facts of traces that several sources have."""
    requests = [one for one in requests if len(DECODER.decode([one.SerializeToString()]).spans)]
    if len(requests) < 2:
        return
    requests = [*requests, requests[0]]
    readers = [Reader(source_of(one, columns_max)) for one in requests]
    shared = ids_in_several([reader.traces().ids for reader in readers])
    some = []
    for reader in readers:
        among, traces = find(reader.traces(), shared)
        some.append((reader, among, traces))
    names = ["kind", "status_code", "nested_left", "nested_right", "nested_parent", "trace_start_ns", "root_name"]
    stitched = stitch(some, names)
    table = seal([DECODER.decode([one.SerializeToString()]).spans for one in requests])
    index = trace_index(table["trace_id"].combine_chunks())
    rows: list[Any] = [
        number
        for low, high, one in zip(index.offsets[:-1], index.offsets[1:], index.ids, strict=True)
        if np.isin(one, shared)
        for number in range(int(low), int(high))
    ]
    wanted = table.take(rows)
    assert all(wanted[name].null_count == len(rows) for name in names if name not in stitched.columns)
    got = stitched.read(["trace_id", "span_id", "start_ns", *(name for name in names if name in stitched.columns)])
    assert {name: array.to_pylist() for name, array in got.items()} == {name: wanted[name].to_pylist() for name in got}
