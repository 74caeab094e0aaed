"""The definition levels of flat columns that are written, made once for all columns that have values in the same rows.

A merge gives such columns one validity buffer.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tables.columns.arrays import valid_rows
from tables.columns.types import Int64s
from tables.parquet.encode_pages import bit_levels, equal_levels


class PresentRows:
    """Rows that have a value.

    pages: the levels of each page; ends: how many values there are up to its end; at: the rows; None: all
    """

    def __init__(self, pages: list[bytes], ends: list[int], at: Int64s | None) -> None:
        self.pages, self.ends, self.at = pages, ends, at

    def some(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What the rows that have a value hold. In: a number for each row of the column"""
        return values if self.at is None else values.take(self.at)


class FlatLevels:
    """The definition levels of the columns of a table. The columns must live as long: they are told apart by address.

    starts: the first row of each page, and the number of rows, at least 1
    """

    def __init__(self, starts: Sequence[int]) -> None:
        self.starts: Final = starts
        counts = [end - first for first, end in pairwise(starts)]
        self._all = PresentRows([equal_levels(1, count) for count in counts], list(starts[1:]), None)
        self._made: dict[tuple[int, int], PresentRows] = {}  # by address and offset of the bits

    def of(self, array: Any) -> PresentRows:
        """The rows in which a column has a value, and their levels."""
        if not array.null_count:
            return self._all
        bits = (array.indices if pa.types.is_dictionary(array.type) else array).buffers()[0]
        if bits is None:  # of no value at all
            return self._present(array)
        key = bits.address, array.offset
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._present(array)
        return found

    def _present(self, array: Any) -> PresentRows:
        valid = valid_rows(array)
        at = np.flatnonzero(valid)
        ends = np.searchsorted(at, self.starts[1:]).tolist()
        counts = np.diff(ends, prepend=0).tolist()
        pages = [
            equal_levels(1, end - first) if count == end - first else bit_levels(valid[first:end])
            for count, (first, end) in zip(counts, pairwise(self.starts), strict=True)
        ]
        return PresentRows(pages, ends, at)
