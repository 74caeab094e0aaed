"""Messages of Tempo as Grafana's backend had them in May 2025, and a parser that refuses fields it does not know."""

import json
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

STRING, UINT32, UINT64, DOUBLE, BOOL, INT64 = "string", "uint32", "uint64", "double", "bool", "int64"
# Name → fields; `*` repeated, `%` a map from string.
FROZEN = {
    "AnyValue": {
        "stringValue": STRING,
        "boolValue": BOOL,
        "intValue": INT64,
        "doubleValue": DOUBLE,
        "arrayValue": "ArrayValue",
    },
    "ArrayValue": {"values": "*AnyValue"},
    "KeyValue": {"key": STRING, "value": "AnyValue"},
    "Span": {
        "spanID": STRING,
        "name": STRING,
        "startTimeUnixNano": UINT64,
        "durationNanos": UINT64,
        "attributes": "*KeyValue",
    },
    "SpanSet": {"spans": "*Span", "matched": UINT32, "attributes": "*KeyValue"},
    "ServiceStats": {"spanCount": UINT32, "errorCount": UINT32},
    "TraceSearchMetadata": {
        "traceID": STRING,
        "rootServiceName": STRING,
        "rootTraceName": STRING,
        "startTimeUnixNano": UINT64,
        "durationMs": UINT32,
        "spanSet": "SpanSet",
        "spanSets": "*SpanSet",
        "serviceStats": "%ServiceStats",
    },
    "SearchMetrics": {
        "inspectedTraces": UINT32,
        "inspectedBytes": UINT64,
        "totalBlocks": UINT32,
        "completedJobs": UINT32,
        "totalJobs": UINT32,
        "totalBlockBytes": UINT64,
        "inspectedSpans": UINT64,
    },
    "SearchResponse": {"traces": "*TraceSearchMetadata", "metrics": "SearchMetrics"},
    "MetadataMetrics": {
        "inspectedBytes": UINT64,
        "totalJobs": UINT32,
        "completedJobs": UINT32,
        "totalBlocks": UINT32,
        "totalBlockBytes": UINT64,
    },
    "SearchTagsResponse": {"tagNames": f"*{STRING}", "metrics": "MetadataMetrics"},
    "SearchTagsV2Response": {"scopes": "*SearchTagsV2Scope", "metrics": "MetadataMetrics"},
    "SearchTagsV2Scope": {"name": STRING, "tags": f"*{STRING}"},
    "SearchTagValuesResponse": {"tagValues": f"*{STRING}", "metrics": "MetadataMetrics"},
    "SearchTagValuesV2Response": {"tagValues": "*TagValue", "metrics": "MetadataMetrics"},
    "TagValue": {"type": STRING, "value": STRING},
    "Sample": {"timestampMs": INT64, "value": DOUBLE},
    "Exemplar": {"labels": "*KeyValue", "value": DOUBLE, "timestampMs": INT64},
    "TimeSeries": {"labels": "*KeyValue", "samples": "*Sample", "exemplars": "*Exemplar"},
    "QueryRangeResponse": {"series": "*TimeSeries", "metrics": "SearchMetrics"},
    "InstantSeries": {"labels": "*KeyValue", "value": DOUBLE},
    "QueryInstantResponse": {"series": "*InstantSeries", "metrics": "SearchMetrics"},
}


def strictly(body: bytes, message: str) -> Any:
    """The JSON text as a message of FROZEN. Raises json_format.ParseError where it does not fit"""
    found = json_format.ParseDict(json.loads(body), _class(message)(), ignore_unknown_fields=False)
    return found


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="frozen.proto", package="frozen", syntax="proto3")
    for name, fields in FROZEN.items():
        message = file.message_type.add(name=name)
        for number, (field_name, word) in enumerate(fields.items(), 1):
            _add_field(message, number, field_name, word)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _add_field(message: descriptor_pb2.DescriptorProto, number: int, name: str, word: str) -> None:
    proto = descriptor_pb2.FieldDescriptorProto
    kind = word.lstrip("*%")
    field = message.field.add(name=name, json_name=name, number=number)
    field.label = proto.LABEL_REPEATED if word != kind else proto.LABEL_OPTIONAL
    if kind not in FROZEN:
        field.type = proto.Type.Value(f"TYPE_{kind.upper()}")
        return
    field.type, field.type_name = proto.TYPE_MESSAGE, f".frozen.{kind}"
    if word.startswith("%"):
        entry = message.nested_type.add(name=f"{name[0].upper()}{name[1:]}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=proto.TYPE_STRING, label=proto.LABEL_OPTIONAL)
        value = entry.field.add(name="value", number=2, type=proto.TYPE_MESSAGE, label=proto.LABEL_OPTIONAL)
        value.type_name = field.type_name
        field.type_name = f".frozen.{message.name}.{entry.name}"


def _class(message: str) -> Any:
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"frozen.{message}"))
