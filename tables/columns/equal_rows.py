"""Compares rows of Arrow columns field by field, lists and structs included, without a loop per row."""

from typing import Any

import numpy as np
import pyarrow as pa

from tables.columns.arrays import list_offsets
from tables.columns.types import Bools, Int64s


def equal_rows(array: Any, left: Int64s, right: Int64s) -> Bools:
    """Whether row left[i] of a column equals its row right[i], bit by bit: two nulls are equal, and so are two NaN.

    In: any Array of the types in `tables.schema`, dictionaries among them; left, right: row numbers, of equal length
    """
    valid: Bools = array.is_valid().to_numpy(zero_copy_only=False)
    both = valid[left] & valid[right]
    same: Bools = valid[left] == valid[right]
    found = np.flatnonzero(both)
    if len(found):
        same[found] = _equal_values(array, left[found], right[found])
    return same


def _equal_values(array: Any, left: Int64s, right: Int64s) -> Bools:
    """As `equal_rows`, of rows without null."""
    type_ = array.type
    if pa.types.is_dictionary(type_):
        codes = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
        same: Bools = codes[left] == codes[right]
        # Two entries of a dictionary may hold the same text.
        other = np.flatnonzero(~same)
        if len(other) and len(array.dictionary.unique()) < len(array.dictionary):
            same[other] = _equal_values(array.dictionary, codes[left[other]], codes[right[other]])
        return same
    if pa.types.is_struct(type_):
        fields = [equal_rows(array.field(number), left, right) for number in range(type_.num_fields)]
        return np.asarray(np.logical_and.reduce(fields), np.bool_)
    if pa.types.is_list(type_):
        return _equal_lists(array, left, right)
    if pa.types.is_boolean(type_):
        values = array.fill_null(False).to_numpy(zero_copy_only=False)
    elif pa.types.is_primitive(type_):
        values = array.fill_null(0).to_numpy(zero_copy_only=False)
        values = values.view(np.int64) if pa.types.is_float64(type_) else values
    else:
        encoded = pa.concat_arrays([array.take(pa.array(left)), array.take(pa.array(right))]).dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        return np.asarray(codes[: len(left)] == codes[len(left) :])
    return np.asarray(values[left] == values[right])


def _equal_lists(array: Any, left: Int64s, right: Int64s) -> Bools:
    offsets = list_offsets(array).astype(np.int64)
    lengths = np.diff(offsets)
    same: Bools = lengths[left] == lengths[right]
    found = np.flatnonzero(same & (lengths[left] > 0))
    if not len(found):
        return same
    counts = lengths[left[found]]
    first = np.cumsum(counts) - counts
    within = np.arange(int(counts.sum())) - np.repeat(first, counts)
    items = [np.repeat(offsets[rows[found]], counts) + within for rows in (left, right)]
    same[found] = np.logical_and.reduceat(equal_rows(array.values, *items), first)
    return same
