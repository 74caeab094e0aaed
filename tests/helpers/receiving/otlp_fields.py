"""A message of OTLP with a value in every field."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from tests.helpers.live.whole_way import START_NS

# What a trace cannot have: places in a table of strings, which only profiles have.
NOT_OF_TRACES = {"string_value_strindex", "key_strindex"}
FIXED = {
    "trace_id": bytes(range(1, 17)),
    "span_id": bytes(range(1, 9)),
    "parent_span_id": bytes(range(2, 10)),
    "start_time_unix_nano": START_NS,
    "end_time_unix_nano": START_NS + 7,
    "time_unix_nano": START_NS + 3,
}


def filled(message: Any, depth: int = 0) -> Any:
    """The message with a value in each field."""
    for number, field in enumerate(message.DESCRIPTOR.fields, 3):
        if field.name in NOT_OF_TRACES or field.containing_oneof is not None:
            continue
        if field.name in FIXED:
            setattr(message, field.name, FIXED[field.name])
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            if field.is_repeated:
                for _ in range(2 if field.name == "entity_refs" else 1):
                    filled(getattr(message, field.name).add(), depth + 1)
            else:
                filled(getattr(message, field.name), depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend([f"{field.name} 1", f"{field.name} 2"])
        else:
            texts = field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}
            value: Any = f"{field.name} {depth}" if texts else 2 if field.enum_type else number
            setattr(message, field.name, value)
    if isinstance(message, AnyValue):
        message.string_value = "text"
    return message


def sent() -> ResourceSpans:
    return filled(ResourceSpans())


def leaves(message: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of each field that is set."""
    for field, value in message.ListFields():
        name = f"{path}.{field.name}".removeprefix(".")
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            yield name, list(value) if field.is_repeated else value
            continue
        for number, one in enumerate(value if field.is_repeated else [value]):
            yield from leaves(one, f"{name}[{number}]" if field.is_repeated else name)
