"""JSON as Go's jsonpb writes protobuf, which Tempo's clients read: names in lowerCamelCase, 64-bit integers
as strings, 32-bit ones as numbers, bytes in base64, enums by name, zero values left out (except in a oneof,
where the presence says which it is).
"""

import math
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, EntityRef, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from query.results import Attributes, AttributeValue, Inspected

Json = dict[str, Any]

UINT32_MAX: Final = 2**32 - 1
# The service of a trace whose root span is not known (yet).
NO_ROOT: Final = "<root span not yet received>"


def double(value: float) -> float | str:
    """A number, or the words that stand for those that JSON does not have."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def value_json(value: AttributeValue) -> Json:
    """A query's value as OTLP's AnyValue."""
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):  # before int, which it is a kind of
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": double(value)}
    return {"arrayValue": {"values": [value_json(item) for item in value]} if value else {}}


def attributes_json(attributes: Attributes) -> list[Json]:
    """A query's attributes as a list of OTLP's KeyValue."""
    return [{"key": key, "value": value_json(value)} for key, value in attributes]


def search_metrics(inspected: Inspected) -> Json:
    """Tempo's SearchMetrics: how much work an answer took. A source is what Tempo calls a job."""
    return _filled(
        inspectedTraces=min(inspected.traces, UINT32_MAX),
        inspectedBytes=str(inspected.bytes) if inspected.bytes else None,
        inspectedSpans=str(inspected.spans) if inspected.spans else None,
        completedJobs=min(inspected.sources, UINT32_MAX),
        totalJobs=min(inspected.sources + inspected.left, UINT32_MAX),
    )


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")


def _any(value: AnyValue) -> Json:
    match value.WhichOneof("value"):
        case "string_value":
            return {"stringValue": value.string_value}
        case "int_value":
            return {"intValue": str(value.int_value)}
        case "bool_value":
            return {"boolValue": value.bool_value}
        case "double_value":
            return {"doubleValue": double(value.double_value)}
        case "array_value":
            items = [_any(item) for item in value.array_value.values]
            return {"arrayValue": {"values": items} if items else {}}
        case "kvlist_value":
            pairs = _key_values(value.kvlist_value.values)
            return {"kvlistValue": {"values": pairs} if pairs else {}}
        case "bytes_value":
            return {"bytesValue": _base64(value.bytes_value)}
        case _:  # no value
            return {}


def _key_values(attributes: Iterable[KeyValue]) -> list[Json]:
    return [{"key": item.key, "value": _any(item.value)} for item in attributes]


def _filled(**fields: Any) -> Json:
    """The fields that are not zero: protobuf's JSON leaves the others out."""
    return {name: value for name, value in fields.items() if value}


def _event(event: Span.Event) -> Json:
    return _filled(
        timeUnixNano=str(event.time_unix_nano) if event.time_unix_nano else None,
        name=event.name,
        attributes=_key_values(event.attributes),
        droppedAttributesCount=event.dropped_attributes_count,
    )


def _link(link: Span.Link) -> Json:
    return _filled(
        traceId=_base64(link.trace_id),
        spanId=_base64(link.span_id),
        traceState=link.trace_state,
        attributes=_key_values(link.attributes),
        droppedAttributesCount=link.dropped_attributes_count,
    )


def enum_name(names: Mapping[int, str], number: int) -> str | int | None:
    """An enum's word; the number where a newer client sent one that has none here; None for zero."""
    return names.get(number, number) if number else None


_KINDS: Final[dict[int, str]] = {number: name for name, number in Span.SpanKind.items()}
_CODES: Final[dict[int, str]] = {number: name for name, number in Status.StatusCode.items()}


def _span(span: Span) -> Json:
    """Without `flags`: Tempo's JSON does not have them. They are in the protobuf answer."""
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    out: Json = _filled(
        traceId=_base64(span.trace_id),
        spanId=_base64(span.span_id),
        traceState=span.trace_state,
        parentSpanId=_base64(span.parent_span_id),
        name=span.name,
        kind=enum_name(_KINDS, span.kind),
        startTimeUnixNano=str(start_ns) if start_ns else None,
        endTimeUnixNano=str(end_ns) if end_ns else None,
        attributes=_key_values(span.attributes),
        droppedAttributesCount=span.dropped_attributes_count,
        events=[_event(event) for event in span.events],
        droppedEventsCount=span.dropped_events_count,
        links=[_link(link) for link in span.links],
        droppedLinksCount=span.dropped_links_count,
    )
    # Always there, empty where it is unset, as in Tempo's answers.
    out["status"] = _filled(message=span.status.message, code=enum_name(_CODES, span.status.code))
    return out


def _scope_spans(group: ScopeSpans) -> Json:
    scope = _filled(
        name=group.scope.name,
        version=group.scope.version,
        attributes=_key_values(group.scope.attributes),
        droppedAttributesCount=group.scope.dropped_attributes_count,
    )
    return {
        "scope": scope,
        # Each span's objects are gone once it is text: a large trace has millions of them.
        "spans": [orjson.Fragment(orjson.dumps(_span(span))) for span in group.spans],
        **_filled(schemaUrl=group.schema_url),
    }


def _entity_ref(ref: EntityRef) -> Json:
    return _filled(
        schemaUrl=ref.schema_url,
        type=ref.type,
        idKeys=list(ref.id_keys),
        descriptionKeys=list(ref.description_keys),
    )


def resource_spans_json(group: ResourceSpans) -> Json:
    """OTLP's ResourceSpans, several times faster than protobuf's own json_format."""
    resource = _filled(
        attributes=_key_values(group.resource.attributes),
        droppedAttributesCount=group.resource.dropped_attributes_count,
        entityRefs=[_entity_ref(ref) for ref in group.resource.entity_refs],
    )
    return {
        "resource": resource,
        "scopeSpans": [_scope_spans(scope) for scope in group.scope_spans],
        **_filled(schemaUrl=group.schema_url),
    }
