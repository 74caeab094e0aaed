"""A number for each row that says what a client sent: processes compare rows by it, without sending them."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tables.columns import overflow
from tables.columns.absent import filled
from tables.columns.arrays import list_offsets
from tables.columns.equal_rows import row_hashes
from tables.columns.nested_set import MIX
from tables.columns.repeated import as_sent
from tables.columns.types import UInt64s
from tables.columns.whole_traces import FACT_COLUMNS

_BYTES: Final = 8

# Attributes of the overflow become columns for so many values at once, most of them null.
_CELLS_AT_ONCE: Final = 1 << 20


def row_digests(columns: Mapping[str, Any], rows: int) -> UInt64s:
    """A number for each row, made of all values that a client sent: rows that are equal have equal numbers in every
    process, and others do not, but for one pair in 2^64. It does not matter which columns have no value.

    In: all columns of the rows, the overflow as it is
    """
    digests = _digests({name: one for name, one in columns.items() if name != overflow.COLUMN}, rows)
    lists = columns.get(overflow.COLUMN)
    if lists is not None:
        step = max(1, _CELLS_AT_ONCE // max(1, len(overflow.column_names(lists))))
        for first in range(0, rows, step):
            some = lists.slice(first, step)
            names = sorted(overflow.column_names(some).difference(columns))
            digests[first : first + len(some)] += _digests(overflow.columns_of(some, names), len(some))
    return digests


def _digests(columns: Mapping[str, Any], rows: int) -> UInt64s:
    digests = np.zeros(rows, np.uint64)
    for name, array in as_sent({name: one for name, one in columns.items() if name not in FACT_COLUMNS}).items():
        # What a file without the column has counts for nothing.
        absent = _hashes(filled(name, pa.nulls(1, array.type)))[0]
        hashes = _hashes(array)
        digests += np.where(hashes == absent, np.uint64(0), _mixed(hashes ^ _digest(name.encode())))
    return digests


def _hashes(array: Any) -> UInt64s:
    return row_hashes(_without_texts(array))


def _without_texts(array: Any) -> Any:
    """The column with a number in place of each text or bytes: the same one in every process."""
    type_ = array.type
    if pa.types.is_dictionary(type_):
        return _without_texts(array.dictionary_decode())
    if pa.types.is_list(type_):
        offsets = list_offsets(array)
        begin, end = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
        values = _without_texts(array.values.slice(begin, end - begin))
        return pa.ListArray.from_arrays(pa.array(offsets - begin), values, mask=array.is_null())
    if pa.types.is_struct(type_):
        fields = [_without_texts(array.field(number)) for number in range(type_.num_fields)]
        names = [type_.field(number).name for number in range(type_.num_fields)]
        return pa.StructArray.from_arrays(fields, names, mask=array.is_null())
    if pa.types.is_primitive(type_) or pa.types.is_null(type_):
        return array.cast(pa.uint8()) if pa.types.is_null(type_) else array
    encoded = array.dictionary_encode()
    texts = [_digest(one.as_buffer().to_pybytes()) for one in encoded.dictionary]
    return pa.array(texts, pa.uint64()).take(encoded.indices)


def _digest(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(text, digest_size=_BYTES).digest(), "little"))


def _mixed(values: UInt64s) -> UInt64s:
    values = (values ^ (values >> np.uint64(32))) * MIX
    values = (values ^ (values >> np.uint64(29))) * MIX
    return values ^ (values >> np.uint64(32))
