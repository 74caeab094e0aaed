"""Columns of texts, and of numbers that repeat, of several inputs: their codes, one below the other, in another order.

Codes stay codes. Meanwhile -1 is the code of null: so there is one array to move instead of two.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import concat, index_array, narrow_dtype, number_array, numbers, valid_rows, value_slots
from tables.columns.types import Bools
from tables.merge.moved import Moved, Present

Codes = npt.NDArray[Any]

_BYTE: Final = np.dtype(np.int8)
_TABLE_MAX: Final = 128
# So many codes are looked at to see which values come; if only so many are left, these are looked for.
_LOOKED_AT: Final = 16_384
_LOOKED_FOR: Final = 16


def joined_codes(
    arrays: Sequence[Any | None], rows: Sequence[int], order: Moved | None, absent: str | None, *, trim: bool = False
) -> Any:
    """A DictionaryArray of all rows, whose indices are as narrow as they can be.

    arrays: DictionaryArrays of one type, not all None, and how many rows each has; None: nothing
    order: which row of all comes where; None: as they are; absent: the text that stands for null; None: null does
    trim: values that no row has are left out
    """
    dictionaries = [array.dictionary for array in arrays if array is not None]
    values, places = _unified(dictionaries)
    null = -1
    if absent is not None and any(array is None or array.null_count for array in arrays):
        values, null = _with_value(values, absent)
    has_nulls = null < 0 and any(array is None or array.null_count for array in arrays)
    total = sum(rows) if order is None else len(order.rows)
    if len(values) == 1 and not has_nulls and null < 0:
        return pa.DictionaryArray.from_arrays(index_array(np.zeros(total, np.int8), None), values, safe=False)
    dtype = narrow_dtype(len(values))
    present = order.present(arrays, rows) if order is not None and has_nulls and order.keeps_most else None
    if present is not None and present.are_few:
        codes = present.values(_present_codes(arrays, places, present, dtype))
    else:
        codes = _all_codes(arrays, rows, places, null, dtype)
        if order is not None:
            codes = codes.take(order.rows)
    if trim:
        values, codes = _trimmed(values, codes)
    if present is None:
        indices = _indices(codes) if has_nulls else index_array(codes, None)
    else:
        if present.are_few:
            codes = present.spread(codes)
        else:
            np.maximum(codes, 0, out=codes)
        indices = number_array(codes, present.bits)
    return pa.DictionaryArray.from_arrays(indices, values, safe=False)


def _present_codes(
    arrays: Sequence[Any | None], places: Sequence[Codes] | None, present: Present, dtype: np.dtype[Any]
) -> list[Codes]:
    """The codes of the rows that have one, of each input."""
    found = []
    number = 0
    for array, at in zip(arrays, present.at, strict=True):
        if array is None:
            continue
        codes = value_slots(array.indices)
        codes = codes if at is None else codes.take(at)
        out = np.empty(len(codes), dtype)
        _translate(out, codes, None if places is None else places[number])
        found.append(out)
        number += 1
    return found


def without_unused(array: Any) -> Any:
    """A DictionaryArray with only the values that its rows have. In: indices as narrow as they can be"""
    indices = array.indices
    codes = value_slots(indices)
    if array.null_count:
        codes = codes | (valid_rows(array).view(np.int8) - np.int8(1))
    values, trimmed = _trimmed(array.dictionary, codes)
    if values is array.dictionary:
        return array
    return pa.DictionaryArray.from_arrays(_indices(trimmed), values, safe=False)


def _trimmed(values: Any, codes: Codes) -> tuple[Any, Codes]:
    """The values that come, and their codes. In: codes, -1: null"""
    used = _used(codes, len(values))
    if used.all():
        return values, codes
    kept = np.flatnonzero(used)
    if not len(kept):
        return values, codes
    out = np.empty(len(codes), narrow_dtype(len(kept)))
    _translate(out, codes, np.where(used, np.cumsum(used) - 1, 0))
    return values.take(pa.array(kept)), out


def _used(codes: Codes, values: int) -> Bools:
    """Which of the values of a dictionary come. Some rows show most of them."""
    used = np.zeros(values + 1, np.bool_)  # the last one: null
    if codes.dtype == _BYTE:
        data = codes.tobytes()
        for value in range(values):
            used[value] = value in data
        return used[:-1]
    used[codes[:_LOOKED_AT]] = True
    rest = codes[_LOOKED_AT:]
    missing = np.flatnonzero(~used[:-1])
    if len(missing) <= _LOOKED_FOR:
        for value in missing.tolist():
            used[value] = bool((rest == value).any())
    else:
        used[rest] = True
    return used[:-1]


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
    if place is None and null >= 0 and array.null_count:
        place = np.arange(len(array.dictionary))
    _translate(out, codes, place, null)


def _translate(out: Codes, codes: Codes, place: Codes | None, null: int = -1) -> None:
    """Writes new codes for old ones. place: the new code of each old one, None: the same; null: of -1"""
    if place is None:
        out[:] = codes
        return
    # The last one is number -1.
    table = np.append(place, null).astype(out.dtype)
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
