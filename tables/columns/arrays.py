"""Arrow list and dictionary columns as numpy arrays: the few tools that every step on the data path shares."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.types import Int64s

Int32s = npt.NDArray[np.int32]


def list_values(array: pa.ListArray) -> pa.Array:
    """The items of all rows, one after the other, without those outside a slice."""
    return array.flatten() if array.null_count == 0 else pc.list_flatten(array)


def list_offsets(array: Any) -> Int32s:
    """Offsets of a list, string or binary array: one more than rows; not rebased, so that they fit `.values`."""
    buffer = array.buffers()[1]
    if buffer is None:  # pyarrow gives an empty array no buffer
        return np.zeros(1, np.int32)
    return np.frombuffer(buffer, np.int32)[array.offset : array.offset + len(array) + 1]


def list_parents(array: pa.ListArray) -> Int32s:
    """For each item of `list_values(array)` the row that it belongs to."""
    return np.repeat(np.arange(len(array), dtype=np.int32), np.diff(list_offsets(array)))


def ranges(starts: Int64s, lengths: Int64s) -> Int64s:
    """The numbers of several runs one after the other: starts [5, 9], lengths [2, 1] → [5, 6, 9]."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    numbers: Int64s = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return numbers


def take_lists(array: pa.ListArray, order: Int64s) -> pa.ListArray:
    """`array.take(order)` for a mostly empty list column: several times faster than Arrow's own."""
    offsets = list_offsets(array)
    lengths = np.diff(offsets)[order]
    new_offsets = np.zeros(len(order) + 1, np.int32)
    np.cumsum(lengths, out=new_offsets[1:])
    filled = np.flatnonzero(lengths)
    items = ranges(offsets[:-1][order][filled].astype(np.int64), lengths[filled].astype(np.int64))
    return pa.ListArray.from_arrays(pa.array(new_offsets), array.values.take(pa.array(items)))


def fixed_width(array: Any, width: int) -> tuple[pa.FixedSizeBinaryArray, npt.NDArray[np.bool_] | None]:
    """Binary values of one width. Values of another length become zeros; the mask says which had the right
    length (None: all had).
    """
    count = len(array)
    offsets = list_offsets(array)
    lengths = np.diff(offsets)
    right = lengths == width
    data = array.buffers()[2]
    if count and right.all():
        return pa.Array.from_buffers(pa.binary(width), count, [None, data.slice(int(offsets[0]), width * count)]), None
    out = np.zeros((count, width), np.uint8)
    if right.any():
        windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), width)
        out[right] = windows[offsets[:-1][right]]
    return pa.Array.from_buffers(pa.binary(width), count, [None, pa.py_buffer(out)]), right


def fixed_bytes(array: Any) -> npt.NDArray[np.uint8]:
    """A fixed-size binary array as bytes, shape (rows, width), without a copy."""
    width = array.type.byte_width
    flat = np.frombuffer(array.buffers()[1], np.uint8) if len(array) else np.zeros(0, np.uint8)
    return flat[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)


def big_endian(array: Any) -> npt.NDArray[np.uint64]:
    """A fixed-size binary array of 8 or 16 bytes as numbers that sort as the bytes do: shape (rows, width / 8)."""
    return fixed_bytes(array).view(">u8").astype(np.uint64)


def index_type(size: int) -> type[np.int16] | type[np.int32]:
    """The smallest index for a dictionary of so many values (records are smaller with it)."""
    return np.int16 if size <= np.iinfo(np.int16).max else np.int32


def dictionary(codes: npt.NDArray[Any], values: pa.Array) -> pa.DictionaryArray:
    """Dictionary array with the smallest index type that fits."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(index_type(len(values)), copy=False)), values)


def concat(arrays: list[Any]) -> Any:
    """`pa.concat_arrays` that does not copy a single array."""
    return pa.concat_arrays(arrays) if len(arrays) > 1 else arrays[0]


def one_array(chunks: Any) -> Any:
    """A ChunkedArray as one Array, without a copy where it has one chunk."""
    array = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
    return array.chunk(0) if isinstance(array, pa.ChunkedArray) else array


def numbers(array: Any) -> npt.NDArray[Any]:
    """A primitive column without nulls as numpy, without a copy."""
    return np.asarray(array.to_numpy(zero_copy_only=False))


def rows_in_order(keys: Sequence[Any], ties: Callable[[], Sequence[Any]]) -> Int64s:
    """The order of rows by some keys, the first one first, and by `ties` where all keys are equal.

    In: arrays of equal length; ties: asked for only where rows are equal. These are few in most data: sorting all rows
    by more keys takes longer than to sort these again.
    """
    order: Int64s = np.lexsort(list(reversed(keys)))
    same = np.ones(max(len(order) - 1, 0), np.bool_)
    for key in keys:
        ordered = key[order]
        same &= ordered[1:] == ordered[:-1]
    if same.any():
        among = np.r_[False, same]
        begins = ~among
        among[:-1] |= same
        rows = np.flatnonzero(among)
        run = np.cumsum(begins[rows])
        some = order[rows]
        order[rows] = some[np.lexsort([*(column[some] for column in reversed(ties())), run])]
    return order
