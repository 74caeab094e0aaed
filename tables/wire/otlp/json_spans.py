"""Spans of OTLP's JSON in the form that SDKs send → protobuf, in a twentieth of the time of protobuf's own parser.

What looks different in any way is `Unusual` and left to that parser: names in snake_case, numbers as floats, nulls,
texts where numbers are expected, unknown fields. What is not has the same result there.

Attributes, statuses, resources and scopes stay JSON until they are encoded. Most repeat, so their texts are looked up.
"""

import struct
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import orjson
from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder, encode

from tables.wire.json_text import check_items
from tables.wire.otlp.encode import Memo, field, varint
from tables.wire.usual import Unusual

_ATTRIBUTES_KEPT: Final = 8192
_OTHERS_KEPT: Final = 1024
# Longer ones do not repeat, and would take memory.
_ATTRIBUTE_BYTES_MAX: Final = 384
_OTHER_BYTES_MAX: Final = 4096
# What stays JSON at first takes memory for each item of a list, however short: spans and attributes are never as short.
_BYTES_PER_ITEM: Final = 6
_U32, _U64, _I64 = 1 << 32, 1 << 64, 1 << 63
_DIGITS_MAX: Final = 20
_CODE_MAX: Final = 127  # one byte
_DOUBLE: Final = struct.Struct("<d").pack
_FLAGS: Final = struct.Struct("<I").pack
_TIME: Final = struct.Struct("<BQ").pack
_NOTHING: Final = Raw()

Number = int | str
T = TypeVar("T")


class _Message(Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """A message of OTLP as JSON names its fields. What is absent has protobuf's default."""


class _Resource(_Message):
    attributes: tuple[Raw, ...] = ()
    dropped_attributes_count: Number = 0


class _Scope(_Message):
    name: str = ""
    version: str = ""
    attributes: tuple[Raw, ...] = ()
    dropped_attributes_count: Number = 0


class _Event(_Message):
    time_unix_nano: Number = 0
    name: str = ""
    attributes: tuple[Raw, ...] = ()
    dropped_attributes_count: Number = 0


class _Link(_Message):
    trace_id: str = ""
    span_id: str = ""
    trace_state: str = ""
    attributes: tuple[Raw, ...] = ()
    dropped_attributes_count: Number = 0
    flags: Number = 0


class _Status(_Message):
    message: str = ""
    code: int = 0


class _Span(_Message):
    trace_id: str = ""
    span_id: str = ""
    trace_state: str = ""
    parent_span_id: str = ""
    flags: Number = 0
    name: str = ""
    kind: int = 0
    start_time_unix_nano: Number = 0
    end_time_unix_nano: Number = 0
    attributes: tuple[Raw, ...] = ()
    dropped_attributes_count: Number = 0
    events: tuple[_Event, ...] = ()
    dropped_events_count: Number = 0
    links: tuple[_Link, ...] = ()
    dropped_links_count: Number = 0
    status: Raw = _NOTHING


class JsonScopeSpans(_Message):
    """A ScopeSpans. Its scope and each of its spans are JSON."""

    scope: Raw = _NOTHING
    spans: tuple[Raw, ...] = ()
    schema_url: str = ""


class JsonResourceSpans(_Message):
    """A ResourceSpans. Its resource, and the spans of its scopes, are JSON."""

    resource: Raw = _NOTHING
    scope_spans: tuple[JsonScopeSpans, ...] = ()
    schema_url: str = ""


class JsonRequest(_Message):
    """An ExportTraceServiceRequest that is read down to the spans, which are JSON."""

    resource_spans: tuple[JsonResourceSpans, ...] = ()


def read_request(body: bytes) -> JsonRequest:
    """The request, with spans as JSON that is not looked into. Raises: Unusual"""
    check_items(body, _BYTES_PER_ITEM)
    return _read(_REQUEST, body)


def read_resource(found: dict[str, Any]) -> JsonResourceSpans:
    """A ResourceSpans without scopes. Raises: Unusual"""
    return _read(_RESOURCE_SPANS, _dumped(found))


def read_scope(found: dict[str, Any]) -> JsonScopeSpans:
    """A ScopeSpans without spans. Raises: Unusual"""
    return _read(_SCOPE_SPANS, _dumped(found))


def encode_resource(found: JsonResourceSpans) -> bytes:
    """A ResourceSpans without its scopes. Raises: Unusual"""
    return _optional(found.resource, _RESOURCES, _resource) + _text(3, found.schema_url)


def encode_scope(found: JsonScopeSpans) -> bytes:
    """A ScopeSpans without its spans. Raises: Unusual"""
    return _optional(found.scope, _SCOPES, _scope) + _text(3, found.schema_url)


def encode_span(found: Raw | dict[str, Any]) -> bytes:
    """The field `spans` of ScopeSpans with this span. Raises: Unusual"""
    span = _read(_SPAN, found if isinstance(found, Raw) else _dumped(found))
    parts = [_ids(span.trace_id, span.span_id)]
    if span.trace_state:
        parts.append(_text(3, span.trace_state))
    if span.parent_span_id:
        parts.append(_id(b"\x22\x08", 8, span.parent_span_id))
    if span.name:
        parts.append(_text(5, span.name))
    if span.kind:
        parts.append(_code(0x30, span.kind))
    parts.append(_time(0x39, span.start_time_unix_nano))
    parts.append(_time(0x41, span.end_time_unix_nano))
    _add_attributes(parts, 9, span.attributes, span.dropped_attributes_count)
    if span.events:
        parts += [field(11, _event(event)) for event in span.events]
    if span.dropped_events_count != 0:
        parts.append(_count(b"\x60", span.dropped_events_count))
    if span.links:
        parts += [field(13, _link(link)) for link in span.links]
    if span.dropped_links_count != 0:
        parts.append(_count(b"\x70", span.dropped_links_count))
    if span.status is not _NOTHING:
        parts.append(_optional(span.status, _STATUSES, _status))
    if span.flags != 0:
        parts.append(_flags(b"\x85\x01", span.flags))
    return field(2, b"".join(parts))


def _read(decoder: Decoder[T], data: bytes | Raw) -> T:
    try:
        return decoder.decode(data)
    except (MsgspecError, ValueError, RecursionError) as err:
        raise Unusual from err


def _dumped(found: dict[str, Any]) -> bytes:
    try:
        data = encode(found)
    except (MsgspecError, TypeError, ValueError, RecursionError) as err:
        raise Unusual from err
    check_items(data, _BYTES_PER_ITEM)
    return data


def _optional(found: Raw, kept: Memo[bytes, bytes], make: Callable[[bytes], bytes]) -> bytes:
    """A message that is JSON, as a field; nothing where it is absent."""
    if found is _NOTHING:
        return b""
    return kept.made_of(bytes(found), make, _OTHER_BYTES_MAX)


def _resource(data: bytes) -> bytes:
    found, parts = _read(_RESOURCE, data), list[bytes]()
    _add_attributes(parts, 1, found.attributes, found.dropped_attributes_count)
    return field(1, b"".join(parts))


def _scope(data: bytes) -> bytes:
    found = _read(_SCOPE, data)
    parts = [_text(1, found.name), _text(2, found.version)]
    _add_attributes(parts, 3, found.attributes, found.dropped_attributes_count)
    return field(1, b"".join(parts))


def _status(data: bytes) -> bytes:
    found = _read(_STATUS, data)
    return field(15, _text(2, found.message) + _code(0x18, found.code))


def _event(event: _Event) -> bytes:
    parts = [_time(0x09, event.time_unix_nano), _text(2, event.name)]
    _add_attributes(parts, 3, event.attributes, event.dropped_attributes_count)
    return b"".join(parts)


def _link(link: _Link) -> bytes:
    parts = [_ids(link.trace_id, link.span_id), _text(3, link.trace_state)]
    _add_attributes(parts, 4, link.attributes, link.dropped_attributes_count)
    parts.append(_flags(b"\x35", link.flags))
    return b"".join(parts)


def _text(number: int, value: str) -> bytes:
    return field(number, value.encode()) if value else b""


def _ids(trace_id: str, span_id: str) -> bytes:
    if len(trace_id) == 32 and len(span_id) == 16:
        data = _from_hex(trace_id + span_id, 24)
        return b"\x0a\x10" + data[:16] + b"\x12\x08" + data[16:]
    return _id(b"\x0a\x10", 16, trace_id) + _id(b"\x12\x08", 8, span_id)


def _id(tag: bytes, size: int, value: str) -> bytes:
    return tag + _from_hex(value, size) if value else b""


def _from_hex(value: str, size: int) -> bytes:
    try:
        data = bytes.fromhex(value)
    except ValueError as err:
        raise Unusual from err
    if len(data) != size or len(value) != 2 * size:  # it may have spaces
        raise Unusual
    return data


def _time(tag: int, value: Number) -> bytes:
    return _TIME(tag, time_ns) if (time_ns := _number(value, _U64)) else b""


def _number(value: Number, end: int, least: int = 0) -> int:
    """A number, or a text of one."""
    if isinstance(value, str) and not (
        len(value) <= _DIGITS_MAX and value.isascii() and value.removeprefix("-").isdecimal()
    ):
        raise Unusual
    number = int(value)
    if not least <= number < end:
        raise Unusual
    return number


def _code(tag: int, value: int) -> bytes:
    if not 0 <= value < _CODE_MAX:
        raise Unusual
    return bytes((tag, value)) if value else b""


def _count(tag: bytes, value: Number) -> bytes:
    return tag + varint(number) if (number := _number(value, _U32)) else b""


def _flags(tag: bytes, value: Number) -> bytes:
    return tag + _FLAGS(number) if (number := _number(value, _U32)) else b""


def _add_attributes(parts: list[bytes], number: int, attributes: Iterable[Raw], dropped: Number) -> None:
    """Adds fields with this number, and the number of attributes that the client has dropped, in the field behind."""
    kept = _KEPT[number]
    for raw in attributes:
        data = bytes(raw)
        encoded = kept.get(data)
        parts.append(_attribute(number, data) if encoded is None else encoded)
    if dropped != 0:
        parts.append(_count(varint((number + 1) << 3), dropped))


def _attribute(number: int, data: bytes) -> bytes:
    """An attribute as a field of its message. number: of the field; data: the attribute as JSON"""
    try:
        pair = orjson.loads(data)
        if len(pair) != 2:
            raise Unusual
        key, ((kind, value),) = pair["key"], pair["value"].items()
        if type(key) is not str:
            raise Unusual
        encoded = field(number, _text(1, key) + field(2, _any_value(kind, value)))
    except (KeyError, ValueError, TypeError, AttributeError) as err:
        raise Unusual from err
    if len(data) <= _ATTRIBUTE_BYTES_MAX and kind != "doubleValue":  # numbers with a fraction hardly repeat
        _KEPT[number].keep(data, encoded)
    return encoded


def _any_value(kind: str, value: Any) -> bytes:
    """An AnyValue. Members of a oneof are there even if they are 0 or empty."""
    if kind == "stringValue" and type(value) is str:
        return field(1, value.encode())
    if kind == "intValue" and type(value) in (int, str):
        return b"\x18" + varint(_number(value, _I64, -_I64))
    if kind == "boolValue" and type(value) is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if kind == "doubleValue" and type(value) in (float, int):
        return b"\x21" + _DOUBLE(value)
    if kind == "arrayValue" and type(value) is dict:
        return _array(value)
    raise Unusual


def _array(value: dict[str, Any]) -> bytes:
    """A list of plain values, as the attributes of semantic conventions have them."""
    if not value:
        return b"\x2a\x00"
    (items,) = value.values()
    if "values" not in value or type(items) is not list:
        raise Unusual
    out = []
    for item in items:
        ((kind, one),) = item.items()
        if kind == "arrayValue":
            raise Unusual
        out.append(field(1, _any_value(kind, one)))
    return field(5, b"".join(out))


# They belong to no thread.
_REQUEST, _RESOURCE_SPANS, _SCOPE_SPANS = Decoder(JsonRequest), Decoder(JsonResourceSpans), Decoder(JsonScopeSpans)
_SPAN, _STATUS, _RESOURCE, _SCOPE = Decoder(_Span), Decoder(_Status), Decoder(_Resource), Decoder(_Scope)
_KEPT: Final[dict[int, Memo[bytes, bytes]]] = {
    9: Memo(_ATTRIBUTES_KEPT),
    **{number: Memo(_OTHERS_KEPT) for number in (1, 3, 4)},
}
_RESOURCES: Final[Memo[bytes, bytes]] = Memo(_OTHERS_KEPT)
_SCOPES: Final[Memo[bytes, bytes]] = Memo(_OTHERS_KEPT)
_STATUSES: Final[Memo[bytes, bytes]] = Memo(_OTHERS_KEPT)
