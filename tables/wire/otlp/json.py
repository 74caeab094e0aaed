"""OTLP's JSON → protobuf bytes, which then take the normal path.

OTLP's JSON is protobuf's with two differences: ids are hex, and enums are only numbers. JSON costs Python work per
span: some 7 µs in the usual form (`json_spans`), twenty times as much in any other, where protobuf's own parser reads
it.
It may have the same faults as protobuf: strings that are not Unicode get U+FFFD, and null means absent.

Source: OTLP specification, "JSON Protobuf Encoding"
"""

import base64
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import orjson
from google.protobuf import json_format
from msgspec import Raw
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tables.errors import WireError
from tables.wire.json_text import check_objects, parse_json
from tables.wire.otlp.clean import NESTING_MAX
from tables.wire.otlp.encode import field
from tables.wire.otlp.json_spans import (
    JsonRequest,
    encode_resource,
    encode_scope,
    encode_span,
    read_request,
    read_resource,
    read_scope,
)
from tables.wire.usual import Unusual

_IDS: Final = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
_SPAN_IDS: Final = ("spanId", "span_id", "spanID")
# Fields beside the spans, which hold none.
_KNOWN: Final = frozenset({"resource", "scope", "schemaUrl", "schema_url"})
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*")
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]*|[A-Za-z0-9_-]*)={0,2}")
_LISTS: Final = frozenset({"arrayValue", "kvlistValue", "array_value", "kvlist_value"})
_BYTES: Final = ("bytesValue", "bytes_value")
_SPECIAL: Final = _LISTS | {*_BYTES, "values"}

_NAMES_TOLD: Final = 3
# A look at the clock takes as long as some spans, a span up to a millisecond.
_SPANS_PER_LOOK: Final = 32


class TooSlow(WireError):  # noqa: N818  (says what it is)
    """A body that exceeds the limit of CPU time."""


class Converted(NamedTuple):
    """A request as protobuf. unknown: dropped fields that OTLP does not define and that hold spans, with the number of
    spans
    """

    body: bytes
    unknown: dict[str, int]

    @property
    def left_out(self) -> int:
        """Number of spans in fields that OTLP does not define."""
        return sum(self.unknown.values())


def to_protobuf(body: bytes, cpu_s_max: float = float("inf"), *, usual_only: bool = False) -> Converted:
    """The request as protobuf. Raises: WireError with the problem and its position; TooSlow after cpu_s_max

    usual_only: raises Unusual where that would take long for its size
    """
    end_s = time.thread_time() + cpu_s_max
    check_objects(body)
    unknown = dict[str, int]()
    resources: list[list[bytes]] = []
    try:
        scopes = _usual_scopes(read_request(body), resources)
    except Unusual:
        if usual_only:
            raise
        scopes = _scopes(_request(body), resources, unknown)
    del body
    # Span by span: a parser that gets all at once cannot be stopped.
    looked = 0
    for scope, where, spans in scopes:
        encoded = [scope]
        for number, span in enumerate(spans):
            encoded.append(encode_span(span) if usual_only else _encoded(span, f"{where}.spans[{number}]"))
            looked += 1
            if looked >= _SPANS_PER_LOOK:
                looked = 0
                _check_time(end_s, cpu_s_max)
        resources[-1].append(field(2, b"".join(encoded)))
    _check_time(end_s, cpu_s_max)
    return Converted(b"".join([field(1, b"".join(resource)) for resource in resources]), unknown)


def _request(body: bytes) -> dict[str, Any]:
    request = parse_json(body)
    if not isinstance(request, dict):
        raise WireError("not an OTLP ExportTraceServiceRequest: the JSON is not an object with resourceSpans")
    if b"null" in body:
        _tidy(request)
    return request


def _check_time(end_s: float, cpu_s_max: float) -> None:
    if time.thread_time() > end_s:
        raise TooSlow(f"the JSON takes longer to read than {cpu_s_max:g} s (distributor.input.body_cpu_s_max)")


def _tidy(request: Any) -> None:
    """Removes nulls: absent fields and items; a null in a list of values stays as an empty value. A list below the
    nesting limit becomes its JSON as bytes, as in protobuf. Raises: WireError for bytes that are not base64
    """
    todo: list[tuple[Any, int]] = [(request, 0)]
    while todo:
        value, lists = todo.pop()
        if isinstance(value, list):
            if None in value:
                value[:] = [item for item in value if item is not None]
            todo += [(item, lists) for item in value if isinstance(item, (dict, list))]
            continue
        if None in value.values():
            for key in [key for key, item in value.items() if item is None]:
                del value[key]
        if not _SPECIAL.isdisjoint(value):
            lists += _tidy_value(value, lists)
        todo += [(item, lists) for item in value.values() if isinstance(item, (dict, list))]


def _tidy_value(value: dict[str, Any], lists: int) -> bool:
    """An attribute value, or the list in it. Out: whether its content is one list deeper"""
    for key in _BYTES:
        text = value.get(key)
        if isinstance(text, str) and _BASE64.fullmatch(text) is None:
            raise WireError(f"not an OTLP ExportTraceServiceRequest: {key} is {text[:64]!r}, not base64")
    if isinstance(found := value.get("values"), list):
        value["values"] = [{} if item is None else item for item in found]
    if _LISTS.isdisjoint(value):
        return False
    if lists >= NESTING_MAX:
        kept = _json_text(value).encode()
        value.clear()
        value["bytesValue"] = base64.b64encode(kept).decode()
    return True


def _json_text(value: Any) -> str:
    """A value as JSON of any depth: no encoder goes as deep as the parser does."""
    out: list[str] = []
    todo: list[Any] = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, bytes):  # a piece of the text itself, which no value of JSON is
            out.append(one.decode())
        elif isinstance(one, dict):
            todo.append(b"}")
            for number, (key, item) in reversed(list(enumerate(one.items()))):
                todo += [item, (b"," if number else b"") + orjson.dumps(key) + b":"]
            todo.append(b"{")
        elif isinstance(one, list):
            todo.append(b"]")
            for number, item in reversed(list(enumerate(one))):
                todo += [item, b"," if number else b""]
            todo.append(b"[")
        else:
            out.append(orjson.dumps(one).decode())
    return "".join(out)


def _usual_scopes(request: JsonRequest, parts: list[list[bytes]]) -> Iterator[tuple[bytes, str, Sequence[Any]]]:
    """As `_scopes`, of a request in the usual form. Its spans are JSON still."""
    for i, resource in enumerate(request.resource_spans):
        where = f"resourceSpans[{i}]"
        try:
            parts.append([encode_resource(resource)])
        except Unusual:
            parts.append([_parsed(_dict("resource", resource.resource, resource.schema_url), ResourceSpans(), where)])
        for j, scope in enumerate(resource.scope_spans):
            place = f"{where}.scopeSpans[{j}]"
            try:
                encoded = encode_scope(scope)
            except Unusual:
                encoded = _parsed(_dict("scope", scope.scope, scope.schema_url), ScopeSpans(), place)
            yield encoded, place, scope.spans


def _dict(name: str, owner: Raw, schema_url: str) -> dict[str, Any]:
    data = bytes(owner)
    return {"schemaUrl": schema_url} | ({name: parse_json(data)} if data else {})


def _scopes(
    request: dict[str, Any], parts: list[list[bytes]], unknown: dict[str, int]
) -> Iterator[tuple[bytes, str, Sequence[Any]]]:
    """Adds to `parts`, for each ResourceSpans, what is not in its scopes. Out: each ScopeSpans without its spans, its
    position, its spans. Raises: WireError
    """
    resources = _take_list(request, "resourceSpans", "resource_spans", "")
    _count_unknown(request, "", unknown)
    for i, resource in enumerate(resources):
        where = f"resourceSpans[{i}]"
        scopes = _take_list(_object(resource, where), "scopeSpans", "scope_spans", where)
        _count_unknown(resource, where, unknown)
        parts.append([_resource(resource, where)])
        for j, scope in enumerate(scopes):
            place = f"{where}.scopeSpans[{j}]"
            spans = _take_list(_object(scope, place), "spans", "spans", place)
            _count_unknown(scope, place, unknown)
            yield _scope(scope, place), place, spans


def _resource(found: dict[str, Any], where: str) -> bytes:
    try:
        return encode_resource(read_resource(found))
    except Unusual:
        return _parsed(found, ResourceSpans(), where)


def _scope(found: dict[str, Any], where: str) -> bytes:
    try:
        return encode_scope(read_scope(found))
    except Unusual:
        return _parsed(found, ScopeSpans(), where)


def _parsed(found: dict[str, Any], message: Any, where: str) -> bytes:
    _tidy(found)
    _parse(found, message, where)
    return bytes(message.SerializeToString())


def _encoded(span: Any, where: str) -> bytes:
    """The field `spans` of ScopeSpans with this span, which may be JSON still. Raises: WireError"""
    try:
        return encode_span(span)
    except Unusual:
        pass
    if isinstance(span, Raw):
        span = parse_json(bytes(span))
    if isinstance(span, dict):
        _tidy(span)
    message = Span()
    _parse_span(span, message, where)
    return field(2, message.SerializeToString())


def _parse_span(span: Any, message: Any, where: str) -> None:
    holders = [(_object(span, where), where)]
    links = span.get("links")
    if isinstance(links, list):
        holders += [(link, f"{where}.links[{n}]") for n, link in enumerate(links) if isinstance(link, dict)]
    for holder, place in holders:
        for key in _IDS:
            if key in holder:
                holder[key] = _base64_of_hex(holder[key], f"{place}.{key}")
    _parse(span, message, where)


def _parse(source: dict[str, Any], message: Any, where: str) -> None:
    try:
        json_format.ParseDict(source, message, ignore_unknown_fields=True)
    except (json_format.ParseError, RecursionError, ValueError) as err:
        raise WireError(f"not an OTLP ExportTraceServiceRequest: {where}: {err}") from err


def _take_list(holder: dict[str, Any], camel: str, snake: str, where: str) -> list[Any]:
    """Removes a field from its object, under either name. Raises: WireError if it is not a list, or duplicate"""
    place = f"{where}.{camel}" if where else camel
    if camel != snake and camel in holder and snake in holder:
        raise WireError(f"{place} is there twice, also as {snake}")
    found = holder.pop(camel, None) if camel in holder else holder.pop(snake, None)
    if found is None:
        return []
    if not isinstance(found, list):
        raise WireError(f"{place} is not a list")
    return found


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WireError(f"{where} is not an object")
    return value


def _count_unknown(holder: dict[str, Any], where: str, unknown: dict[str, int]) -> None:
    """Counts spans in fields that OTLP does not define here: from an older version, another format, or a
    misspelling.
    """
    for key, value in holder.items():
        if key not in _KNOWN and (count := _spans_in(value, key)):
            place = f"{where}.{key}" if where else key
            unknown[place[:200]] = count


def _spans_in(value: Any, key: str) -> int:
    """Number of spans in such a field: objects with a span id, else the items of the innermost lists."""
    with_id = in_lists = 0
    todo: list[tuple[Any, str]] = [(value, key)]
    while todo:
        found, name = todo.pop()
        if isinstance(found, list):
            todo += [(item, name) for item in found if isinstance(item, (dict, list))]
            if name.lower().endswith("spans"):
                in_lists += sum(1 for item in found if not _has_lists_of_spans(item))
        elif isinstance(found, dict):
            if any(name in found for name in _SPAN_IDS):
                with_id += 1
            else:
                todo += [(item, name) for name, item in found.items() if isinstance(item, (dict, list))]
    return max(with_id, in_lists)


def _has_lists_of_spans(item: Any) -> bool:
    return isinstance(item, dict) and any(
        isinstance(value, list) and key.lower().endswith("spans") for key, value in item.items()
    )


def unknown_text(unknown: dict[str, int]) -> str:
    """The message to the client about spans in fields that OTLP does not define."""
    names = list(unknown)
    more = f" and {len(names) - _NAMES_TOLD} more" if len(names) > _NAMES_TOLD else ""
    return (
        f"{sum(unknown.values())} spans are in {', '.join(names[:_NAMES_TOLD])}{more}, which OTLP does not have: send "
        "them in resourceSpans[].scopeSpans[].spans"
    )


def _base64_of_hex(text: object, where: str) -> str:
    if not isinstance(text, str):
        raise WireError(f"{where} is not a string of hexadecimal digits")
    if _HEX.fullmatch(text) is None:
        raise WireError(f"{where} is {text[:64]!r}, not hexadecimal digits")
    return base64.b64encode(bytes.fromhex(text)).decode()
