"""Nested attribute values (arrays, key-value lists) → typed list columns, or serialized OTLP values."""

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValueList

_ELEMENT_TYPES = {
    "string_value": "string[]",
    "int_value": "int[]",
    "double_value": "double[]",
    "bool_value": "bool[]",
}
Value = list[str] | list[int] | list[float] | list[bool] | bytes


def nested_value(field: str, raw: bytes) -> tuple[str, Value]:
    """Type word of `tables.schema.ATTRIBUTE_TYPES` and value of an array_value's or kvlist_value's bytes.

    An array whose elements all have one scalar type becomes a typed list; everything else stays a serialized AnyValue.
    """
    if field == "array_value":
        try:
            array = ArrayValue.FromString(raw)
        except DecodeError:
            # A client may send anything in here: the bytes are kept as they came.
            return "any", b"\x2a" + _length(raw) + raw
        kinds = {value.WhichOneof("value") for value in array.values}
        if len(kinds) == 1 and (kind := kinds.pop()) in _ELEMENT_TYPES:
            return _ELEMENT_TYPES[kind], [getattr(value, kind) for value in array.values]
        return "any", AnyValue(array_value=array).SerializeToString()
    try:
        return "any", AnyValue(kvlist_value=KeyValueList.FromString(raw)).SerializeToString()
    except DecodeError:
        return "any", b"\x32" + _length(raw) + raw


def typed_value(value: AnyValue) -> tuple[str, str | int | float | bool | Value]:
    """Type word and value of one AnyValue."""
    match value.WhichOneof("value"):
        case "string_value":
            return "string", value.string_value
        case "int_value":
            return "int", value.int_value
        case "double_value":
            return "double", value.double_value
        case "bool_value":
            return "bool", value.bool_value
        case "bytes_value":
            return "bytes", value.bytes_value
        case "array_value":
            return nested_value("array_value", value.array_value.SerializeToString())
        case _:
            return "any", value.SerializeToString()


def _length(raw: bytes) -> bytes:
    """Protobuf's varint of the length."""
    out, rest = bytearray(), len(raw)
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)
