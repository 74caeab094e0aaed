"""OTLP's JSON → its protobuf bytes, which then go the way of all requests.

OTLP's JSON is protobuf's with two differences: ids are hex, and enums are numbers only. JSON is for browsers and
trials by hand: it costs Python work per span, protobuf does not.

Source: OTLP specification, "JSON Protobuf Encoding"
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Any, Final

import orjson
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tables.errors import WireError

_IDS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")

# An object costs microseconds. Attributes, the smallest ones that come in numbers, have two in 50 bytes.
_BYTES_PER_OBJECT: Final = 12
_OBJECTS_ALWAYS: Final = 1000


def to_protobuf(body: bytes) -> bytes:
    """Raises: WireError naming what is wrong and where."""
    if body.count(b"{") > _OBJECTS_ALWAYS + len(body) // _BYTES_PER_OBJECT:
        raise WireError("not an OTLP ExportTraceServiceRequest: the JSON is made of very small objects")
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise WireError(f"not JSON: {err}") from err
    if not isinstance(request, dict):
        raise WireError("not an OTLP ExportTraceServiceRequest: the JSON is not an object with resourceSpans")
    for holder, where in _id_holders(request):
        for key in _IDS:
            if key in holder:
                holder[key] = _base64_of_hex(holder[key], f"{where}.{key}")
    try:
        message = json_format.ParseDict(request, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (json_format.ParseError, RecursionError) as err:
        raise WireError(f"not an OTLP ExportTraceServiceRequest: {err}") from err
    return bytes(message.SerializeToString())


def _id_holders(request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Spans and links, each with its place. What has another shape is left to the protobuf parser's message."""
    for i, resource in _items(request, "resourceSpans", "resource_spans"):
        for j, scope in _items(resource, "scopeSpans", "scope_spans"):
            for k, span in _items(scope, "spans", "spans"):
                where = f"resourceSpans[{i}].scopeSpans[{j}].spans[{k}]"
                yield span, where
                for n, link in _items(span, "links", "links"):
                    yield link, f"{where}.links[{n}]"


def _items(holder: dict[str, Any], camel: str, snake: str) -> Iterator[tuple[int, dict[str, Any]]]:
    found = holder.get(camel, holder.get(snake))
    if isinstance(found, list):
        yield from ((number, item) for number, item in enumerate(found) if isinstance(item, dict))


def _base64_of_hex(text: object, where: str) -> str:
    if not isinstance(text, str):
        raise WireError(f"{where} is not a string of hexadecimal digits")
    try:
        return base64.b64encode(bytes.fromhex(text)).decode()
    except (ValueError, binascii.Error) as err:
        raise WireError(f"{where} is {text[:64]!r}, not hexadecimal digits") from err
