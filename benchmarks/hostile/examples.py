"""Good inputs that fuzzing starts from."""

import json
from functools import cache
from typing import Final

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.split import split

START_NS: Final = 1_795_259_580_000_000_000
_NEAR: Final = b"neighbour 123456"
# Of the traces in the requests.
TRACE_IDS: Final = ((1).to_bytes(16, "big"), (2).to_bytes(16, "big"), _NEAR)


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _values() -> list[KeyValue]:
    """An attribute of every type, nested ones too."""
    array = ArrayValue(values=[AnyValue(string_value="a"), AnyValue(string_value="b")])
    mixed = ArrayValue(values=[AnyValue(int_value=-1), AnyValue(array_value=array), AnyValue()])
    pairs = KeyValueList(values=[_text("k", "v"), KeyValue(key="m", value=AnyValue(array_value=mixed))])
    return [
        _text("http.route", "/a"),
        KeyValue(key="n", value=AnyValue(int_value=-(2**63))),
        KeyValue(key="d", value=AnyValue(double_value=-0.0)),
        KeyValue(key="b", value=AnyValue(bool_value=True)),
        KeyValue(key="raw", value=AnyValue(bytes_value=b"\0\1")),
        KeyValue(key="list", value=AnyValue(array_value=array)),
        KeyValue(key="mixed", value=AnyValue(array_value=mixed)),
        KeyValue(key="map", value=AnyValue(kvlist_value=pairs)),
        KeyValue(key="none"),
    ]


def _request(trace: int, spans: int) -> bytes:
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add(schema_url="https://opentelemetry.io/schemas/1.26.0")
    group.resource.attributes.extend([_text("service.name", f"service-{trace}"), *_values()])
    scope = group.scope_spans.add(schema_url="u")
    scope.scope.name, scope.scope.version = "lib", "1.0"
    scope.scope.attributes.extend(_values())
    for number in range(1, spans + 1):
        start_ns = START_NS + number
        span = scope.spans.add(
            trace_id=trace.to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
            parent_span_id=(number // 2).to_bytes(8, "big") if number > 1 else b"",
            name=f"op {number}",
            kind=number % 6,
            start_time_unix_nano=start_ns,
            end_time_unix_nano=start_ns + 1_000_000,
            trace_state="a=b",
            flags=1,
            attributes=_values(),
            status={"code": number % 3, "message": "bad"},
        )
        span.events.add(time_unix_nano=start_ns, name="exception", attributes=_values())
        span.links.add(trace_id=(9).to_bytes(16, "big"), span_id=(9).to_bytes(8, "big"), attributes=_values())
    return bytes(message.SerializeToString())


def _neighbour() -> bytes:
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    for number in (1, 2):
        spans.add(
            trace_id=_NEAR,
            span_id=number.to_bytes(8, "big"),
            name="near",
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=START_NS,
            end_time_unix_nano=START_NS + 5,
        )
    return bytes(message.SerializeToString())


NEIGHBOUR = _neighbour()


@cache
def _requests() -> tuple[bytes, ...]:
    return _request(1, 1), _request(2, 4), NEIGHBOUR, b""


# A length beyond 64 bits, at which ptars panics; groups inside each other, which overflow its stack.
_BROKEN: Final = (b"\x0a" + b"\xff" * 9 + b"\x01", b"\x0a\x0b\x0a" + b"\xff" * 9 + b"\x01", b"\x0b" * 110_000)


def otlp_requests() -> list[bytes]:
    """ExportTraceServiceRequests with every field and every type of value, and some that have hurt once."""
    return [*_requests(), *_BROKEN]


def otlp_json() -> list[bytes]:
    """The same as OTLP's JSON."""
    out = []
    for request in _requests()[:3]:
        tree = json_format.MessageToDict(ExportTraceServiceRequest.FromString(request), use_integers_for_enums=True)
        for group in tree["resourceSpans"]:
            for scope in group["scopeSpans"]:
                for span in scope["spans"]:
                    for holder in (span, *span.get("links", ())):
                        holder |= {"traceId": "0" * 30 + "a1", "spanId": "0" * 14 + "b2"}
                    span.pop("parentSpanId", None)
        out.append(json.dumps(tree).encode())
    return out


def records() -> list[bytes]:
    """Values of records of topic `spans`."""
    decoder = OtlpDecoder()
    return [record.encode(part.spans)[0] for part in split(decoder.decode(_requests()[:3]).spans, 2)]
