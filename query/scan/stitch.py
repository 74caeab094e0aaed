"""Traces whose spans lie in several sources, put together for what only whole traces can answer.

They are few: a trace is split only where a segment was cut while it was going on. They are found by their ids alone
(`TraceIndex`), in one sort; only their rows are read.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from query import memory
from query.scan.arrays import Ids, Mask, Rows, compact, fixed_bytes, to_numpy
from query.scan.reader import Reader
from query.scan.trace_lookup import find, rows_of
from query.scan.traces import trace_numbers
from tables.columns.arrays import big_endian, one_array, rows_in_order
from tables.columns.in_memory import TableSource
from tables.columns.trace_facts import trace_facts
from tables.columns.trace_index import TraceIndex, trace_index

UNKNOWN_NS: Final = np.iinfo(np.int64).max
# So many traces are stitched at once: for the newest few of an answer not those of a whole day.
_TOGETHER: Final = 1000
_ROWS_TOGETHER: Final = 1 << 16
# Where a row was before: the number of its source among those of the piece, and its row there. No column is called so.
_ORIGIN: Final = "\0source"
_ORIGIN_ROW: Final = "\0row"
# Rows are copied when they are read, put below each other and sorted.
_COPIES: Final = 3
# An id with its halves, their mixture and its place.
_ID_BYTES: Final = 64
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)  # any large odd number
# What the facts of a trace are made of.
_BASE: Final = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "name",
    "kind",
    "start_ns",
    "duration_ns",
    "resource.service.name",
)
_FACTS: Final = (
    "nested_left",
    "nested_right",
    "nested_parent",
    "trace_start_ns",
    "trace_duration_ns",
    "root_name",
    "root_service",
)


def shared_traces(indexes: Iterable[TraceIndex]) -> Ids:
    """The ids that more than one of the sources has, ascending."""
    found = [index.ids for index in indexes] or [np.empty(0, "S16")]
    count = sum(map(len, found))
    with memory.current().scratch(count * _ID_BYTES, f"looking for what {count} traces have in common"):
        return _shared(np.concatenate(found))


def _shared(ids: Ids) -> Ids:
    # Numbers sort many times faster than ids. Equal ids have equal numbers; what else has is sorted out below.
    halves = np.frombuffer(ids.tobytes(), np.uint64).reshape(-1, 2)
    mixed = halves[:, 0] * _MIX + halves[:, 1]
    order = np.argsort(mixed)
    twice = np.flatnonzero(mixed[order[1:]] == mixed[order[:-1]])
    suspects = np.sort(ids[order[np.union1d(twice, twice + 1)]])
    return np.unique(suspects[1:][suspects[1:] == suspects[:-1]])


def rows_outside(index: TraceIndex, traces: Rows) -> Mask:
    """The rows of a source that belong to none of these of its traces."""
    keep = np.ones(len(index.ids), bool)
    keep[traces] = False
    return np.repeat(keep, np.diff(index.offsets))


class Piece(NamedTuple):
    """Rows that are evaluated together.

    latest_ns: no trace of theirs begins later; latest_span_ns: no span of theirs; stitched: they are of several sources
    open: the rows, and which of them count (None: all); reads what is stitched only now
    """

    latest_ns: int
    latest_span_ns: int
    stitched: bool
    open: Callable[[], tuple[Reader, Mask | None]]


def latest_start_ns(reader: Reader, column: str = "trace_start_ns") -> int:
    """No trace of the source begins later; or, by start_ns, no span.

    A piece of which no span has a time may be of any trace.
    """
    bounds = reader.bounds(column)
    return UNKNOWN_NS if bounds is None or (column == "trace_start_ns" and bounds[0] <= 0) else bounds[1]


def whole_traces(
    readers: Sequence[Reader], shared: Ids, columns: Collection[str], inside: Sequence[bool]
) -> list[Piece]:
    """What to evaluate so that each trace is seen whole: the shared ones stitched, some at a time, those that began
    last first; and the sources without them.

    columns: what the evaluation may read; inside: which of the sources may have something to say
    """
    found = [find(reader.traces(), shared) for reader in readers]
    latest = [latest_start_ns(reader) for reader in readers]
    # A trace begins not later than what the oldest of its sources may hold.
    bound = np.full(len(shared), UNKNOWN_NS)
    for (hit, _), latest_ns in zip(found, latest, strict=True):
        bound[hit] = np.minimum(bound[hit], latest_ns)
    order = np.argsort(-bound, kind="stable")
    pieces = []
    for first, end in _cuts(_row_counts(readers, found, len(shared))[order]):
        wanted = np.zeros(len(shared), bool)
        wanted[order[first:end]] = True
        some = [
            (reader, hit[wanted[hit]], traces[wanted[hit]])
            for reader, (hit, traces) in zip(readers, found, strict=True)
            if wanted[hit].any()
        ]
        latest_span_ns = max(latest_start_ns(reader, "start_ns") for reader, *_ in some)
        pieces.append(Piece(int(bound[order[first]]), latest_span_ns, True, partial(_stitched, some, columns)))
    for reader, (_, traces), here, latest_ns in zip(readers, found, inside, latest, strict=True):
        if here:
            pieces.append(Piece(latest_ns, latest_start_ns(reader, "start_ns"), False, partial(_rest, reader, traces)))
    return pieces


def _row_counts(readers: Sequence[Reader], found: Sequence[tuple[Rows, Rows]], traces: int) -> Rows:
    """How many rows each of the shared traces has."""
    counts = np.zeros(traces, np.int64)
    for reader, (hit, own) in zip(readers, found, strict=True):
        counts[hit] += np.diff(reader.traces().offsets)[own]
    return counts


def _cuts(counts: Rows) -> Iterator[tuple[int, int]]:
    """From which to which trace is stitched at once: at most _TOGETHER, of _ROWS_TOGETHER rows, but at least one."""
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        before = int(ends[first - 1]) if first else 0
        end = int(np.searchsorted(ends, before + _ROWS_TOGETHER, side="right"))
        end = min(max(end, first + 1), first + _TOGETHER)
        yield first, end
        first = end


def _stitched(some: Sequence[tuple[Reader, Rows, Rows]], columns: Collection[str]) -> tuple[Reader, None]:
    source = stitch(some, columns)
    reader = Reader(source)
    reader.owned_bytes = source.nbytes
    return reader, None


def _rest(reader: Reader, traces: Rows) -> tuple[Reader, Mask | None]:
    return reader, rows_outside(reader.traces(), traces) if len(traces) else None


class StitchedSource(TableSource):
    """Traces put together, which knows where each row came from."""

    def __init__(self, table: pa.Table, readers: Sequence[Reader]) -> None:
        self._origin, self._origin_row = (to_numpy(_one(table, name)) for name in (_ORIGIN, _ORIGIN_ROW))
        self._readers = readers
        super().__init__(table.drop_columns([_ORIGIN, _ORIGIN_ROW]))
        self.nbytes = int(table.get_total_buffer_size())

    def origins(self, rows: Rows | None) -> Iterator[tuple[Reader, Rows, Rows]]:
        """For each source of some of the rows (None: of all): it, their rows there, ascending, and which of these rows
        they are.
        """
        origin, row = self._origin, self._origin_row
        if rows is not None:
            origin, row = origin[rows], row[rows]
        for number in np.unique(origin).tolist():
            places = np.flatnonzero(origin == number)
            places = places[np.argsort(row[places], kind="stable")]
            yield self._readers[number], row[places], places


def stitch(some: Sequence[tuple[Reader, Rows, Rows]], columns: Collection[str]) -> StitchedSource:
    """All rows of some traces, from all sources, with facts and nested-set numbers of the whole traces.

    some: sources, and which of their traces: the number of each among all, by id, and in the source
    columns: what is wanted besides the columns that every whole trace gets
    """
    wanted = [*_BASE, *(column for column in columns if column not in _BASE and column not in _FACTS)]
    tables, numbers = [], []
    budget, held = memory.current(), 0
    try:
        for number, (reader, among, traces) in enumerate(some):
            if len(traces):
                rows, owner = rows_of(reader.traces(), traces)
                origin = {_ORIGIN: pa.array(np.full(len(rows), number, np.int32)), _ORIGIN_ROW: pa.array(rows)}
                table = decoded({**reader.some(wanted, rows), **origin})
                size = _COPIES * table.get_total_buffer_size()  # its columns are copies; nbytes takes 5 µs for each
                budget.reserve(size, "traces that lie in several blocks")
                held += size
                tables.append(table)
                numbers.append(among[owner])
        table = pa.concat_tables(tables, promote_options="default")
        source = StitchedSource(whole(sort_rows(table, np.concatenate(numbers))), [reader for reader, *_ in some])
    finally:
        budget.release(held)
    budget.reserve(source.nbytes, "traces that lie in several blocks")
    return source


def decoded(arrays: dict[str, Any]) -> pa.Table:
    """Columns as a table with plain strings."""
    return pa.table({name: compact(array) for name, array in arrays.items()})


def sort_rows(table: pa.Table, traces: Rows | None = None) -> pa.Table:
    """By trace, start, span id, kind, parent and duration, as the seal has it. In: a number for each row's trace,
    ascending with the ids; None: they are made
    """
    if traces is None:
        traces = np.unique(fixed_bytes(_one(table, "trace_id")), return_inverse=True)[1]

    def ties() -> list[Any]:
        span_id, parent_id = (big_endian(_one(table, name))[:, 0] for name in ("span_id", "parent_span_id"))
        return [span_id, to_numpy(_one(table, "kind")), parent_id, to_numpy(_one(table, "duration_ns"))]

    order = rows_in_order((traces, to_numpy(_one(table, "start_ns"))), ties)
    if bool((order[1:] > order[:-1]).all()):  # as it is: a take costs some µs for each column
        return table
    return table.take(pa.array(order))


def whole(table: pa.Table) -> pa.Table:
    """The rows of whole traces, sorted, with their facts and nested-set numbers made anew."""
    index = trace_index(_one(table, "trace_id"))
    trace, first = trace_numbers(index.offsets), index.offsets[:-1]
    facts = trace_facts(
        trace,
        first,
        big_endian(_one(table, "span_id"))[:, 0],
        big_endian(_one(table, "parent_span_id"))[:, 0],
        to_numpy(_one(table, "kind")),
        to_numpy(_one(table, "start_ns")),
        to_numpy(_one(table, "duration_ns")),
    )
    numbers = facts.nested
    root_rows = pa.array(facts.root[trace], mask=(facts.root < 0)[trace])
    service = "resource.service.name"
    made = {
        "nested_left": pa.array(numbers.left),
        "nested_right": pa.array(numbers.right),
        "nested_parent": pa.array(numbers.parent),
        "trace_start_ns": pa.array(facts.start_ns[trace]),
        "trace_duration_ns": pa.array(facts.duration_ns[trace]),
        "root_name": pc.take(_one(table, "name"), root_rows),
        "root_service": pc.take(_one(table, service), root_rows)
        if service in table.column_names
        else pa.nulls(len(trace), pa.string()),
    }
    for name, array in made.items():
        at = table.schema.get_field_index(name)
        table = table.append_column(name, array) if at < 0 else table.set_column(at, name, array)
    return table


def _one(table: pa.Table, column: str) -> Any:
    return one_array(table[column])


def given(reader: Reader, among: Mask | None) -> tuple[Reader, Mask | None]:
    """What a piece of one source opens."""
    return reader, among
