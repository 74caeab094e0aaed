"""Spans of Zipkin's JSON, version 2, in the form that its clients send: each field has its type, or is null.

What looks different in any way is `Unusual`: it may be right all the same, and is read object by object. What is not
has the same result there.
"""

from typing import Final

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder

from tables.errors import WireError
from tables.wire.json_text import check_items, parse_json
from tables.wire.otlp.encode import Memo
from tables.wire.usual import Unusual
from tables.wire.zipkin.json_fields import TIME_US_MAX, Typed, endpoint, id_bytes, kind_of, tags_of_texts
from tables.wire.zipkin.translate import NOWHERE, Annotation, Endpoint, ZipkinSpan

_ENDPOINTS_KEPT: Final = 2048
# Longer ones do not repeat, and would take memory.
_KEPT_BYTES_MAX: Final = 384
# A tag costs microseconds, however short. Usual ones have 30 bytes.
_BYTES_PER_FIELD: Final = 16
_NOTHING: Final = Raw()


class _Annotation(Struct, gc=False):
    timestamp: int | None = None
    value: str | None = None


class _Span(Struct, rename="camel", gc=False):
    trace_id: str
    id: str
    parent_id: str | None = None
    name: str | None = None
    kind: str | None = None
    timestamp: int | None = None
    duration: int | None = None
    local_endpoint: Raw = _NOTHING
    remote_endpoint: Raw = _NOTHING
    annotations: tuple[_Annotation, ...] | None = None
    tags: dict[str, str] | None = None
    debug: bool | None = None
    shared: bool | None = None


def usual_spans(body: bytes, typed: Typed) -> list[ZipkinSpan]:
    """The spans of a JSON list. typed: what becomes of a tag's text. Raises: Unusual"""
    check_items(body, _BYTES_PER_FIELD)
    try:
        return [_span(span, typed) for span in _SPANS.decode(body) if span is not None]
    except (MsgspecError, WireError, ValueError, RecursionError) as err:
        raise Unusual from err


def _span(span: _Span, typed: Typed) -> ZipkinSpan:
    trace_id, own_id = _ids(span.trace_id, span.id)
    parent = span.parent_id
    return ZipkinSpan(
        trace_id,
        own_id,
        b"" if parent is None else _id(parent, 8),
        (span.name or "").encode(),
        kind_of(span.kind),
        _time_us(span.timestamp),
        _time_us(span.duration),
        NOWHERE if span.local_endpoint is _NOTHING else _endpoint(span.local_endpoint),
        NOWHERE if span.remote_endpoint is _NOTHING else _endpoint(span.remote_endpoint),
        [_annotation(one) for one in span.annotations] if span.annotations else (),
        tags_of_texts(span.tags or {}, typed),
        span.debug is True,
        span.shared is True,
    )


def _annotation(one: _Annotation) -> Annotation:
    return Annotation(_time_us(one.timestamp), (one.value or "").encode())


def _ids(trace_id: str, span_id: str) -> tuple[bytes, bytes]:
    if len(trace_id) == 32 and len(span_id) == 16:
        data = bytes.fromhex(trace_id + span_id)
        if len(data) == 24:  # it may have spaces
            return data[:16], data[16:]
    return _id(trace_id, 16), _id(span_id, 8)


def _id(text: str, size: int) -> bytes:
    data = bytes.fromhex(text) if len(text) == 2 * size else b""
    return data if len(data) == size else id_bytes({"id": text}, "id", size, "")


def _time_us(value: int | None) -> int:
    if value is None:
        return 0
    if not 0 <= value <= TIME_US_MAX:
        raise Unusual
    return value


def _endpoint(found: Raw) -> Endpoint:
    return _ENDPOINTS.made_of(bytes(found), _read_endpoint, _KEPT_BYTES_MAX)


def _read_endpoint(data: bytes) -> Endpoint:
    return endpoint({"endpoint": parse_json(data)}, "endpoint", "")


_SPANS: Final = Decoder(tuple[_Span | None, ...])
_ENDPOINTS: Final[Memo[bytes, Endpoint]] = Memo(_ENDPOINTS_KEPT)
