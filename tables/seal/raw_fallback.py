"""Seals all spans: a span for which the seal fails is stored whole beside the others.

Such a span should not exist: every accepted span can be sealed (`wire.otlp.nested`). But neither a bug nor the data of
another producer may lose an acknowledged span. It becomes a row with the columns `raw` (the span as OTLP) and
`raw_owner` (its resource and scope as OTLP), and those fixed columns that are valid. A trace by id finds it.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import numpy as np
import pyarrow as pa

from tables.columns.arrays import dictionary
from tables.schema import SPAN_FIELDS
from tables.seal.order import RAW, RAW_OWNER
from tables.seal.segment import seal
from tables.wall import walled
from tables.wire.otlp.row import rows_as_otlp
from tables.wire.split import take_rows

log = logging.getLogger(__name__)
T = TypeVar("T")

# The search for the spans at fault takes a seal for each half of the rest. Spans that are not checked by then are
# stored raw.
_SEARCH_S: Final = 5.0
_NO_ATTRIBUTES: Final = pa.list_(pa.struct([("key", pa.dictionary(pa.int16(), pa.string()))]))
_TRUSTED: Final = (*SPAN_FIELDS, "resource", "scope")


def seal_whole(
    batches: Sequence[pa.RecordBatch], attribute_columns_max: int, finish: Callable[[pa.Table], T]
) -> tuple[pa.Table, T]:
    """As `seal`, for all spans: those that cannot be sealed go to the column `raw`. Also returns the result of `finish`
    on the table, which must succeed, too.

    Raises: OSError, MemoryError, which say nothing about the spans
    """
    search = _Search(attribute_columns_max, finish)
    try:
        return search.sealed(batches)
    except (OSError, MemoryError):
        raise
    except Exception:
        log.exception("%d spans cannot be sealed; looking for those that are the reason", sum(map(len, batches)))
    search.part(batches)
    search.join()
    for strip in (_trusted, _bare):
        kept = [*search.good, *(strip(batch) for batch in search.bad)]
        if search.is_sealable(kept):
            break
    else:
        kept = [_bare(batch) for batch in batches]
    table, result = search.sealed(kept)
    log.error("%d of %d spans are kept raw: found by trace id only", raw_spans(table), len(table))
    return table, result


def raw_spans(table: pa.Table) -> int:
    """Number of spans in a sealed table that are stored raw."""
    return len(table) - int(table[RAW].null_count) if RAW in table.column_names else 0


class _Search(Generic[T]):
    """Separates the batches that can be sealed together from the others."""

    def __init__(self, attribute_columns_max: int, finish: Callable[[pa.Table], T]) -> None:
        self.good: list[pa.RecordBatch] = []
        self.bad: list[pa.RecordBatch] = []
        self._attribute_columns_max, self._finish = attribute_columns_max, finish
        self._end_s = time.thread_time() + _SEARCH_S

    def sealed(self, batches: Sequence[pa.RecordBatch]) -> tuple[pa.Table, T]:
        """Seals the batches. Raises: any error that the spans cause"""
        table = walled(seal, batches, self._attribute_columns_max)
        return table, walled(self._finish, table)

    def is_sealable(self, batches: Sequence[pa.RecordBatch]) -> bool:
        """Whether the batches can be sealed. Raises: as `seal_whole`"""
        try:
            self.sealed(batches)
        except (OSError, MemoryError):
            raise
        except Exception:  # noqa: BLE001  # what it was is in the log; here it counts only that it was
            return False
        return True

    def part(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Halves a failing batch until one span is left, or the time is over."""
        stack = [list(batches)]
        while stack:
            group = stack.pop()
            if time.thread_time() > self._end_s:
                self.bad += group
            elif self.is_sealable(group):
                self.good += group
            elif len(group) == 1 and len(group[0]) == 1:
                self.bad += group
            else:
                stack += reversed(_halves(group))

    def join(self) -> None:
        """Checks the good batches together, because they may fail together although each is good."""
        if not self.good or self.is_sealable(self.good):
            return
        parts, self.good = self.good, []
        for batch in parts:
            if time.thread_time() < self._end_s and self.is_sealable([*self.good, batch]):
                self.good.append(batch)
            else:
                self.bad.append(batch)


def _halves(batches: list[pa.RecordBatch]) -> list[list[pa.RecordBatch]]:
    if len(batches) > 1:
        half = len(batches) // 2
        return [batches[:half], batches[half:]]
    rows = np.arange(len(batches[0]))
    half = len(rows) // 2
    return [[take_rows(batches[0], rows[:half])], [take_rows(batches[0], rows[half:])]]


def _trusted(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with their fixed columns, and all of them as OTLP."""
    columns = {name: batch.column(name) for name in _TRUSTED}
    return pa.RecordBatch.from_pydict(columns | _raw(batch))


def _bare(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with only their ids and start, and all of them as OTLP."""
    rows = len(batch)
    none, zeros = np.zeros(rows, np.int16), pa.array(np.zeros(rows, np.int8))
    return pa.RecordBatch.from_pydict(
        {
            "trace_id": batch.column("trace_id"),
            "span_id": batch.column("span_id"),
            "parent_span_id": batch.column("parent_span_id"),
            "name": dictionary(none, pa.array([""])),
            "kind": zeros,
            "start_ns": batch.column("start_ns"),
            "duration_ns": pa.array(np.zeros(rows, np.int64)),
            "status_code": zeros,
            "status_message": pa.array([""] * rows),
            "resource": dictionary(none, pa.array([b""])),
            "scope": dictionary(none, pa.array([b""])),
        }
        | _raw(batch)
    )


def _raw(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    spans, owners = rows_as_otlp(batch)
    return {
        "attributes": pa.array([[]] * len(batch), _NO_ATTRIBUTES),
        RAW: pa.array(spans, pa.binary()),
        RAW_OWNER: pa.array(owners, pa.binary()).dictionary_encode(),
    }
