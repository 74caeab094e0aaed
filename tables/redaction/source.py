"""A source without what redactions remove, for as long as its block or live part still has it."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tables.columns.arrays import numbers
from tables.columns.trace_index import TraceIndex
from tables.columns.types import Bools, Int64s
from tables.redaction.apply import redacted_column, spans_of
from tables.redaction.rules import Redaction

_WHERE: Final = ("trace_id", "start_ns")


class RedactedSource:
    """Any source (`query.scan.source.Source`) with some rows left out and some values null. It belongs to one query."""

    def __init__(self, source: Any, redactions: Sequence[Redaction]) -> None:
        """Raises: OSError from the source, of which it reads the trace ids and, where it must, the times"""
        self._source = source
        self._values = [redaction for redaction in redactions if redaction.attribute]
        self._about: dict[str, Bools] = {}
        gone = np.zeros(source.rows, np.bool_)
        for redaction in redactions:
            if not redaction.attribute:
                gone |= self._spans_of(redaction)
        self._kept: Int64s | None = np.flatnonzero(~gone) if gone.any() else None
        self.rows = int(source.rows if self._kept is None else len(self._kept))

    def _spans_of(self, redaction: Redaction) -> Bools:
        """Which rows of the source a redaction is about."""
        found = self._about.get(redaction.id)
        if found is None:
            found = self._about[redaction.id] = self._find(redaction)
        return found

    def _find(self, redaction: Redaction) -> Bools:
        rows = self._source.rows
        if not rows:
            return np.zeros(0, np.bool_)
        about = np.ones(rows, np.bool_)
        if redaction.trace_id:
            # By the index, which most queries need anyway.
            index = self._source.traces()
            about = np.zeros(rows, np.bool_)
            wanted = np.frombuffer(bytes.fromhex(redaction.trace_id), "S16")
            at = int(np.searchsorted(index.ids, wanted[0]))
            if at < len(index.ids) and index.ids[at] == wanted[0]:
                about[index.offsets[at] : index.offsets[at + 1]] = True
        if about.any() and (redaction.since_ns is not None or redaction.until_ns is not None):
            trace_ids, start_ns = (self._source.read(_WHERE)[name] for name in _WHERE)
            about &= spans_of(redaction, trace_ids, numbers(start_ns))
        return about

    @cached_property
    def columns(self) -> frozenset[str]:
        """The columns that still have a value; where whole spans are left out, also those that only they had."""
        found: frozenset[str] = self._source.columns
        concerned = [name for name in found if any(each.concerns_column(name) for each in self._values)]
        if not concerned and self._kept is None:
            return found
        if not self.rows:
            return frozenset()
        empty = {name for name in concerned if _is_null(self.read([name])[name])}
        return found - empty

    def bounds(self, column: str) -> tuple[int, int] | None:
        """As of the source: they still hold every value."""
        if any(redaction.concerns_column(column) for redaction in self._values):
            return None
        found: tuple[int, int] | None = self._source.bounds(column)
        return found

    @cached_property
    def _traces(self) -> TraceIndex:
        index: TraceIndex = self._source.traces()
        if self._kept is None:
            return index
        ends = np.searchsorted(self._kept, index.offsets)
        left = np.flatnonzero(ends[1:] > ends[:-1])
        return TraceIndex(index.ids[left], np.r_[ends[left], self.rows].astype(np.int64))

    def traces(self) -> TraceIndex:
        """The index of the trace ids that are left."""
        return self._traces

    def decoded_bytes(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> int:
        """As of the source, which is read, and copies of what changes."""
        ask = getattr(self._source, "decoded_bytes", None)
        size = 0 if ask is None else int(ask(columns, None if rows is None else self._source_rows(rows)))
        changed = self._kept is not None or any(each.concerns_column(name) for each in self._values for name in columns)
        return size * 2 if changed else size

    def ready_bytes(self, column: str) -> int | None:
        """Not known where the column is made anew."""
        ask = getattr(self._source, "ready_bytes", None)
        if ask is None or self._kept is not None or any(each.concerns_column(column) for each in self._values):
            return None
        found: int | None = ask(column)
        return found

    def _source_rows(self, rows: tuple[int, int]) -> tuple[int, int]:
        """The range of the source's rows that has these rows."""
        if self._kept is None:
            return rows
        numbers_ = self._kept[slice(*rows)]
        return (int(numbers_[0]), int(numbers_[-1]) + 1) if len(numbers_) else (0, 0)

    def read(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> Mapping[str, Any]:
        """The columns of the source without the rows and values that redactions remove."""
        if rows is None and self._kept is not None:
            rows = (0, self.rows)
        if rows is not None and rows[0] >= rows[1]:
            # A range without rows is no range of the source.
            first = self._source.read(columns, (0, 1)) if self._source.rows else self._source.read(columns)
            return {name: array.slice(0, 0) for name, array in first.items()}
        wanted = None if rows is None else self._source_rows(rows)
        found = dict(self._source.read(columns, wanted))
        begin, end = (0, self._source.rows) if wanted is None else wanted
        for redaction in self._values:
            for name in columns:
                if redaction.concerns_column(name):
                    about = self._spans_of(redaction)[begin:end]
                    found[name] = redacted_column(name, found[name], redaction, about)
        if self._kept is None or rows is None:
            return found
        kept = self._kept[slice(*rows)]
        if len(kept) == end - begin:
            return found
        take = pa.array(kept - begin)
        return {name: array.take(take) for name, array in found.items()}


def _is_null(array: Any) -> bool:
    return bool(array.null_count == len(array))
