"""Traces whose spans lie in several sources, put together for what only whole traces can answer.

They are few: a trace is split only where a segment was cut while it was going on. They are found by their ids alone
(`TraceIndex`), in one sort; only their rows are read.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np
import pyarrow as pa

from query import memory
from query.scan.arrays import Ids, Rows, compact, fixed_bytes, to_numpy
from query.scan.reader import Reader
from query.scan.resting_rows import RestingRows
from query.scan.trace_lookup import find, rows_of
from tables.columns.arrays import big_endian, one_array, rows_in_order
from tables.columns.duplicates import DUPLICATES
from tables.columns.in_memory import TableSource
from tables.columns.nested_set import MIX
from tables.columns.repeated import FIRST_COLUMNS, as_sent, repeated_digests, repeated_in_steps
from tables.columns.sorted_sets import twice, union, unique
from tables.columns.whole_traces import (
    FACT_BASE,
    FACT_COLUMNS,
    SortKeys,
    equal_to_previous,
    suspects,
    with_facts,
)

# Where a row was before: the number of its source among those of the piece, and its row there. No column is called so.
_ORIGIN: Final = "\0source"
_ORIGIN_ROW: Final = "\0row"
_PLACE: Final = "\0place"
# Of rows of several workers that may be equal: a number that says all that a client sent; null of other rows.
DIGEST: Final = "\0digest"
# Rows are copied when they are read, put below each other and sorted.
_COPIES: Final = 3
# An id with its halves, their mixture and its place.
_ID_BYTES: Final = 64


def ids_in_several(lists: Sequence[Ids]) -> Ids:
    """The ids that more than one of the lists has, ascending. In: the ids of each source, or worker, each once"""
    found = lists or [np.empty(0, "S16")]
    count = sum(map(len, found))
    with memory.current().scratch(count * _ID_BYTES, f"looking for what {count} traces have in common"):
        return _shared(np.concatenate(found))


def _shared(ids: Ids) -> Ids:
    # Numbers sort many times faster than ids. Equal ids have equal numbers; what else has is sorted out below.
    halves = np.frombuffer(ids.tobytes(), np.uint64).reshape(-1, 2)
    mixed = halves[:, 0] * MIX + halves[:, 1]
    order = np.argsort(mixed)
    alike = np.flatnonzero(mixed[order[1:]] == mixed[order[:-1]])
    return twice(ids[order[union(alike, alike + 1)]])


class StitchedSource(TableSource):
    """Traces put together, which knows where each row came from."""

    def __init__(self, table: pa.Table, readers: Sequence[Reader], repeated: tuple[Rows, Rows]) -> None:
        """repeated: the source of each row that is left out because a client sent it again, and its row there"""
        self._origin, self._origin_row = (to_numpy(_one(table, name)) for name in (_ORIGIN, _ORIGIN_ROW))
        self._readers, self._repeated = readers, repeated
        super().__init__(table.drop_columns([_ORIGIN, _ORIGIN_ROW]))
        self.nbytes = int(table.get_total_buffer_size())

    def repeated(self) -> Iterator[tuple[Reader, Rows]]:
        """The sources that have rows which are left out because a client sent them again, and these rows, ascending."""
        number, row = self._repeated
        for one in unique(number).tolist():
            yield self._readers[one], np.sort(row[number == one])

    def origins(self, rows: Rows | None) -> Iterator[tuple[Reader, Rows, Rows]]:
        """For each source of some of the rows (None: of all): it, their rows there, ascending, and which of these rows
        they are.
        """
        origin, row = self._origin, self._origin_row
        if rows is not None:
            origin, row = origin[rows], row[rows]
        for number in unique(origin).tolist():
            places = np.flatnonzero(origin == number)
            places = places[np.argsort(row[places], kind="stable")]
            yield self._readers[number], row[places], places


class _WholeTraces(NamedTuple):
    """Rows of whole traces in their order, with what every stitched trace has. order: of the rows as they were read

    repeated: as of `StitchedSource`
    """

    table: pa.Table
    order: Rows
    repeated: tuple[Rows, Rows]

    @property
    def nbytes(self) -> int:
        arrays = (self.order, *self.repeated)
        return int(self.table.get_total_buffer_size()) + sum(int(array.nbytes) for array in arrays)


class _Part(NamedTuple):
    """Some rows of a source, and the number of the trace of each. number: of the source"""

    number: int
    reader: Reader
    rows: Rows
    traces: Rows


def stitch(some: Sequence[tuple[Reader, Rows, Rows]], columns: Collection[str]) -> StitchedSource:
    """All rows of some traces, from all sources, with facts and nested-set numbers of the whole traces.

    some: sources, and which of their traces: the number of each among all, by id, and in the source
    columns: what is wanted besides the columns that every whole trace gets
    """
    parts = []
    for number, (reader, among, traces) in enumerate(some):
        if len(traces):
            rows, owner = rows_of(reader.traces(), traces)
            parts.append(_Part(number, reader, rows, among[owner]))
    readers = [reader for reader, *_ in some]
    found = _whole_traces(parts, readers)
    more = [name for name in dict.fromkeys(columns) if name not in FACT_BASE and name not in FACT_COLUMNS]
    table = found.table
    with _Held() as held:
        if more:
            read = [held.table(part.reader.read_few_rows(more, part.rows), _ORIGIN_ROW, part.rows) for part in parts]
            others = pa.concat_tables(read, promote_options="default").take(pa.array(found.order))
            for name in others.column_names:
                if name != _ORIGIN_ROW:
                    table = table.append_column(name, others[name])
        source = StitchedSource(table, readers, found.repeated)
    memory.reserve(source.nbytes, "traces that lie in several blocks")
    return source


def _whole_traces(parts: Sequence[_Part], readers: Sequence[Reader]) -> _WholeTraces:
    """Kept with the first of the sources, if they all can keep something: structure is asked again and again."""
    name = _kept_name(parts)
    cache = parts[0].reader.derived_cache
    if name is None or cache is None:
        return _made_whole(parts, readers)
    found: _WholeTraces | None = cache.kept(name)
    if found is None:
        made = found = _made_whole(parts, readers)
        cache.keep(name, lambda: made)
    return found


def _kept_name(parts: Sequence[_Part]) -> str | None:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if part.reader.derived_cache is None:
            return None
        key = part.reader.derived_cache.content_key().encode()
        digest.update(b"%d %d %d " % (part.number, len(key), len(part.rows)) + key)
        digest.update(part.rows.tobytes())
    return f"whole traces {digest.hexdigest()}"


def _made_whole(parts: Sequence[_Part], readers: Sequence[Reader]) -> _WholeTraces:
    with _Held() as held:
        tables = []
        for part in parts:
            table = held.table(part.reader.read_few_rows(FACT_BASE, part.rows), _ORIGIN_ROW, part.rows)
            tables.append(table.append_column(_ORIGIN, pa.array(np.full(len(part.rows), part.number, np.int32))))
        table = pa.concat_tables(tables, promote_options="default")
        table = table.append_column(_PLACE, pa.array(np.arange(table.num_rows)))
        table = sort_rows(table, np.concatenate([part.traces for part in parts]))
        places = _repeated(table, readers)
        repeated = (to_numpy(_one(table, _ORIGIN))[places], to_numpy(_one(table, _ORIGIN_ROW))[places])
        table = whole(left_out(table, places)).combine_chunks()
    return _WholeTraces(table.drop_columns([_PLACE]), to_numpy(_one(table, _PLACE)), repeated)


class _Held:
    """Counts rows that are read, copied and sorted, until it ends."""

    def __enter__(self) -> Self:
        self._budget, self._bytes = memory.current(), 0
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.release(self._bytes)

    def table(self, columns: dict[str, Any], name: str, rows: Rows) -> pa.Table:
        """Columns as a table, with one more: a source may have none of those that are wanted."""
        table = decoded({**columns, name: pa.array(rows)})
        size = _COPIES * table.get_total_buffer_size()  # its columns are copies; nbytes takes 5 µs for each
        self._budget.reserve(size, "traces that lie in several blocks")
        self._bytes += size
        return table


def rows_of_traces(readers: Sequence[Reader], ids: Ids, columns: Iterable[str] | None) -> pa.Table | None:
    """All rows that the sources have of some traces, with plain strings and the columns that `stitched_rows` needs.

    ids: ascending; columns: more of them (None: all that the sources have)
    Out: None: there are no such rows. Raises: OSError, memory.MemoryExceeded
    """
    if not len(ids):  # then nobody's traces are looked at
        return None
    tables = []
    for reader in readers:
        _, traces = find(reader.traces(), ids)
        if len(traces):
            rows, _ = rows_of(reader.traces(), traces)
            table = decoded(reader.read_rows(read_columns(reader.source.columns if columns is None else columns), rows))
            memory.reserve(table.nbytes, "traces that other workers have, too")
            tables.append(table)
    return concat_rows(tables)


def concat_rows(tables: Iterable[pa.Table | None]) -> pa.Table | None:
    """Rows of several sources or workers below each other; null where one has not the column. None: there are none"""
    filled = [table for table in tables if table is not None]
    return pa.concat_tables(filled, promote_options="default") if filled else None


def stitched_rows(table: pa.Table) -> TableSource:
    """The rows of whole traces as one source, with facts and nested-set numbers. In: as of `rows_of_traces`; of those
    with equal digests, as of `query.scan.suspects`, the first one counts
    """
    memory.reserve(_COPIES * table.nbytes, "traces that several workers have")
    return TableSource(whole(_without_equal_digests(sort_rows(table.combine_chunks()))))


def _without_equal_digests(table: pa.Table) -> pa.Table:
    if DIGEST not in table.column_names:
        return table
    digests = _one(table, DIGEST)
    places, group = suspect_rows(table)
    known = to_numpy(digests.is_valid())[places]
    places, group = places[known], group[known]
    repeated = repeated_digests(group, to_numpy(digests.take(pa.array(places))))
    return left_out(table.drop_columns([DIGEST]), places[repeated])


def without_repeated(table: pa.Table) -> pa.Table:
    """The rows without those that equal another one in every field that a client sent: the client sent them again.

    table: all columns of the rows, sorted as by `sort_rows`
    """
    places, group = suspect_rows(table)
    if not len(places):
        return table
    repeated = repeated_in_steps(
        group,
        lambda: {name: _one(table, name).take(pa.array(places)) for name in FIRST_COLUMNS},
        lambda alike: as_sent(_columns(table.take(pa.array(places[alike])))),
    )
    return left_out(table, places[repeated])


def _repeated(table: pa.Table, readers: Sequence[Reader]) -> Rows:
    """The rows that `without_repeated` leaves out, of rows with only some of their columns. Others are read where these
    rows rest.
    """
    places, group = suspect_rows(table)
    if not len(places):
        return places
    number, row = (to_numpy(_one(table, name))[places] for name in (_ORIGIN, _ORIGIN_ROW))
    return places[RestingRows(readers, number, row).repeated(group)]


def suspect_rows(table: pa.Table) -> tuple[Rows, Rows]:
    """The rows that have the same ids and times as others, and for each the number of the group that these are."""
    keys = SortKeys(
        trace_id=big_endian(_one(table, "trace_id")),
        span_id=big_endian(_one(table, "span_id"))[:, 0],
        parent_id=big_endian(_one(table, "parent_span_id"))[:, 0],
        start_ns=to_numpy(_one(table, "start_ns")),
        kind=to_numpy(_one(table, "kind")),
        duration_ns=to_numpy(_one(table, "duration_ns")),
    )
    return suspects(equal_to_previous(keys, np.arange(table.num_rows)))


def left_out(table: pa.Table, repeated: Rows) -> pa.Table:
    """The table without rows that a client sent again, which are counted."""
    DUPLICATES.labels("query").inc(len(repeated))
    keep = np.ones(table.num_rows, np.bool_)
    keep[repeated] = False
    return table.filter(pa.array(keep)).combine_chunks() if len(repeated) else table


def read_columns(columns: Iterable[str]) -> list[str]:
    """What is read of rows that travel: what stitching needs, and some columns that a client sent."""
    return [*FACT_BASE, *(column for column in columns if column not in FACT_BASE and column not in FACT_COLUMNS)]


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
    return with_facts(table)


def _columns(table: pa.Table) -> dict[str, Any]:
    return {name: _one(table, name) for name in table.column_names}


def _one(table: pa.Table, column: str) -> Any:
    return one_array(table[column])
