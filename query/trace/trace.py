"""One trace by its id, from all sources."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from query import memory
from query.scan.source import Estimating, Source
from query.scan.stitch import decoded, sort_rows, whole, without_repeated
from query.scan.trace_lookup import find
from tables.columns.trace_index import TraceIndex
from tables.columns.whole_traces import FACT_COLUMNS
from tables.schema import FIXED

# Of a column that a row has no value in; what is read is decoded, put below each other and sorted.
_NULL_BYTES: Final = 5
_COPIES: Final = 3
# Of fewer the sizes are not even looked at, which takes as long as reading them.
_FEW_VALUES: Final = 2_000


def find_trace(sources: Sequence[Source], trace_id: bytes) -> pa.Table | None:
    """All spans of a trace, or None if no source has one.

    Out: a row per span, by start_ns, then span_id; every fixed column of `tables.schema` and each further column
         that a row has a value in; strings as plain strings; trace facts and nested-set numbers of the whole trace.
         Rows that are equal in every column, from retries of a client, are there once.
    Raises: OSError from a source
    """
    if len(trace_id) != 16:
        raise ValueError(f"a trace id has 16 bytes, not {len(trace_id)}")
    ids = np.array([trace_id], "S16")
    pieces = []
    found = []
    for source in sources:
        if not source.rows:
            continue
        index = source.traces()
        _, traces = find(index, ids)
        if len(traces):
            found.append((source, index, int(traces[0])))
    if not found:
        return None
    bounds = [(source, *_bounds(index, trace)) for source, index, trace in found]
    if sum((end - first) * len(source.columns) for source, first, end in bounds) > _FEW_VALUES:
        cheaper = "to read the trace in pages, with ?cursor= and a lower limit"
        memory.reserve(trace_bytes(bounds), "the spans of the trace", cheaper)
    pieces = [_rows(*where) for where in found]
    table = sort_rows(pa.concat_tables(pieces, promote_options="default").combine_chunks())
    for fixed in FIXED:
        if fixed.name not in table.column_names:
            table = table.append_column(fixed, pa.nulls(table.num_rows, fixed.type))
    table = whole(without_repeated(table))
    # Not drop_columns, which takes a minute for tens of thousands.
    empty = {name for name in table.column_names if table[name].null_count == table.num_rows} - set(FIXED.names)
    return table.select([name for name in table.column_names if name not in empty])


def _bounds(index: TraceIndex, trace: int) -> tuple[int, int]:
    return int(index.offsets[trace]), int(index.offsets[trace + 1])


def trace_bytes(parts: Sequence[tuple[Source, int, int]]) -> int:
    """About what `find_trace` takes for some rows of sources: what it reads, and one table that has the columns of all.
    In: sources, and from which to which row
    """
    read, kept, rows = 0, 0.0, 0
    columns: set[str] = set()
    for source, first, end in parts:
        wanted = source.columns.difference(FACT_COLUMNS)
        columns |= wanted
        rows += end - first
        if isinstance(source, Estimating):
            names = sorted(wanted)
            # Whole columns or pages are decoded, and given away but for the rows of the trace.
            read = max(read, source.decoded_bytes(names, (first, end)))
            kept += source.decoded_bytes(names) * (end - first) / source.rows
    return read + int(_COPIES * kept) + 2 * rows * _NULL_BYTES * len(columns)


def _rows(source: Source, index: TraceIndex, trace: int) -> pa.Table:
    """One trace's rows in a source, with the columns that have a value there."""
    rows = _bounds(index, trace)
    found = source.read(sorted(source.columns.difference(FACT_COLUMNS)), rows)
    return decoded({column: array for column, array in found.items() if array.null_count < len(array)})
