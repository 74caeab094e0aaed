"""Zipkin's JSON, version 2 and version 1 → OTLP requests.

Source: zipkin-api, zipkin2-api.yaml and zipkin-api.yaml
"""

import re
from collections.abc import Callable
from typing import Any, Final

from tables.errors import WireError
from tables.wire.json_text import parse_json
from tables.wire.otlp.encode import (
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_PRODUCER,
    KIND_SERVER,
    KIND_UNSPECIFIED,
    KeyValue,
    Memo,
    Value,
)
from tables.wire.zipkin.translate import Annotation, Endpoint, ZipkinSpan, to_otlp
from tables.wire.zipkin.version1 import BinaryAnnotation, HostAnnotation, Version1Span, to_version2

_KINDS: Final = {
    "CLIENT": KIND_CLIENT,
    "SERVER": KIND_SERVER,
    "PRODUCER": KIND_PRODUCER,
    "CONSUMER": KIND_CONSUMER,
}
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_INT: Final = re.compile(rb"-?(?:0|[1-9][0-9]{0,17})")
_DOUBLE: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)\.[0-9]+")
_BOOLS: Final = {b"true": True, b"false": False}
_TIME_US_MAX: Final = (1 << 63) // 1000
_PORT_MAX: Final = 65_535
_TAGS_KEPT: Final = 8192
# Longer ones do not repeat, and would take memory.
_KEPT_LENGTH_MAX: Final = 256

Object = dict[str, Any]


def version2_to_otlp(body: bytes, received_us: int, *, parse_string_tags: bool = False) -> bytes:
    """An ExportTraceServiceRequest with the spans of a JSON list of version 2.

    received_us: the start of spans without any time. parse_string_tags: tags that look like numbers or bools become
    such. Raises: WireError that names the span and the field
    """
    typed = _typed if parse_string_tags else _as_text
    return to_otlp([_version2(span, f"[{n}]", typed) for n, span in enumerate(_list(parse_json(body)))], received_us)


def version1_to_otlp(body: bytes, received_us: int, *, parse_string_tags: bool = False) -> bytes:
    """The same of version 1."""
    typed = _typed if parse_string_tags else _as_text
    spans = [_version1(span, f"[{n}]", typed) for n, span in enumerate(_list(parse_json(body)))]
    return to_otlp([one for span in spans for one in to_version2(span)], received_us)


def _version2(span: Any, where: str, typed: Callable[[bytes], Value]) -> ZipkinSpan:
    if not isinstance(span, dict):
        raise WireError(f"{where} is not a span: an object is expected")
    tags = _part(span, "tags", dict, where) or {}
    annotations = _part(span, "annotations", list, where) or []
    kind = span.get("kind")
    return ZipkinSpan(
        trace_id=_id(span, "traceId", 16, where),
        id=_id(span, "id", 8, where),
        parent_id=_id(span, "parentId", 8, where, needed=False),
        name=_text(span, "name", where),
        kind=_KINDS.get(kind.upper(), KIND_UNSPECIFIED) if isinstance(kind, str) else KIND_UNSPECIFIED,
        start_us=_number(span, "timestamp", where, _TIME_US_MAX),
        duration_us=_number(span, "duration", where, _TIME_US_MAX),
        local=_endpoint(span, "localEndpoint", where),
        remote=_endpoint(span, "remoteEndpoint", where),
        annotations=[_annotation(one, f"{where}.annotations[{n}]") for n, one in enumerate(annotations)],
        tags=_tags(tags, typed),
        debug=span.get("debug") is True,
        shared=span.get("shared") is True,
    )


def _version1(span: Any, where: str, typed: Callable[[bytes], Value]) -> Version1Span:
    if not isinstance(span, dict):
        raise WireError(f"{where} is not a span: an object is expected")
    annotations = _part(span, "annotations", list, where) or []
    binary = _part(span, "binaryAnnotations", list, where) or []
    return Version1Span(
        trace_id=_id(span, "traceId", 16, where),
        id=_id(span, "id", 8, where),
        parent_id=_id(span, "parentId", 8, where, needed=False),
        name=_text(span, "name", where),
        start_us=_number(span, "timestamp", where, _TIME_US_MAX),
        duration_us=_number(span, "duration", where, _TIME_US_MAX),
        annotations=[_host_annotation(one, f"{where}.annotations[{n}]") for n, one in enumerate(annotations)],
        binary_annotations=[_binary(one, f"{where}.binaryAnnotations[{n}]", typed) for n, one in enumerate(binary)],
        debug=span.get("debug") is True,
    )


def _list(found: object) -> list[Any]:
    if not isinstance(found, list):
        raise WireError("not a list of Zipkin's spans: the JSON is not a list")
    return [one for one in found if one is not None]


def _part(holder: Object, key: str, kind: type, where: str) -> Any:
    found = holder.get(key)
    if found is not None and not isinstance(found, kind):
        raise WireError(f"{where}.{key} is not {'an object' if kind is dict else 'a list'}")
    return found


def _id(holder: Object, key: str, size: int, where: str, *, needed: bool = True) -> bytes:
    """An id of lower hexadecimal digits; shorter ones are filled up on the left, as Zipkin does."""
    text = holder.get(key)
    if text is None and not needed:
        return b""
    if not isinstance(text, str) or _HEX.fullmatch(text) is None or len(text) > 2 * size:
        raise WireError(f"{where}.{key} is {str(text)[:64]!r}, not 1 to {2 * size} hexadecimal digits")
    return bytes.fromhex(text.rjust(2 * size, "0"))


def _text(holder: Object, key: str, where: str) -> bytes:
    found = holder.get(key)
    if found is None:
        return b""
    if not isinstance(found, str):
        raise WireError(f"{where}.{key} is not a string")
    return found.encode()


def _number(holder: Object, key: str, where: str, most: int) -> int:
    """A whole number from 0; absent: 0. Some clients send them as text or as floats."""
    found = holder.get(key)
    if found is None:
        return 0
    if isinstance(found, str) and found.isdecimal() and len(found) < 20:
        found = int(found)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= most:
        raise WireError(f"{where}.{key} is {str(found)[:40]}, not a whole number from 0 to {most}")
    return found


def _endpoint(holder: Object, key: str, where: str) -> Endpoint:
    found = _part(holder, key, dict, where)
    if not found:
        return Endpoint()
    at = f"{where}.{key}"
    texts = [_text(found, name, at) for name in ("ipv4", "ipv6")]
    return Endpoint(
        _text(found, "serviceName", at), [text for text in texts if text], _number(found, "port", at, _PORT_MAX)
    )


def _annotation(found: Any, where: str) -> Annotation:
    if not isinstance(found, dict):
        raise WireError(f"{where} is not an annotation: an object is expected")
    return Annotation(_number(found, "timestamp", where, _TIME_US_MAX), _text(found, "value", where))


def _host_annotation(found: Any, where: str) -> HostAnnotation:
    annotation = _annotation(found, where)
    return HostAnnotation(annotation.time_us, annotation.value, _endpoint(found, "endpoint", where))


def _binary(found: Any, where: str, typed: Callable[[bytes], Value]) -> BinaryAnnotation:
    if not isinstance(found, dict):
        raise WireError(f"{where} is not an annotation: an object is expected")
    return BinaryAnnotation(
        _text(found, "key", where), _tag(found.get("value"), typed), _endpoint(found, "endpoint", where)
    )


def _tags(tags: Object, typed: Callable[[bytes], Value]) -> list[KeyValue]:
    """Tags as attributes. Most repeat from span to span."""
    kept, found = _KEPT[typed], []
    for tag in tags.items():
        # Only texts: 1 and True are equal, and a list has no hash.
        attribute = kept.get(tag) if tag[1].__class__ is str else (tag[0].encode(), _tag(tag[1], typed))
        found.append(_attribute(tag, typed) if attribute is None else attribute)
    return found


def _attribute(tag: tuple[str, str], typed: Callable[[bytes], Value]) -> KeyValue:
    attribute = tag[0].encode(), typed(tag[1].encode())
    if len(tag[0]) + len(tag[1]) <= _KEPT_LENGTH_MAX:
        _KEPT[typed].keep(tag, attribute)
    return attribute


def _tag(value: Any, typed: Callable[[bytes], Value]) -> Value:
    """Zipkin's tags are texts. What is none keeps its type: some clients send numbers and bools."""
    if isinstance(value, str):
        return typed(value.encode())
    if isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else float(value)
    return b"" if value is None else str(value).encode()


def _as_text(text: bytes) -> Value:
    return text


def _typed(text: bytes) -> Value:
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _DOUBLE.fullmatch(text) else text


_KEPT: Final[dict[Callable[[bytes], Value], Memo[tuple[str, str], KeyValue]]] = {
    typed: Memo(_TAGS_KEPT) for typed in (_as_text, _typed)
}
