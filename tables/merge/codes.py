"""Columns of texts, and of numbers that repeat, of several inputs: their codes, one below the other, in another order.

Codes stay codes. Meanwhile -1 is the code of null: so there is one array to move instead of two.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import concat, index_array, narrow_dtype, numbers, valid_rows, value_slots
from tables.columns.types import Int64s

Codes = npt.NDArray[Any]

# Of a column that no more rows have something in, only what is there is moved.
_FEW_SHARE: Final = 0.1
_BYTE: Final = np.dtype(np.int8)
_TABLE_MAX: Final = 128


class Moved:
    """Another order of rows.

    rows: the old row of each new one; total: how many old ones there are, of which some may be left out
    """

    def __init__(self, rows: Int64s, total: int) -> None:
        self.rows, self._total = rows, total
        self._places: Int64s | None = None

    def places(self) -> Int64s:
        """The new row of each old one; -1: it is left out."""
        if self._places is None:
            self._places = np.full(self._total, -1, np.int64)
            self._places[self.rows] = np.arange(len(self.rows))
        return self._places


def joined_codes(arrays: Sequence[Any | None], rows: Sequence[int], order: Moved | None, absent: str | None) -> Any:
    """A DictionaryArray of all rows, whose indices are as narrow as they can be.

    arrays: DictionaryArrays of one type, not all None, and how many rows each has; None: nothing
    order: which row of all comes where; None: as they are; absent: the text that stands for null; None: null does
    """
    dictionaries = [array.dictionary for array in arrays if array is not None]
    values, places = _unified(dictionaries)
    null = -1
    if absent is not None and any(array is None or array.null_count for array in arrays):
        values, null = _with_value(values, absent)
    if len(values) == 1 and all(array is not None and not array.null_count for array in arrays):
        total = sum(rows) if order is None else len(order.rows)
        return pa.DictionaryArray.from_arrays(index_array(np.zeros(total, np.int8), None), values, safe=False)
    dtype = narrow_dtype(len(values))
    # Where most rows are left out, the places of all would cost more.
    if null < 0 and order is not None and 2 * len(order.rows) > sum(rows) and _are_few(arrays, sum(rows)):
        codes = _few_codes(arrays, rows, places, order, dtype)
    else:
        codes = _all_codes(arrays, rows, places, null, dtype)
        if order is not None:
            codes = codes.take(order.rows)
    return pa.DictionaryArray.from_arrays(_indices(codes), values, safe=False)


def _are_few(arrays: Sequence[Any | None], rows: int) -> bool:
    return bool(sum(len(array) - array.null_count for array in arrays if array is not None) <= _FEW_SHARE * rows)


def _few_codes(
    arrays: Sequence[Any | None],
    rows: Sequence[int],
    places: Sequence[Codes] | None,
    order: Moved,
    dtype: np.dtype[Any],
) -> Codes:
    """Of a column that few rows have something in, these are moved only."""
    codes = np.full(len(order.rows), -1, dtype)
    first, number = 0, 0
    for array, count in zip(arrays, rows, strict=True):
        if array is not None:
            at = np.flatnonzero(valid_rows(array))
            found = value_slots(array.indices)[at]
            if places is not None:
                found = places[number][found]
            number += 1
            new = order.places()[first + at]
            kept = new >= 0
            codes[new[kept]] = found[kept]
        first += count
    return codes


def _all_codes(
    arrays: Sequence[Any | None],
    rows: Sequence[int],
    places: Sequence[Codes] | None,
    null: int,
    dtype: np.dtype[Any],
) -> Codes:
    codes = np.empty(sum(rows), dtype)
    at, number = 0, 0
    for array, count in zip(arrays, rows, strict=True):
        some = codes[at : at + count]
        at += count
        if array is None:
            some.fill(null)
            continue
        place = places[number] if places is not None else None
        number += 1
        _fill(some, array, place, null)
    return codes


def _unified(dictionaries: Sequence[Any]) -> tuple[Any, list[Codes] | None]:
    """All values once, and where those of each dictionary are among them; None: each where it was."""
    values = dictionaries[0]
    if all(other is values or other.equals(values) for other in dictionaries[1:]):
        return values, None
    unified = concat(list(dictionaries)).dictionary_encode()
    ends = np.cumsum([len(one) for one in dictionaries])
    return unified.dictionary, np.split(numbers(unified.indices), ends[:-1])


def _with_value(values: Any, value: str) -> tuple[Any, int]:
    code = pc.index(values, pa.scalar(value, values.type)).as_py()
    if code >= 0:
        return values, code
    return pa.concat_arrays([values, pa.array([value], values.type)]), len(values)


def _fill(out: Codes, array: Any, place: Codes | None, null: int) -> None:
    """Writes the codes of an input. place: the new code of each old one; null: that of null"""
    codes = value_slots(array.indices)
    if array.null_count:
        # All bits set where there is nothing: that is -1.
        codes = codes | (valid_rows(array).view(np.int8) - np.int8(1))
    if place is None and (null < 0 or not array.null_count):
        out[:] = codes
        return
    # The last one is number -1.
    table = np.append(np.arange(len(array.dictionary)) if place is None else place, null).astype(out.dtype)
    if codes.dtype == _BYTE and out.dtype == _BYTE and len(table) <= _TABLE_MAX:
        # Several times faster than numpy, which makes wide indices first.
        padded = np.full(256, null, np.int8)
        padded[: len(table) - 1] = table[:-1]
        out[:] = np.frombuffer(codes.tobytes().translate(padded.tobytes()), np.int8)
    else:
        np.take(table, codes, out=out, mode="wrap")


def _indices(codes: Codes) -> Any:
    """An Array of codes, null where they are -1. It takes the memory over."""
    valid = codes >= 0
    if valid.all():
        return index_array(codes, None)
    np.maximum(codes, 0, out=codes)
    return index_array(codes, valid)
