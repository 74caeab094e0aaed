"""Which rows of the columns of a file have a value.

Attributes of one kind of span come together: most columns of a file share their definition levels with others, page by
page. Each page's levels are decoded once, and columns that are alike share what is made of them.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tables.columns.arrays import scattered
from tables.columns.types import Bools, Int64s
from tables.parquet.code_pages import one_run
from tables.parquet.pages_together import JoinedPage, booleans

_LENGTH_BYTES: Final = 4


class ColumnPresence:
    """at: the rows that have a value, ascending; None: all have; bits: the same as Arrow has it"""

    def __init__(self, valid: Bools | None, rows: int) -> None:
        self.rows, self.count = rows, rows
        self.at: Int64s | None = None
        self.bits: Any = None
        if valid is not None:
            self.at = np.flatnonzero(valid)
            self.count = len(self.at)
            self.bits = pa.py_buffer(np.packbits(valid, bitorder="little"))

    def spread(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The values of all rows, 0 where there is none. In: one for each row that has one"""
        return values if self.at is None else scattered(values, self.at, self.rows)


class PresenceReader:
    """Those of the columns of a file. Pages are added first, then decoded, then asked for."""

    def __init__(self) -> None:
        self._numbers: dict[JoinedPage, int] = {}
        self._pages: list[JoinedPage] = []
        self._valid: list[Bools | None] = []  # None: all have a value
        self._counts: list[int] = []
        self._made: dict[tuple[int, ...], ColumnPresence] = {}

    def add(self, rows: int, levels: bytes) -> int:
        """The number of a page's levels. In: with their length in front"""
        page = JoinedPage(rows, levels)
        number = self._numbers.setdefault(page, len(self._pages))
        if number == len(self._pages):
            self._pages.append(page)
        return number

    def decode(self) -> None:
        """Decodes what was added. Raises: ValueError, IndexError, ArrowException, OSError where it is damaged"""
        waiting: list[int] = []
        for number in range(len(self._valid), len(self._pages)):
            rows, levels = self._pages[number]
            found = one_run(levels, _LENGTH_BYTES, len(levels), 1, rows)
            if found is None:
                waiting.append(number)
            valid = np.full(rows, found, np.bool_) if isinstance(found, int) else found
            self._valid.append(valid if valid is None else valid.view(np.bool_))
        if waiting:
            pages = [self._pages[number] for number in waiting]
            for number, valid in zip(waiting, booleans(pages), strict=True):
                self._valid[number] = valid
        for number in range(len(self._counts), len(self._pages)):
            valid = self._valid[number]
            assert valid is not None
            count = int(np.count_nonzero(valid))
            self._counts.append(count)
            if count == len(valid):
                self._valid[number] = None

    def count(self, page: int) -> int:
        """How many rows of a page have a value."""
        return self._counts[page]

    def of(self, pages: Sequence[int]) -> ColumnPresence:
        """That of a column of these pages."""
        key = tuple(pages)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._joined(key)
        return found

    def _joined(self, pages: tuple[int, ...]) -> ColumnPresence:
        rows = [self._pages[page].values for page in pages]
        if all(self._valid[page] is None for page in pages):
            return ColumnPresence(None, sum(rows))
        valid = np.concatenate(
            [
                np.ones(count, np.bool_) if (some := self._valid[page]) is None else some
                for page, count in zip(pages, rows, strict=True)
            ]
        )
        return ColumnPresence(valid, sum(rows))
