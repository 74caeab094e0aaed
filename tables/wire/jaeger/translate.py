"""Jaeger's spans → OTLP's, by OpenTelemetry's mapping.

Tags that OTLP has fields for become those fields: span.kind, error, otel.status_code, otel.status_description,
w3c.tracestate, otel.scope.name and otel.scope.version (also otel.library.*). A reference to a span of the same trace
is the parent, others are links. Logs are events.

Source: OpenTelemetry specification, "Compatibility: OpenTracing" and the SDK exporters' "Jaeger" page, read backwards
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from tables.wire.otlp.encode import (
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_INTERNAL,
    KIND_PRODUCER,
    KIND_SERVER,
    KIND_UNSPECIFIED,
    STATUS_ERROR,
    STATUS_OK,
    STATUS_UNSET,
    Event,
    KeyValue,
    Scope,
    Span,
    SpanLink,
    Value,
    encoded_span,
)

CHILD_OF, FOLLOWS_FROM = 0, 1
_SAMPLED, _DEBUG = 1, 2
NO_ID: Final = bytes(8)

# What exporters write where OTLP has no service.name.
_NO_SERVICE: Final = b"OTLPResourceNoServiceName"
KINDS: Final = {
    b"client": KIND_CLIENT,
    b"server": KIND_SERVER,
    b"producer": KIND_PRODUCER,
    b"consumer": KIND_CONSUMER,
    b"internal": KIND_INTERNAL,
}
_STATUSES: Final = {b"OK": STATUS_OK, b"ERROR": STATUS_ERROR}
_SCOPE_NAMES: Final = (b"otel.scope.name", b"otel.library.name")
_SCOPE_VERSIONS: Final = (b"otel.scope.version", b"otel.library.version")
_SPECIAL: Final = frozenset(
    (
        b"span.kind",
        b"error",
        b"otel.status_code",
        b"otel.status_description",
        b"http.status_code",
        b"http.response.status_code",
        b"http.status_message",
        b"w3c.tracestate",
        *_SCOPE_NAMES,
        *_SCOPE_VERSIONS,
    )
)
_REF_TYPE: Final = b"opentracing.ref_type"
_REF_TYPES: Final = {CHILD_OF: b"child_of", FOLLOWS_FROM: b"follows_from"}


class Reference(NamedTuple):
    """A reference to another span. type: CHILD_OF or FOLLOWS_FROM"""

    type: int
    trace_id: bytes  # 16 bytes
    span_id: bytes  # 8 bytes


class Log(NamedTuple):
    """A log of a span."""

    time_ns: int
    fields: Sequence[KeyValue]


class JaegerSpan(NamedTuple):
    """A span, whatever its encoding was. parent_span_id: NO_ID where only references name the parent"""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: bytes
    references: Sequence[Reference]
    flags: int
    start_ns: int
    duration_ns: int
    tags: Sequence[KeyValue]
    logs: Sequence[Log]


def resource(service_name: bytes, tags: Sequence[KeyValue]) -> list[KeyValue]:
    """The attributes of the resource that a process is."""
    found = [] if service_name in (b"", _NO_SERVICE) else [KeyValue(b"service.name", service_name)]
    keys = {tag.key for tag in tags}
    for tag in tags:
        if tag.key == b"hostname" and b"host.name" not in keys:
            found.append(KeyValue(b"host.name", tag.value))
        elif tag.key == b"jaeger.version" and isinstance(tag.value, bytes):
            found.append(KeyValue(b"opencensus.exporterversion", b"Jaeger-" + tag.value))
        elif tag.key != b"service.name" or service_name in (b"", _NO_SERVICE):
            found.append(tag)
    return found


def translate(span: JaegerSpan) -> tuple[Scope, bytes]:
    """The span's scope, and the span as OTLP's message."""
    special: dict[bytes, Value] = {}
    attributes: list[KeyValue] = []
    for tag in span.tags:
        if tag.key in _SPECIAL and tag.key not in special:
            special[tag.key] = tag.value
        else:
            attributes.append(tag)
    kind = _kind(special, attributes)
    status, message = _status(special, attributes, kind)
    parent = _parent(span)
    if span.flags & _DEBUG:
        attributes.append(KeyValue(b"jaeger.debug", True))
    scope = Scope(_text(special, _SCOPE_NAMES), _text(special, _SCOPE_VERSIONS))
    return scope, encoded_span(
        Span(
            trace_id=span.trace_id,
            span_id=span.span_id,
            parent_span_id=b"" if parent == NO_ID else parent,
            name=span.name,
            kind=kind,
            start_ns=span.start_ns,
            end_ns=span.start_ns + span.duration_ns,
            attributes=attributes,
            events=[_event(log) for log in span.logs],
            links=[_link(one) for one in span.references if one.type != CHILD_OF or one.span_id != parent],
            status_code=status,
            status_message=message,
            trace_state=_text(special, (b"w3c.tracestate",)),
            flags=span.flags & _SAMPLED,
        )
    )


def _parent(span: JaegerSpan) -> bytes:
    """The field; else the first CHILD_OF reference into the same trace, else the first other one."""
    if span.parent_span_id != NO_ID:
        return span.parent_span_id
    inside = [one for one in span.references if one.trace_id == span.trace_id]
    children = [one for one in inside if one.type == CHILD_OF] or inside
    return children[0].span_id if children else NO_ID


def _kind(special: dict[bytes, Value], attributes: list[KeyValue]) -> int:
    word = special.pop(b"span.kind", b"")
    kind = KINDS.get(word.lower(), KIND_UNSPECIFIED) if isinstance(word, bytes) else KIND_UNSPECIFIED
    if kind == KIND_UNSPECIFIED and word != b"":
        attributes.append(KeyValue(b"span.kind", word))  # a word that OTLP has not
    return kind


def _status(special: dict[bytes, Value], attributes: list[KeyValue], kind: int) -> tuple[int, bytes]:
    """Status code and message. The tag `error` decides, then otel.status_code, then the status of HTTP. Tags that have
    no field of their own in OTLP go back to the attributes.
    """
    error = special.pop(b"error", None)
    failed = error is True or (isinstance(error, bytes) and error.lower() == b"true")
    named = special.pop(b"otel.status_code", None)
    said = special.pop(b"otel.status_description", None)
    code, message = STATUS_UNSET, said if isinstance(said, bytes) else b""
    if error is not None and not failed:
        attributes.append(KeyValue(b"error", error))
    http_message = special.get(b"http.status_message")
    attributes += [KeyValue(key, special[key]) for key in _HTTP if key in special]
    if failed:
        code = STATUS_ERROR
    elif isinstance(named, bytes):
        code = _STATUSES.get(named.upper(), STATUS_UNSET)
    else:
        code = max(http_status(special.get(key), kind) for key in _HTTP_CODES)
    if code == STATUS_ERROR and not message and isinstance(http_message, bytes):
        message = http_message
    return code, message


_HTTP_CODES: Final = (b"http.status_code", b"http.response.status_code")
_HTTP: Final = (*_HTTP_CODES, b"http.status_message")


def http_status(value: Value | None, kind: int) -> int:
    """OTLP's status code for a status of HTTP, as an int or as text: an error from 500 on; below, from 400 on, for
    whoever sent the request, not for the server.
    """
    try:
        number = int(value) if isinstance(value, (int, bytes)) and not isinstance(value, bool) else 0
    except ValueError:
        return STATUS_UNSET
    if 400 <= number < 500:
        return STATUS_UNSET if kind == KIND_SERVER else STATUS_ERROR
    return STATUS_ERROR if 500 <= number < 600 else STATUS_UNSET


def _event(log: Log) -> Event:
    name = b""
    attributes = []
    for one in log.fields:
        if one.key == b"event" and not name and isinstance(one.value, bytes):
            name = one.value
        else:
            attributes.append(one)
    return Event(log.time_ns, name, attributes)


def _link(reference: Reference) -> SpanLink:
    kind = _REF_TYPES.get(reference.type, b"follows_from")
    return SpanLink(reference.trace_id, reference.span_id, attributes=[KeyValue(_REF_TYPE, kind)])


def _text(special: dict[bytes, Value], keys: Sequence[bytes]) -> bytes:
    for key in keys:
        value = special.get(key)
        if isinstance(value, bytes):
            return value
    return b""
