"""A large file of a block as a source: what a query needs of it can be read ahead, and its filter asked for traces."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from tables.blocks.bloom import Ids, passing
from tables.blocks.meta import BlockMeta
from tables.blocks.trace_filters import RangeReader, TraceFilters
from tables.columns.trace_facts import TracePeriod
from tables.columns.trace_index import TraceIndex
from tables.columns.types import Bools
from tables.errors import StorageError
from tables.parquet.read import TRACES, ColumnKey, ParquetSource
from tables.storage.read_ahead import Range, Reserve, current_read_ahead

_TRACE_ID: Final = "trace_id"
_TRACE_BYTES: Final = 24  # of the ids' column, at most


class LazyFilter:
    """The filter of one file, read when it is first needed."""

    def __init__(self, meta: BlockMeta, number: int, store: RangeReader, filters: TraceFilters) -> None:
        """number: of the file. filters: those of the process"""
        self._meta, self._number, self._store, self._filters = meta, number, store, filters

    def load(self) -> bytes | None:
        """None: there is none that can be used."""
        return self._filters.filter_of(self._store, self._meta, self._number)

    def begin(self) -> None:
        """Begins to read it, and those of the other files of the block, for the query of this thread."""
        self._filters.read_ahead(self._store, self._meta)


class BlockFile(ParquetSource):
    """trace_filter: None: the file has none. period: when its traces lie; None: only the file says it"""

    trace_filter: LazyFilter | None = None
    period: TracePeriod | None = None

    def trace_period(self) -> TracePeriod | None:
        """When its traces lie, as the catalogue knows it; None: it does not."""
        return self.period

    def describe(self) -> frozenset[str]:
        """As the base, from an end that this query has begun to read. Raises: DamagedError, StorageError"""
        self._wait()
        return self._described()

    def traces(self) -> TraceIndex:
        """As the base, from what this query has begun to read. Raises: DamagedError, StorageError"""
        if not self.knows_traces():
            self._wait()
        return super().traces()

    def _described(self) -> frozenset[str]:
        """As `describe`, without waiting: for what is itself waited for."""
        return super().describe() if self._columns is None else self._columns

    def _wait(self) -> None:
        if (ahead := current_read_ahead()) is not None:
            ahead.wait_for(self.name)

    def begin_description(self) -> None:
        """Begins to read what `columns` and `bounds` need, for the query of this thread."""
        ahead = current_read_ahead()
        if ahead is not None and not self.is_described and not ahead.has_begun(self.name):
            ahead.begin(self.name, self._describe_ahead)

    def _describe_ahead(self, _: Reserve) -> Mapping[Range, Any]:
        super().describe()
        return {}

    def knows_traces(self) -> bool:
        """Whether the trace ids are in the cache, so that `traces` reads nothing from the file."""
        return self._cache.size_of(ColumnKey(self.key, TRACES)) is not None

    def read_ahead(self, columns: Collection[str], *, traces: bool, if_any: Collection[str] = ()) -> None:
        """Begins to read columns, and the ids of the traces, for the query of this thread. What cannot be read is an
        error where it is needed.

        if_any: only if the file has one of these; (): in any case
        """
        ahead = current_read_ahead()
        if ahead is None:
            return
        if not self.is_described and ahead.has_begun(self.name):
            with suppress(StorageError):
                ahead.wait_for(self.name)  # or it would read the end again
        wanted = {column for column in columns if self.ready_bytes(column) is None}
        if traces and not self.knows_traces():
            if not wanted and not self.is_described:
                # The end comes with the ids, in one request.
                ahead.begin(self.name, self._fetch_traces)
                return
            wanted.add(_TRACE_ID)
        if wanted := wanted - ahead.names(self.name):
            ahead.begin(self.name, partial(self._fetch, wanted, if_any), wanted)

    def _fetch_traces(self, reserve: Reserve) -> Mapping[Range, Any]:
        if reserve(_TRACE_BYTES * (self.known_trace_count or self.rows)):
            super().traces()  # which keeps them
        return {}

    def _fetch(self, columns: Collection[str], if_any: Collection[str], reserve: Reserve) -> Mapping[Range, Any]:
        own = self._described()
        if if_any and own.isdisjoint(if_any):
            return {}
        chunks = self._chunks(sorted(columns))
        if not chunks or not reserve(sum(length for _, length in chunks)):
            return {}
        return dict(zip(chunks, self._open_file().read_ranges(chunks), strict=True))

    def _chunks(self, columns: Collection[str]) -> list[Range]:
        file = self._file()
        return file.chunks([column for column in columns if column in file.names])

    def begin_filter(self) -> None:
        """Begins to read what `may_have` needs."""
        if self.trace_filter is not None and not self.knows_traces():
            self.trace_filter.begin()

    def may_have(self, ids: Ids) -> Bools | None:
        """Which of some traces the file may have, by its filter; None: that says nothing, or the ids are known here."""
        if self.trace_filter is None or self.knows_traces():
            return None
        data = self.trace_filter.load()
        return None if data is None else passing(ids, data)
