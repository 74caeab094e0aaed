"""Rows of whole traces: their order, which of them a client may have sent twice, and the facts of each trace."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import big_endian, numbers, one_array
from tables.columns.trace_facts import trace_facts
from tables.columns.trace_index import trace_index
from tables.columns.types import Bools, Int64s, UInt64s

# Columns that depend on which rows are together. They are no part of what a client sent.
FACT_COLUMNS: Final = (
    "nested_left",
    "nested_right",
    "nested_parent",
    "trace_start_ns",
    "trace_duration_ns",
    "root_name",
    "root_service",
)
SERVICE_NAME: Final = "resource.service.name"
# What `with_facts` makes them of.
FACT_BASE: Final = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "name",
    "kind",
    "start_ns",
    "duration_ns",
    SERVICE_NAME,
)


@dataclass(frozen=True, slots=True, eq=False)
class SortKeys:
    """What rows are sorted by, in the order of their weight: trace, start, span, kind, parent, duration.

    trace_id: shape (rows, 2), as numbers that sort as the ids do; span_id, parent_id: the same, shape (rows,)
    """

    trace_id: UInt64s
    span_id: UInt64s
    parent_id: UInt64s
    start_ns: Int64s
    kind: npt.NDArray[np.integer[Any]]
    duration_ns: Int64s

    def _within_trace(self) -> tuple[npt.NDArray[Any], ...]:
        return self.start_ns, self.span_id, self.kind, self.parent_id, self.duration_ns

    def order(self, rows: Int64s, trace: Int64s) -> Int64s:
        """The order of some rows. trace: the number of each row's trace, ascending with the ids"""
        found: Int64s = np.lexsort([*(key[rows] for key in reversed(self._within_trace())), trace])
        return found

    def descents(self, rows: Int64s) -> Bools:
        """Where a row comes before the row above it, if both are of one trace. rows: which, in their order"""
        start = self.start_ns[rows]
        below = np.zeros(len(rows), np.bool_)
        below[1:] = start[1:] < start[:-1]
        tied = np.flatnonzero(start[1:] == start[:-1]) + 1
        for key in self._within_trace()[1:]:
            if not len(tied):
                break
            upper, lower = key[rows[tied - 1]], key[rows[tied]]
            below[tied[lower < upper]] = True
            tied = tied[lower == upper]
        return below


def equal_to_previous(keys: SortKeys, rows: Int64s) -> Bools:
    """Which of the rows have the same keys as the row before. rows: in the order of the keys"""
    same = np.zeros(len(rows), np.bool_)
    span = keys.span_id[rows]
    at = np.flatnonzero(span[1:] == span[:-1]) + 1
    for key in (keys.start_ns, keys.duration_ns, keys.parent_id, keys.kind, keys.trace_id[:, 0], keys.trace_id[:, 1]):
        if not len(at):
            break
        at = at[key[rows[at]] == key[rows[at - 1]]]
    same[at] = True
    return same


def suspects(same: Bools) -> tuple[Int64s, Int64s]:
    """Rows that share their keys with others, and the number of their group. In: as of `equal_to_previous`"""
    among = same.copy()
    among[:-1] |= same[1:]
    rows = np.flatnonzero(among)
    return rows, np.cumsum(~same[rows])


def with_facts(table: pa.Table) -> pa.Table:
    """The table with the FACT_COLUMNS made anew. In: rows of whole traces, in the order of `SortKeys`"""
    index = trace_index(one_array(table["trace_id"]))
    first = index.offsets[:-1]
    trace = np.repeat(np.arange(len(first), dtype=np.int64), np.diff(index.offsets))
    facts = trace_facts(
        trace,
        first,
        big_endian(one_array(table["span_id"]))[:, 0],
        big_endian(one_array(table["parent_span_id"]))[:, 0],
        numbers(one_array(table["kind"])),
        numbers(one_array(table["start_ns"])),
        numbers(one_array(table["duration_ns"])),
    )
    roots = pa.array(facts.root[trace], mask=(facts.root < 0)[trace])
    made = {
        "nested_left": pa.array(facts.nested.left),
        "nested_right": pa.array(facts.nested.right),
        "nested_parent": pa.array(facts.nested.parent),
        "trace_start_ns": pa.array(facts.start_ns[trace]),
        "trace_duration_ns": pa.array(facts.duration_ns[trace]),
        "root_name": pc.take(one_array(table["name"]), roots),
        "root_service": pc.take(one_array(table[SERVICE_NAME]), roots)
        if SERVICE_NAME in table.column_names
        else pa.nulls(table.num_rows, pa.string()),
    }
    for name, array in made.items():
        at = table.schema.get_field_index(name)
        table = table.append_column(name, array) if at < 0 else table.set_column(at, name, array)
    return table
