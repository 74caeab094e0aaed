"""Columns of a group of files, made of those of its files."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tables.columns import overflow
from tables.columns.arrays import big_endian, numbers, one_array, plain
from tables.columns.types import Int64s
from tables.columns.whole_traces import FACT_COLUMNS, with_facts
from tables.parquet.small_files import LoadedFile, decode, presence


def facts_of(base: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of whole traces, from the columns of FACT_BASE at all of their rows."""
    table = with_facts(pa.table({name: plain(array) for name, array in base.items()}))
    return {name: one_array(table[name]) for name in FACT_COLUMNS}


def sortable(array: Any) -> Any:
    """As numbers, in the same order: ids of spans, and numbers."""
    return big_endian(array)[:, 0] if pa.types.is_fixed_size_binary(array.type) else numbers(array)


def column_of(files: Sequence[LoadedFile], column: str, hidden: Callable[[], Any], order: Int64s | None) -> Any:
    """A column that at least one of the files has of its own, with what others have in the overflow.

    hidden: gives the overflow's lists of all rows, in the order; order: of the rows; None: one file below the other
    """
    own, places = presence(files, lambda directory: column in directory.numbers)
    array = decode(own, column)
    wanted = places if order is None else order if places is None else places[order]
    if any(column in file.directory.hidden for file in files):
        # Its values are in its own column in some files, in the overflow in others.
        others = overflow.columns_of(hidden(), [column])[column]
        filled = np.flatnonzero(others.is_valid().to_numpy(zero_copy_only=False))
        wanted = np.arange(len(others)) if wanted is None else wanted.copy()
        wanted[filled] = len(array) + filled
        array = one_array(pa.chunked_array([array, others]))
    return array if wanted is None else array.take(_indices(wanted))


def replaced(array: Any, rows: Int64s, values: Any) -> Any:
    """The column with other values in some rows. In: plain values"""
    if pa.types.is_dictionary(array.type):
        values = values.dictionary_encode()
    joined = one_array(pa.chunked_array([array, values]))
    at = np.arange(len(array))
    at[rows] = len(array) + np.arange(len(rows))
    return joined.take(pa.array(at))


def _indices(places: Int64s) -> Any:
    """For a take: null for -1."""
    return pa.array(places, mask=places < 0) if len(places) and places.min() < 0 else pa.array(places)
