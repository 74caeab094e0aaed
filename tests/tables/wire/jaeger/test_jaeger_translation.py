"""Jaeger's spans become the OTLP spans that OpenTelemetry's mapping says, in every encoding."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from tables.errors import WireError
from tables.wire.jaeger import jaeger_pb2, protobuf, thrift, translate
from tables.wire.otlp import encode
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.thrift_structs import Encoding
from tests.helpers.receiving.jaeger import batch, datagram, encoded, id8, id16, log, reference, span, tag

ENCODINGS: list[Encoding] = ["binary", "compact"]

DECODER = OtlpDecoder()


def translated(*spans: Any, **process: Any) -> ExportTraceServiceRequest:
    data = encoded(batch(*spans, **process), "binary")
    return ExportTraceServiceRequest.FromString(thrift.batch_to_otlp(data, "binary"))


def the_span(*args: Any, **fields: Any) -> Span:
    """The one span that comes out of one with these fields."""
    ((one,),) = [scope.spans for scope in translated(span(*args, **fields)).resource_spans[0].scope_spans]
    return one


def values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_all_fields(encoding: Encoding) -> None:
    """Ids, times, types of tags, logs, references, process: over HTTP and in a datagram."""
    tags = [tag("s", "text"), tag("b", True), tag("i", -5), tag("d", 0.5), tag("x", b"\0\xff")]
    sent = batch(
        span(
            7,
            trace_id_high=-2,
            parent_span_id=3,
            tags=tags,
            logs=[log(1_700_000_000_000_100, tag("event", "retry"), tag("n", 2))],
            references=[reference(0, 1, 3), reference(1, 9, 8)],
        ),
        service="search",
        tags=[tag("hostname", "a1"), tag("zone", "b")],
    )
    for data in (
        thrift.batch_to_otlp(encoded(sent, encoding), encoding),
        thrift.datagram_to_otlp(datagram(sent, encoding), encoding),
    ):
        (found,) = ExportTraceServiceRequest.FromString(data).resource_spans
        assert values(found.resource.attributes) == {"service.name": "search", "host.name": "a1", "zone": "b"}
        one = found.scope_spans[0].spans[0]
        assert one.trace_id == bytes.fromhex("fffffffffffffffe0000000000000001")
        assert (one.span_id, one.parent_span_id, one.name, one.flags) == (id8(7), id8(3), "GET /", 1)
        assert one.start_time_unix_nano == 1_700_000_000_000_000_000
        assert one.end_time_unix_nano - one.start_time_unix_nano == 1_500_000
        assert values(one.attributes) == {"s": "text", "b": True, "i": -5, "d": 0.5, "x": b"\0\xff"}
        (event,) = one.events
        assert (event.name, event.time_unix_nano) == ("retry", 1_700_000_000_000_100_000)
        assert values(event.attributes) == {"n": 2}
        # CHILD_OF the parent is the parent; trace 9 is another trace.
        assert [(each.trace_id, each.span_id, values(each.attributes)) for each in one.links] == [
            (id16(9), id8(8), {"opentracing.ref_type": "follows_from"})
        ]


@pytest.mark.parametrize(
    ("tags", "kind", "code", "message", "left"),
    [
        ([tag("span.kind", "server")], Span.SPAN_KIND_SERVER, 0, "", {}),
        ([tag("span.kind", "PRODUCER")], Span.SPAN_KIND_PRODUCER, 0, "", {}),
        ([tag("span.kind", "odd")], 0, 0, "", {"span.kind": "odd"}),
        ([tag("error", True)], 0, Status.STATUS_CODE_ERROR, "", {}),
        ([tag("error", "true")], 0, Status.STATUS_CODE_ERROR, "", {}),
        ([tag("error", False)], 0, 0, "", {"error": False}),
        ([tag("otel.status_code", "OK")], 0, Status.STATUS_CODE_OK, "", {}),
        ([tag("otel.status_code", "ERROR"), tag("otel.status_description", "no")], 0, 2, "no", {}),
        ([tag("error", True), tag("otel.status_code", "OK")], 0, 2, "", {}),
        ([tag("http.status_code", 503)], 0, 2, "", {"http.status_code": 503}),
        ([tag("http.status_code", "500"), tag("http.status_message", "bad")], 0, 2, "bad",
         {"http.status_code": "500", "http.status_message": "bad"}),
        ([tag("span.kind", "server"), tag("http.status_code", 404)], Span.SPAN_KIND_SERVER, 0, "",
         {"http.status_code": 404}),
        ([tag("span.kind", "client"), tag("http.status_code", 404)], Span.SPAN_KIND_CLIENT, 2, "",
         {"http.status_code": 404}),
        ([tag("http.status_code", 200)], 0, 0, "", {"http.status_code": 200}),
    ],
)  # fmt: skip
def test_kind_and_status(tags: Any, kind: int, code: int, message: str, left: Any) -> None:
    one = the_span(tags=tags)
    assert (one.kind, one.status.code, one.status.message) == (kind, code, message)
    assert values(one.attributes) == left


@pytest.mark.parametrize(
    ("references", "parent", "links"),
    [
        ([reference(0, 1, 5)], 5, 0),
        ([reference(1, 1, 5)], 5, 1),  # a follower is a child, and a link says which kind
        ([reference(1, 1, 5), reference(0, 1, 6)], 6, 1),
        ([reference(0, 2, 5)], 0, 1),  # another trace
    ],
)
def test_parent_of_references(references: Any, parent: int, links: int) -> None:
    one = the_span(references=references)
    assert one.parent_span_id == (id8(parent) if parent else b"")
    assert len(one.links) == links


def test_equal_values_of_other_types_stay_apart() -> None:
    """What is kept of one tag is not used for another: True, 1 and 1.0 are equal, 0.0 and -0.0, bytes and a text."""
    sent = [True, 1, 1.0, "x", b"x", False, 0, 0.0, -0.0]
    for _ in range(2):  # the second time from what is kept
        for value in sent:
            found = values(the_span(tags=[tag("k", value)]).attributes)["k"]
            assert (type(found), repr(found)) == (type(value), repr(value))
        for value, code in ((1, 0), (1.0, 0), (True, 2), (-0.0, 0), (0.0, 0), (False, 0)):
            one = the_span(tags=[tag("error", value)])
            assert one.status.code == code
            left = [] if code else [repr(value)]
            assert [repr(each) for each in values(one.attributes).values()] == left


def test_what_is_kept_is_bounded() -> None:
    """Neither many tags nor long ones fill the memory, as attributes or where they say something of the span."""
    for number in range(10_000):
        the_span(tags=[tag("otel.status_description", f"no {number}"), tag(f"k{number}", number)])
    the_span(tags=[tag("otel.status_description", "n" * 5_000), tag("k" * 5_000, 1), tag("k", "v" * 5_000)])
    for kept, most in ((encode._KEPT[encode.SPAN_ATTRIBUTES], 8192), (translate._FACTS, 1024)):
        assert 0 < len(kept) <= most
        assert not any(b"n" * 100 in repr(key).encode() for key in kept)
        assert not any(len(str(key)) > 1_000 for key in kept)


def test_fields_have_protobufs_order() -> None:
    """So that a batch of few spans goes on as it is, see `SmallSplitter`."""
    one = span(
        7,
        parent_span_id=3,
        tags=[tag("a", 1), tag("span.kind", "client"), tag("error", True), tag("w3c.tracestate", "a=b")],
        logs=[log(1_700_000_000_000_100, tag("event", "retry"), tag("n", 2))],
        references=[reference(1, 9, 8)],
    )
    sent = thrift.batch_to_otlp(encoded(batch(one, span(8), tags=[tag("zone", "b")]), "binary"), "binary")
    assert ExportTraceServiceRequest.FromString(sent).SerializeToString() == sent


def test_scope_trace_state_and_debug() -> None:
    tags = [tag("otel.scope.name", "lib"), tag("otel.scope.version", "2"), tag("w3c.tracestate", "a=b")]
    request = translated(span(1, tags=tags, flags=3), span(2))
    scopes = {scope.scope.name: scope for scope in request.resource_spans[0].scope_spans}
    assert scopes["lib"].scope.version == "2"
    one = scopes["lib"].spans[0]
    assert (one.trace_state, one.flags, values(one.attributes)) == ("a=b", 1, {"jaeger.debug": True})
    assert len(scopes[""].spans) == 1


def test_protobuf() -> None:
    """The same by gRPC; a span's own process counts before the batch's; old ids have 8 bytes."""
    one = jaeger_pb2.Span(
        trace_id=b"\1" * 16,
        span_id=b"\2" * 8,
        operation_name=b"op",
        references=[jaeger_pb2.SpanRef(trace_id=b"\1" * 16, span_id=b"\3" * 8)],
        flags=1,
        start_time=Timestamp(seconds=5, nanos=7),
        duration=Duration(nanos=9),
        tags=[
            jaeger_pb2.KeyValue(key=b"s", v_str=b"t"),
            jaeger_pb2.KeyValue(key=b"b", v_type=1, v_bool=True),
            jaeger_pb2.KeyValue(key=b"i", v_type=2, v_int64=-1),
            jaeger_pb2.KeyValue(key=b"d", v_type=3, v_float64=1.5),
            jaeger_pb2.KeyValue(key=b"x", v_type=4, v_binary=b"\0"),
        ],
    )
    other = jaeger_pb2.Span(trace_id=b"\4" * 8, span_id=b"\5" * 8, process=jaeger_pb2.Process(service_name=b"own"))
    sent = jaeger_pb2.PostSpansRequest(
        batch=jaeger_pb2.Batch(
            spans=[one.SerializeToString(), other.SerializeToString()],
            process=jaeger_pb2.Process(service_name=b"shared"),
        )
    )
    request = ExportTraceServiceRequest.FromString(protobuf.post_spans_to_otlp(sent.SerializeToString()))
    by_service: dict[str, ResourceSpans] = {
        values(each.resource.attributes)["service.name"]: each for each in request.resource_spans
    }
    first, second = (by_service[name].scope_spans[0].spans[0] for name in ("shared", "own"))
    assert (first.trace_id, first.parent_span_id) == (b"\1" * 16, b"\3" * 8)
    assert (first.start_time_unix_nano, first.end_time_unix_nano) == (5_000_000_007, 5_000_000_016)
    assert values(first.attributes) == {"s": "t", "b": True, "i": -1, "d": 1.5, "x": b"\0"}
    assert second.trace_id == bytes(8) + b"\4" * 8


@pytest.mark.parametrize(
    ("hostile", "encoding"),
    [
        (b"", "binary"),
        (b"", "compact"),
        (b"\x0f\x00\x02\x0c\x7f\xff\xff\xff", "binary"),  # a list that claims 2^31 spans
        (b"\x2c\x19\xfc\xff\xff\xff\xff\x07", "compact"),
        (b"\x0b\x00\x02\x7f\xff\xff\xff", "binary"),  # a text that claims 2 GB
        (b"\x0c\x00\x63" * 100_000 + b"\0" * 100_001, "binary"),  # depth, in fields that nobody knows
        (b"\x1c" * 100_000 + b"\0" * 100_001, "compact"),
    ],
)
def test_hostile_thrift_is_refused(hostile: bytes, encoding: Encoding) -> None:
    for decode in (thrift.batch_to_otlp, thrift.datagram_to_otlp):
        with pytest.raises(WireError):
            decode(hostile, encoding)


def otlp_or_refused(decode: Callable[[bytes], bytes], data: bytes) -> None:
    """Whatever comes: an OTLP request, or an error of ours."""
    with suppress(WireError):
        DECODER.decode([decode(data)])


@given(st.binary(max_size=300), st.sampled_from(ENCODINGS))
def test_any_bytes(data: bytes, encoding: Encoding) -> None:
    otlp_or_refused(partial(thrift.batch_to_otlp, encoding=encoding), data)
    otlp_or_refused(partial(thrift.datagram_to_otlp, encoding=encoding), data)
    for read in (protobuf.post_spans_to_otlp, protobuf.span_to_otlp):
        otlp_or_refused(read, data)


@given(st.data(), st.sampled_from(ENCODINGS))
def test_mutated_batches(data: Any, encoding: Encoding) -> None:
    good = bytearray(encoded(batch(span(1, tags=[tag("a", 1), tag("b", "c")], logs=[log(1, tag("x", "y"))])), encoding))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    otlp_or_refused(partial(thrift.batch_to_otlp, encoding=encoding), bytes(good))
