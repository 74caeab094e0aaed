"""A number for each row that says what a client sent: rows are compared by it, without having them side by side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
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
from tables.columns.sorted_sets import is_among, unique
from tables.columns.types import Int64s, UInt64s
from tables.columns.whole_traces import FACT_COLUMNS

_BYTES: Final = 8


def row_digests(columns: Mapping[str, Any], rows: int) -> UInt64s:
    """A number for each row, made of all values that a client sent: rows that are equal have equal numbers in every
    process, and others do not, but for one pair in 2^64. It does not matter which columns have no value, and which
    attributes are in the column `overflow`. Digests of some columns add up to the digests of all of them.

    In: columns of the rows
    """
    digests = np.zeros(rows, np.uint64)
    sent = {name: one for name, one in columns.items() if name not in FACT_COLUMNS and name != overflow.COLUMN}
    for name, array in as_sent(sent).items():
        # What a file without the column has counts for nothing.
        hashes = _hashes(array)
        absent = hashes == _absent(name, array.type)
        digests += np.where(absent, np.uint64(0), _mixed(hashes ^ _digest(name.encode())))
    lists = columns.get(overflow.COLUMN)
    return digests if lists is None else digests + _of_overflow(lists)


def _of_overflow(lists: Any) -> UInt64s:
    """Thousands of attributes that few rows have, all of one type at once."""
    digests = np.zeros(len(lists), np.uint64)
    sparse = overflow.SparseColumns.of(lists)
    for names, owners, rows, values in sparse.by_type():
        keys = np.fromiter((_digest(name.encode()) for name in names), np.uint64, len(names))
        hashes = _hashes(values)
        np.add.at(digests, rows, np.where(hashes == 0, np.uint64(0), _mixed(hashes ^ keys[owners])))
    return digests


@dataclass(frozen=True, slots=True, eq=False)
class KnownDigests:
    """Digests of some rows of a content that never changes.

    rows: ascending, each once; digests: of each of them; times: how often some were made
    """

    rows: Int64s
    digests: UInt64s
    times: int = 0

    @property
    def nbytes(self) -> int:
        return int(self.rows.nbytes + self.digests.nbytes)

    def of(self, rows: Int64s) -> UInt64s:
        """In: some of the rows that are known"""
        found: UInt64s = self.digests[np.searchsorted(self.rows, rows)]
        return found

    def has(self, rows: Int64s) -> bool:
        """Whether the digests of all of some rows are known."""
        return bool(is_among(rows, self.rows).all())

    def with_rows(self, rows: Int64s, make: Callable[[Int64s], UInt64s]) -> "KnownDigests":
        """Besides those that are known, the digests of some rows.

        make: gives digests of rows, ascending, each once; it is not called if all are known
        """
        missing = unique(rows[~is_among(rows, self.rows)])
        if not len(missing):
            return self
        every = np.r_[self.rows, missing]
        order = np.argsort(every, kind="stable")
        return KnownDigests(every[order], np.r_[self.digests, make(missing)][order], self.times + 1)


NO_DIGESTS: Final = KnownDigests(np.empty(0, np.int64), np.empty(0, np.uint64))


@lru_cache(maxsize=1024)
def _absent(name: str, type_: Any) -> np.uint64:
    found: np.uint64 = _hashes(filled(name, pa.nulls(1, type_)))[0]
    return found


def _hashes(array: Any) -> UInt64s:
    return row_hashes(_without_texts(array))


def _without_texts(array: Any) -> Any:
    """The column with a number in place of each text or bytes: the same one in every process."""
    type_ = array.type
    if pa.types.is_dictionary(type_):
        # Not decoded: each row would have its own copy of a value, which may be long. Of the values only those in use.
        used = array.indices.dictionary_encode()
        return _without_texts(array.dictionary.take(used.dictionary)).take(used.indices)
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
    texts = encoded.dictionary.cast(pa.binary()).to_pylist()
    digests = np.frombuffer(b"".join(blake2b(one, digest_size=_BYTES).digest() for one in texts), "<u8")
    return pa.array(digests, pa.uint64()).take(encoded.indices)


def _digest(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(text, digest_size=_BYTES).digest(), "little"))


def _mixed(values: UInt64s) -> UInt64s:
    values = (values ^ (values >> np.uint64(32))) * MIX
    values = (values ^ (values >> np.uint64(29))) * MIX
    return values ^ (values >> np.uint64(32))
