"""Spans of OTLP's JSON in the form that SDKs send → protobuf, in a tenth of the time that protobuf's own parser takes.

What looks different in any way is `Unusual` and left to that parser: names in snake_case, numbers as floats, nulls,
texts where numbers are expected, unknown fields. What is not has the same result there.
"""

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from tables.columns.varint import varint

_KEPT: Final = 8192
_KEPT_CHARS_MAX: Final = 256  # longer values do not repeat
_U32, _U64, _I64 = 1 << 32, 1 << 64, 1 << 63
_DIGITS_MAX: Final = 20
_KIND_MAX: Final = 127  # one byte
_FIXED64: Final = struct.Struct("<BQ").pack
_DOUBLE: Final = struct.Struct("<d").pack
_FLAGS: Final = struct.Struct("<I").pack

Encode = Callable[[Any], bytes]
Fields = Mapping[str, Encode]


class Unusual(Exception):  # noqa: N818  (says what it is)
    """A value that is not in the usual form; it may be right all the same."""


def encode_span(span: dict[str, Any]) -> bytes:
    """The field `spans` of ScopeSpans with this span. Raises: Unusual"""
    return _message(b"\x12", span, _SPAN)


def encode_resource(found: dict[str, Any]) -> bytes:
    """A ResourceSpans without its scopes. Raises: Unusual"""
    return _body(found, _RESOURCE_SPANS)


def encode_scope(found: dict[str, Any]) -> bytes:
    """A ScopeSpans without its spans. Raises: Unusual"""
    return _body(found, _SCOPE_SPANS)


def _body(found: Any, fields: Fields) -> bytes:
    if type(found) is not dict:
        raise Unusual
    try:
        return b"".join([fields[name](value) for name, value in found.items()])
    except (KeyError, ValueError, TypeError, AttributeError) as err:
        raise Unusual from err


def _message(tag: bytes, found: Any, fields: Fields) -> bytes:
    body = _body(found, fields)
    return tag + varint(len(body)) + body


def _text(tag: bytes) -> Encode:
    def encode(value: Any) -> bytes:
        if type(value) is not str:
            raise Unusual
        data = value.encode()
        return tag + varint(len(data)) + data if data else b""

    return encode


def _id(tag: bytes, size: int) -> Encode:
    tagged = tag + bytes((size,))

    def encode(value: Any) -> bytes:
        if value == "":
            return b""
        data = bytes.fromhex(value)
        if len(data) != size or len(value) != 2 * size:  # it may have spaces
            raise Unusual
        return tagged + data

    return encode


def _number(value: Any, least: int, end: int) -> int:
    """A number, or a text of one."""
    if type(value) is str:
        if len(value) > _DIGITS_MAX or not value.isascii() or not value.removeprefix("-").isdecimal():
            raise Unusual
        number = int(value)
    elif type(value) is int:
        number = value
    else:
        raise Unusual
    if not least <= number < end:
        raise Unusual
    return number


def _time(tag: int) -> Encode:
    def encode(value: Any) -> bytes:
        return _FIXED64(tag, number) if (number := _number(value, 0, _U64)) else b""

    return encode


def _count(tag: bytes) -> Encode:
    def encode(value: Any) -> bytes:
        return tag + varint(number) if (number := _number(value, 0, _U32)) else b""

    return encode


def _flags(tag: bytes) -> Encode:
    def encode(value: Any) -> bytes:
        return tag + _FLAGS(number) if (number := _number(value, 0, _U32)) else b""

    return encode


def _list(encode: Encode) -> Encode:
    def each(values: Any) -> bytes:
        if type(values) is not list:
            raise Unusual
        return b"".join([encode(value) for value in values])

    return each


def _attributes(tag: bytes) -> Encode:
    kept = lru_cache(_KEPT, typed=True)(_attribute)

    def encode(values: Any) -> bytes:
        if type(values) is not list:
            raise Unusual
        out = []
        for pair in values:
            if len(pair) != 2:
                raise Unusual
            ((kind, value),) = pair["value"].items()
            key = pair["key"]
            short = type(value) is str and len(value) <= _KEPT_CHARS_MAX
            if short or type(value) is int or type(value) is bool:
                out.append(kept(tag, key, kind, value))
            else:
                out.append(_attribute(tag, key, kind, value))
        return b"".join(out)

    return encode


def _attribute(tag: bytes, key: Any, kind: str, value: Any) -> bytes:
    """A list's field with a KeyValue."""
    if type(key) is not str:
        raise Unusual
    name = key.encode()
    any_value = _any_value(kind, value)
    body = b"".join((b"\x0a", varint(len(name)), name) if name else ()) + b"\x12" + varint(len(any_value)) + any_value
    return tag + varint(len(body)) + body


def _any_value(kind: str, value: Any) -> bytes:
    """An AnyValue. Members of a oneof are there even if they are 0 or empty."""
    if kind == "stringValue" and type(value) is str:
        data = value.encode()
        return b"\x0a" + varint(len(data)) + data
    if kind == "intValue":
        return b"\x18" + varint(_number(value, -_I64, _I64) % _U64)
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
        data = _any_value(kind, one)
        out.append(b"\x0a" + varint(len(data)) + data)
    body = b"".join(out)
    return b"\x2a" + varint(len(body)) + body


def _kind(value: Any) -> bytes:
    if type(value) is not int or not 0 <= value < _KIND_MAX:
        raise Unusual
    return bytes((0x30, value)) if value else b""


def _code(value: Any) -> bytes:
    if type(value) is not int or not 0 <= value < _KIND_MAX:
        raise Unusual
    return bytes((0x18, value)) if value else b""


_EVENT: Final[Fields] = {
    "timeUnixNano": _time(0x09),
    "name": _text(b"\x12"),
    "attributes": _attributes(b"\x1a"),
    "droppedAttributesCount": _count(b"\x20"),
}
_LINK: Final[Fields] = {
    "traceId": _id(b"\x0a", 16),
    "spanId": _id(b"\x12", 8),
    "traceState": _text(b"\x1a"),
    "attributes": _attributes(b"\x22"),
    "droppedAttributesCount": _count(b"\x28"),
    "flags": _flags(b"\x35"),
}
_STATUS: Final[Fields] = {"message": _text(b"\x12"), "code": _code}
_SPAN: Final[Fields] = {
    "traceId": _id(b"\x0a", 16),
    "spanId": _id(b"\x12", 8),
    "traceState": _text(b"\x1a"),
    "parentSpanId": _id(b"\x22", 8),
    "flags": _flags(b"\x85\x01"),
    "name": _text(b"\x2a"),
    "kind": _kind,
    "startTimeUnixNano": _time(0x39),
    "endTimeUnixNano": _time(0x41),
    "attributes": _attributes(b"\x4a"),
    "droppedAttributesCount": _count(b"\x50"),
    "events": _list(lambda event: _message(b"\x5a", event, _EVENT)),
    "droppedEventsCount": _count(b"\x60"),
    "links": _list(lambda link: _message(b"\x6a", link, _LINK)),
    "droppedLinksCount": _count(b"\x70"),
    "status": lambda status: _message(b"\x7a", status, _STATUS),
}
_RESOURCE: Final[Fields] = {"attributes": _attributes(b"\x0a"), "droppedAttributesCount": _count(b"\x10")}
_SCOPE: Final[Fields] = {
    "name": _text(b"\x0a"),
    "version": _text(b"\x12"),
    "attributes": _attributes(b"\x1a"),
    "droppedAttributesCount": _count(b"\x20"),
}
_RESOURCE_SPANS: Final[Fields] = {
    "resource": lambda resource: _message(b"\x0a", resource, _RESOURCE),
    "schemaUrl": _text(b"\x1a"),
}
_SCOPE_SPANS: Final[Fields] = {
    "scope": lambda scope: _message(b"\x0a", scope, _SCOPE),
    "schemaUrl": _text(b"\x1a"),
}
