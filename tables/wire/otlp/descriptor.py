"""OTLP's trace request as a protobuf descriptor that ptars can turn into Arrow.

Wire-compatible with opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest, with two changes: nested values
(arrays, key-value lists) stay bytes, so that the message is not recursive; and a resource and a scope stay bytes, so
that equal ones are found by a dictionary and parsed once.

Source: opentelemetry-proto 1.x, trace.proto and common.proto
"""

from collections.abc import Sequence
from typing import Any, Final

import ptars
from google.protobuf import descriptor_pb2, descriptor_pool

from tables.errors import WireError
from tables.wall import NativePanic, walled

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int64": _Field.TYPE_INT64,
    "double": _Field.TYPE_DOUBLE,
    "fixed64": _Field.TYPE_FIXED64,
    "fixed32": _Field.TYPE_FIXED32,
    "uint32": _Field.TYPE_UINT32,
    "int32": _Field.TYPE_INT32,
}
_PACKAGE: Final = "stretto.otlp"
NOT_OTLP: Final = "not an OTLP ExportTraceServiceRequest"

# message → (field, number, type); a leading * means repeated.
_MESSAGES: Final[dict[str, Sequence[tuple[str, int, str]]]] = {
    "AnyValue": (
        ("string_value", 1, "string"),
        ("bool_value", 2, "bool"),
        ("int_value", 3, "int64"),
        ("double_value", 4, "double"),
        ("array_value", 5, "bytes"),
        ("kvlist_value", 6, "bytes"),
        ("bytes_value", 7, "bytes"),
    ),
    "KeyValue": (("key", 1, "string"), ("value", 2, "AnyValue")),
    "Event": (
        ("time_unix_nano", 1, "fixed64"),
        ("name", 2, "string"),
        ("attributes", 3, "*KeyValue"),
        ("dropped_attributes_count", 4, "uint32"),
    ),
    "Link": (
        ("trace_id", 1, "bytes"),
        ("span_id", 2, "bytes"),
        ("trace_state", 3, "string"),
        ("attributes", 4, "*KeyValue"),
        ("dropped_attributes_count", 5, "uint32"),
        ("flags", 6, "fixed32"),
    ),
    "Status": (("message", 2, "string"), ("code", 3, "int32")),
    "Span": (
        ("trace_id", 1, "bytes"),
        ("span_id", 2, "bytes"),
        ("trace_state", 3, "string"),
        ("parent_span_id", 4, "bytes"),
        ("flags", 16, "fixed32"),
        ("name", 5, "string"),
        ("kind", 6, "int32"),
        ("start_time_unix_nano", 7, "fixed64"),
        ("end_time_unix_nano", 8, "fixed64"),
        ("attributes", 9, "*KeyValue"),
        ("dropped_attributes_count", 10, "uint32"),
        ("events", 11, "*Event"),
        ("dropped_events_count", 12, "uint32"),
        ("links", 13, "*Link"),
        ("dropped_links_count", 14, "uint32"),
        ("status", 15, "Status"),
    ),
    "ScopeSpans": (("scope", 1, "bytes"), ("spans", 2, "*Span"), ("schema_url", 3, "string")),
    "ResourceSpans": (
        ("resource", 1, "bytes"),
        ("scope_spans", 2, "*ScopeSpans"),
        ("schema_url", 3, "string"),
    ),
    "ExportTraceServiceRequest": (("resource_spans", 1, "*ResourceSpans"),),
}


def _file(string: Any) -> descriptor_pb2.FileDescriptorProto:
    """string: the type to use for strings"""
    file = descriptor_pb2.FileDescriptorProto(name="stretto/otlp.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        # Members of a oneof keep their presence: 0, "" and false differ from an absent value.
        oneof = name == "AnyValue"
        if oneof:
            message.oneof_decl.add(name="value")
        for field_name, number, type_ in fields:
            field = message.field.add(name=field_name, number=number)
            plain = type_.removeprefix("*")
            field.label = _Field.LABEL_REPEATED if plain != type_ else _Field.LABEL_OPTIONAL
            if plain in _SCALARS:
                field.type = string if plain == "string" else _SCALARS[plain]
            else:
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{plain}"
            if oneof:
                field.oneof_index = 0
    return file


def request_message(string: Any) -> Any:
    """The descriptor of ExportTraceServiceRequest. string: the type to use for strings"""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file(string))
    return pool.FindFileByName("stretto/otlp.proto").message_types_by_name["ExportTraceServiceRequest"]


class RequestHandler:
    """ptars' decoder for the request; it keeps alive what ptars borrows.

    texts: decode strings as strings, which must be UTF-8; otherwise as bytes
    """

    def __init__(self, *, texts: bool = True) -> None:
        self._message = request_message(_Field.TYPE_STRING if texts else _Field.TYPE_BYTES)
        self._make()

    def _make(self) -> None:
        self._pool = ptars.HandlerPool([self._message.file])
        self._handler: Any = self._pool.get_for_message(self._message)

    def decode(self, requests: Sequence[bytes]) -> Any:
        """A pyarrow RecordBatch with one row per request. One invalid request fails them all.

        Raises: WireError
        """
        try:
            return walled(self._handler.list_to_record_batch, list(requests))
        except NativePanic as err:
            self._make()  # nothing is known of the state that a panic leaves
            raise WireError(f"{NOT_OTLP}: the decoder gave up on it ({err})", "panic") from err
        except ValueError as err:
            raise WireError(f"{NOT_OTLP}: {err}") from err
