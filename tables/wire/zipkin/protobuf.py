"""Zipkin's version 2 in protobuf → OTLP requests.

Source: zipkin-api, zipkin.proto
"""

from typing import Any, Final

from google.protobuf.message import DecodeError

from tables.errors import WireError
from tables.wire.otlp.encode import (
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_PRODUCER,
    KIND_SERVER,
    KIND_UNSPECIFIED,
)
from tables.wire.span_parts import check_bytes, check_parts
from tables.wire.zipkin.addresses import address_text
from tables.wire.zipkin.translate import Annotation, Endpoint, ZipkinSpan, tags_of, to_otlp
from tables.wire.zipkin.zipkin_pb2 import ListOfSpans, Span

# By Zipkin's number.
_KINDS: Final = (KIND_UNSPECIFIED, KIND_CLIENT, KIND_SERVER, KIND_PRODUCER, KIND_CONSUMER)
_TIME_US_MAX: Final = (1 << 63) // 1000


def protobuf_to_otlp(body: bytes, received_us: int) -> bytes:
    """An ExportTraceServiceRequest with the spans of a ListOfSpans. received_us: the start of spans without any time.

    Raises: WireError that names the span and the field
    """
    try:
        message = ListOfSpans.FromString(body)
    except DecodeError as err:
        raise WireError(f"not a ListOfSpans of Zipkin's protobuf: {err}") from err
    return to_otlp((_span(data, f"spans[{number}]") for number, data in enumerate(message.spans)), received_us)


def _span(data: bytes, where: str) -> ZipkinSpan:
    check_bytes(where, data)
    try:
        span = Span.FromString(data)
    except DecodeError as err:
        raise WireError(f"{where} is not a Span of Zipkin's protobuf: {err}") from err
    check_parts(where, span.annotations, span.tags)
    if span.timestamp > _TIME_US_MAX or span.duration > _TIME_US_MAX:
        raise WireError(f"{where}: a time of {max(span.timestamp, span.duration)} microseconds is beyond 64 bits of ns")
    return ZipkinSpan(
        trace_id=_id(span.trace_id, 16, f"{where}.trace_id"),
        id=_id(span.id, 8, f"{where}.id"),
        parent_id=_id(span.parent_id, 8, f"{where}.parent_id") if span.parent_id else b"",
        name=span.name,
        kind=_KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else KIND_UNSPECIFIED,
        start_us=span.timestamp,
        duration_us=span.duration,
        local=_endpoint(span.local_endpoint),
        remote=_endpoint(span.remote_endpoint),
        annotations=[_annotation(one, where) for one in span.annotations],
        tags=tags_of((tag.key, tag.value) for tag in span.tags),
        debug=span.debug,
        shared=span.shared,
    )


def _annotation(one: Any, where: str) -> Annotation:
    if not one.timestamp and not one.value:
        raise WireError(f"{where}: an annotation has neither a timestamp nor a value")
    return Annotation(min(one.timestamp, _TIME_US_MAX), one.value)


def _id(found: bytes, size: int, where: str) -> bytes:
    """Shorter ids are filled up on the left: Zipkin's trace ids have 8 or 16 bytes."""
    if not found or len(found) > size:
        raise WireError(f"{where} has {len(found)} bytes, not 1 to {size}")
    return found.rjust(size, b"\0")


def _endpoint(endpoint: Any) -> Endpoint:
    addresses = [text for text in map(address_text, (endpoint.ipv4, endpoint.ipv6)) if text]
    return Endpoint(endpoint.service_name, addresses, endpoint.port & 0xFFFF)
