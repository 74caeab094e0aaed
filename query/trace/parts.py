"""A trace whose spans lie with several workers, of which not all is wanted: what each gives first, and what then.

First each worker gives some columns of its rows. Whoever joins them knows from these which rows matter, and asks for
more of those: all columns of the spans that a filter keeps, or, of spans that look like each other, whether they are
the same. So what moves depends on what is wanted, not on what spans have.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from query import memory
from query.engine.expressions import matches
from query.requests import TraceRequest
from query.scan.arrays import Mask, Rows, to_numpy
from query.scan.reader import Reader
from query.scan.resting_rows import digests_of
from query.scan.source import Source
from query.scan.stitch import left_out, sort_rows, suspect_rows, whole
from query.trace.filter import TraceFilter, compile_filter, kept_rows
from query.trace.outline import OUTLINE_COLUMNS
from query.trace.pages import RowsOfTrace, chosen_rows, pieces_of_trace
from query.trace.trace import find_trace
from tables.columns.arrays import one_array
from tables.columns.repeated import repeated_digests
from tables.columns.sorted_sets import unique
from tables.columns.whole_traces import FACT_BASE, FACT_COLUMNS

_OUTLINE: Final = sorted({*OUTLINE_COLUMNS, *FACT_BASE} - {"trace_id", *FACT_COLUMNS})
# What tells who is whose child, and the order of the rows.
_FAMILY: Final = ("span_id", "parent_span_id", "kind", "start_ns", "duration_ns")
MATCHED: Final = "\0matched"
_PART: Final = "\0part"
_ROW: Final = "\0row"
DIGEST: Final = "digest"
# Of events and links an outline has only this.
_SHOWN_FIELDS: Final = {"events": ("time_ns",), "links": ("trace_id", "span_id")}
_COPIES: Final = 3
_ROW_BYTES: Final = 16


class FirstPart(NamedTuple):
    """table: some columns of the worker's rows, in their order; of a filter without a family the spans that it keeps,
    with all columns. None: no rows. spans: how many rows the worker has; kept: how many of them the filter keeps
    """

    table: pa.Table | None
    spans: int
    kept: int = 0


def first_part(sources: Sequence[Source], request: TraceRequest) -> FirstPart:
    """What a worker gives first. In: a request for an outline or with a filter. Raises: OSError, MemoryExceeded"""
    pieces = pieces_of_trace(sources, request.trace_id)
    spans = sum(end - first for _, first, end in pieces)
    if not spans:
        return FirstPart(None, 0)
    if request.filter is None:
        return FirstPart(_read(pieces, request.trace_id, _OUTLINE), spans)
    wanted = compile_filter(request.filter.query, request.filter.below, request.filter.above)
    matched = _matching(pieces, request.trace_id, wanted)
    if not wanted.has_family:
        rows = np.flatnonzero(matched)
        return FirstPart(_whole_rows(pieces, request.trace_id, rows), spans, len(rows))
    table = _read(pieces, request.trace_id, _FAMILY)
    return FirstPart(table.append_column(MATCHED, pa.array(matched)), spans)


def rows_of_part(sources: Sequence[Source], trace_id: bytes, numbers: Rows) -> FirstPart:
    """All columns of some of a worker's rows, by their numbers, ascending. Raises: OSError, MemoryExceeded"""
    pieces = pieces_of_trace(sources, trace_id)
    return FirstPart(_whole_rows(pieces, trace_id, numbers), sum(end - first for _, first, end in pieces))


def digests_of_part(sources: Sequence[Source], trace_id: bytes, numbers: Rows) -> FirstPart:
    """A number for each of some rows that says all that a client sent, as of `row_digests`."""
    pieces = pieces_of_trace(sources, trace_id)
    found = [digests_of(Reader(rows.source), rows.numbers) for rows in chosen_rows(pieces, numbers, trace_id)]
    table = pa.table({DIGEST: np.concatenate([np.empty(0, np.uint64), *found])})
    return FirstPart(table, sum(end - first for _, first, end in pieces))


class JoinedOutline:
    """The outline of what several workers have. In: their first parts, each with a row"""

    def __init__(self, tables: Sequence[pa.Table], trace_id: bytes) -> None:
        self._table = _joined(tables, trace_id)
        self._places, self._group = suspect_rows(self._table)

    def asks(self) -> dict[int, Rows]:
        """The rows, ascending, of which the digest is needed, by the number of the part."""
        return _by_part(self._table, self._places)

    def finish(self, digests: Mapping[int, Any]) -> pa.Table:
        """As `query.trace.outline.trace_outline`. In: for each part that `asks` named, the numbers of its rows"""
        table = self._table
        if len(self._places):
            asked = self.asks()
            part, row = _origin(table, self._places)
            own = np.empty(len(self._places), np.uint64)
            for number, numbers in digests.items():
                here = part == number
                own[here] = numbers[np.searchsorted(asked[number], row[here])]
            table = left_out(table, self._places[repeated_digests(self._group, own)])
        made = whole(table)
        return made.select([name for name in OUTLINE_COLUMNS if name in made.column_names])


class JoinedFamily:
    """The spans that a filter keeps of what several workers have. In: their first parts, each with a row"""

    def __init__(self, tables: Sequence[pa.Table], trace_id: bytes, wanted: TraceFilter) -> None:
        table = _joined(tables, trace_id)
        kept = kept_rows(table, to_numpy(one_array(table[MATCHED])).copy(), wanted)
        self._asks = _by_part(table, np.flatnonzero(kept))

    def asks(self) -> dict[int, Rows]:
        """The rows, ascending, that are kept, by the number of the part."""
        return self._asks


def filtered_trace(sources: Sequence[Source], request: TraceRequest) -> tuple[pa.Table | None, bool]:
    """The spans that the request's filter keeps, as `find_trace` gives them, and whether the trace has others.

    Raises: TraceQLError, OSError, MemoryExceeded
    """
    assert request.filter is not None
    wanted = compile_filter(request.filter.query, request.filter.below, request.filter.above)
    first = first_part(sources, request)
    table, kept = first.table, first.kept
    if wanted.has_family and table is not None:
        asked = JoinedFamily([table], request.trace_id, wanted).asks().get(0, np.empty(0, np.int64))
        table, kept = rows_of_part(sources, request.trace_id, asked).table, len(asked)
    return table, kept < first.spans


def _matching(pieces: Sequence[tuple[Source, int, int]], trace_id: bytes, wanted: TraceFilter) -> Mask:
    if wanted.condition is None:
        return np.ones(sum(end - first for _, first, end in pieces), np.bool_)
    found = []
    for source, first, end in pieces:
        reader = Reader(RowsOfTrace(source, trace_id, np.arange(first, end)))
        found.append(matches(wanted.condition, reader).copy())
        reader.forget()
    return np.concatenate(found)


def _whole_rows(pieces: Sequence[tuple[Source, int, int]], trace_id: bytes, numbers: Rows) -> pa.Table | None:
    return find_trace(chosen_rows(pieces, numbers, trace_id), trace_id) if len(numbers) else None


def _read(pieces: Sequence[tuple[Source, int, int]], trace_id: bytes, columns: Sequence[str]) -> pa.Table:
    tables = []
    for source, first, end in pieces:
        reader = Reader(RowsOfTrace(source, trace_id, np.arange(first, end)))
        found = reader.read_rows(columns, np.arange(end - first))
        table = pa.table({name: _shown(name, array) for name, array in found.items()})
        memory.reserve(table.nbytes, "the spans of the trace")
        tables.append(table)
    return pa.concat_tables(tables, promote_options="default").unify_dictionaries().combine_chunks()


def _shown(name: str, array: Any) -> Any:
    fields = _SHOWN_FIELDS.get(name)
    if fields is None:
        return array
    entries = pc.list_flatten(array)
    some = pa.StructArray.from_arrays([pc.struct_field(entries, field) for field in fields], list(fields))
    lengths = to_numpy(pc.fill_null(pc.list_value_length(array), 0))
    return pa.ListArray.from_arrays(pa.array(np.r_[0, np.cumsum(lengths)].astype(np.int32)), some)


def _joined(tables: Sequence[pa.Table], trace_id: bytes) -> pa.Table:
    """All rows in the order of a trace, each with its part and its row there."""
    memory.reserve(_COPIES * sum(table.nbytes + _ROW_BYTES * table.num_rows for table in tables), "parts of the trace")
    numbered = []
    for number, table in enumerate(tables):
        rows = table.num_rows
        ids = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([trace_id], pa.binary(16)))
        numbered.append(
            table.append_column("trace_id", ids.dictionary_decode())
            .append_column(_PART, pa.array(np.full(rows, number, np.int32)))
            .append_column(_ROW, pa.array(np.arange(rows)))
        )
    joined = pa.concat_tables(numbered, promote_options="default").unify_dictionaries().combine_chunks()
    return sort_rows(joined, np.zeros(joined.num_rows, np.int64))


def _origin(table: pa.Table, places: Rows) -> tuple[Rows, Rows]:
    return to_numpy(one_array(table[_PART]))[places], to_numpy(one_array(table[_ROW]))[places]


def _by_part(table: pa.Table, places: Rows) -> dict[int, Rows]:
    part, row = _origin(table, places)
    return {int(number): np.sort(row[part == number]) for number in unique(part)}
