"""Zipkin's JSON, version 2 and version 1 → OTLP requests.

Source: zipkin-api, zipkin2-api.yaml and zipkin-api.yaml
"""

from itertools import chain
from typing import Any

from tables.errors import WireError
from tables.wire.json_text import check_objects, parse_json
from tables.wire.span_parts import check_parts
from tables.wire.usual import Unusual
from tables.wire.zipkin.json_fields import (
    TIME_US_MAX,
    Typed,
    annotation,
    as_text,
    as_typed,
    endpoint,
    id_bytes,
    kind_of,
    number,
    part,
    tag_value,
    tags_of_object,
    text_bytes,
)
from tables.wire.zipkin.json_spans import usual_spans
from tables.wire.zipkin.translate import ZipkinSpan, to_otlp
from tables.wire.zipkin.version1 import BinaryAnnotation, HostAnnotation, Version1Span, to_version2


def version2_to_otlp(body: bytes, received_us: int, *, parse_string_tags: bool = False) -> bytes:
    """An ExportTraceServiceRequest with the spans of a JSON list of version 2.

    received_us: the start of spans without any time. parse_string_tags: tags that look like numbers or bools become
    such. Raises: WireError that names the span and the field
    """
    try:
        return usual_version2_to_otlp(body, received_us, parse_string_tags=parse_string_tags)
    except Unusual:
        typed = as_typed if parse_string_tags else as_text
        spans = (_version2(span, f"[{n}]", typed) for n, span in enumerate(_list(body)))
    return to_otlp(spans, received_us)


def usual_version2_to_otlp(body: bytes, received_us: int, *, parse_string_tags: bool = False) -> bytes:
    """The same of a list in the form that clients usually send. Raises: Unusual"""
    return to_otlp(usual_spans(body, as_typed if parse_string_tags else as_text), received_us)


def version1_to_otlp(body: bytes, received_us: int, *, parse_string_tags: bool = False) -> bytes:
    """The same of version 1."""
    typed = as_typed if parse_string_tags else as_text
    spans = (to_version2(_version1(span, f"[{n}]", typed)) for n, span in enumerate(_list(body)))
    return to_otlp(chain.from_iterable(spans), received_us)


def _version2(span: Any, where: str, typed: Typed) -> ZipkinSpan:
    if not isinstance(span, dict):
        raise WireError(f"{where} is not a span: an object is expected")
    tags = part(span, "tags", dict, where) or {}
    annotations = part(span, "annotations", list, where) or []
    check_parts(where, tags, annotations)
    return ZipkinSpan(
        trace_id=id_bytes(span, "traceId", 16, where),
        id=id_bytes(span, "id", 8, where),
        parent_id=id_bytes(span, "parentId", 8, where, needed=False),
        name=text_bytes(span, "name", where),
        kind=kind_of(span.get("kind")),
        start_us=number(span, "timestamp", where, TIME_US_MAX),
        duration_us=number(span, "duration", where, TIME_US_MAX),
        local=endpoint(span, "localEndpoint", where),
        remote=endpoint(span, "remoteEndpoint", where),
        annotations=[annotation(one, f"{where}.annotations[{n}]") for n, one in enumerate(annotations)],
        tags=tags_of_object(tags, typed),
        debug=span.get("debug") is True,
        shared=span.get("shared") is True,
    )


def _version1(span: Any, where: str, typed: Typed) -> Version1Span:
    if not isinstance(span, dict):
        raise WireError(f"{where} is not a span: an object is expected")
    annotations = part(span, "annotations", list, where) or []
    binary = part(span, "binaryAnnotations", list, where) or []
    check_parts(where, annotations, binary)
    return Version1Span(
        trace_id=id_bytes(span, "traceId", 16, where),
        id=id_bytes(span, "id", 8, where),
        parent_id=id_bytes(span, "parentId", 8, where, needed=False),
        name=text_bytes(span, "name", where),
        start_us=number(span, "timestamp", where, TIME_US_MAX),
        duration_us=number(span, "duration", where, TIME_US_MAX),
        annotations=[_host_annotation(one, f"{where}.annotations[{n}]") for n, one in enumerate(annotations)],
        binary_annotations=[_binary(one, f"{where}.binaryAnnotations[{n}]", typed) for n, one in enumerate(binary)],
        debug=span.get("debug") is True,
    )


def _list(body: bytes) -> list[Any]:
    check_objects(body)
    found = parse_json(body)
    if not isinstance(found, list):
        raise WireError("not a list of Zipkin's spans: the JSON is not a list")
    return [one for one in found if one is not None]


def _host_annotation(found: Any, where: str) -> HostAnnotation:
    plain = annotation(found, where)
    return HostAnnotation(plain.time_us, plain.value, endpoint(found, "endpoint", where))


def _binary(found: Any, where: str, typed: Typed) -> BinaryAnnotation:
    if not isinstance(found, dict):
        raise WireError(f"{where} is not an annotation: an object is expected")
    return BinaryAnnotation(
        text_bytes(found, "key", where), tag_value(found.get("value"), typed), endpoint(found, "endpoint", where)
    )
