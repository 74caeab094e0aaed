"""Arrow list and dictionary columns as numpy arrays: helpers that all steps of the data path share."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.types import Int64s

Int32s = npt.NDArray[np.int32]

# What numpy moves as one.
ID_WORDS: Final = {8: np.dtype(np.uint64), 16: np.dtype(np.complex128)}


def list_values(array: pa.ListArray) -> pa.Array:
    """The items of all rows, concatenated, without items outside of a slice."""
    return array.flatten() if array.null_count == 0 else pc.list_flatten(array)


def list_offsets(array: Any) -> Int32s:
    """Offsets of a list, string or binary array, shape (rows + 1,). They refer to `.values` and are not rebased."""
    buffer = array.buffers()[1]
    if buffer is None:  # pyarrow gives an empty array no buffer
        return np.zeros(1, np.int32)
    return np.frombuffer(buffer, np.int32)[array.offset : array.offset + len(array) + 1]


def list_parents(array: pa.ListArray) -> Int32s:
    """For each item of `list_values(array)`, the number of its row."""
    return np.repeat(np.arange(len(array), dtype=np.int32), np.diff(list_offsets(array)))


def ranges(starts: Int64s, lengths: Int64s) -> Int64s:
    """The numbers of several runs, concatenated: starts [5, 9], lengths [2, 1] → [5, 6, 9]."""
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


def valid_rows(array: Any) -> npt.NDArray[np.bool_]:
    """Which rows are not null, several times faster than Arrow makes numpy of it."""
    type_ = array.type
    bits = (array.indices if pa.types.is_dictionary(type_) else array).buffers()[0] if len(array) else None
    if array.null_count == 0:
        return np.ones(len(array), np.bool_)
    if bits is None:
        return np.asarray(array.is_valid().to_numpy(zero_copy_only=False))
    first, skipped = divmod(array.offset, 8)
    packed = np.frombuffer(bits, np.uint8)[first:]
    return np.unpackbits(packed, count=skipped + len(array), bitorder="little")[skipped:].view(np.bool_)


def value_slots(array: Any) -> npt.NDArray[Any]:
    """The numbers of a column without a copy; anything where a row is null. In: an integer or floating Array"""
    stored = np.dtype(array.type.to_pandas_dtype())
    if not len(array):
        return np.empty(0, stored)
    return np.frombuffer(array.buffers()[1], stored)[array.offset : array.offset + len(array)]


def take_rows(array: Any, rows: Int64s) -> Any:
    """`array.take(rows)`, for values of one width several times faster than Arrow's own, which looks at each bit that
    says null.
    """
    type_ = array.type
    if pa.types.is_dictionary(type_):
        return pa.DictionaryArray.from_arrays(_taken_codes(array.indices, rows), array.dictionary, safe=False)
    if pa.types.is_fixed_size_binary(type_) and type_.byte_width in ID_WORDS:
        values: npt.NDArray[Any] = fixed_bytes(array).view(ID_WORDS[type_.byte_width]).reshape(-1)
    elif (pa.types.is_integer(type_) or pa.types.is_floating(type_)) and len(array):
        values = value_slots(array)
    elif pa.types.is_boolean(type_) and len(array):
        return _taken_bits(array, rows)
    else:
        return pc.take(array, pa.array(rows), boundscheck=False)
    valid = None
    if array.null_count:
        valid = pa.py_buffer(np.packbits(valid_rows(array).take(rows), bitorder="little"))
    taken = np.ascontiguousarray(values.take(rows))
    return pa.Array.from_buffers(type_, len(rows), [valid, pa.py_buffer(taken)])


def _taken_bits(array: Any, rows: Int64s) -> Any:
    """Booleans by rows: a byte each meanwhile, which says whether it is null, too."""
    values = boolean_slots(array)
    if not array.null_count:
        bits = np.packbits(values.take(rows), bitorder="little")
        return pa.Array.from_buffers(array.type, len(rows), [None, pa.py_buffer(bits)])
    taken = (values | valid_rows(array).view(np.uint8) << 1).take(rows)
    valid, values = (np.packbits(bit, bitorder="little") for bit in (taken & 2, taken & 1))
    return pa.Array.from_buffers(array.type, len(rows), [pa.py_buffer(valid), pa.py_buffer(values)])


def _taken_codes(codes: Any, rows: Int64s) -> Any:
    """Codes of a dictionary by rows. What is null is a code of its own meanwhile: -1."""
    if not codes.null_count:
        return take_rows(codes, rows)
    values = np.where(valid_rows(codes), value_slots(codes), codes.type.to_pandas_dtype()(-1))
    taken = values.take(rows)
    valid = pa.py_buffer(np.packbits(taken >= 0, bitorder="little"))
    np.maximum(taken, 0, out=taken)
    return pa.Array.from_buffers(codes.type, len(rows), [valid, pa.py_buffer(taken)])


def fixed_width(array: Any, width: int) -> tuple[pa.FixedSizeBinaryArray, npt.NDArray[np.bool_] | None]:
    """Binary values of one width, shape (rows, width), and a mask of the rows with the right length (None: all). Values
    with another length become zeros.
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
    """A fixed-size binary array as uint8, shape (rows, width), without a copy."""
    width = array.type.byte_width
    flat = np.frombuffer(array.buffers()[1], np.uint8) if len(array) else np.zeros(0, np.uint8)
    return flat[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)


def big_endian(array: Any) -> npt.NDArray[np.uint64]:
    """A fixed-size binary array of 8 or 16 bytes as uint64 numbers, shape (rows, width
    8), that sort like the bytes.
    """
    return fixed_bytes(array).view(">u8").astype(np.uint64)


def index_type(size: int) -> type[np.int16] | type[np.int32]:
    """The smallest index type for a dictionary of `size` values; it makes records smaller."""
    return np.int16 if size <= np.iinfo(np.int16).max else np.int32


def narrow_dtype(size: int) -> np.dtype[Any]:
    """The narrowest indices for a dictionary of `size` values, in memory: most have few, and there are many columns."""
    return np.dtype(np.int8 if size <= np.iinfo(np.int8).max else index_type(size))


def index_array(codes: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None) -> Any:
    """An integer Array over the memory of `codes`. valid: which are not null; None: all"""
    return number_array(codes, None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little")))


def number_array(values: npt.NDArray[Any], bits: Any) -> Any:
    """An Array over the memory of numbers. bits: a buffer that says which are not null, as Arrow has it; None: all"""
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [bits, pa.py_buffer(values)])


def scattered(values: npt.NDArray[Any], at: Int64s, rows: int) -> npt.NDArray[Any]:
    """An array of so many rows with the values at some of them, 0 elsewhere. at: the row of each value"""
    out = np.zeros((rows, *values.shape[1:]), values.dtype)
    out[at] = values
    return out


def boolean_slots(array: Any) -> npt.NDArray[np.uint8]:
    """The values of a BooleanArray as 0 and 1, anything where it is null."""
    if not len(array):
        return np.empty(0, np.uint8)
    first, skipped = divmod(array.offset, 8)
    packed = np.frombuffer(array.buffers()[1], np.uint8)[first:]
    return np.unpackbits(packed, count=skipped + len(array), bitorder="little")[skipped:]


def dictionary(codes: npt.NDArray[Any], values: pa.Array) -> pa.DictionaryArray:
    """A dictionary array with the smallest index type that fits."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(index_type(len(values)), copy=False)), values)


def plain(array: Any) -> Any:
    """The values of a DictionaryArray without its dictionary; other arrays as they are."""
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def spread_bytes(array: Any) -> int:
    """What the values of a DictionaryArray of texts or bytes take where each row has its own; of others nothing."""
    if not pa.types.is_dictionary(array.type) or array.null_count == len(array):
        return 0
    codes = value_slots(array.indices)[valid_rows(array)]
    lengths = np.diff(list_offsets(array.dictionary))[codes]
    return int(lengths.sum(dtype=np.int64)) + 4 * len(array) + len(array) // 8


def concat(arrays: list[Any]) -> Any:
    """As `pa.concat_arrays`, but without copying a single array."""
    return pa.concat_arrays(arrays) if len(arrays) > 1 else arrays[0]


def one_array(chunks: Any) -> Any:
    """A ChunkedArray as one Array; without a copy if it has one chunk."""
    array = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
    return array.chunk(0) if isinstance(array, pa.ChunkedArray) else array


def numbers(array: Any) -> npt.NDArray[Any]:
    """A primitive column without nulls as numpy, without a copy."""
    return np.asarray(array.to_numpy(zero_copy_only=False))


def rows_in_order(keys: Sequence[Any], ties: Callable[[], Sequence[Any]]) -> Int64s:
    """The order of rows by several keys, the first key first, then by `ties`.

    In: arrays of equal length. ties: a function, called only if rows have equal keys. Few rows do: sorting these again
    is faster than sorting all rows by more keys
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
