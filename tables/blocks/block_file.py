"""A large file of a block as a source: what a query needs of it can be read ahead, and its filter asked for traces."""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final

from tables.blocks.bloom import Ids, passing
from tables.blocks.meta import BlockMeta
from tables.blocks.trace_filters import RangeReader, TraceFilters
from tables.columns.types import Bools
from tables.parquet.open_file import column_chunks
from tables.parquet.read import TRACES, ColumnKey, ParquetSource
from tables.storage.read_ahead import Range, Reserve, current_read_ahead

_TRACE_ID: Final = "trace_id"


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
    """trace_filter: None: the file has none"""

    trace_filter: LazyFilter | None = None

    def knows_traces(self) -> bool:
        """Whether the trace ids are in the cache, so that `traces` reads nothing from the file."""
        return self._cache.size_of(ColumnKey(self.key, TRACES)) is not None

    def read_ahead(self, columns: Collection[str], *, traces: bool) -> None:
        """Begins to read columns, and the ids of the traces, for the query of this thread. What cannot be read is an
        error where it is needed.
        """
        ahead = current_read_ahead()
        if ahead is None:
            return
        wanted = {column for column in columns if self.ready_bytes(column) is None}
        if traces and not self.knows_traces():
            wanted.add(_TRACE_ID)
        if wanted:
            ahead.begin(self.name, partial(self._fetch, wanted))

    def _fetch(self, columns: Collection[str], reserve: Reserve) -> Mapping[Range, Any]:
        chunks = self._chunks(sorted(columns))
        if not chunks or not reserve(sum(length for _, length in chunks)):
            return {}
        return dict(zip(chunks, self._open_file().read_ranges(chunks), strict=True))

    def _chunks(self, columns: Collection[str]) -> list[Range]:
        """Where the columns lie. Whoever decodes them opens the file: it is not done here for that alone."""
        directory = None if self.is_open() else self._end.directory(self.rows)
        if directory is not None:
            return [chunk for column in columns if column in directory.numbers for chunk in directory.chunks(column)]
        opened = self._opened()
        leaves = [leaf for column in columns for leaf in opened.leaves.get(column, ())]
        return column_chunks(opened.file.metadata, leaves)

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
