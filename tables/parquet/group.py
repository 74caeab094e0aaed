"""Many small files as one source: what a query costs for each source is then paid once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tables.columns import overflow
from tables.columns.arrays import list_values, plain
from tables.columns.duplicates import DUPLICATES
from tables.columns.repeated import FIRST_COLUMNS, as_sent, repeated_by_digest
from tables.columns.sorted_sets import unique
from tables.columns.trace_index import TraceIndex
from tables.columns.types import Bools, Int64s, UInt64s
from tables.columns.whole_traces import FACT_BASE, FACT_COLUMNS
from tables.parquet.directory import Bounds, Directory
from tables.parquet.file_columns import KEY_LEAF
from tables.parquet.group_columns import column_of, facts_of, replaced, sortable
from tables.parquet.group_facts import GroupFacts, group_facts
from tables.parquet.group_rows import GroupRows, Ties, group_rows
from tables.parquet.joint_facts import NEEDS, Parts, joint_fact
from tables.parquet.kept_digests import DIGESTS, kept_digests
from tables.parquet.read import ColumnCache, ColumnKey
from tables.parquet.small_files import LoadedFile, SmallFile, decode, digests_of_rows, read_rows
from tables.parquet.unsorted_rows import UNSORTED, UnsortedRows
from tables.storage.read_ahead import Range, Reserve, current_read_ahead

# Cache entries of a group that are not columns; no column has such a name.
_ROWS: Final = "\0rows"
_SHARED: Final = "\0shared"
_OWN: Final = "\0own "
_KEPT: Final = "\0kept "
# What the facts of a trace are made of, in an order in which rows are sorted.
# Rows of many columns, of few of the files: read file by file. For fewer columns the next query will ask again.
_MANY_COLUMNS: Final = 12
_FEW_FILES: Final = 4
_IN_USE_S: Final = 60.0
# A column is decoded, put below the others, and put in order.
_COPIES: Final = 2

# Gives the bytes of files, checked, in their order. Raises: StorageError, DamagedError
LoadFiles = Callable[["GroupSource"], Sequence[LoadedFile]]
# Gives what files say of themselves, checked, in their order. Raises: StorageError, DamagedError
DescribeFiles = Callable[["GroupSource"], Sequence[Directory]]


class GroupSource:
    """Small files of one tenant as a source (`query.scan.source.Source`). Nothing is read before it is asked for.

    Rows are sorted over all files, and traces that several of the files have are whole: their facts are made anew.
    Decoded columns go to the shared cache.
    """

    def __init__(
        self,
        key: str,
        files: Sequence[SmallFile],
        load_files: LoadFiles,
        cache: ColumnCache,
        describe_files: DescribeFiles | None = None,
    ) -> None:
        """key: names the content in the cache. describe_files: None: files are loaded for it"""
        self.key, self.files = key, files
        self._rows_known: int | None = None
        self.size_bytes = sum(file.size_bytes for file in files)
        self._rows_max = sum(file.rows for file in files)
        self._traces_max = sum(file.traces for file in files) if all(file.traces for file in files) else 0
        self._load_files, self._describe_files, self.cache = load_files, describe_files, cache
        self._facts_known: GroupFacts | None = None
        self._sizes: dict[str, int] = {}
        self._bounds: dict[str, Bounds | None] = {}

    # ---- without decoding

    @property
    def rows(self) -> int:
        """The number of spans: those of the files, without what a client sent again and lies in another file. Finding
        that out takes to sort them.
        """
        if self._rows_known is None:
            self._rows_known = len(self._rows().order)
        return self._rows_known

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the files, and those in their overflows."""
        return self._facts().columns

    def rows_max(self) -> int:
        """The number of spans in the files."""
        return self._rows_max

    def trace_count(self) -> int:
        """How many traces there are. Those that several files have count several times, unless the rows are sorted."""
        return self._traces_max if self._traces_max and not self._are_sorted() else len(self.traces().ids)

    def unsorted(self) -> UnsortedRows | None:
        """The rows as they lie in the files; None: they are sorted already."""
        return None if self._are_sorted() else UnsortedRows(self)

    def order(self) -> Int64s:
        """For each row its number among the unsorted ones."""
        return self._rows().order

    def _are_sorted(self) -> bool:
        return self.cache.size_of(ColumnKey(self.key, _ROWS)) is not None

    def bounds(self, column: str) -> Bounds | None:
        """No value of the column is less or greater; None where not known."""
        facts = self._facts()
        if column in facts.bounds:
            return facts.bounds[column]
        if column not in self._bounds:
            self._bounds[column] = facts.bounds_of(column, self._directories())
        return self._bounds[column]

    def sparse_columns(self) -> frozenset[str]:
        """Names of the columns that only the overflow holds."""
        return self._facts().hidden

    def decoded_bytes(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> int:
        """About how many bytes reading the columns takes; for cached columns their size."""
        found = {column: self.cache.size_of(ColumnKey(self.key, column)) for column in columns}
        total = sum(size for size in found.values() if size is not None)
        missing = [column for column, size in found.items() if size is None]
        if not missing:
            return total
        facts, count = self._facts(), self.rows if rows is None else rows[1] - rows[0]
        share = count / max(1, self.rows) if self._is_few(columns, rows) else 1.0
        total += int(_COPIES * share * sum(map(self.stored_bytes, missing)))
        if hidden := [column for column in missing if column not in facts.own]:
            total += 2 * self.stored_bytes(overflow.COLUMN) + len(hidden) * count * overflow.HIDDEN_VALUE_BYTES
        return total

    def stored_bytes(self, column: str) -> int:
        """About how many bytes the column takes in memory, as far as it is no part of the overflow."""
        if column not in self._sizes:
            of_files = [directory for directory in self._directories() if column in directory.numbers]
            self._sizes[column] = sum(directory.decoded_bytes(column) for directory in of_files)
        return self._sizes[column]

    def ready_bytes(self, column: str) -> int | None:
        """The size of the whole column where the cache has it."""
        return self.cache.size_of(ColumnKey(self.key, column))

    def entry_count(self, column: str) -> int:
        """At most how many values `entry_keys` gives, about."""
        return self.stored_bytes(column) // overflow.HIDDEN_VALUE_BYTES

    # ---- decoded

    def traces(self) -> TraceIndex:
        """The first row of each trace, over all files of the group."""
        return self._rows().index

    def entry_keys(self, column: str) -> Any:
        """The attribute keys of events or links, as DictionaryArray. Of all leaves only that of the keys is read."""
        files = [file for file in self.load() if column in file.directory.numbers]
        lists = decode(files, column, [KEY_LEAF])
        return list_values(list_values(lists).field("attributes")).field("key").dictionary_encode()

    def sparse(self) -> overflow.SparseColumns:
        """The columns that `sparse_columns` names."""
        return overflow.SparseColumns.of(self._overflow())

    def content_key(self) -> str:
        """Names the content, which never changes."""
        return self.key

    def kept(self, name: str) -> Any:
        """What `keep` has under that name, or None."""
        return self.cache.get(ColumnKey(self.key, _KEPT + name))

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """Caches a small object with `nbytes` that `make` computes from the columns."""
        return self.cache.get_or_make(ColumnKey(self.key, _KEPT + name), make)

    def read(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> Mapping[str, Any]:
        """The columns, all rows or a range. Raises: KeyError for an unknown column, StorageError, DamagedError"""
        return self._read(columns, rows, 0.0)

    def read_once(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> Mapping[str, Any]:
        """As `read`; the columns evict nothing that is in use."""
        return self._read(columns, rows, _IN_USE_S)

    def _read(self, columns: Sequence[str], rows: tuple[int, int] | None, spares_s: float) -> Mapping[str, Any]:
        if unknown := set(columns) - self._facts().columns:
            raise KeyError(f"{self.key} has no column {min(unknown)!r}")
        if rows is not None and self._is_few(columns, rows):
            return self._few_rows(columns, rows)
        found = {column: self._column(column, spares_s) for column in columns}
        if rows is None:
            return found
        return {column: array.slice(rows[0], rows[1] - rows[0]) for column, array in found.items()}

    def _column(self, column: str, spares_s: float = 0.0) -> Any:
        key = ColumnKey(self.key, column)
        array = self.cache.get(key)
        if array is None:
            if column in FACT_COLUMNS:
                array = self._with_shared_facts(column)
            elif column in self._facts().hidden:
                array = overflow.columns_of(self._overflow(), [column])[column]
            else:
                array = self._in_order(column)
            self.cache.put(key, array, max(array.nbytes, 64), spares_s=spares_s)
        return array

    def _in_order(self, column: str) -> Any:
        """A column that at least one file has of its own."""
        order = self._rows().order
        if (unsorted := self.cache.get(ColumnKey(self.key, UNSORTED + column))) is not None:
            self.cache.discard(ColumnKey(self.key, UNSORTED + column))
            return unsorted.take(pa.array(order))
        return column_of(self.load(), column, self._overflow, order)

    def _overflow(self) -> Any:
        """The overflow's lists of all rows."""
        key = ColumnKey(self.key, overflow.COLUMN)
        lists = self.cache.get(key)
        if lists is None:
            lists = column_of(self.load(), overflow.COLUMN, lambda: None, self._rows().order)
            self.cache.put(key, lists, max(lists.nbytes, 64))
        return lists

    def _with_shared_facts(self, column: str) -> Any:
        array, rows = self._in_order(column), self._rows().shared_rows(0, self.rows)
        if not len(rows):
            return array
        made = None
        if column in NEEDS:
            own = {column: self._own(column, rows, array), **{name: self._own(name, rows) for name in NEEDS[column]}}
            made = joint_fact(column, self._shared_parts(rows), own)
        return replaced(array, rows, self._shared_facts(rows)[column] if made is None else made)

    def _own(self, column: str, rows: Int64s, array: Any = None) -> Any:
        """What the files say in the rows of shared traces, plain: kept, since two facts need it. array: the column"""
        key = ColumnKey(self.key, _OWN + column)
        found = self.cache.get(key)
        if found is None:
            found = plain((self._in_order(column) if array is None else array).take(pa.array(rows)))
            self.cache.put(key, found, max(int(found.nbytes), 64))
        return found

    def _shared_parts(self, rows: Int64s) -> Parts:
        known = self._rows()
        lengths = np.diff(known.index.offsets)[known.shared]
        return Parts(np.r_[0, np.cumsum(lengths)], self._of_files(known.order[rows])[0])

    def _shared_facts(self, rows: Int64s) -> Mapping[str, Any]:
        """The facts of all traces that several files have. In: their rows"""
        key = ColumnKey(self.key, _SHARED)
        facts: dict[str, Any] | None = self.cache.get(key)
        if facts is None:
            base = [name for name in FACT_BASE if name in self._facts().columns]
            facts = facts_of({name: self._column(name).take(pa.array(rows)) for name in base})
            self.cache.put(key, facts, sum(int(array.nbytes) for array in facts.values()))
        return facts

    # ---- few rows

    def _is_few(self, columns: Sequence[str], rows: tuple[int, int] | None) -> bool:
        """Whether to read only the files that have the rows: all columns of a trace."""
        if rows is None or len(columns) <= _MANY_COLUMNS or rows[1] - rows[0] > self.rows // 2:
            return False
        return len(self._files_of(*rows)) <= _FEW_FILES

    def _file_ends(self) -> Int64s:
        return np.cumsum([file.rows for file in self.files])

    def _files_of(self, first: int, end: int) -> Int64s:
        found: Int64s = unique(np.searchsorted(self._file_ends(), self._rows().order[first:end], side="right"))
        return found

    def _few_rows(self, columns: Sequence[str], rows: tuple[int, int]) -> dict[str, Any]:
        wanted = np.arange(*rows)
        found = self._at(columns, wanted)
        made = [column for column in columns if column in FACT_COLUMNS]
        shared = self._rows().shared_rows(*rows) if made and rows[1] > rows[0] else wanted[:0]
        if len(shared):
            base = self._at([name for name in FACT_BASE if name in self._facts().columns], shared)
            facts = facts_of(base)
            inside = np.flatnonzero((shared >= rows[0]) & (shared < rows[1]))
            for column in made:
                values = facts[column].take(pa.array(inside))
                found[column] = replaced(found[column], shared[inside] - rows[0], values)
        return found

    def _at(self, columns: Sequence[str], rows: Int64s) -> dict[str, Any]:
        """The columns as their files have them, at some rows of the group."""
        files, at = self._within(self._rows().order[rows])
        return {column: array.take(at) for column, array in read_rows(files, columns).items()}

    def _stored(self, column: str, places: Int64s) -> Any:
        """A column that every file has, at some of the rows of all files, one below the other."""
        files, at = self._within(places)
        return decode(files, column).take(at)

    def digest_bytes(self) -> int:
        """About how much memory `row_digests` takes at once."""
        return _COPIES * max(sum(map(file.directory.decoded_bytes, file.directory.numbers)) for file in self.load())

    def row_digests(self, rows: Int64s) -> UInt64s:
        """A digest of each of some rows, as of `tables.columns.row_digests`. Of the files only those that have the rows
        are read, one after the other; what was made is kept. Raises: StorageError, DamagedError
        """
        return self._digests(self._rows().order[rows])

    def _digests(self, places: Int64s) -> UInt64s:
        """As `row_digests`, by the numbers of rows among those of all files."""
        number, within = self._of_files(places)
        digests = np.empty(len(places), np.uint64)
        for one in unique(number).tolist():
            here = number == one
            digests[here] = self._digests_of_file(one, within[here])
        return digests

    def _digests_of_file(self, number: int, rows: Int64s) -> UInt64s:
        # By file, not by group: a new file makes a new group of rows that are known.
        file = self.files[number]
        key = ColumnKey(file.path, DIGESTS)
        return kept_digests(self.cache, key, rows, file.rows, lambda some: digests_of_rows(self.load()[number], some))

    def _repeated(self, places: Int64s, group: Int64s) -> Bools:
        """Which rows equal one before in every field that a client sent. In: as of `repeated_rows`"""
        first = as_sent({name: self._stored(name, places) for name in FIRST_COLUMNS})
        repeated = repeated_by_digest(group, first, lambda alike: self._digests(places[alike]))
        DUPLICATES.labels("query").inc(int(np.count_nonzero(repeated)))
        return repeated

    def _within(self, places: Int64s) -> tuple[list[LoadedFile], Any]:
        """The files of some rows, and for each row its number among the rows of these files."""
        of_row, within = self._of_files(places)
        files = unique(of_row)
        sizes = np.array([self.files[number].rows for number in files.tolist()], np.int64)
        begins = np.cumsum(sizes) - sizes
        loaded = self.load()
        at = pa.array(begins[np.searchsorted(files, of_row)] + within)
        return [loaded[number] for number in files.tolist()], at

    def _of_files(self, places: Int64s) -> tuple[Int64s, Int64s]:
        """For each row the number of its file, and the row's number there."""
        ends = self._file_ends()
        of_row = np.searchsorted(ends, places, side="right")
        return of_row, places - np.r_[0, ends][of_row]

    # ---- made once

    def begin_rows(self, *, sorts: bool) -> None:
        """Begins to load the files, for the query of this thread: `columns` needs them, and `rows`, if it sorts."""
        ahead = current_read_ahead()
        if ahead is not None and (self._facts_known is None or (sorts and not self._are_sorted())):
            ahead.begin(self.key, self._load_ahead)

    def _load_ahead(self, reserve: Reserve) -> dict[Range, Any]:
        if reserve(self.size_bytes):
            self._load_files(self)  # which keeps them for the next call
        return {}

    def load(self) -> Sequence[LoadedFile]:
        """The files, checked. Raises: StorageError, DamagedError"""
        if (ahead := current_read_ahead()) is not None:
            ahead.wait_for(self.key)
        return self._load_files(self)

    def _directories(self) -> Sequence[Directory]:
        if self._describe_files is None:
            return [file.directory for file in self.load()]
        return self._describe_files(self)

    def _facts(self) -> GroupFacts:
        if self._facts_known is None:
            self._facts_known = group_facts(self._directories())
        return self._facts_known

    def _rows(self) -> GroupRows:
        key = ColumnKey(self.key, _ROWS)
        rows: GroupRows | None = self.cache.get(key)
        if rows is None:
            files = self.load()

            def ties(places: Int64s) -> list[Any]:
                # The files of traces that several files have, at most.
                columns = [self._stored(name, places) for name in ("span_id", "kind", "parent_span_id", "duration_ns")]
                return [sortable(column) for column in columns]

            ids, starts = decode(files, "trace_id"), decode(files, "start_ns")
            rows = group_rows(ids, starts, [file.rows for file in self.files], Ties(ties, self._repeated))
            self.cache.put(key, rows, rows.nbytes)
        return rows
