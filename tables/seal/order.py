"""The order of rows in a segment: by trace id, start and span id; and the first row of each trace."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tables.columns.arrays import big_endian, concat, numbers, rows_in_order
from tables.columns.types import Bools, Int64s
from tables.wire.split import take_rows

# A column of spans that cannot be sealed, in records as in segments: see `tables.seal.raw_fallback`.
RAW: Final = "raw"
RAW_OWNER: Final = "raw_owner"


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """order: the old row of each new row; trace: number of each new row's trace; starts: first row of each trace"""

    order: Int64s
    trace: Int64s
    starts: Int64s

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.order)


def trace_order(trace_ids: Any, start_ns: Int64s, ties: Callable[[], Sequence[Any]]) -> Order:
    """The order of rows by (trace id, start, ties); it does not depend on the order of arrival.

    ties: a function, called only if both are equal, that returns further keys, the first one first
    """
    ids = big_endian(trace_ids)
    order = rows_in_order((ids[:, 0], ids[:, 1], start_ns), ties)
    ids = ids[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (ids[1:] != ids[:-1]).any(axis=1)
    return Order(order, np.cumsum(new) - 1, np.flatnonzero(new))


class Rows:
    """Columns of several record batches, concatenated in `order`."""

    def __init__(self, batches: list[pa.RecordBatch]) -> None:
        self.batches = batches
        self._set_order(trace_order(self._joined("trace_id"), self._joined_numbers("start_ns"), self._ties))

    def _set_order(self, order: Order) -> None:
        self.order = order
        self._indices = pa.array(order.order)

    def same_keys(self) -> Bools:
        """Which rows have the same keys as the row before: those that it takes to be sorted, and its ids."""
        order, spans = self.order, big_endian(self._joined("span_id"))[:, 0][self.order.order]
        same = np.zeros(order.rows, np.bool_)
        at = np.flatnonzero(spans[1:] == spans[:-1]) + 1
        at = at[order.trace[at] == order.trace[at - 1]]
        if len(at):
            upper, lower = order.order[at - 1], order.order[at]
            alike = np.ones(len(at), np.bool_)
            for key in (self._joined_numbers("start_ns"), *self._ties()):
                alike &= key[upper] == key[lower]
            same[at[alike]] = True
        return same

    def some_batches(self, rows: Int64s) -> list[pa.RecordBatch]:
        """Some rows, by their place in the order, as batches of their own: sorted, they come in the same order."""
        places = np.sort(self.order.order[rows])
        ends = np.cumsum([len(batch) for batch in self.batches])
        cuts = np.searchsorted(places, ends)
        found = []
        for batch, end, first, last in zip(self.batches, ends, (0, *cuts), cuts, strict=False):
            if last > first:
                found.append(take_rows(batch, places[first:last] - (end - len(batch))))
        return found

    def leave_out(self, rows: Int64s) -> None:
        """Drops rows, by their place in the order. Each trace must keep one."""
        keep = np.ones(self.order.rows, np.bool_)
        keep[rows] = False
        trace = self.order.trace[keep]
        starts = np.flatnonzero(np.r_[True, trace[1:] != trace[:-1]])
        self._set_order(Order(self.order.order[keep], trace, starts))

    def _ties(self) -> list[Any]:
        span_id, parent_id = (big_endian(self._joined(name))[:, 0] for name in ("span_id", "parent_span_id"))
        return [span_id, self._joined_numbers("kind"), parent_id, self._joined_numbers("duration_ns")]

    def _joined(self, name: str) -> Any:
        return concat([batch.column(name) for batch in self.batches])

    def _joined_numbers(self, name: str) -> Any:
        return np.concatenate([numbers(batch.column(name)) for batch in self.batches])

    def has(self, name: str) -> bool:
        """Whether any batch has the column."""
        return any(name in batch.schema.names for batch in self.batches)

    def take(self, name: str) -> Any:
        """A plain column that every batch has."""
        return self._joined(name).take(self._indices)

    def take_numbers(self, name: str) -> Any:
        """A number column that every batch has, as numpy; faster than `take`."""
        return self._joined_numbers(name)[self.order.order]

    def take_optional(self, name: str, default: pa.Scalar) -> Any:
        """A column that some batches have; rows of other batches get `default`."""
        parts = [
            batch.column(name) if name in batch.schema.names else pa.repeat(default, len(batch))
            for batch in self.batches
        ]
        return concat(parts).take(self._indices)

    def take_codes(self, name: str, numbers_of: "Numbers") -> Any:
        """Codes of a dictionary column over all batches, from `numbers_of`; a batch without the column has -1."""
        codes = [
            numbers_of.codes(batch.column(name)) if name in batch.schema.names else np.full(len(batch), -1, np.int32)
            for batch in self.batches
        ]
        return np.concatenate(codes)[self.order.order]


class Numbers:
    """Dictionary values of several batches → one small number per distinct value."""

    def __init__(self) -> None:
        self.number_of: dict[Any, int] = {}

    @property
    def values(self) -> list[Any]:
        """The values, ordered by number."""
        return list(self.number_of)

    def codes(self, column: pa.DictionaryArray) -> Any:
        """The number of each row's value, int32. Dictionary values that no row uses get no number."""
        found = self.number_of
        codes = numbers(column.indices)
        mask = np.zeros(len(column.dictionary), np.bool_)
        mask[codes] = True
        used = np.flatnonzero(mask)
        # Few rows of a record that many tenants share: only their values are made Python objects.
        values = column.dictionary if len(used) == len(mask) else column.dictionary.take(pa.array(used))
        table = np.full(len(mask), -1, np.int32)
        table[used] = [found.setdefault(value, len(found)) for value in values.to_pylist()]
        return table[codes]

    def strings(self, codes: Any, type_: Any = None) -> Any:
        """Codes → strings, dictionary-encoded with only the values in use; a negative code is null.

        type_: of the values, if they are not strings
        """
        values = self.values
        used = np.zeros(len(values) + 1, np.bool_)
        used[codes] = True  # -1 marks the extra last place
        dense = np.cumsum(used[:-1], dtype=np.int32) - 1
        kept = pa.array([value for value, keep in zip(values, used, strict=False) if keep], type_ or pa.string())
        mask = codes < 0
        index = pa.array(dense[codes] if len(values) else codes, mask=mask if mask.any() else None)
        return pa.DictionaryArray.from_arrays(index, kept)
