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
    SPAN_ATTRIBUTES,
    STATUS_ERROR,
    STATUS_OK,
    STATUS_UNSET,
    Event,
    KeyValue,
    Memo,
    Scope,
    Span,
    SpanLink,
    Value,
    attribute_fields,
    encoded_span,
    status_field,
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
    found: list[KeyValue] = [] if service_name in (b"", _NO_SERVICE) else [(b"service.name", service_name)]
    keys = {key for key, _ in tags}
    for key, value in tags:
        if key == b"hostname" and b"host.name" not in keys:
            found.append((b"host.name", value))
        elif key == b"jaeger.version" and isinstance(value, bytes):
            found.append((b"opencensus.exporterversion", b"Jaeger-" + value))
        elif key != b"service.name" or service_name in (b"", _NO_SERVICE):
            found.append((key, value))
    return found


class _Facts(NamedTuple):
    """What the special tags of a span say. attributes: encoded ones, of tags that OTLP has no field for after all"""

    scope: Scope
    kind: int
    status: bytes
    trace_state: bytes
    attributes: Sequence[bytes]


# Few combinations of them come again and again. Longer ones would take memory, and hardly ever repeat.
_FACTS_KEPT: Final = 1024
_FACTS_BYTES_MAX: Final = 512
_FACTS: Final[Memo[tuple[object, ...], _Facts]] = Memo(_FACTS_KEPT)


def _facts(tags: Sequence[KeyValue]) -> _Facts:
    """What special tags say, in their order."""
    # True and 1 are equal.
    same = tuple([(key, value, value.__class__) for key, value in tags])
    found = _FACTS.get(same)
    if found is None:
        found = _facts_anew(tags)
        size = sum(len(value) for _, value in tags if isinstance(value, bytes))
        # -0.0 equals 0.0.
        if size <= _FACTS_BYTES_MAX and not any(isinstance(value, float) for _, value in tags):
            _FACTS.keep(same, found)
    return found


def _facts_anew(tags: Sequence[KeyValue]) -> _Facts:
    special: dict[bytes, Value] = {}
    attributes: list[KeyValue] = []
    for key, value in tags:
        if key in special:
            attributes.append((key, value))
        else:
            special[key] = value
    kind = _kind(special, attributes)
    status = status_field(*_status(special, attributes, kind))
    scope = Scope(_text(special, _SCOPE_NAMES), _text(special, _SCOPE_VERSIONS))
    state = _text(special, (b"w3c.tracestate",))
    return _Facts(scope, kind, status, state, attribute_fields(SPAN_ATTRIBUTES, attributes))


_NO_FACTS: Final = _Facts(Scope(), KIND_UNSPECIFIED, b"", b"", ())
_DEBUG_FIELDS: Final = attribute_fields(SPAN_ATTRIBUTES, [(b"jaeger.debug", True)])


def translate(span: JaegerSpan) -> tuple[Scope, bytes]:
    """The span's scope, and the span as OTLP's message."""
    (trace_id, span_id, _, name, references, flags, start_ns, duration_ns, tags, logs) = span
    special = [tag for tag in tags if tag[0] in _SPECIAL]
    facts = _facts(special) if special else _NO_FACTS
    attributes = attribute_fields(SPAN_ATTRIBUTES, [tag for tag in tags if tag[0] not in _SPECIAL] if special else tags)
    attributes += facts.attributes
    parent = _parent(span)
    if flags & _DEBUG:
        attributes += _DEBUG_FIELDS
    return facts.scope, encoded_span(
        Span(
            trace_id,
            span_id,
            b"" if parent == NO_ID else parent,
            name,
            facts.kind,
            start_ns,
            start_ns + duration_ns,
            attributes,
            [_event(log) for log in logs] if logs else (),
            [_link(one) for one in references if one.type != CHILD_OF or one.span_id != parent] if references else (),
            facts.status,
            facts.trace_state,
            flags & _SAMPLED,
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
        attributes.append((b"span.kind", word))  # a word that OTLP has not
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
        attributes.append((b"error", error))
    http_message = special.get(b"http.status_message")
    attributes += [(key, special[key]) for key in _HTTP if key in special]
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
        key, value = one
        if key == b"event" and not name and isinstance(value, bytes):
            name = value
        else:
            attributes.append(one)
    return Event(log.time_ns, name, attributes)


def _link(reference: Reference) -> SpanLink:
    kind = _REF_TYPES.get(reference.type, b"follows_from")
    return SpanLink(reference.trace_id, reference.span_id, attributes=[(_REF_TYPE, kind)])


def _text(special: dict[bytes, Value], keys: Sequence[bytes]) -> bytes:
    for key in keys:
        value = special.get(key)
        if isinstance(value, bytes):
            return value
    return b""
