"""Compares and hashes rows of Arrow columns, field by field, lists and structs included, without a loop per row."""

from typing import Any, Final

import numpy as np
import pyarrow as pa

from tables.columns.arrays import list_offsets
from tables.columns.nested_set import MIX
from tables.columns.types import Bools, Int64s, UInt64s

_SALT: Final = np.uint64(0xD1B54A32D192ED03)


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


def row_hashes(array: Any) -> UInt64s:
    """A number for each row of a column: rows that `equal_rows` finds equal have equal numbers."""
    valid: Bools = array.is_valid().to_numpy(zero_copy_only=False)
    hashes = np.where(valid, _value_hashes(array), np.uint64(0))
    return np.asarray(hashes, np.uint64)


def _value_hashes(array: Any) -> UInt64s:
    type_ = array.type
    if pa.types.is_struct(type_):
        hashes = np.ones(len(array), np.uint64)
        for number in range(type_.num_fields):
            hashes = _mixed(hashes + row_hashes(array.field(number)))
        return hashes
    if pa.types.is_list(type_):
        return _list_hashes(array)
    if pa.types.is_dictionary(type_):
        # By value: two entries of a dictionary may hold the same text.
        of_values = _value_hashes(array.dictionary) if len(array.dictionary) else np.zeros(1, np.uint64)
        return np.asarray(of_values[array.indices.fill_null(0).to_numpy(zero_copy_only=False)], np.uint64)
    if pa.types.is_boolean(type_):
        return _mixed(array.fill_null(False).to_numpy(zero_copy_only=False).astype(np.uint64))
    if pa.types.is_floating(type_):
        return _mixed(array.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64).view(np.uint64))
    if pa.types.is_integer(type_):
        return _mixed(array.fill_null(0).to_numpy(zero_copy_only=False).astype(np.uint64))
    encoded = array.dictionary_encode()
    codes = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    return _mixed(codes.astype(np.uint64))


def _list_hashes(array: Any) -> UInt64s:
    offsets = list_offsets(array).astype(np.int64)
    lengths = np.diff(offsets)
    hashes = _mixed(lengths.astype(np.uint64))
    filled = np.flatnonzero(lengths)
    if not len(filled):
        return hashes
    begin, end = int(offsets[0]), int(offsets[-1])
    place = np.arange(begin, end) - np.repeat(offsets[:-1], lengths)
    items = _mixed(row_hashes(array.values.slice(begin, end - begin)) + place.astype(np.uint64) * MIX)
    hashes[filled] += np.add.reduceat(items, offsets[:-1][filled] - begin)
    return hashes


def _mixed(values: UInt64s) -> UInt64s:
    # 0, which comes most often, must not stay 0: null has that hash.
    values = values + _SALT
    values = (values ^ (values >> np.uint64(32))) * MIX
    return values ^ (values >> np.uint64(29))
