"""Rows of whole traces: sorted as segments are, without what a client sent twice, with the facts of each trace."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import big_endian, numbers, one_array, rows_in_order
from tables.columns.equal_rows import equal_rows
from tables.columns.trace_facts import trace_facts
from tables.columns.trace_index import trace_index
from tables.columns.types import Bools, Int64s

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


def in_order(table: pa.Table) -> Int64s:
    """The order of rows by trace id, start, span id, kind, parent and duration."""
    trace = big_endian(one_array(table["trace_id"]))

    def ties() -> list[Any]:
        span, parent = (big_endian(one_array(table[name]))[:, 0] for name in ("span_id", "parent_span_id"))
        return [span, numbers(one_array(table["kind"])), parent, numbers(one_array(table["duration_ns"]))]

    return rows_in_order((trace[:, 0], trace[:, 1], numbers(one_array(table["start_ns"]))), ties)


def repeated_rows(table: pa.Table) -> Bools:
    """Which rows equal an earlier one in every field that a client sent. In: rows as `in_order` has them"""
    rows = table.num_rows
    repeated = np.zeros(rows, np.bool_)
    if rows < 2:
        return repeated
    same = np.ones(rows - 1, np.bool_)
    for name in ("trace_id", "span_id"):
        words = big_endian(one_array(table[name]))
        same &= (words[1:] == words[:-1]).all(axis=1)
    for name in ("start_ns", "duration_ns", "kind"):
        column = numbers(one_array(table[name]))
        same &= column[1:] == column[:-1]
    if not same.any():
        return repeated
    group = np.cumsum(np.r_[True, ~same])
    compared = [name for name in table.column_names if name not in (*FACT_COLUMNS, "trace_id", "span_id")]
    distance, longest = 1, int(np.bincount(group).max())
    while distance < longest:
        left = np.flatnonzero(group[distance:] == group[:-distance])
        left = left[~repeated[left + distance]]
        if not len(left):
            break
        equal = np.ones(len(left), np.bool_)
        for name in compared:
            at = np.flatnonzero(equal)
            if not len(at):
                break
            equal[at] = equal_rows(one_array(table[name]), left[at], left[at] + distance)
        repeated[left[equal] + distance] = True
        distance += 1
    return repeated


def with_facts(table: pa.Table) -> pa.Table:
    """The table with the columns FACT_COLUMNS made anew. In: rows of whole traces, as `in_order` has them"""
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
