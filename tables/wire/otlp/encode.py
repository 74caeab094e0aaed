"""Encodes OTLP's messages as protobuf, part by part, for receivers of other protocols.

Texts are UTF-8 bytes as the client sent them: OTLP's own decoder, which reads the result, repairs what is not Unicode.
Attributes repeat from span to span, so the encoded ones are kept for a while.

Source: opentelemetry/proto/trace/v1/trace.proto, common/v1/common.proto; protobuf's encoding
"""

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

Value = bytes | bool | int | float


class Binary(bytes):
    """A value of type bytes; plain `bytes` are text."""

    __slots__ = ()


class KeyValue(NamedTuple):
    """An attribute. value: text as bytes, bool, int (of 64 bits), float, or `Binary`"""

    key: bytes
    value: Value


class Event(NamedTuple):
    """An event of a span."""

    time_ns: int
    name: bytes
    attributes: Sequence[KeyValue] = ()
    dropped_attributes_count: int = 0


class SpanLink(NamedTuple):
    """A link of a span."""

    trace_id: bytes
    span_id: bytes
    trace_state: bytes = b""
    attributes: Sequence[KeyValue] = ()
    dropped_attributes_count: int = 0


class Span(NamedTuple):
    """A span, as OTLP has it. Ids of zeros and empty ids mean none; kind and status_code are OTLP's numbers."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: bytes
    kind: int
    start_ns: int
    end_ns: int
    attributes: Sequence[KeyValue]
    events: Sequence[Event] = ()
    links: Sequence[SpanLink] = ()
    status_code: int = 0
    status_message: bytes = b""
    trace_state: bytes = b""
    flags: int = 0


KIND_UNSPECIFIED, KIND_INTERNAL, KIND_SERVER, KIND_CLIENT, KIND_PRODUCER, KIND_CONSUMER = range(6)
STATUS_UNSET, STATUS_OK, STATUS_ERROR = range(3)

_ATTRIBUTES_KEPT: Final = 8192
# Longer values do not repeat, and would fill the cache.
_KEPT_BYTES_MAX: Final = 256
_U64: Final = (1 << 64) - 1
_TIMES: Final = struct.Struct("<BQBQ").pack
_TIME: Final = struct.Struct("<BQ").pack
_DOUBLE: Final = struct.Struct("<d").pack
_FLAGS: Final = struct.Struct("<HI").pack
# One byte for field numbers below 16, two for flags (16): (number << 3 | wire type).
_LENGTH: Final = 2


def varint(number: int) -> bytes:
    """A number of at most 64 bits; negative ones as protobuf's int64."""
    if 0 <= number < 0x80:
        return _SMALL[number]
    number &= _U64
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SMALL: Final = [bytes([number]) for number in range(0x80)]


def field(number: int, content: bytes) -> bytes:
    """A field with a length: a text, bytes or a message."""
    return _SMALL[number << 3 | _LENGTH] + varint(len(content)) + content


def attribute_fields(number: int, attributes: Iterable[KeyValue]) -> list[bytes]:
    """Each attribute as a field with this number, a KeyValue message. A float that is an int's equal stays a float."""
    return [
        # -0.0 equals 0.0; long values do not repeat.
        _attribute(number, key, value)
        if value == 0.0 or (isinstance(value, bytes) and len(value) > _KEPT_BYTES_MAX)
        else _kept(number, key, value)
        for key, value in attributes
    ]


def _attribute(number: int, key: bytes, value: Value) -> bytes:
    if isinstance(value, Binary):
        any_value = field(7, bytes(value))
    elif isinstance(value, bytes):
        any_value = field(1, value)
    elif isinstance(value, bool):
        any_value = b"\x10" + _SMALL[value]
    elif isinstance(value, int):
        any_value = b"\x18" + varint(value)
    else:
        any_value = b"\x21" + _DOUBLE(value)
    return field(number, field(1, key) + field(2, any_value))


# typed: True, 1 and 1.0 are equal.
_kept = lru_cache(_ATTRIBUTES_KEPT, typed=True)(_attribute)


def encoded_span(span: Span) -> bytes:
    """A Span message."""
    parts = [
        field(1, span.trace_id),
        field(2, span.span_id),
        field(5, span.name),
        _TIMES(0x39, span.start_ns & _U64, 0x41, span.end_ns & _U64),
    ]
    if span.parent_span_id:
        parts.append(field(4, span.parent_span_id))
    if span.trace_state:
        parts.append(field(3, span.trace_state))
    if span.kind:
        parts.append(b"\x30" + _SMALL[span.kind])
    parts += attribute_fields(9, span.attributes)
    parts += [field(11, _event(event)) for event in span.events]
    parts += [field(13, _link(link)) for link in span.links]
    if span.status_code or span.status_message:
        status = field(2, span.status_message) if span.status_message else b""
        parts.append(field(15, status + b"\x18" + _SMALL[span.status_code]))
    if span.flags:
        parts.append(_FLAGS(0x0185, span.flags))
    return b"".join(parts)


def _event(event: Event) -> bytes:
    parts = [_TIME(0x09, event.time_ns & _U64), field(2, event.name), *attribute_fields(3, event.attributes)]
    if event.dropped_attributes_count:
        parts.append(b"\x20" + varint(event.dropped_attributes_count))
    return b"".join(parts)


def _link(link: SpanLink) -> bytes:
    parts = [field(1, link.trace_id), field(2, link.span_id)]
    if link.trace_state:
        parts.append(field(3, link.trace_state))
    parts += attribute_fields(4, link.attributes)
    if link.dropped_attributes_count:
        parts.append(b"\x28" + varint(link.dropped_attributes_count))
    return b"".join(parts)


class Scope(NamedTuple):
    """An instrumentation scope."""

    name: bytes = b""
    version: bytes = b""


class RequestEncoder:
    """Collects encoded spans by resource and scope, and makes an ExportTraceServiceRequest of them."""

    def __init__(self) -> None:
        self._spans: dict[bytes, dict[Scope, list[bytes]]] = {}
        self._last: tuple[Sequence[KeyValue], dict[Scope, list[bytes]]] | None = None

    def add_spans(self, resource: Sequence[KeyValue], scope: Scope, spans: Iterable[bytes]) -> None:
        """Adds encoded spans. Equal resources and scopes come together; quickly if the resource is the same object as
        before, which must not have changed.
        """
        if self._last is None or self._last[0] is not resource:
            encoded = b"".join(attribute_fields(1, resource))
            self._last = resource, self._spans.setdefault(encoded, {})
        self._last[1].setdefault(scope, []).extend(spans)

    def encode(self) -> bytes:
        """The request's bytes."""
        return b"".join(field(1, _resource_spans(*one)) for one in self._spans.items())


def _resource_spans(resource: bytes, scopes: dict[Scope, list[bytes]]) -> bytes:
    parts = [field(1, resource)]
    for scope, spans in scopes.items():
        named = (field(1, scope.name) if scope.name else b"") + (field(2, scope.version) if scope.version else b"")
        body = (field(1, named) if named else b"") + b"".join(field(2, span) for span in spans)
        parts.append(field(2, body))
    return b"".join(parts)
