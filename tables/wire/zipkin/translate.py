"""Zipkin's spans → OTLP's, by OpenTelemetry's mapping.

The local endpoint's service is service.name, the remote one's is peer.service; addresses are net.host.* and
net.peer.*, as the Collector writes them. Tags that SDKs' Zipkin exporters make of a resource, a scope, a status or
links become these again. Annotations are events. A shared span keeps the id of its client.

Source: OpenTelemetry specification, "Compatibility: Zipkin"; Zipkin's model, zipkin2-api.yaml
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import orjson

from tables.units import NS_PER_US
from tables.wire.jaeger.translate import KINDS, http_status
from tables.wire.otlp.encode import (
    KIND_UNSPECIFIED,
    RESOURCE_ATTRIBUTES,
    SPAN_ATTRIBUTES,
    STATUS_ERROR,
    STATUS_OK,
    STATUS_UNSET,
    Event,
    KeyValue,
    RequestEncoder,
    Scope,
    Span,
    SpanLink,
    Value,
    attribute_fields,
    encoded_span,
    status_field,
)

_STATUSES: Final = {
    b"OK": STATUS_OK,
    b"ERROR": STATUS_ERROR,
    b"STATUS_CODE_OK": STATUS_OK,
    b"STATUS_CODE_ERROR": STATUS_ERROR,
}
# Tags that describe who sent the span: exporters write the resource's attributes beside the span's.
_RESOURCE_PREFIXES: Final = (
    b"cloud.", b"container.", b"deployment.", b"host.", b"k8s.", b"os.", b"process.", b"service.", b"telemetry.sdk.",
)  # fmt: skip
_SCOPES: Final = ((b"otel.scope.name", b"otel.scope.version"), (b"otel.library.name", b"otel.library.version"))
# Tags that OTLP has fields for, or that say something of these fields, beside those that begin with _LINK.
_SPECIAL: Final = frozenset(
    (
        b"span.kind",
        b"error",
        b"otel.status_code",
        b"otel.status_description",
        b"http.status_code",
        b"http.response.status_code",
        b"w3c.tracestate",
        *(key for keys in _SCOPES for key in keys),
    )
)
_OF_SPAN, _OF_RESOURCE, _OF_FIELDS = range(3)
_SERVICE: Final = b"service.name"
_ABSENT_START: Final = (b"otel.zipkin.absentField.startTime", True)
_LINK: Final = b"otlp.link."
_LINKS_MAX: Final = 128
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1


class Endpoint(NamedTuple):
    """A service and its address. Empty: unknown; the port 0, too"""

    service: bytes = b""
    addresses: Sequence[bytes] = ()
    port: int = 0


NOWHERE: Final = Endpoint()


class Tag(NamedTuple):
    """A tag, made with `tag_of`. role: what it becomes; encoded: the attribute that it becomes, as a field"""

    role: int
    encoded: bytes
    key: bytes
    value: Value


class Annotation(NamedTuple):
    """Something that happened at a time."""

    time_us: int
    value: bytes


class ZipkinSpan(NamedTuple):
    """A span, whatever its encoding was. parent_id: empty without a parent; kind: OTLP's number

    start_us: Unix microseconds; 0: absent. tags: no key twice
    """

    trace_id: bytes
    id: bytes
    parent_id: bytes
    name: bytes
    kind: int
    start_us: int
    duration_us: int
    local: Endpoint
    remote: Endpoint
    annotations: Sequence[Annotation]
    tags: Sequence[Tag]
    debug: bool = False
    shared: bool = False


def to_otlp(spans: Iterable[ZipkinSpan], received_us: int) -> bytes:
    """An ExportTraceServiceRequest with the spans. received_us: the start of those that have no time at all"""
    encoder = RequestEncoder()
    for span in spans:
        _add(encoder, span, received_us)
    return encoder.encode()


def tag_of(key: bytes, value: Value) -> Tag:
    """A tag, with the attribute that it becomes."""
    role = _OF_SPAN
    if key in _SPECIAL or key.startswith(_LINK):
        role = _OF_FIELDS
    elif key.startswith(_RESOURCE_PREFIXES):
        role = _OF_RESOURCE
    number = RESOURCE_ATTRIBUTES if role == _OF_RESOURCE else SPAN_ATTRIBUTES
    (encoded,) = attribute_fields(number, [(key, value)])
    return Tag(role, encoded, key, value)


def tags_of(pairs: Iterable[KeyValue]) -> list[Tag]:
    """Tags of which the last one counts where a key is there twice."""
    return [tag_of(key, value) for key, value in dict(pairs).items()]


def _add(encoder: RequestEncoder, span: ZipkinSpan, received_us: int) -> None:
    local, owner, attributes, special = span.local, list[bytes](), list[bytes](), dict[bytes, Value]()
    if local.service:
        owner += attribute_fields(RESOURCE_ATTRIBUTES, [(_SERVICE, local.service)])
    for role, attribute, key, value in span.tags:
        if role == _OF_SPAN:
            attributes.append(attribute)
        elif role == _OF_FIELDS:
            special[key] = value
        elif key != _SERVICE or not local.service:
            owner.append(attribute)
    kind, scope, status, links, trace_state = span.kind, Scope(), b"", list[SpanLink](), b""
    if special:
        scope = _scope(special)
        kind = _kind(special, kind)
        status = status_field(*_status(special, kind))
        links = _links(special)
        stated = special.pop(b"w3c.tracestate", b"")
        trace_state = stated if isinstance(stated, bytes) else b""
        attributes += attribute_fields(SPAN_ATTRIBUTES, special.items())
    start_us = span.start_us or min((one.time_us for one in span.annotations), default=0)
    if more := _of_fields(span, has_start=start_us > 0):
        attributes += attribute_fields(SPAN_ATTRIBUTES, more)
    start_us = start_us or received_us
    encoded = encoded_span(
        Span(
            trace_id=span.trace_id,
            span_id=span.id,
            parent_span_id=b"" if span.parent_id == span.id else span.parent_id,
            name=span.name,
            kind=kind,
            start_ns=start_us * NS_PER_US,
            end_ns=(start_us + span.duration_us) * NS_PER_US,
            attributes=attributes,
            events=[_event(one) for one in span.annotations],
            links=links,
            status=status,
            trace_state=trace_state,
        )
    )
    encoder.spans_of_encoded(b"".join(owner), scope).append(encoded)


def _of_fields(span: ZipkinSpan, *, has_start: bool) -> list[KeyValue]:
    """The attributes that fields of Zipkin's become, which OTLP does not have."""
    found = _addresses(b"net.host.", span.local)
    if span.remote != NOWHERE:
        if span.remote.service:
            found.append((b"peer.service", span.remote.service))
        found += _addresses(b"net.peer.", span.remote)
    if span.debug:
        found.append((b"zipkin.debug", True))
    if span.shared:
        found.append((b"zipkin.shared", True))
    if not has_start:
        found.append(_ABSENT_START)
    return found


def _kind(tags: dict[bytes, Value], kind: int) -> int:
    if kind == KIND_UNSPECIFIED and isinstance(word := tags.get(b"span.kind"), bytes) and word in KINDS:
        del tags[b"span.kind"]
        return KINDS[word]
    return kind


def _scope(tags: dict[bytes, Value]) -> Scope:
    for name, version in _SCOPES:
        found = tags.get(name)
        if isinstance(found, bytes):
            del tags[name]
            stated = tags.pop(version, b"")
            return Scope(found, stated if isinstance(stated, bytes) else b"")
    return Scope()


def _status(tags: dict[bytes, Value], kind: int) -> tuple[int, bytes]:
    """otel.status_code, then the tag `error`, which in Zipkin means a failure whatever its text, then HTTP's status."""
    named, said = tags.pop(b"otel.status_code", None), tags.pop(b"otel.status_description", b"")
    code = _STATUSES.get(named.upper(), STATUS_UNSET) if isinstance(named, bytes) else STATUS_UNSET
    message = said if isinstance(said, bytes) else b""
    error = tags.get(b"error")
    if error is not None and error not in (b"false", False):
        code = STATUS_ERROR
        if error in (b"true", b"", True):
            del tags[b"error"]
        elif not message and isinstance(error, bytes):
            message = error
    if code == STATUS_UNSET and named is None:
        keys = (b"http.status_code", b"http.response.status_code")
        code = max(http_status(tags.get(key), kind) for key in keys)
    return code, message


def _addresses(prefix: bytes, endpoint: Endpoint) -> list[KeyValue]:
    found: list[KeyValue] = []
    if endpoint.addresses:
        found += [(prefix + b"ip", address) for address in endpoint.addresses[:1]]
        found += [(prefix + b"ip.v6", address) for address in endpoint.addresses[1:2]]
    if endpoint.port:
        found.append((prefix + b"port", endpoint.port))
    return found


def _event(one: Annotation) -> Event:
    """The Collector's exporter writes an event as `name|attributes as JSON|dropped attributes`."""
    name, attributes, dropped = one.value, None, b""
    if one.value.count(b"|") > 1:
        name, _, rest = one.value.partition(b"|")
        text, _, dropped = rest.rpartition(b"|")
        attributes = _json_attributes(text)
    if attributes is None or not dropped.isdigit():
        return Event(one.time_us * NS_PER_US, one.value)
    return Event(one.time_us * NS_PER_US, name, attributes, min(int(dropped), (1 << 32) - 1))


def _links(tags: dict[bytes, Value]) -> list[SpanLink]:
    """The Collector's exporter writes a link as `trace id|span id|trace state|attributes as JSON|dropped count`."""
    found: list[SpanLink] = []
    for number in range(_LINKS_MAX):
        key = _LINK + str(number).encode()
        value = tags.get(key)
        if not isinstance(value, bytes):
            break
        parts = value.split(b"|")
        attributes = _json_attributes(b"|".join(parts[3:-1]))
        try:
            trace_id, span_id = (bytes.fromhex(part.decode()) for part in parts[:2])
        except ValueError:
            break
        if attributes is None or len(trace_id) != 16 or len(span_id) != 8 or not parts[-1].isdigit():
            break
        del tags[key]
        found.append(SpanLink(trace_id, span_id, parts[2], attributes, min(int(parts[-1]), (1 << 32) - 1)))
    return found


def _json_attributes(text: bytes) -> list[KeyValue] | None:
    """Attributes from a JSON object; None if it is none."""
    try:
        found: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict):
        return None
    return [(key.encode(), _value(value)) for key, value in found.items()]


def _value(value: Any) -> Value:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool) or (isinstance(value, int) and _INT_MIN <= value <= _INT_MAX):
        return value
    if isinstance(value, (int, float)):
        return float(value)
    return orjson.dumps(value)
