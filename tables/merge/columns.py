"""Columns of several inputs, one below the other, in another order of rows."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import pyarrow as pa

from tables.columns.absent import EMPTY_TEXTS, FILLED, MOSTLY_EMPTY, filled
from tables.columns.arrays import concat, one_array, take_lists, take_rows
from tables.merge.codes import joined_codes, without_unused
from tables.merge.inputs import Columns
from tables.merge.moved import FEW_SHARE, Moved
from tables.merge.sparse_values import is_sparse, joined_values

# Dictionaries of so many values are always looked through for those that no row has.
_DICTIONARY_PER_ROW: Final = 4


class Part:
    """Rows of one input.

    whole: whether its dictionaries have only what its rows have
    """

    def __init__(self, columns: Columns, *, whole: bool) -> None:
        self.columns, self.whole = columns, whole
        self.rows = len(columns["trace_id"])


def column_names(parts: Iterable[Part]) -> list[str]:
    """The columns that any part has, in the order in which they come."""
    return list(dict.fromkeys(name for part in parts for name in part.columns))


def joined(name: str, parts: Sequence[Part], order: Moved | None, *, trim: bool = False) -> Any:
    """A column of all parts; null, or what stands for nothing, where a part has not the column.

    order: which row of all comes where; None: as they are; trim: a dictionary's values that no row has are left out
    """
    present = [part.columns[name] for part in parts if name in part.columns]
    if any(pa.types.is_dictionary(array.type) for array in present):
        encoded = [_encoded(name, part) for part in parts]
        absent = "" if name in EMPTY_TEXTS else None
        return joined_codes(encoded, [part.rows for part in parts], order, absent, trim=trim)
    type_ = present[0].type
    if order is not None and order.keeps_most and is_sparse(type_) and name not in FILLED:
        arrays = [part.columns.get(name) for part in parts]
        rows = [part.rows for part in parts]
        if sum(len(array) - array.null_count for array in present) <= FEW_SHARE * sum(rows):
            return joined_values(arrays, type_, order.present(arrays, rows))
    array = concat([part.columns.get(name, pa.nulls(part.rows, type_)) for part in parts])
    array = filled(name, array)
    if order is not None:
        lists = name in MOSTLY_EMPTY and array.null_count == 0
        array = take_lists(array, order.rows) if lists else take_rows(array, order.rows)
    return array


def _encoded(name: str, part: Part) -> Any | None:
    array = part.columns.get(name)
    if array is None:
        return None
    if not pa.types.is_dictionary(array.type):
        return array.dictionary_encode()
    if not part.whole and len(array.dictionary) > _DICTIONARY_PER_ROW * len(array):
        return without_unused(array)
    return array


def concatenated(name: str, parts: Sequence[Part]) -> Any:
    """A column that every part has, without dictionaries."""
    return one_array(pa.chunked_array([part.columns[name] for part in parts]))
