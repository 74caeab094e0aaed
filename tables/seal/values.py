"""Nested attribute values (arrays, key-value lists) → typed list columns, or serialized OTLP values."""

from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValueList

from tables.wire.otlp.nested import fit_nested

_ELEMENT_TYPES = {
    "string_value": "string[]",
    "int_value": "int[]",
    "double_value": "double[]",
    "bool_value": "bool[]",
}
Value = list[str] | list[int] | list[float] | list[bool] | bytes


def nested_value(field: str, raw: bytes) -> tuple[str, Value]:
    """Type word (`tables.schema.ATTRIBUTE_TYPES`) and value from the bytes of an array_value or kvlist_value.

    An array whose elements all have one scalar type becomes a typed list; everything else stays a serialized AnyValue.
    A value that is unreadable, or nested too deep for protobuf, becomes plain bytes: no input of a client stops a seal
    or an answer.
    """
    kept, raw, _ = fit_nested(field, raw)
    if kept == "bytes_value":
        return "bytes", raw
    if kept == "kvlist_value":
        return "any", AnyValue(kvlist_value=KeyValueList.FromString(raw)).SerializeToString()
    array = ArrayValue.FromString(raw)
    kinds = {value.WhichOneof("value") for value in array.values}
    if len(kinds) == 1 and (kind := kinds.pop()) in _ELEMENT_TYPES:
        return _ELEMENT_TYPES[kind], [getattr(value, kind) for value in array.values]
    return "any", AnyValue(array_value=array).SerializeToString()


def array_of(word: str, items: Value) -> ArrayValue:
    """The inverse of `nested_value` for a typed list."""
    field = word.removesuffix("[]") + "_value"
    fields: list[dict[str, Any]] = [{field: item} for item in items]
    return ArrayValue(values=[AnyValue(**one) for one in fields])


def overflow_value(field: str, raw: bytes) -> tuple[str, bytes]:
    """As `nested_value`, for an entry of the overflow, where lists are a serialized AnyValue, too."""
    word, value = nested_value(field, raw)
    if isinstance(value, bytes):
        return word, value
    return word, AnyValue(array_value=array_of(word, value)).SerializeToString()


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
        case "kvlist_value":
            return nested_value("kvlist_value", value.kvlist_value.SerializeToString())
        case _:
            return "any", b""
