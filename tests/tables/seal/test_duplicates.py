"""What a client sends twice is sealed once."""

from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tables.seal import seal
from tables.wire.otlp.decoder import OtlpDecoder
from tests.helpers.examples import examples
from tests.strategies import REQUESTS

DECODER = OtlpDecoder()


def batch(request: ExportTraceServiceRequest) -> pa.RecordBatch:
    return DECODER.decode([request.SerializeToString()]).spans


def request() -> ExportTraceServiceRequest:
    """Two spans of one trace, the second with something in every field."""
    made = ExportTraceServiceRequest()
    of_resource = made.resource_spans.add(schema_url="https://schema")
    of_resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    of_scope = of_resource.scope_spans.add()
    of_scope.scope.name = "tracer"
    root = of_scope.spans.add(trace_id=bytes([7] * 16), span_id=bytes([1] * 8), name="root", start_time_unix_nano=100)
    root.end_time_unix_nano = 200
    span = of_scope.spans.add()
    span.CopyFrom(root)
    span.span_id, span.parent_span_id, span.name = bytes([2] * 8), bytes([1] * 8), "child"
    span.attributes.add(key="text").value.string_value = "a"
    span.attributes.add(key="number").value.double_value = float("nan")
    items = [AnyValue(string_value="x"), AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k")]))]
    span.attributes.add(key="list").value.array_value.CopyFrom(ArrayValue(values=items))
    event = span.events.add(time_unix_nano=150, name="event")
    event.attributes.add(key="deep").value.array_value.CopyFrom(ArrayValue(values=items))
    link = span.links.add(trace_id=bytes([9] * 16), span_id=bytes([9] * 8))
    link.attributes.add(key="why").value.bool_value = True
    return made


@pytest.mark.parametrize("attribute_columns_max", [100, 0])
@pytest.mark.parametrize("times", [2, 3, 40])
def test_a_retry_is_sealed_once(attribute_columns_max: int, times: int) -> None:
    """Whether its attributes have columns or not, and however often it comes; the facts are those of the trace."""
    once = seal([batch(request())], attribute_columns_max)
    again = seal([batch(request()) for _ in range(times)], attribute_columns_max)
    assert again.to_pydict().keys() == once.to_pydict().keys()
    assert repr(again.to_pylist()) == repr(once.to_pylist())


def test_a_retry_within_one_batch_of_other_requests_is_sealed_once() -> None:
    """A batch that other clients' spans share has columns and resources that the first one has not."""
    other = ExportTraceServiceRequest()
    spans = other.resource_spans.add().scope_spans.add(schema_url="u").spans
    for number in range(3):
        spans.add(trace_id=bytes([number + 1] * 16), span_id=bytes([3] * 8), trace_state="s", flags=3)
    plain = ExportTraceServiceRequest()
    del plain.resource_spans[:]
    plain.resource_spans.add().scope_spans.add().spans.add(trace_id=bytes([5] * 16), span_id=bytes([5] * 8))
    shared = DECODER.decode([plain.SerializeToString(), other.SerializeToString()]).spans
    table = seal([batch(plain), shared])
    assert table.num_rows == 4


def _rename(span: Span) -> None:
    span.name = "other"


def _status(span: Span) -> None:
    span.status.message = "bad"


def _state(span: Span) -> None:
    span.trace_state = "k=v"


def _attribute(span: Span) -> None:
    span.attributes[0].value.string_value = "b"


def _one_attribute_less(span: Span) -> None:
    del span.attributes[0]


def _type_of_an_attribute(span: Span) -> None:
    span.attributes[0].value.int_value = 1


def _item_of_a_list(span: Span) -> None:
    span.attributes[2].value.array_value.values[1].kvlist_value.values[0].value.bool_value = True


def _event(span: Span) -> None:
    span.events[0].attributes[0].value.array_value.values[0].string_value = "y"


def _one_event_more(span: Span) -> None:
    span.events.add(time_unix_nano=150, name="event")


def _link(span: Span) -> None:
    span.links[0].flags = 1


def _dropped(span: Span) -> None:
    span.dropped_events_count = 1


CHANGES: list[Callable[[Span], None]] = [
    _rename,
    _status,
    _state,
    _attribute,
    _one_attribute_less,
    _type_of_an_attribute,
    _item_of_a_list,
    _event,
    _one_event_more,
    _link,
    _dropped,
]


@pytest.mark.parametrize("attribute_columns_max", [100, 0])
@pytest.mark.parametrize("change", CHANGES)
def test_a_span_that_differs_in_one_field_is_another_one(
    change: Callable[[Span], None], attribute_columns_max: int
) -> None:
    """Though its ids and times are the same: nobody knows which of the two is right."""
    other = request()
    change(other.resource_spans[0].scope_spans[0].spans[1])
    table = seal([batch(request()), batch(other), batch(request())], attribute_columns_max)
    assert table.num_rows == 3
    resource = request()
    resource.resource_spans[0].resource.attributes[0].value.string_value = "another"
    assert seal([batch(request()), batch(resource)], attribute_columns_max).num_rows == 4


def test_null_is_not_the_first_value() -> None:
    """Of spans that differ in one nested value, which some have not, each is kept once."""
    other = request()
    other.resource_spans[0].scope_spans[0].spans[1].events[0].attributes[0].value.Clear()
    table = seal([batch(one) for one in (request(), other, request(), other)])
    assert table.num_rows == 3


def test_thousands_of_near_duplicates_take_no_square_of_time() -> None:
    """A client may send spans that differ in an attribute only."""
    made = ExportTraceServiceRequest()
    spans = made.resource_spans.add().scope_spans.add().spans
    for number in range(20_000):
        span = spans.add(trace_id=bytes([1] * 16), span_id=bytes([1] * 8), name="op")
        span.attributes.add(key="n").value.int_value = number // 2
    assert seal([batch(made)]).num_rows == 10_000


@settings(max_examples=examples(20), deadline=None)
@given(st.lists(REQUESTS, min_size=1, max_size=3))
def test_sealed_twice_is_sealed_once(requests: list[ExportTraceServiceRequest]) -> None:
    """Whatever is in the spans."""
    batches = [one for one in map(batch, requests) if len(one)]
    if batches:
        twice, once = (seal(given).to_pylist() for given in ([*batches, *batches], batches))
        assert len(twice) == len(once)
        for left, right in zip(twice, once, strict=True):
            assert {name for name in left if repr(left[name]) != repr(right[name])} == set()
