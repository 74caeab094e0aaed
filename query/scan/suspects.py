"""Rows of traces that several workers have which a client may have sent twice, and what tells whether it has.

Such rows look the same in all columns that travel. Whoever merges asks those who have them for these rows again, with a
digest of all that was sent (`row_digests`): of rows with one digest one counts. Few rows look like another one, so most
queries ask nobody.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from query import memory
from query.errors import QueryCancelled
from query.scan.arrays import Mask, Rows, fixed_bytes, to_numpy
from query.scan.reader import Reader
from query.scan.resting_rows import digests_of
from query.scan.shared_traces import Keys, keys_of_rows
from query.scan.stitch import DIGEST, concat_rows, decoded, read_columns, sort_rows, suspect_rows
from query.scan.trace_lookup import rows_of
from tables.columns.arrays import one_array
from tables.columns.nested_set import MIX
from tables.columns.repeated import alike_rows, as_sent
from tables.columns.sorted_sets import is_among, twice, unique
from tables.columns.whole_traces import FACT_COLUMNS

# An id, a copy to sort, and whether it comes twice.
_ID_BYTES: Final = 24
# Rows are copied when they are chosen, put below each other and sorted.
_COPIES: Final = 4
_PART: Final = "\0part"


@dataclass(frozen=True, slots=True, eq=False)
class SuspectSpans:
    """Spans that somebody is asked about.

    traces: keys of their traces; spans: keys made of the ids of a trace and of a span; columns: wanted of their rows
    """

    traces: Keys
    spans: Keys
    columns: tuple[str, ...]

    def rows_in(self, table: pa.Table) -> Mask:
        """Which rows of a table, as of `Scan.shared_rows`, it is about."""
        traces = keys_of_rows(fixed_bytes(one_array(table["trace_id"])))
        return is_among(traces, self.traces) & is_among(_span_keys(traces, one_array(table["span_id"])), self.spans)

    def replaced_in(self, table: pa.Table, found: pa.Table | None) -> pa.Table | None:
        """The table with what `rows_of_suspects` has found in the place of the same rows; None: these are others."""
        about = self.rows_in(table)
        if found is None or found.num_rows != np.count_nonzero(about):
            return None
        with memory.current().scratch(table.nbytes, "traces that several workers have"):
            return concat_rows([table.filter(pa.array(~about)).combine_chunks(), found])


def find_suspects(tables: Sequence[pa.Table | None]) -> dict[int, SuspectSpans]:
    """What is to be asked, by the number of the table whose worker knows it. In: rows that each worker has of shared
    traces; None: none. Raises: memory.MemoryExceeded
    """
    filled = [(number, table) for number, table in enumerate(tables) if table is not None]
    if not filled:
        return {}
    count = sum(table.num_rows for _, table in filled)
    with memory.current().scratch(count * _ID_BYTES, f"looking for what {count} spans of workers have in common"):
        ids = [_ids(one_array(table["span_id"])) for _, table in filled]
        several = _in_several(ids)
        if not len(several):
            return {}
        chosen = [
            (number, table, np.flatnonzero(is_among(own, several)))
            for (number, table), own in zip(filled, ids, strict=True)
        ]
    some = [_numbered(table.take(pa.array(rows)), number) for number, table, rows in chosen if len(rows)]
    size = _COPIES * sum(table.nbytes for table in some)
    with memory.current().scratch(size, "comparing spans that a client may have sent twice"):
        asked = _alike_without_digest(some)
    return {number: _question(asked, number, tables[number]) for number in unique(_part(asked)).tolist()}


def rows_of_suspects(
    readers: Sequence[Reader], asked: SuspectSpans, cancelled: Callable[[], bool] = lambda: False
) -> pa.Table | None:
    """The rows of some spans, as `rows_of_traces` gives them, with a digest of each; None: there are none.

    cancelled: asked between sources. Raises: QueryCancelled, OSError, memory.MemoryExceeded
    """
    tables = []
    for reader in readers:
        if cancelled():
            raise QueryCancelled
        rows = _rows(reader, asked)
        if len(rows):
            table = decoded(reader.read_rows(read_columns(asked.columns), rows))
            memory.reserve(table.nbytes, "spans that a client may have sent twice")
            tables.append(table.append_column(DIGEST, pa.array(digests_of(reader, rows))))
    return concat_rows(tables)


def _rows(reader: Reader, asked: SuspectSpans) -> Rows:
    index = reader.traces()
    keys = keys_of_rows(index.ids)
    traces = np.flatnonzero(is_among(keys, asked.traces))
    if not len(traces):
        return traces
    rows, owner = rows_of(index, traces)
    spans = reader.read_few_rows(["span_id"], rows)["span_id"]
    return rows[is_among(_span_keys(keys[traces][owner], spans), asked.spans)]


def _in_several(ids: Sequence[npt.NDArray[np.uint64]]) -> Keys:
    """The ids that come more than once: of spans that a client sent twice, and of others that it gave one id."""
    return twice(np.concatenate(ids))


def _alike_without_digest(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of which it is not known yet whether they equal another one."""
    every = concat_rows(tables)
    assert every is not None
    every = sort_rows(every.combine_chunks())
    places, group = suspect_rows(every)
    suspects = every.take(pa.array(places))
    sent = [name for name in suspects.column_names if name not in (*FACT_COLUMNS, _PART, DIGEST)]
    alike = alike_rows(group, as_sent({name: one_array(suspects[name]) for name in sent}))
    if DIGEST in suspects.column_names:
        alike = alike[to_numpy(one_array(suspects[DIGEST]).is_null())[alike]]
    return suspects.take(pa.array(alike))


def _question(asked: pa.Table, number: int, table: pa.Table | None) -> SuspectSpans:
    assert table is not None
    rows = asked.filter(pa.array(_part(asked) == number))
    traces = keys_of_rows(fixed_bytes(one_array(rows["trace_id"])))
    columns = tuple(name for name in table.column_names if name not in (*FACT_COLUMNS, DIGEST))
    return SuspectSpans(unique(traces), unique(_span_keys(traces, one_array(rows["span_id"]))), columns)


def _numbered(table: pa.Table, number: int) -> pa.Table:
    return table.append_column(_PART, pa.array(np.full(table.num_rows, number, np.int32)))


def _part(table: pa.Table) -> npt.NDArray[np.int32]:
    return to_numpy(one_array(table[_PART]))


def _ids(array: Any) -> npt.NDArray[np.uint64]:
    return fixed_bytes(array).view(np.uint64)


def _span_keys(traces: npt.NDArray[np.uint64], spans: Any) -> npt.NDArray[np.uint64]:
    keys: npt.NDArray[np.uint64] = (traces ^ _ids(spans)) * MIX
    return keys
