"""Rows of a vParquet file, one per trace → rows of spans, as `tables.wire.otlp.decoder` makes them of requests."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import (
    Int32s,
    fixed_bytes,
    fixed_width,
    list_offsets,
    list_parents,
    list_values,
    numbers,
)
from tables.schema import KEY_VALUE, VALUE_FIELDS
from tables.tempo.attributes import OneKey, TempoAttributes, attributes_of, encoded, one_key, with_keys
from tables.tempo.block_meta import Assigned
from tables.tempo.owners import resources, scopes, spread

# Attributes that always have a column of their own in vParquet4: column → key.
RESOURCE_KEYS: Final = {
    "Cluster": "cluster",
    "Namespace": "namespace",
    "Pod": "pod",
    "Container": "container",
    "K8sClusterName": "k8s.cluster.name",
    "K8sNamespaceName": "k8s.namespace.name",
    "K8sPodName": "k8s.pod.name",
    "K8sContainerName": "k8s.container.name",
}
SPAN_KEYS: Final = {"HttpMethod": "http.method", "HttpUrl": "http.url", "HttpStatusCode": "http.status_code"}
DEDICATED: Final = "DedicatedAttributes"
_COUNTS: Final = {
    "DroppedAttributesCount": "dropped_attributes_count",
    "DroppedEventsCount": "dropped_events_count",
    "DroppedLinksCount": "dropped_links_count",
}
_INT8_MAX: Final = 127


@dataclass(frozen=True, slots=True, eq=False)
class TraceRows:
    """spans: columns of a record; odd_ids: ids with another length than OTLP's, which were padded or cut

    wrong: the first trace that has another number of spans than Tempo says; b"": none has
    """

    spans: pa.RecordBatch
    odd_ids: int
    wrong: bytes


def span_rows(traces: pa.RecordBatch, assigned: tuple[Assigned, ...]) -> TraceRows:
    """In: rows of data.parquet with the columns that `tables.tempo.file` reads; strings are UTF-8."""
    resource_lists = traces.column("rs")
    resource_groups = list_values(resource_lists)
    scope_lists = resource_groups.field("ss")
    scope_groups = list_values(scope_lists)
    span_lists = scope_groups.field("Spans")
    spans = list_values(span_lists)
    scope_of = list_parents(span_lists)
    resource_of = list_parents(scope_lists)[scope_of]
    trace_of = list_parents(resource_lists)[resource_of]

    trace_ids, odd_traces = ids(traces.column("TraceID"), 16)
    span_ids, odd_spans = ids(spans.field("SpanID"), 8)
    parents, odd_parents = ids(spans.field("ParentSpanID"), 8, may_be_empty=True)
    start = numbers(spans.field("StartTimeUnixNano")).view(np.int64)
    columns: dict[str, Any] = {
        "trace_id": _fixed(fixed_bytes(trace_ids)[trace_of], 16),
        "span_id": span_ids,
        "parent_span_id": parents,
        "name": encoded(spans.field("Name")),
        "kind": pa.array(_small(spans.field("Kind"))),
        "start_ns": pa.array(start),
        "duration_ns": pa.array(numbers(spans.field("DurationNano")).view(np.int64)),
        "status_code": pa.array(_small(spans.field("StatusCode"))),
        "status_message": spans.field("StatusMessage"),
        "attributes": _span_attributes(spans, assigned),
        "resource": spread(_resources(resource_groups.field("Resource"), assigned), resource_of),
        "scope": spread(_scopes(scope_groups.field("Scope")), scope_of),
    }
    for column, ours in _COUNTS.items():
        counts = _count(spans.field(column))
        if counts.any():
            columns[ours] = pa.array(counts)
    if pc.max(pc.binary_length(spans.field("TraceState"))).as_py():
        columns["trace_state"] = spans.field("TraceState")
    if len(spans.field("Events").values):
        columns["events"] = _events(spans.field("Events"), start, assigned)
    if len(spans.field("Links").values):
        columns["links"] = _links(spans.field("Links"))
    wrong = _wrong(traces, np.bincount(trace_of, minlength=len(traces)))
    return TraceRows(pa.RecordBatch.from_pydict(columns), odd_traces + odd_spans + odd_parents, wrong)


def _wrong(traces: pa.RecordBatch, spans: npt.NDArray[np.int64]) -> bytes:
    """The first trace whose services have, by Tempo's own statistics, another number of spans together. What Tempo has
    converted from an older format has none.
    """
    if "ServiceStats" not in traces.schema.names:
        return b""
    lists = traces.column("ServiceStats")
    items = lists.items if pa.types.is_map(lists.type) else lists.values
    totals = np.zeros(len(items) + 1, np.int64)
    np.cumsum(numbers(items.field("SpanCount")), out=totals[1:])
    bounds = totals[list_offsets(lists)]
    at = np.flatnonzero((np.diff(bounds) != spans) & (np.diff(list_offsets(lists)) > 0))
    found: bytes = traces.column("TraceID")[int(at[0])].as_py() if len(at) else b""
    return found


def ids(column: Any, width: int, *, may_be_empty: bool = False) -> tuple[pa.FixedSizeBinaryArray, int]:
    """Ids of OTLP's length, and how many had another one: shorter ones get zeros in front, of longer ones the end
    counts.
    """
    fixed, right = fixed_width(column, width)
    if right is None:
        return fixed, 0
    lengths = np.diff(list_offsets(column))
    odd = np.flatnonzero(~right & (lengths > 0)) if may_be_empty else np.flatnonzero(~right)
    if not len(odd):
        return fixed, 0
    data = fixed_bytes(fixed).copy()
    for row, raw in zip(odd.tolist(), column.take(pa.array(odd)).to_pylist(), strict=True):
        data[row] = np.frombuffer(raw[-width:].rjust(width, b"\0"), np.uint8)
    return _fixed(data, width), len(odd)


def _fixed(data: npt.NDArray[np.uint8], width: int) -> Any:
    return pa.Array.from_buffers(pa.binary(width), len(data), [None, pa.py_buffer(np.ascontiguousarray(data))])


def _small(column: Any) -> npt.NDArray[np.int8]:
    """Enum numbers as int8; unknown numbers become 0, 'unspecified'."""
    codes = numbers(column)
    return np.where((codes >= 0) & (codes <= _INT8_MAX), codes, 0).astype(np.int8)


def _count(column: Any) -> npt.NDArray[np.uint32]:
    """Tempo stores OTLP's unsigned counts as signed ones."""
    return numbers(column).view(np.uint32)


def _keys(struct: Any, assigned: tuple[Assigned, ...], scope: str, fixed: dict[str, str]) -> list[OneKey]:
    """The attributes of owners that have a column of their own."""
    names = {field.name for field in struct.type}
    found = [one_key(key, struct.field(column)) for column, key in fixed.items() if column in names]
    if DEDICATED in names:
        dedicated = struct.field(DEDICATED)
        there = {field.name for field in dedicated.type}
        found += [
            one_key(one.key, dedicated.field(one.column))
            for one in assigned
            if one.scope == scope and one.column in there
        ]
    return found


def _span_attributes(spans: Any, assigned: tuple[Assigned, ...]) -> pa.ListArray:
    attributes = with_keys(attributes_of(spans.field("Attrs")), _keys(spans, assigned, "span", SPAN_KEYS))
    fields = [attributes.keys, *attributes.values.values()]
    struct = pa.StructArray.from_arrays(fields, ["key", *attributes.values])
    return pa.ListArray.from_arrays(pa.array(attributes.offsets), struct)


def _resources(groups: Any, assigned: tuple[Assigned, ...]) -> Any:
    names = groups.field("ServiceName")
    named = pc.if_else(pc.equal(names, ""), pa.scalar(None, pa.string()), names)
    keys = [OneKey("service.name", {"string_value": named}), *_keys(groups, assigned, "resource", RESOURCE_KEYS)]
    attributes = with_keys(attributes_of(groups.field("Attrs")), keys)
    return resources(attributes, pa.array(_count(groups.field("DroppedAttributesCount"))))


def _scopes(groups: Any) -> Any:
    dropped = pa.array(_count(groups.field("DroppedAttributesCount")))
    return scopes(groups.field("Name"), groups.field("Version"), attributes_of(groups.field("Attrs")), dropped)


def _pairs(attributes: TempoAttributes) -> pa.ListArray:
    """As a list of (key, AnyValue), the form of events and links."""
    keys = attributes.keys.dictionary_decode()
    values = [
        attributes.values[field] if field in attributes.values else pa.nulls(len(keys), KEY_VALUE.field(field).type)
        for field in VALUE_FIELDS
    ]
    struct = pa.StructArray.from_arrays([keys, pa.StructArray.from_arrays(values, VALUE_FIELDS)], ["key", "value"])
    return pa.ListArray.from_arrays(pa.array(attributes.offsets), struct)


def _events(lists: pa.ListArray, start_ns: npt.NDArray[np.int64], assigned: tuple[Assigned, ...]) -> pa.ListArray:
    events = list_values(lists)
    attributes = with_keys(attributes_of(events.field("Attrs")), _keys(events, assigned, "event", {}))
    since = numbers(events.field("TimeSinceStartNano"))
    time_ns = since + start_ns[list_parents(lists)].view(np.uint64)
    return _lists(
        lists,
        {
            "time_unix_nano": pa.array(time_ns),
            "name": events.field("Name"),
            "attributes": _pairs(attributes),
            "dropped_attributes_count": pa.array(_count(events.field("DroppedAttributesCount"))),
        },
    )


def _links(lists: pa.ListArray) -> pa.ListArray:
    links = list_values(lists)
    return _lists(
        lists,
        {
            "trace_id": links.field("TraceID"),
            "span_id": links.field("SpanID"),
            "trace_state": links.field("TraceState"),
            "attributes": _pairs(attributes_of(links.field("Attrs"))),
            "dropped_attributes_count": pa.array(_count(links.field("DroppedAttributesCount"))),
            "flags": pa.array(np.zeros(len(links), np.uint32)),
        },
    )


def _lists(lists: pa.ListArray, fields: dict[str, Any]) -> pa.ListArray:
    """Lists of the same lengths as `lists`, of structs with these fields."""
    offsets: Int32s = list_offsets(lists)
    struct = pa.StructArray.from_arrays(list(fields.values()), list(fields))
    return pa.ListArray.from_arrays(pa.array(offsets - offsets[0]), struct)
