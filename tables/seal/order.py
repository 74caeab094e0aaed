"""The order of rows in a segment: by trace id, start and span id; and where the traces begin."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tables.columns.arrays import big_endian, concat, numbers, rows_in_order
from tables.columns.types import Int64s

# A column of spans that cannot be sealed, in records as in segments: see `tables.seal.rescue`.
RAW: Final = "raw"
RAW_OWNER: Final = "raw_owner"


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """order: the old row of each new row. trace: number of each new row's trace. starts: first row of each trace."""

    order: Int64s
    trace: Int64s
    starts: Int64s

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.order)


def trace_order(trace_ids: Any, start_ns: Int64s, ties: Callable[[], Sequence[Any]]) -> Order:
    """Order of rows by (trace id, start, ties): the same in whatever order they came.

    ties: arrays that decide where both are equal, the first one first; asked for only then
    """
    ids = big_endian(trace_ids)
    order = rows_in_order((ids[:, 0], ids[:, 1], start_ns), ties)
    ids = ids[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (ids[1:] != ids[:-1]).any(axis=1)
    return Order(order, np.cumsum(new) - 1, np.flatnonzero(new))


class Rows:
    """Columns of several record batches as if they were one, brought into `order`."""

    def __init__(self, batches: list[pa.RecordBatch]) -> None:
        self.batches = batches
        self.order = trace_order(self._joined("trace_id"), self._joined_numbers("start_ns"), self._ties)
        self._indices = pa.array(self.order.order)

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
        """A number column that every batch has, as numpy: faster than `take`."""
        return self._joined_numbers(name)[self.order.order]

    def take_optional(self, name: str, default: pa.Scalar) -> Any:
        """A column that some batches have; the others' rows get `default`."""
        parts = [
            batch.column(name) if name in batch.schema.names else pa.repeat(default, len(batch))
            for batch in self.batches
        ]
        return concat(parts).take(self._indices)

    def take_codes(self, name: str, numbers_of: "Numbers") -> Any:
        """Codes of a dictionary column, by `numbers_of` over all batches; a batch without the column has -1."""
        codes = [
            numbers_of.codes(batch.column(name)) if name in batch.schema.names else np.full(len(batch), -1, np.int32)
            for batch in self.batches
        ]
        return np.concatenate(codes)[self.order.order]


class Numbers:
    """Dictionary values of several batches → one small number each."""

    def __init__(self) -> None:
        self.number_of: dict[Any, int] = {}

    @property
    def values(self) -> list[Any]:
        """The values by their number."""
        return list(self.number_of)

    def codes(self, column: pa.DictionaryArray) -> Any:
        """The number of each row's value, int32. Values that no row has get none: a record may hold those."""
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

        type_: of the values, if they are no strings
        """
        values = self.values
        used = np.zeros(len(values) + 1, np.bool_)
        used[codes] = True  # -1 marks the extra last place
        dense = np.cumsum(used[:-1], dtype=np.int32) - 1
        kept = pa.array([value for value, keep in zip(values, used, strict=False) if keep], type_ or pa.string())
        mask = codes < 0
        index = pa.array(dense[codes] if len(values) else codes, mask=mask if mask.any() else None)
        return pa.DictionaryArray.from_arrays(index, kept)
