"""Columns without a dictionary that few rows have something in: of several inputs only that is moved."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tables.columns.arrays import boolean_slots, concat, value_slots
from tables.columns.types import Int64s
from tables.merge.moved import Present


def is_sparse(type_: Any) -> bool:
    """Whether `joined_values` can join columns of this type."""
    known = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string)
    return any(is_type(type_) for is_type in known)


def joined_values(arrays: Sequence[Any | None], type_: Any, present: Present) -> Any:
    """The column in its new order.

    arrays: of each input, of one type, not all None; None: nothing; present: the rows that have a value
    """
    if not present.count:
        return pa.nulls(present.rows, type_)
    some = [(array, at) for array, at in zip(arrays, present.at, strict=True) if array is not None]
    if pa.types.is_string(type_):
        return _texts([array if at is None else array.take(pa.array(at)) for array, at in some], present)
    values = present.spread(present.values([_of_rows(array, at) for array, at in some]))
    if pa.types.is_boolean(type_):
        values = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(type_, present.rows, [present.bits, pa.py_buffer(values)])


def _of_rows(array: Any, at: Int64s | None) -> npt.NDArray[Any]:
    values = boolean_slots(array) if pa.types.is_boolean(array.type) else value_slots(array)
    return values if at is None else values.take(at)


def _texts(parts: Sequence[Any], present: Present) -> Any:
    """Texts one behind the other in their new order; what has none takes no bytes."""
    texts = concat(list(parts))
    texts = texts.take(pa.array(present.kept_in_order()))
    ends = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :][: present.count + 1]
    valid = np.unpackbits(np.frombuffer(present.bits, np.uint8), count=present.rows, bitorder="little")
    offsets = np.zeros(present.rows + 1, np.int32)
    np.cumsum(valid, dtype=np.int32, out=offsets[1:])
    return pa.Array.from_buffers(
        pa.string(), present.rows, [present.bits, pa.py_buffer(ends.take(offsets)), texts.buffers()[2]]
    )
