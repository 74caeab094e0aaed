"""Zipkin's version 1 in Thrift (binary) → OTLP requests.

Source: zipkin-api, zipkinCore.thrift
"""

import struct as binary
from collections.abc import Callable
from itertools import chain
from typing import Any, Final

from tables.errors import WireError
from tables.wire.otlp.encode import Binary, Value
from tables.wire.span_parts import check_parts
from tables.wire.thrift_structs import BOOL, I16, I32, I64, ThriftField, ThriftMessage, struct
from tables.wire.zipkin.addresses import address_text
from tables.wire.zipkin.translate import Endpoint, to_otlp
from tables.wire.zipkin.version1 import BinaryAnnotation, HostAnnotation, Version1Span, to_version2

ENDPOINT: Final = struct(
    "Endpoint",
    ThriftField(1, "ipv4", I32),
    ThriftField(2, "port", I16),
    ThriftField(3, "service_name", bytes),
    ThriftField(4, "ipv6", bytes),
)
ANNOTATION: Final = struct(
    "Annotation",
    ThriftField(1, "timestamp_us", I64),
    ThriftField(2, "value", bytes),
    ThriftField(3, "host", ENDPOINT),
)
BINARY_ANNOTATION: Final = struct(
    "BinaryAnnotation",
    ThriftField(1, "key", bytes),
    ThriftField(2, "value", bytes),
    ThriftField(3, "type", I32),
    ThriftField(4, "host", ENDPOINT),
)
SPAN: Final = struct(
    "Span",
    ThriftField(1, "trace_id", I64),
    ThriftField(3, "name", bytes),
    ThriftField(4, "id", I64),
    ThriftField(5, "parent_id", I64),
    ThriftField(6, "annotations", [ANNOTATION]),
    ThriftField(8, "binary_annotations", [BINARY_ANNOTATION]),
    ThriftField(9, "debug", BOOL),
    ThriftField(10, "timestamp_us", I64),
    ThriftField(11, "duration_us", I64),
    ThriftField(12, "trace_id_high", I64),
)

_I64: Final = binary.Struct(">q").pack
_TRACE_ID: Final = binary.Struct(">qq").pack


def _number(layout: str) -> Callable[[bytes], Value]:
    unpack, size = binary.Struct(layout).unpack_from, binary.calcsize(layout)

    def read(data: bytes) -> Value:
        if len(data) < size:
            raise WireError(f"a number of a Zipkin annotation has {len(data)} bytes, not {size}")
        (found,) = unpack(data)
        return found if isinstance(found, float) else int(found)

    return read


# By the number of an annotation's type: bool, bytes, i16, i32, i64, double, string.
_VALUES: Final[list[Callable[[bytes], Value]]] = [
    lambda data: data == b"\x01",
    Binary,
    _number(">h"),
    _number(">i"),
    _number(">q"),
    _number(">d"),
    bytes,
]


def thrift_to_otlp(body: bytes, received_us: int) -> bytes:
    """An ExportTraceServiceRequest with the spans of a Thrift list. received_us: the start of spans without any time.

    Raises: WireError
    """
    read = ThriftMessage(body, "binary").structs(SPAN)
    spans = (to_version2(_span(one, number)) for number, one in enumerate(read))
    return to_otlp(chain.from_iterable(spans), received_us)


def _span(span: Any, number: int) -> Version1Span:
    if span.trace_id is None or span.id is None:
        raise WireError(f"[{number}] has no trace id or no id")
    check_parts(f"[{number}]", span.annotations, span.binary_annotations)
    return Version1Span(
        trace_id=_TRACE_ID(span.trace_id_high or 0, span.trace_id),
        id=_I64(span.id),
        parent_id=_I64(span.parent_id) if span.parent_id else b"",
        name=span.name or b"",
        start_us=max(0, span.timestamp_us or 0),
        duration_us=max(0, span.duration_us or 0),
        annotations=[
            HostAnnotation(max(0, one.timestamp_us or 0), _told(one.value, number), _endpoint(one.host))
            for one in span.annotations or ()
        ],
        binary_annotations=[
            BinaryAnnotation(_told(one.key, number), _value(one), _endpoint(one.host))
            for one in span.binary_annotations or ()
        ],
        debug=bool(span.debug),
    )


def _told(text: bytes | None, number: int) -> bytes:
    """What makes an annotation. Raises: WireError for an absent one, of which a message can hold one in each byte"""
    if text is None:
        raise WireError(f"an annotation of [{number}] has no value, or no key")
    return text


def _value(one: Any) -> Value:
    kind = one.type or 0
    if not 0 <= kind < len(_VALUES):
        return b"<unknown Zipkin annotation type %d>" % kind
    return _VALUES[kind](one.value or b"")


def _endpoint(host: Any) -> Endpoint:
    if host is None:
        return Endpoint()
    packed = [binary.pack(">i", host.ipv4) if host.ipv4 else b"", host.ipv6 or b""]
    addresses = [text for text in map(address_text, packed) if text]
    return Endpoint(host.service_name or b"", addresses, (host.port or 0) & 0xFFFF)
