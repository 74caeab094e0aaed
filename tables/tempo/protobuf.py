"""Columns of values → columns of Protobuf fields, without a loop per value."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import list_offsets, numbers
from tables.columns.varint import varint, varints

# Tags of AnyValue's fields, by the names of `tables.schema.VALUE_FIELDS`.
_TAGS: Final = {
    "string_value": 0x0A,
    "bool_value": 0x10,
    "int_value": 0x18,
    "double_value": 0x21,
    "array_value": 0x2A,
    "kvlist_value": 0x32,
    "bytes_value": 0x3A,
}
_DOUBLE_BYTES: Final = 9
_ITEM: Final = 0x0A  # of ArrayValue


def delimited(tag: int, values: Any) -> Any:
    """Each value as a field with a length. In: strings or binary without nulls. Out: binary"""
    data = values.cast(pa.binary())
    if not len(data):
        return data
    lengths = np.diff(list_offsets(data))
    used = np.zeros(int(lengths.max()) + 1, np.bool_)
    used[lengths] = True
    distinct = np.flatnonzero(used)
    heads = pa.array([varint(tag) + varint(length) for length in distinct.tolist()], pa.binary())
    codes = (np.cumsum(used, dtype=np.int32) - 1)[lengths]
    return pc.binary_join_element_wise(heads.take(pa.array(codes)), data, b"")


def counts(tag: int, values: npt.NDArray[np.uint32]) -> Any:
    """Each number as a field; nothing where it is 0. Few distinct numbers are expected."""
    distinct, codes = np.unique(values, return_inverse=True)
    fields = [varint(tag) + varint(value) if value else b"" for value in distinct.tolist()]
    return pa.array(fields, pa.binary()).take(pa.array(codes))


def any_value(field: str, values: Any) -> Any:
    """Each value as a serialized AnyValue; null stays null. field: the one that the values are of"""
    if values.null_count == 0:
        return _any_value(field, values)
    valid = numbers(values.is_valid())
    index = np.cumsum(valid, dtype=np.int32) - 1
    return _any_value(field, values.drop_null()).take(pa.array(index, mask=~valid))


def _any_value(field: str, values: Any) -> Any:
    tag = _TAGS[field]
    match field:
        case "bool_value":
            return pa.array([bytes([tag, 0]), bytes([tag, 1])], pa.binary()).take(values.cast(pa.int8()))
        case "int_value":
            data, bounds = varints(numbers(values).view(np.uint64))
            return pc.binary_join_element_wise(pa.scalar(bytes([tag]), pa.binary()), _binary(data, bounds), b"")
        case "double_value":
            out = np.empty((len(values), _DOUBLE_BYTES), np.uint8)
            out[:, 0] = tag
            out[:, 1:] = np.ascontiguousarray(numbers(values), "<f8").view(np.uint8).reshape(-1, _DOUBLE_BYTES - 1)
            return _binary(out, np.arange(len(values) + 1) * _DOUBLE_BYTES)
        case _:
            return delimited(tag, values)


def _binary(data: Any, bounds: npt.NDArray[np.int64]) -> Any:
    return pa.Array.from_buffers(
        pa.binary(), len(bounds) - 1, [None, pa.py_buffer(bounds.astype(np.int32)), pa.py_buffer(data)]
    )


def array_values(field: str, lists: pa.ListArray) -> Any:
    """Each list as a serialized ArrayValue. field: the one of AnyValue that the items are of"""
    return joined(list_offsets(lists), delimited(_ITEM, any_value(field, lists.values)))


def joined(offsets: npt.NDArray[np.int32], parts: Any) -> Any:
    """The bytes of each run of parts, concatenated. In: where the runs begin and end; binary without nulls"""
    # Bytes that follow each other are joined already: only the offsets are others.
    bounds = list_offsets(parts)[offsets] if len(parts) else np.zeros(len(offsets), np.int32)
    data = parts.buffers()[2] if len(parts) else pa.py_buffer(b"")
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, pa.py_buffer(bounds), data])
