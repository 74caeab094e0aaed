"""OTLP messages → a table in the form of `tables.schema`, one Python object at a time: slow, plain, for tests.

It shares no code with the product's decoder, so that the two can be compared.
"""

import gzip
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from query.scan.stitch import sort_rows, whole
from tables.schema import ATTRIBUTE_TYPES, FIXED, OPTIONAL, attribute_column, parse_attribute_column

_UINT64 = 2**64 - 1
_WORDS = {
    "string_value": "string",
    "int_value": "int",
    "double_value": "double",
    "bool_value": "bool",
    "bytes_value": "bytes",
}


def read_messages(path: Path) -> Iterator[ExportTraceServiceRequest]:
    """The messages of a gzip file, each after its length (uint32, little-endian)."""
    data, at = gzip.decompress(path.read_bytes()), 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        yield ExportTraceServiceRequest.FromString(data[at + 4 : at + 4 + length])
        at += 4 + length


def span_table(requests: Iterable[ExportTraceServiceRequest]) -> pa.Table:
    """Every span of the requests, sorted, with trace facts and nested-set numbers; of equal spans only one."""
    rows = {repr((sorted(row.items()), rest)): row for request in requests for row, rest in _rows(request)}
    return make_table(list(rows.values()))


def make_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows by column names → sorted table with facts; fixed columns that a row lacks get what an empty span has."""
    blank = {"parent_span_id": bytes(8), "kind": 0, "status_code": 0, "status_message": "", "name": ""}
    blank |= {"scope_name": "", "scope_version": ""}
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {}
    for name in [*FIXED.names, *(name for name in names if name not in FIXED.names)]:
        values = [row.get(name, blank.get(name)) for row in rows]
        columns[name] = pa.array(values, column_type(name))
    return whole(sort_rows(pa.table(columns)))


def request_of(rows: list[dict[str, Any]]) -> bytes:
    """The inverse: rows as an OTLP request that sends them, in their order."""
    message = ExportTraceServiceRequest()
    for row in rows:
        group = message.resource_spans.add()
        scoped = group.scope_spans.add()
        scoped.scope.name, scoped.scope.version = row.get("scope_name") or "", row.get("scope_version") or ""
        span = scoped.spans.add(
            trace_id=row["trace_id"],
            span_id=row["span_id"],
            parent_span_id=b"" if (parent := row.get("parent_span_id", bytes(8))) == bytes(8) else parent,
            name=row.get("name", ""),
            kind=row.get("kind", 0),
            start_time_unix_nano=row["start_ns"] & _UINT64,
            end_time_unix_nano=row["start_ns"] + row["duration_ns"] & _UINT64,
            status={"code": row.get("status_code", 0), "message": row.get("status_message", "")},
        )
        owners = {"resource": group.resource, "instrumentation": scoped.scope, "span": span}
        for column, value in row.items():
            attribute = parse_attribute_column(column)
            if attribute is not None and value is not None:
                owners[attribute.scope].attributes.add(key=attribute.key, value=_any(attribute.type, value))
        for event in row.get("events") or []:
            span.events.add(time_unix_nano=event["time_ns"], name=event["name"]).attributes.extend(_pairs(event))
        for link in row.get("links") or []:
            span.links.add(trace_id=link["trace_id"], span_id=link["span_id"]).attributes.extend(_pairs(link))
    return message.SerializeToString()


def _any(type_: str, value: Any) -> AnyValue:
    if type_.endswith("[]"):
        return AnyValue(array_value=ArrayValue(values=[_any(type_.removesuffix("[]"), item) for item in value]))
    return AnyValue.FromString(value) if type_ == "any" else AnyValue(**{f"{type_}_value": value})


def _pairs(entry: dict[str, Any]) -> list[KeyValue]:
    pairs = []
    for pair in entry["attributes"]:
        ((field, value),) = [(name, one) for name, one in pair.items() if name != "key" and one is not None]
        any_ = (
            AnyValue(array_value=ArrayValue.FromString(value)) if field == "array_value" else AnyValue(**{field: value})
        )
        pairs.append(KeyValue(key=pair["key"], value=any_))
    return pairs


def column_type(name: str) -> pa.DataType:
    for schema in (FIXED, OPTIONAL):
        if name in schema.names:
            return schema.field(name).type
    attribute = parse_attribute_column(name)
    assert attribute is not None, name
    return ATTRIBUTE_TYPES[attribute.type]


def _rows(request: ExportTraceServiceRequest) -> Iterator[tuple[dict[str, Any], Any]]:
    """Each span's row, and what else it has."""
    for resource_spans in request.resource_spans:
        resource = _attributes("resource", resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = {
                **_attributes("instrumentation", scope_spans.scope.attributes),
                "scope_name": scope_spans.scope.name,
                "scope_version": scope_spans.scope.version,
            }
            for span in scope_spans.spans:
                row = {
                    **resource,
                    **scope,
                    **_attributes("span", span.attributes),
                    "trace_id": span.trace_id,
                    "span_id": span.span_id,
                    "parent_span_id": span.parent_span_id or bytes(8),
                    "name": span.name,
                    "kind": span.kind,
                    "start_ns": span.start_time_unix_nano,
                    "duration_ns": span.end_time_unix_nano - span.start_time_unix_nano,
                    "status_code": span.status.code,
                    "status_message": span.status.message,
                    **_entries("events", [_event(event) for event in span.events]),
                    **_entries("links", [_link(link) for link in span.links]),
                }
                rest = [span.trace_state, span.flags, resource_spans.schema_url, scope_spans.schema_url]
                rest += [one.dropped_attributes_count for one in (span, resource_spans.resource, scope_spans.scope)]
                rest += [span.dropped_events_count, span.dropped_links_count, *span.events, *span.links]
                yield row, rest


def _entries(column: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {column: entries} if entries else {}


def _event(event: Any) -> dict[str, Any]:
    return {"time_ns": event.time_unix_nano, "name": event.name, "attributes": key_values(event.attributes)}


def _link(link: Any) -> dict[str, Any]:
    return {"trace_id": link.trace_id, "span_id": link.span_id, "attributes": key_values(link.attributes)}


def key_values(attributes: Iterable[Any]) -> list[dict[str, Any]]:
    """OTLP's attributes as rows of `tables.schema.KEY_VALUE`."""
    found = []
    for kv in attributes:
        field = kv.value.WhichOneof("value")
        value = getattr(kv.value, field) if field else None
        found.append({"key": kv.key, field or "string_value": getattr(value, "SerializeToString", lambda v=value: v)()})
    return found


def _attributes(scope: str, attributes: Iterable[Any]) -> dict[str, Any]:
    return {attribute_column(scope, kv.key, word): value for kv in attributes for word, value in [_typed(kv.value)]}


def _typed(value: AnyValue) -> tuple[str, Any]:
    field = value.WhichOneof("value")
    if field in _WORDS:
        return _WORDS[field], getattr(value, field)
    if field == "array_value":
        typed = [_typed(item) for item in value.array_value.values]
        words = {word for word, _ in typed}
        if len(words) == 1 and f"{next(iter(words))}[]" in ATTRIBUTE_TYPES:
            return f"{next(iter(words))}[]", [item for _, item in typed]
    return "any", value.SerializeToString()
