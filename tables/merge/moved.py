"""Another order of rows, and where the rows of a column that have a value come in it.

Attributes of one kind of span come together: most columns have something in the same rows as others. What is made of
that is made once for all of these columns, and columns that are moved share it.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tables.columns.arrays import scattered, valid_rows
from tables.columns.types import Bools, Int64s

# Of a column that no more rows have something in, only what is there is moved.
FEW_SHARE: Final = 0.4
_NONE: Final = np.empty(0, np.int64)
_Key = tuple[bytes | bool, ...]


class Present:
    """The rows of a column that have a value.

    at: those of each input, ascending; None: all
    count: how many stay; rows: how many new rows there are; bits: which of these they are, as Arrow has it
    are_few: whether it pays to move them alone
    """

    def __init__(self, at: Sequence[Int64s | None], places: Sequence[Int64s], rows: int, *, all_stay: bool) -> None:
        self.at = at
        self._new = np.concatenate(places)
        self._kept: Bools | None = None
        self._order: Int64s | None = None
        if not all_stay:
            self._kept = self._new >= 0
            self._new = self._new[self._kept]
        self.count, self.rows = len(self._new), rows
        self.are_few = self.count <= FEW_SHARE * rows
        valid = np.zeros(rows, np.bool_)
        valid[self._new] = True
        self.bits: Any = pa.py_buffer(np.packbits(valid, bitorder="little"))

    def values(self, parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Those that stay. In: of each input those of the rows `at`"""
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return joined if self._kept is None else joined[self._kept]

    def kept_in_order(self) -> Int64s:
        """Which of the rows `at`, numbered over all inputs, come: in the new order."""
        if self._order is None:
            order = np.argsort(self._new)
            self._order = order if self._kept is None else np.flatnonzero(self._kept)[order]
        return self._order

    def spread(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A value for each new row, 0 where there is none. In: as `values` gives them"""
        return scattered(values, self._new, self.rows)


class Moved:
    """Another order of rows.

    rows: the old row of each new one; total: how many old ones there are, of which some may be left out
    """

    def __init__(self, rows: Int64s, total: int) -> None:
        self.rows, self._total = rows, total
        # Where most rows are left out, the places of all would cost more.
        self.keeps_most = 2 * len(rows) > total
        self._places: Int64s | None = None
        self._at: dict[tuple[int, bytes], Int64s] = {}
        self._present: dict[_Key, Present] = {}

    def places(self) -> Int64s:
        """The new row of each old one; -1: it is left out."""
        if self._places is None:
            self._places = np.full(self._total, -1, np.int64)
            self._places[self.rows] = np.arange(len(self.rows))
        return self._places

    def present(self, arrays: Sequence[Any | None], rows: Sequence[int]) -> Present:
        """Which rows of a column have a value. In: its arrays, and how many rows each has; None: nothing"""
        key = tuple(map(_validity, arrays))
        found = self._present.get(key)
        if found is None:
            found = self._present[key] = self._made(key, arrays, rows)
        return found

    def _made(self, key: _Key, arrays: Sequence[Any | None], rows: Sequence[int]) -> Present:
        places = self.places()
        at: list[Int64s | None] = []
        new: list[Int64s] = []
        first = 0
        for number, (validity, array, count) in enumerate(zip(key, arrays, rows, strict=True)):
            some = places[first : first + count]
            first += count
            if isinstance(validity, bool):
                at.append(None if validity else _NONE)
                new.append(some if validity else _NONE)
                continue
            here = self._at.get((number, validity))
            if here is None:
                here = self._at[number, validity] = np.flatnonzero(valid_rows(array))
            at.append(here)
            new.append(some.take(here))
        return Present(at, new, len(self.rows), all_stay=len(self.rows) == self._total)


def _validity(array: Any | None) -> bytes | bool:
    """What is equal only for arrays of so many rows that have something in the same ones: the bits that say it; whether
    all rows have, or none.
    """
    if array is None or not array.null_count:
        return array is not None
    if array.null_count == len(array):
        return False
    bits = (array.indices if pa.types.is_dictionary(array.type) else array).buffers()[0]
    first, skipped = divmod(array.offset, 8)
    return bytes([skipped]) + bytes(memoryview(bits)[first : first + -(-(skipped + len(array)) // 8)])
