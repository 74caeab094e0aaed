"""Jaeger's protobuf messages → OTLP requests: what PostSpans takes, and the single span of Kafka's messages.

Source: jaeger-idl, proto/api_v2
"""

from collections.abc import Iterable
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from tables.errors import WireError
from tables.units import NS_PER_S
from tables.wire.jaeger.jaeger_pb2 import PostSpansRequest, Span
from tables.wire.jaeger.translate import NO_ID, JaegerSpan, Log, Reference, resource, translate
from tables.wire.otlp.encode import Binary, KeyValue, RequestEncoder, Scope, Value
from tables.wire.span_parts import USUAL_PARTS_MAX, check_bytes, check_parts
from tables.wire.usual import Unusual

M = TypeVar("M", bound=Message)
_TRACE_ID_BYTES: Final = 16
_NO_SCOPE: Final = Scope()
_STRING, _BOOL, _INT, _DOUBLE, _BINARY = range(5)


def post_spans_to_otlp(data: bytes) -> bytes:
    """An ExportTraceServiceRequest with the spans of a PostSpansRequest. Raises: WireError"""
    batch = _parsed(PostSpansRequest, data).batch
    return _to_otlp(batch.spans, _resource(batch.process))


def usual_post_spans_to_otlp(data: bytes) -> bytes:
    """The same of one with as few parts as clients usually send. Raises: WireError, Unusual"""
    batch = _parsed(PostSpansRequest, data).batch
    return _to_otlp(batch.spans, _resource(batch.process), USUAL_PARTS_MAX)


def span_to_otlp(data: bytes) -> bytes:
    """The same of a single Span, which holds its Process, as Jaeger's own Kafka messages do. Raises: WireError"""
    return _to_otlp([data], [])


def _parsed(kind: type[M], data: bytes) -> M:
    try:
        return kind.FromString(data)
    except DecodeError as err:
        raise WireError(f"not a {kind.DESCRIPTOR.name} of Jaeger's protobuf: {err}") from err


def _to_otlp(spans: Iterable[bytes], shared: list[KeyValue], parts_max: int | None = None) -> bytes:
    """shared: the attributes of the process of all of them. parts_max: raises Unusual where there are more"""
    encoder, parts = RequestEncoder(), 0
    owners: dict[bytes, list[KeyValue]] = {}
    for number, data in enumerate(spans):
        check_bytes(f"batch.spans[{number}]", data)
        span = _parsed(Span, data)
        if parts_max is not None:
            parts += 1 + len(span.logs) + len(span.references)
            if parts > parts_max:
                raise Unusual
        # The process of the span itself counts, where it has one. Mostly all have the same few.
        owner = shared
        if span.HasField("process"):
            raw = span.process.SerializeToString()
            owner = owners[raw] if raw in owners else owners.setdefault(raw, _resource(span.process))
        if span.trace_id and span.span_id:
            scope, encoded = translate(_span(span, number))
        else:
            scope, encoded = _NO_SCOPE, b""  # which is refused as a span without ids, whatever else it has
        encoder.spans_of(owner, scope).append(encoded)
    return encoder.encode()


def _resource(process: Any) -> list[KeyValue]:
    return resource(process.service_name, _tags(process.tags))


def _span(span: Any, number: int) -> JaegerSpan:
    where = f"batch.spans[{number}]"
    check_parts(where, span.references, span.tags, span.logs)
    return JaegerSpan(
        trace_id=_trace_id(span.trace_id, where),
        span_id=span.span_id,
        parent_span_id=NO_ID,
        name=span.operation_name,
        references=[_reference(one, where) for one in span.references],
        flags=span.flags,
        start_ns=_ns(span.start_time),
        duration_ns=_ns(span.duration),
        tags=_tags(span.tags),
        logs=[_log(one, where) for one in span.logs],
    )


def _reference(one: Any, where: str) -> Reference:
    if not one.trace_id or not one.span_id:
        raise WireError(f"{where}: a reference has no trace id or no span id")
    return Reference(one.ref_type, _trace_id(one.trace_id, where), one.span_id)


def _log(one: Any, where: str) -> Log:
    time_ns, fields = _ns(one.timestamp), _tags(one.fields)
    if not time_ns and not fields:
        raise WireError(f"{where}: a log has neither a time nor fields")
    return Log(time_ns, fields)


def _trace_id(found: bytes, where: str) -> bytes:
    """Clients of before 2019 send 8 bytes."""
    if len(found) > _TRACE_ID_BYTES:
        raise WireError(f"{where}: a trace id of {len(found)} bytes; Jaeger's have 16 or 8")
    return found.rjust(_TRACE_ID_BYTES, b"\0")


def _ns(time: Any) -> int:
    return int(time.seconds) * NS_PER_S + int(time.nanos)


def _tags(tags: Any) -> list[KeyValue]:
    return [(tag.key, _value(tag)) for tag in tags]


def _value(tag: Any) -> Value:
    kind, value = tag.v_type, b"<unknown Jaeger tag type %d>" % tag.v_type
    if kind == _STRING:
        value = tag.v_str
    elif kind == _BOOL:
        value = tag.v_bool
    elif kind == _INT:
        value = tag.v_int64
    elif kind == _DOUBLE:
        value = tag.v_float64
    elif kind == _BINARY:
        value = Binary(tag.v_binary)
    return value
