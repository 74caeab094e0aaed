"""The columns of trace facts, made anew for rows of whole traces."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import big_endian, numbers, one_array
from tables.columns.trace_facts import trace_facts
from tables.columns.trace_index import trace_index
from tables.columns.whole_traces import SERVICE_NAME


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
