"""Blocks as Grafana Tempo writes them, vParquet4 and vParquet5, from OTLP requests: slow, plain, for tests.

It shares no code with the import, so that the two can be compared.
"""

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tests.helpers.blocks.parquet_footer import bare_repeated

_UINT64 = 2**64 - 1
_COLUMNS = {"string_value": "Value", "int_value": "ValueInt", "double_value": "ValueDouble", "bool_value": "ValueBool"}
_RESOURCE_V4 = {
    "cluster": "Cluster",
    "namespace": "Namespace",
    "pod": "Pod",
    "container": "Container",
    "k8s.cluster.name": "K8sClusterName",
    "k8s.namespace.name": "K8sNamespaceName",
    "k8s.pod.name": "K8sPodName",
    "k8s.container.name": "K8sContainerName",
}
_SPAN_V4 = {
    "http.method": ("HttpMethod", "string_value"),
    "http.url": ("HttpUrl", "string_value"),
    "http.status_code": ("HttpStatusCode", "int_value"),
}
Dedicated = dict[str, tuple[str, str]]  # key → column, field of AnyValue


@dataclass
class TempoBlock:
    """What a block is made of. dedicated: as in meta.json: {"s": scope, "n": name, "t": type}, with the defaults left
    out
    """

    version: str = "vParquet4"
    tenant: str = "single-tenant"
    block_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    dedicated: Sequence[dict[str, str]] = ()
    row_group_traces: int = 2
    replication_factor: int = 0
    compaction_level: int = 0
    stats: bool = True  # whether traces have the statistics of their services

    def write(self, bucket: Path, requests: Iterable[ExportTraceServiceRequest]) -> Path:
        """Writes data.parquet and meta.json. Out: the block's folder"""
        traces = _traces(requests)
        rows = [self._row(trace_id, groups) for trace_id, groups in sorted(traces.items())]
        folder = bucket / self.tenant / self.block_id
        folder.mkdir(parents=True)
        path = folder / "data.parquet"
        table = pa.Table.from_pylist(rows, schema=_schema(self.version, self._columns()))
        pq.write_table(table, path, compression="snappy", row_group_size=self.row_group_traces, store_schema=False)
        if self.version == "vParquet5":
            path.write_bytes(bare_repeated(path.read_bytes()))
        starts = [row["StartTimeUnixNano"] for row in rows]
        ends = [row["EndTimeUnixNano"] for row in rows]
        self._write_meta(folder, len(rows), min(starts, default=0), max(ends, default=0))
        return folder

    def _write_meta(self, folder: Path, traces: int, start_ns: int, end_ns: int) -> None:
        meta = {
            "format": self.version,
            "blockID": self.block_id,
            "tenantID": self.tenant,
            "startTime": _time(start_ns),
            "endTime": _time(end_ns),
            "totalObjects": traces,
            "size": (folder / "data.parquet").stat().st_size,
            "compactionLevel": self.compaction_level,
            "indexPageSize": 0,
            "totalRecords": -(-traces // self.row_group_traces),
            "bloomShards": 1,
            "footerSize": 0,
        }
        if self.dedicated:
            meta["dedicatedColumns"] = list(self.dedicated)
        if self.replication_factor:
            meta["replicationFactor"] = self.replication_factor
        (folder / "meta.json").write_text(json.dumps(meta))

    def _columns(self) -> dict[str, Dedicated]:
        """Per scope, the attributes that have a dedicated column."""
        found: dict[str, Dedicated] = {"resource": {}, "span": {}, "event": {}}
        counts: dict[tuple[str, str], int] = {}
        for one in self.dedicated:
            scope, word = one.get("s", "span"), one.get("t", "string")
            if self.version == "vParquet4" and (word != "string" or scope == "event"):
                continue
            counts[scope, word] = number = counts.get((scope, word), 0) + 1
            found[scope][one["n"]] = (f"{word.capitalize()}{number:02d}", f"{word}_value")
        return found

    def _row(self, trace_id: bytes, groups: list[Any]) -> dict[str, Any]:
        spans = [span for _, scopes in groups for _, found in scopes for span in found]
        start = min(span.start_time_unix_nano for span in spans)
        end = max(span.end_time_unix_nano for span in spans)
        roots = [
            (span, resource)
            for resource, scopes in groups
            for _, found in scopes
            for span in found
            if not span.parent_span_id
        ]
        resources = [self._resource(resource) for resource, _ in groups]
        services: dict[str, list[int]] = {}
        for made, (_, scopes) in zip(resources, groups, strict=True):
            counted = services.setdefault(made["ServiceName"], [0, 0])
            counted[0] += sum(len(found) for _, found in scopes)
            counted[1] += sum(span.status.code == 2 for _, found in scopes for span in found)
        return {
            "TraceID": trace_id,
            "TraceIDText": trace_id.hex(),
            "StartTimeUnixNano": start,
            "EndTimeUnixNano": end,
            "DurationNano": (end - start) & _UINT64,
            "RootServiceName": _service(roots[-1][1]) if roots else "",
            "RootSpanName": roots[-1][0].name if roots else "",
            "ServiceStats": self._stats(services) if self.stats else [],
            "rs": [
                {"Resource": made, "ss": [self._scope(scope, found) for scope, found in scopes]}
                for made, (_, scopes) in zip(resources, groups, strict=True)
            ],
        }

    def _stats(self, services: dict[str, list[int]]) -> list[Any]:
        counts = [(name, {"SpanCount": n, "ErrorCount": errors}) for name, (n, errors) in sorted(services.items())]
        if self.version == "vParquet4":
            return counts
        return [{"ServiceName": name, **stats} for name, stats in counts]

    def _resource(self, resource: Any) -> dict[str, Any]:
        row: dict[str, Any] = {"ServiceName": "", "DroppedAttributesCount": _signed(resource.dropped_attributes_count)}
        fixed = {"service.name": ("ServiceName", "string_value")}
        if self.version == "vParquet4":
            row |= dict.fromkeys(_RESOURCE_V4.values())
            fixed |= {key: (column, "string_value") for key, column in _RESOURCE_V4.items()}
        return row | self._attributes(resource.attributes, row, fixed, "resource")

    def _scope(self, scope: Any, spans: list[Any]) -> dict[str, Any]:
        made = {
            "Name": scope.name,
            "Version": scope.version,
            "Attrs": [_attribute(kv) for kv in scope.attributes],
            "DroppedAttributesCount": _signed(scope.dropped_attributes_count),
        }
        count = {} if self.version == "vParquet4" else {"SpanCount": len(spans)}
        return {"Scope": made, "Spans": [self._span(span) for span in spans]} | count

    def _span(self, span: Any) -> dict[str, Any]:
        row: dict[str, Any] = {
            "SpanID": span.span_id,
            "ParentSpanID": span.parent_span_id,
            "ParentID": 0,
            "NestedSetLeft": 0,
            "NestedSetRight": 0,
            "Name": span.name,
            "Kind": span.kind,
            "TraceState": span.trace_state,
            "StartTimeUnixNano": span.start_time_unix_nano,
            "DurationNano": (span.end_time_unix_nano - span.start_time_unix_nano) & _UINT64,
            "StatusCode": span.status.code,
            "StatusMessage": span.status.message,
            "DroppedAttributesCount": _signed(span.dropped_attributes_count),
            "Events": [self._event(event, span.start_time_unix_nano) for event in span.events],
            "DroppedEventsCount": _signed(span.dropped_events_count),
            "Links": [_link(link) for link in span.links],
            "DroppedLinksCount": _signed(span.dropped_links_count),
        }
        if self.version == "vParquet4":
            row |= dict.fromkeys(column for column, _ in _SPAN_V4.values())
            return row | self._attributes(span.attributes, row, _SPAN_V4, "span")
        return row | {"ChildCount": 0} | self._attributes(span.attributes, row, {}, "span")

    def _event(self, event: Any, start_ns: int) -> dict[str, Any]:
        row = {
            "TimeSinceStartNano": (event.time_unix_nano - start_ns) & _UINT64,
            "Name": event.name,
            "DroppedAttributesCount": _signed(event.dropped_attributes_count),
        }
        if self.version == "vParquet4":
            return row | {"Attrs": [_attribute(kv) for kv in event.attributes]}
        return row | self._attributes(event.attributes, row, {}, "event")

    def _attributes(
        self, attributes: Iterable[Any], row: dict[str, Any], fixed: Dedicated, scope: str
    ) -> dict[str, Any]:
        """Attrs and DedicatedAttributes; fixed columns are set in `row`."""
        columns, found = self._columns()[scope], []
        lists = self.version == "vParquet5"
        dedicated: dict[str, Any] = {column: [] if lists else None for column, _ in columns.values()}
        for kv in attributes:
            kind = kv.value.WhichOneof("value")
            if kv.key in fixed and kind == fixed[kv.key][1]:
                row[fixed[kv.key][0]] = getattr(kv.value, kind)
            elif kv.key in columns and (values := _dedicated(kv.value, columns[kv.key][1], lists)) is not None:
                dedicated[columns[kv.key][0]] = values if lists else values[0]
            else:
                found.append(_attribute(kv))
        return {"Attrs": found} | ({"DedicatedAttributes": dedicated} if dedicated else {})


def _dedicated(value: Any, kind: str, lists: bool) -> list[Any] | None:
    """The values for a dedicated column; None: it cannot hold them."""
    items = value.array_value.values if lists and value.WhichOneof("value") == "array_value" else [value]
    if any(item.WhichOneof("value") != kind for item in items):
        return None
    return [getattr(item, kind) for item in items]


def _attribute(kv: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"Key": kv.key, "IsArray": False, **{column: [] for column in _COLUMNS.values()}}
    kind = kv.value.WhichOneof("value")
    if kind in _COLUMNS:
        return row | {_COLUMNS[kind]: [getattr(kv.value, kind)], "ValueUnsupported": None}
    if kind == "array_value":
        kinds = {item.WhichOneof("value") for item in kv.value.array_value.values}
        if not kinds:
            return row | {"IsArray": True, "ValueUnsupported": None}
        if len(kinds) == 1 and (one := kinds.pop()) in _COLUMNS:
            items = [getattr(item, one) for item in kv.value.array_value.values]
            return row | {"IsArray": True, _COLUMNS[one]: items, "ValueUnsupported": None}
    return row | {"ValueUnsupported": _json(kv.value)}


def _json(value: AnyValue) -> str:
    return MessageToJson(value, indent=None)


def _link(link: Any) -> dict[str, Any]:
    return {
        "TraceID": link.trace_id,
        "SpanID": link.span_id,
        "TraceState": link.trace_state,
        "Attrs": [_attribute(kv) for kv in link.attributes],
        "DroppedAttributesCount": _signed(link.dropped_attributes_count),
    }


def _traces(requests: Iterable[ExportTraceServiceRequest]) -> dict[bytes, list[Any]]:
    """By trace id: (resource, [(scope, spans)])."""
    found: dict[bytes, list[Any]] = {}
    for request in requests:
        for group in request.resource_spans:
            mine: dict[bytes, list[Any]] = {}
            for scoped in group.scope_spans:
                here: dict[bytes, list[Any]] = {}
                for span in scoped.spans:
                    here.setdefault(span.trace_id, []).append(span)
                for trace_id, spans in here.items():
                    mine.setdefault(trace_id, []).append((scoped.scope, spans))
            for trace_id, scopes in mine.items():
                found.setdefault(trace_id, []).append((group.resource, scopes))
    return found


def _service(resource: Any) -> str:
    return next((kv.value.string_value for kv in resource.attributes if kv.key == "service.name"), "")


def _signed(count: int) -> int:
    return count - 2**32 if count >= 2**31 else count


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---- the schema of data.parquet


def _needed(name: str, type_: Any) -> pa.Field:
    return pa.field(name, type_, nullable=False)


def _list(type_: Any) -> Any:
    return pa.list_(_needed("element", type_))


def _struct(**fields: Any) -> Any:
    return pa.struct([_needed(name, type_) for name, type_ in fields.items()])


_STRING, _BYTES, _I32, _I64, _U32, _U64 = pa.string(), pa.binary(), pa.int32(), pa.int64(), pa.uint32(), pa.uint64()
_ATTRS = _list(
    pa.struct(
        [
            _needed("Key", _STRING),
            _needed("IsArray", pa.bool_()),
            _needed("Value", _list(_STRING)),
            _needed("ValueInt", _list(_I64)),
            _needed("ValueDouble", _list(pa.float64())),
            _needed("ValueBool", _list(pa.bool_())),
            pa.field("ValueUnsupported", _STRING),
        ]
    )
)


def _with(type_: Any, *fields: pa.Field) -> Any:
    return pa.struct([*type_, *fields])


def _dedicated_field(version: str, columns: Dedicated) -> list[pa.Field]:
    fields = []
    for column, kind in columns.values():
        type_ = _STRING if kind == "string_value" else _I64
        fields.append(pa.field(column, type_) if version == "vParquet4" else _needed(column, _list(type_)))
    return [_needed("DedicatedAttributes", pa.struct(fields))] if fields else []


def _schema(version: str, columns: dict[str, Dedicated]) -> pa.Schema:
    old = version == "vParquet4"
    event = _struct(TimeSinceStartNano=_U64, Name=_STRING, Attrs=_ATTRS, DroppedAttributesCount=_I32)
    event = event if old else _with(event, *_dedicated_field(version, columns["event"]))
    link = _struct(TraceID=_BYTES, SpanID=_BYTES, TraceState=_STRING, Attrs=_ATTRS, DroppedAttributesCount=_I32)
    span = _struct(
        SpanID=_BYTES,
        ParentSpanID=_BYTES,
        ParentID=_I32,
        NestedSetLeft=_I32,
        NestedSetRight=_I32,
        **({} if old else {"ChildCount": _I32}),
        Name=_STRING,
        Kind=_I64,
        TraceState=_STRING,
        StartTimeUnixNano=_U64,
        DurationNano=_U64,
        StatusCode=_I64,
        StatusMessage=_STRING,
        Attrs=_ATTRS,
        DroppedAttributesCount=_I32,
        Events=_list(event),
        DroppedEventsCount=_I32,
        Links=_list(link),
        DroppedLinksCount=_I32,
    )
    if old:
        types = {"HttpMethod": _STRING, "HttpUrl": _STRING, "HttpStatusCode": _I64}
        span = _with(span, *(pa.field(name, type_) for name, type_ in types.items()))
    span = _with(span, *_dedicated_field(version, columns["span"]))
    resource = _struct(ServiceName=_STRING, Attrs=_ATTRS, DroppedAttributesCount=_I32)
    if old:
        resource = _with(resource, *(pa.field(column, _STRING) for column in _RESOURCE_V4.values()))
    resource = _with(resource, *_dedicated_field(version, columns["resource"]))
    scope = _struct(Name=_STRING, Version=_STRING, Attrs=_ATTRS, DroppedAttributesCount=_I32)
    scoped = _struct(Scope=scope, Spans=_list(span), **({} if old else {"SpanCount": _I32}))
    counts = _struct(SpanCount=_U32, ErrorCount=_U32)
    stats = (
        pa.map_(_STRING, _needed("value", counts))
        if old
        else _list(_struct(ServiceName=_STRING, SpanCount=_U32, ErrorCount=_U32))
    )
    return pa.schema(
        [
            _needed("TraceID", _BYTES),
            _needed("TraceIDText", _STRING),
            _needed("StartTimeUnixNano", _U64),
            _needed("EndTimeUnixNano", _U64),
            _needed("DurationNano", _U64),
            _needed("RootServiceName", _STRING),
            _needed("RootSpanName", _STRING),
            _needed("ServiceStats", stats),
            _needed("rs", _list(_struct(Resource=resource, ss=_list(scoped)))),
        ]
    )
