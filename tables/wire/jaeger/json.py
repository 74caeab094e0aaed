"""Jaeger's JSON of one span, as jsonpb writes it, → OTLP requests.

It is the standard JSON of the protobuf message: ids and bytes in base64, enums by name, times as RFC 3339. So
protobuf's own parser reads it, with a descriptor that has texts and enums where `jaeger.proto` reads bytes and numbers
of any value.

Source: jaeger-idl, proto/api_v2/model.proto; protobuf, "ProtoJSON Format"
"""

from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, json_format, message_factory, timestamp_pb2

from tables.errors import WireError
from tables.wire.jaeger import jaeger_pb2
from tables.wire.jaeger.protobuf import span_to_otlp
from tables.wire.json_text import check_objects, parse_json

_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_TEXTS: Final = frozenset({"key", "v_str", "operation_name", "service_name"})
# jsonpb also takes numbers in their place.
_ENUMS: Final = {
    "v_type": ("ValueType", ("STRING", "BOOL", "INT64", "FLOAT64", "BINARY")),
    "ref_type": ("SpanRefType", ("CHILD_OF", "FOLLOWS_FROM")),
}


def span_json_to_otlp(data: bytes) -> bytes:
    """An ExportTraceServiceRequest with the span. Raises: WireError that names the field"""
    check_objects(data)
    found = parse_json(data)
    if not isinstance(found, dict):
        raise WireError("not a span of Jaeger's JSON: the JSON is not an object")
    message = _span_type()()
    try:
        json_format.ParseDict(found, message, ignore_unknown_fields=True)
    except (json_format.ParseError, RecursionError, ValueError, OverflowError) as err:
        raise WireError(f"not a span of Jaeger's JSON: {err}") from err
    return span_to_otlp(message.SerializeToString())


@cache
def _span_type() -> Any:
    """The class of the message Span with texts and enums."""
    file = descriptor_pb2.FileDescriptorProto()
    jaeger_pb2.DESCRIPTOR.CopyToProto(file)
    for name, values in _ENUMS.values():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for message in file.message_type:
        for one in message.field:
            if one.name in _TEXTS:
                one.type = _FIELD.TYPE_STRING
            elif one.name in _ENUMS:
                one.type, one.type_name = _FIELD.TYPE_ENUM, f".{file.package}.{_ENUMS[one.name][0]}"
    pool = descriptor_pool.DescriptorPool()
    for known in (duration_pb2, timestamp_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.Span"))
