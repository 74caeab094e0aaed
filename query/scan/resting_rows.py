"""Which rows of several sources a client sent twice. They are compared where they rest, which keeps their digests."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from query import memory
from query.scan.arrays import Mask, Rows
from query.scan.reader import Reader
from query.scan.source import RowDigesting
from tables.columns.repeated import FIRST_COLUMNS, as_sent, concatenated, repeated_by_digest
from tables.columns.row_digests import row_digests
from tables.columns.types import UInt64s
from tables.columns.whole_traces import FACT_COLUMNS


class RestingRows:
    """Rows that have the same ids and times as others. number: of the reader of each row; row: where it lies there"""

    def __init__(self, readers: Sequence[Reader], number: Rows, row: Rows) -> None:
        self._readers, self._number, self._row = readers, number, row

    def repeated(self, group: Rows) -> Mask:
        """Which of them equal one before in every field that a client sent. In: as of `repeated_rows`"""
        rows = np.arange(len(group))
        return repeated_by_digest(group, as_sent(self._first_columns(rows)), self._digests)

    def _first_columns(self, some: Rows) -> dict[str, Any]:
        parts, order = self._by_reader(some)
        # Not by way of the reader, which shows durations that no clock can have measured as 0.
        return concatenated([_rows_of_columns(reader, FIRST_COLUMNS, rows) for reader, rows in parts], order)

    def _digests(self, some: Rows) -> UInt64s:
        parts, order = self._by_reader(some)
        found = np.empty(len(some), np.uint64)
        found[order] = np.concatenate([digests_of(reader, rows) for reader, rows in parts])
        return found

    def _by_reader(self, some: Rows) -> tuple[list[tuple[Reader, Rows]], Rows]:
        """The rows of each reader, ascending, and for each of these, reader by reader, its place in `some`."""
        number, row = self._number[some], self._row[some]
        order = np.lexsort((row, number))
        readers, first = np.unique(number[order], return_index=True)
        rows = np.split(row[order], first[1:])
        return [(self._readers[one], part) for one, part in zip(readers.tolist(), rows, strict=True)], order


def digests_of(reader: Reader, rows: Rows) -> UInt64s:
    """A digest of each of some rows, ascending, of all that a client sent."""
    source = reader.source
    if not isinstance(source, RowDigesting):
        columns = _rows_of_columns(reader, sorted(source.columns.difference(FACT_COLUMNS)), rows)
        return row_digests(columns, len(rows))
    with memory.current().scratch(source.digest_bytes(), f"digests of {len(rows)} spans"):
        return source.row_digests(rows)


def _rows_of_columns(reader: Reader, columns: Sequence[str], rows: Rows) -> Mapping[str, Any]:
    present = [name for name in columns if reader.stored(name)]
    first, end = int(rows[0]), int(rows[-1]) + 1
    size, what = reader.decoded_bytes(present, (first, end)), f"{len(present)} columns of {end - first} spans"
    with memory.current().scratch(size, what):
        read, at = reader.source.read(present, (first, end)), pa.array(rows - first)
        return {name: read[name].take(at) for name in present}
