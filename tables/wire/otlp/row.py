"""Rows of a record → OTLP, for spans that cannot be sealed. Python work per span: such spans are rare."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tables.schema import VALUE_FIELDS
from tables.wire.otlp.nested import NESTED, fit_nested

_UINT64: Final = 2**64 - 1
# Where a resource or scope is none: its bytes as an attribute of this name.
UNREADABLE: Final = "stretto.unreadable"
_OWNER_COLUMNS: Final = frozenset({"resource", "scope", "resource_schema_url", "scope_schema_url"})
_COUNTS: Final = ("flags", "dropped_attributes_count", "dropped_events_count", "dropped_links_count")

Owner = TypeVar("Owner", Resource, InstrumentationScope)


def rows_as_otlp(batch: pa.RecordBatch) -> tuple[list[bytes], list[bytes]]:
    """For each row a serialized Span, and a ResourceSpans with its resource and scope but no span; equal owners are the
    same object. batch: from `record.decode`
    """
    owner_names = [name for name in batch.schema.names if name in _OWNER_COLUMNS]
    owners: dict[tuple[Any, ...], bytes] = {}
    spans, of_rows = [], []
    for row in range(len(batch)):
        found = {name: batch.column(name)[row].as_py() for name in batch.schema.names}
        key = tuple(found[name] for name in owner_names)
        if key not in owners:
            owners[key] = _owners(found)
        spans.append(bytes(_span(found).SerializeToString()))
        of_rows.append(owners[key])
    return spans, of_rows


def _owners(found: Mapping[str, Any]) -> bytes:
    scoped = ScopeSpans(
        scope=_owner(InstrumentationScope, found["scope"]), schema_url=found.get("scope_schema_url") or ""
    )
    whole = ResourceSpans(
        resource=_owner(Resource, found["resource"]),
        schema_url=found.get("resource_schema_url") or "",
        scope_spans=[scoped],
    )
    return bytes(whole.SerializeToString())


def _span(found: Mapping[str, Any]) -> Span:
    parent = found["parent_span_id"]
    return Span(
        trace_id=found["trace_id"],
        span_id=found["span_id"],
        parent_span_id=parent if any(parent) else b"",
        trace_state=found.get("trace_state", ""),
        name=found["name"],
        kind=found["kind"],
        start_time_unix_nano=found["start_ns"] & _UINT64,
        end_time_unix_nano=(found["start_ns"] + found["duration_ns"]) & _UINT64,
        status=Status(code=found["status_code"], message=found["status_message"]),
        attributes=[_key_value(pair["key"], pair) for pair in found["attributes"]],
        events=[
            Span.Event(**_plain(event), attributes=_nested_pairs(event["attributes"]))
            for event in found.get("events", ())
        ],
        links=[
            Span.Link(**_plain(link), attributes=_nested_pairs(link["attributes"])) for link in found.get("links", ())
        ],
        **{name: found[name] for name in _COUNTS if name in found},
    )


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an event or link, without attributes."""
    return {name: value for name, value in item.items() if name != "attributes"}


def _nested_pairs(pairs: Iterable[Mapping[str, Any]]) -> list[KeyValue]:
    return [_key_value(pair["key"], pair["value"] or {}) for pair in pairs]


def _key_value(key: str, fields: Mapping[str, Any]) -> KeyValue:
    for name in VALUE_FIELDS:
        value = fields.get(name)
        if value is not None:
            return KeyValue(key=key, value=_any(name, value))
    return KeyValue(key=key, value=AnyValue())


def _any(field: str, value: Any) -> AnyValue:
    if field not in NESTED:
        return AnyValue(**{field: value})
    kept, data, _ = fit_nested(field, value)
    if kept == "bytes_value":
        return AnyValue(bytes_value=data)
    out = AnyValue()
    getattr(out, kept).MergeFromString(data)
    getattr(out, kept).SetInParent()
    return out


def _owner(message: type[Owner], raw: bytes) -> Owner:
    try:
        found = message.FromString(raw)
    except DecodeError:
        return message(attributes=[KeyValue(key=UNREADABLE, value=AnyValue(bytes_value=raw))])
    found.DiscardUnknownFields()
    return found
