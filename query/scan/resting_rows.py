"""Which rows of several sources a client sent twice. They are compared where they rest; the result is kept there."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from query import memory
from query.scan.arrays import Mask, Rows
from query.scan.reader import Reader
from query.scan.source import DerivedCache, ValuedReading
from tables.columns.repeated import (
    FIRST_COLUMNS,
    Kept,
    Origins,
    as_sent,
    concatenated,
    known_repeated,
    repeated_in_steps,
)
from tables.columns.whole_traces import FACT_COLUMNS

# What is read, put below each other, in order, and with plain texts. And of a column that another source has.
_COPIES: Final = 2
_CELL_BYTES: Final = 5


class RestingRows:
    """Rows that have the same ids and times as others. number: of the reader of each row; row: where it lies there"""

    def __init__(self, readers: Sequence[Reader], number: Rows, row: Rows) -> None:
        self._readers, self._number, self._row = readers, number, row
        self._held_bytes = 0

    def repeated(self, group: Rows) -> Mask:
        """Which of them equal one before in every field that a client sent. In: as of `repeated_rows`"""
        caches = {
            reader.derived_cache.content_key(): reader.derived_cache
            for reader in self._readers
            if reader.derived_cache is not None
        }
        contents = [
            None if reader.derived_cache is None else reader.derived_cache.content_key() for reader in self._readers
        ]

        def find(some: Rows) -> Mask:
            return repeated_in_steps(
                group[some],
                lambda: as_sent(self._read(some, _first_columns)),
                lambda alike: as_sent(self._read(some[alike], all_columns)),
            )

        try:
            return known_repeated(group, Origins(contents, self._number, self._row), _kept(caches), find)
        finally:
            memory.current().release(self._held_bytes)
            self._held_bytes = 0

    def _read(self, some: Rows, read: Callable[[Reader, Rows], Mapping[str, Any]]) -> dict[str, Any]:
        number, row = self._number[some], self._row[some]
        order = np.lexsort((row, number))
        readers, first = np.unique(number[order], return_index=True)
        tables = []
        for one, rows in zip(readers.tolist(), np.split(row[order], first[1:]), strict=True):
            tables.append(read(self._readers[one], rows))
            self._hold(_COPIES * memory.array_bytes(tables[-1]), len(some))
        self._hold(_CELL_BYTES * len(some) * len(set[str]().union(*tables)), len(some))
        return concatenated(tables, order)

    def _hold(self, size: int, rows: int) -> None:
        memory.reserve(size, f"comparing {rows} spans that look alike")
        self._held_bytes += size


def _kept(caches: Mapping[str, DerivedCache]) -> Kept:
    def put(content: str, name: str, found: Mask) -> None:
        caches[content].keep(name, lambda: found)

    return Kept(lambda content, name: caches[content].kept(name), put)


# Neither by way of the reader, which shows durations that no clock can have measured as 0.


def _first_columns(reader: Reader, rows: Rows) -> Mapping[str, Any]:
    return _rows_of_columns(reader, FIRST_COLUMNS, rows)


def all_columns(reader: Reader, rows: Rows) -> Mapping[str, Any]:
    """All that a client sent of some rows, ascending, without some columns in which none of them has a value. What is
    in the overflow stays there.
    """
    source = reader.source
    if not isinstance(source, ValuedReading):
        return _rows_of_columns(reader, sorted(source.columns.difference(FACT_COLUMNS)), rows)
    with memory.current().scratch(source.valued_bytes(), f"all columns of {len(rows)} spans"):
        return source.read_valued(rows)


def _rows_of_columns(reader: Reader, columns: Sequence[str], rows: Rows) -> Mapping[str, Any]:
    present = [name for name in columns if reader.stored(name)]
    first, end = int(rows[0]), int(rows[-1]) + 1
    size, what = reader.decoded_bytes(present, (first, end)), f"{len(present)} columns of {end - first} spans"
    with memory.current().scratch(size, what):
        read, at = reader.source.read(present, (first, end)), pa.array(rows - first)
        return {name: read[name].take(at) for name in present}
