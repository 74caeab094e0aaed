"""Encodes OTLP's messages as protobuf, part by part, for receivers of other protocols.

Texts are UTF-8 bytes as the client sent them: OTLP's own decoder, which reads the result, repairs what is not Unicode.
Attributes repeat from span to span, so the encoded ones are kept for a while. Fields are in the order of their numbers,
as protobuf writes them, so that nobody needs to write them again.

Source: opentelemetry/proto/trace/v1/trace.proto, common/v1/common.proto; protobuf's encoding
"""

import struct
from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Final, NamedTuple, TypeVar

Value = bytes | bool | int | float


class Binary(bytes):
    """A value of type bytes; plain `bytes` are text."""

    __slots__ = ()


# An attribute: its key and its value, which is text as bytes, bool, int (of 64 bits), float, or `Binary`. A plain
# tuple, since spans have many of them.
KeyValue = tuple[bytes, Value]

K = TypeVar("K", bound=Sized)
V = TypeVar("V")


class Memo(dict[K, V]):
    """Results that are kept for a while; any thread may use it."""

    def __init__(self, entries_max: int) -> None:
        super().__init__()
        self._entries_max = entries_max

    def keep(self, key: K, value: V) -> None:
        """Keeps a result. The caller sees to it that it is not large."""
        if len(self) >= self._entries_max:
            self.clear()
        self[key] = value

    def made_of(self, key: K, make: Callable[[K], V], length_max: int) -> V:
        """What is kept of the key; else what `make` makes of it, kept unless the key is longer than length_max."""
        found = self.get(key)
        if found is None:
            found = make(key)
            if len(key) <= length_max:
                self.keep(key, found)
        return found


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
    """A span, as OTLP has it. Ids of zeros and empty ids mean none; kind is OTLP's number.

    attributes: what `attribute_fields` makes of them; status: what `status_field` makes of it
    """

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: bytes
    kind: int
    start_ns: int
    end_ns: int
    attributes: Iterable[bytes]
    events: Sequence[Event] = ()
    links: Sequence[SpanLink] = ()
    status: bytes = b""
    trace_state: bytes = b""
    flags: int = 0


KIND_UNSPECIFIED, KIND_INTERNAL, KIND_SERVER, KIND_CLIENT, KIND_PRODUCER, KIND_CONSUMER = range(6)
STATUS_UNSET, STATUS_OK, STATUS_ERROR = range(3)

_ATTRIBUTES_KEPT: Final = 8192
# Longer ones do not repeat, and would take memory.
_KEPT_BYTES_MAX: Final = 384
# The fields that attributes are in messages: resource, span, event, link.
RESOURCE_ATTRIBUTES, SPAN_ATTRIBUTES, _EVENT_ATTRIBUTES, _LINK_ATTRIBUTES = 1, 9, 3, 4
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
    if 0 <= number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
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
    kept, fields = _KEPT[number], []
    for one in attributes:
        kind = one[1].__class__
        # True, 1 and 1.0 are equal, and so are a text and the same bytes as `Binary`.
        found = kept.get(one if kind is bytes else (*one, kind))
        fields.append(_attribute(number, one) if found is None else found)
    return fields


def _attribute(number: int, attribute: KeyValue) -> bytes:
    key, value = attribute
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
    encoded = field(number, field(1, key) + field(2, any_value))
    kind = value.__class__
    # -0.0 equals 0.0, and other floats hardly ever repeat.
    if kind is not float and len(encoded) <= _KEPT_BYTES_MAX:
        _KEPT[number].keep((key, value) if kind is bytes else (key, value, kind), encoded)
    return encoded


_KEPT: Final[dict[int, Memo[tuple[object, ...], bytes]]] = {
    number: Memo(_ATTRIBUTES_KEPT)
    for number in (RESOURCE_ATTRIBUTES, SPAN_ATTRIBUTES, _EVENT_ATTRIBUTES, _LINK_ATTRIBUTES)
}


def status_field(code: int, message: bytes) -> bytes:
    """The field of a span that holds its status; empty for none. code: OTLP's number"""
    if not code and not message:
        return b""
    return field(15, (field(2, message) if message else b"") + (b"\x18" + _SMALL[code] if code else b""))


def encoded_span(span: Span) -> bytes:
    """A Span message."""
    (trace_id, span_id, parent_id, name, kind, start_ns, end_ns, attributes, events, links, status, state, flags) = span
    parts = [field(1, trace_id), field(2, span_id)]
    if state:
        parts.append(field(3, state))
    if parent_id:
        parts.append(field(4, parent_id))
    parts.append(field(5, name))
    if kind:
        parts.append(b"\x30" + _SMALL[kind])
    parts.append(_TIMES(0x39, start_ns & _U64, 0x41, end_ns & _U64))
    parts += attributes
    if events:
        parts += [field(11, _event(event)) for event in events]
    if links:
        parts += [field(13, _link(link)) for link in links]
    parts.append(status)
    if flags:
        parts.append(_FLAGS(0x0185, flags))
    return b"".join(parts)


def _event(event: Event) -> bytes:
    parts = [_TIME(0x09, event.time_ns & _U64), field(2, event.name)]
    parts += attribute_fields(_EVENT_ATTRIBUTES, event.attributes)
    if event.dropped_attributes_count:
        parts.append(b"\x20" + varint(event.dropped_attributes_count))
    return b"".join(parts)


def _link(link: SpanLink) -> bytes:
    parts = [field(1, link.trace_id), field(2, link.span_id)]
    if link.trace_state:
        parts.append(field(3, link.trace_state))
    parts += attribute_fields(_LINK_ATTRIBUTES, link.attributes)
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

    def spans_of(self, resource: Sequence[KeyValue], scope: Scope) -> list[bytes]:
        """The list to which encoded spans of a resource and scope are to be added. Equal resources and scopes come
        together; quickly if the resource is the same object as before, which must not have changed.
        """
        if self._last is None or self._last[0] is not resource:
            encoded = b"".join(attribute_fields(RESOURCE_ATTRIBUTES, resource))
            self._last = resource, self._spans.setdefault(encoded, {})
        return self._last[1].setdefault(scope, [])

    def spans_of_encoded(self, resource: bytes, scope: Scope) -> list[bytes]:
        """The same of a resource of which the attributes are fields already."""
        return self._spans.setdefault(resource, {}).setdefault(scope, [])

    def encode(self) -> bytes:
        """The request's bytes."""
        return b"".join(field(1, _resource_spans(*one)) for one in self._spans.items())


def _resource_spans(resource: bytes, scopes: dict[Scope, list[bytes]]) -> bytes:
    parts = [field(1, resource)]
    for scope, spans in scopes.items():
        named = (field(1, scope.name) if scope.name else b"") + (field(2, scope.version) if scope.version else b"")
        body = (field(1, named) if named else b"") + b"".join([field(2, span) for span in spans])
        parts.append(field(2, body))
    return b"".join(parts)
