"""Columns of a group of files, made of those of its files."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tables.columns.arrays import big_endian, numbers, one_array
from tables.columns.types import Int64s
from tables.columns.whole_traces import FACT_COLUMNS, with_facts


def facts_of(base: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of whole traces, from the columns of FACT_BASE at all of their rows."""
    table = with_facts(pa.table({name: _plain(array) for name, array in base.items()}))
    return {name: one_array(table[name]) for name in FACT_COLUMNS}


def sortable(array: Any) -> Any:
    """As numbers, in the same order: ids of spans, and numbers."""
    return big_endian(array)[:, 0] if pa.types.is_fixed_size_binary(array.type) else numbers(array)


def _plain(array: Any) -> Any:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def replaced(array: Any, rows: Int64s, values: Any) -> Any:
    """The column with other values in some rows. In: plain values"""
    if pa.types.is_dictionary(array.type):
        values = values.dictionary_encode()
    joined = one_array(pa.chunked_array([array, values]))
    at = np.arange(len(array))
    at[rows] = len(array) + np.arange(len(rows))
    return joined.take(pa.array(at))


def indices(places: Int64s) -> Any:
    """For a take: null for -1."""
    return pa.array(places, mask=places < 0) if len(places) and places.min() < 0 else pa.array(places)
