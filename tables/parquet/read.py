"""Parquet files of segments and blocks as sources for the evaluator (`query.scan.source.Source`)."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import pyarrow as pa

from tables.columns import overflow
from tables.columns.row_digests import row_digests
from tables.columns.trace_index import TraceIndex, trace_index
from tables.columns.types import Int64s, UInt64s
from tables.columns.whole_traces import FACT_COLUMNS
from tables.errors import DamagedError
from tables.parquet.column_file import DirectoryFile
from tables.parquet.decode_errors import check_codes, reading
from tables.parquet.directory import BOUNDED, DIRECTORY_BYTES_MAX, SMALL_FILE_BYTES, Bounds, read_directory
from tables.parquet.file_end import FileEnd
from tables.parquet.kept_digests import DIGESTS, kept_digests
from tables.parquet.open_file import OpenFile, decode_cut, open_parquet
from tables.parquet.pages import Pages, parse_pages
from tables.parquet.trace_ids import TRACE_ID, read_trace_index
from tables.schema import FIXED
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import Tail
from tables.storage.object_store import RangeFile


class ColumnKey(NamedTuple):
    """The cache key of one decoded column of one file."""

    file: str
    column: str


ColumnCache = ByteCache[ColumnKey, Any]

# Cache entries of a file that are not columns; no column has such a name.
_FOOTER: Final = "\0footer"
_TAIL: Final = "\0tail"
_DIRECTORY: Final = "\0directory"
TRACES: Final = "\0traces"
_PAGES: Final = "\0pages"
_KEPT: Final = "\0kept "
# Rows of one trace come with all columns: keeping those would push the useful ones out of the cache.
_FEW_COLUMNS: Final = 6
# For more columns than this, only the pages with the rows are decoded; for fewer, finding the pages costs more.
_SOME_COLUMNS: Final = 12
# Columns, their chosen rows, and what is made of these.
_COPIES: Final = 3
_COLUMNS_AT_ONCE: Final = 64
# Data that is read once does not evict data that was used this recently.
_IN_USE_S: Final = 60.0


class ParquetSource:
    """A file with one row group. It is opened when something of it is decoded; which columns it has says its directory.
    Decoded columns go to the shared cache.

    key: names the content in the cache; a block's file and its former segment share decoded columns
    name: of this file; what is open reads only from this file, which may vanish before the other
    tail: the expected end of the file; None: unknown
    known_trace_count: how many traces it has; 0: unknown. trace_id_range: the least and the greatest; None: unknown
    is_own: as of `open_parquet`
    Any read raises DamagedError if the bytes differ from those that were written
    """

    def __init__(
        self,
        key: str,
        open_file: Callable[[], RangeFile],
        cache: ColumnCache,
        rows: int,
        name: str | None = None,
        tail: Tail | None = None,
    ) -> None:
        self.key, self.name = key, name or key
        self.rows = rows
        self.known_trace_count, self.is_own = 0, False
        self.trace_id_range: tuple[bytes, bytes] | None = None
        self._open_file, self._cache = open_file, cache
        keys = ColumnKey(self.name, _TAIL), ColumnKey(self.name, _DIRECTORY)
        self._end = FileEnd(self.name, open_file, tail, cache, keys)
        # Small, and needed by every query for every file: kept for good, so that most files need not be opened.
        self._columns: frozenset[str] | None = None
        self._sparse: frozenset[str] = frozenset()  # those of them that are in the overflow
        self._bounds: dict[str, Bounds | None] = {}

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the file, and those in its overflow."""
        return self.describe() if self._columns is None else self._columns

    def describe(self) -> frozenset[str]:
        """Reads what the file says of its columns, for good. Out: the columns. Raises: DamagedError, StorageError"""
        file = self._file()
        if missing := sorted(set(FIXED.names).difference(file.names)):
            raise DamagedError(self.name, f"has no column {', '.join(missing)}")
        self._bounds = {column: file.bounds_of(column) for column in BOUNDED}
        found = overflow.visible(file.names, file.hidden())
        self._sparse = _shared(found.difference(file.names))
        self._columns = _shared(found)
        return self._columns

    @property
    def is_described(self) -> bool:
        """Whether its columns are known without reading anything."""
        return self._columns is not None

    def bounds(self, column: str) -> Bounds | None:
        """Minimum and maximum of an integer column, without reading it; None: not known."""
        if column not in BOUNDED:
            file = self._file()
            # Of many columns of integers only the footer says them.
            return (file if file.knows_integers else self._opened()).bounds_of(column)
        if column not in self._bounds:
            self.describe()
        return self._bounds[column]

    def traces(self) -> TraceIndex:
        """The index of trace ids, computed once and kept in the cache: 32 bytes per trace."""
        traces: TraceIndex | None = self._cache.get(ColumnKey(self.key, TRACES))
        if traces is None:
            counts = (self.rows, self.known_trace_count)
            traces = read_trace_index(self.name, self._open_file, self._end, counts)
            if traces is None:
                traces = trace_index(self._decode([TRACE_ID], keep=False)[TRACE_ID])
            keep_traces(self._cache, self.key, traces)
        return traces

    def trace_count(self) -> int:
        """How many traces there are. Where it is known they are not read for it."""
        return self.known_trace_count or len(self.traces().ids)

    def verify(self) -> None:
        """Reads the whole file, column by column, as its footer says. Raises: DamagedError, StorageError"""
        opened = self._opened()
        for column in opened.names:
            opened.decode([column])
        if self.rows:
            self._pages()
        size = self._open_file().size()
        if size <= SMALL_FILE_BYTES + DIRECTORY_BYTES_MAX:
            # A small file is read by its directory, too, which has a checksum of all pages.
            try:
                read_directory(self._bytes(0, size))
            except ValueError as err:
                raise DamagedError(self.name, str(err)) from err

    def close(self) -> None:
        """Closes the file, so that the next read opens it again. Decoded columns stay."""
        for name in (_FOOTER, _TAIL, _DIRECTORY, _PAGES):
            for key in {self.key, self.name}:
                self._cache.discard(ColumnKey(key, name))

    def decoded_bytes(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> int:
        """About how many bytes reading the columns takes; for cached columns their size."""
        sizes = {column: self._cache.size_of(ColumnKey(self.key, column)) for column in columns}
        total = sum(size for size in sizes.values() if size is not None)
        missing = [column for column, size in sizes.items() if size is None]
        if not missing:
            return total
        file, count = self._file(), self.rows if rows is None else rows[1] - rows[0]
        paged = len(columns) > _SOME_COLUMNS and count * 2 <= self.rows
        present = sum(file.decoded_bytes(column) for column in missing if column in file.names)
        total += present * count // self.rows if paged else present
        hidden = sum(column not in file.names for column in missing)
        if hidden:
            lists = self._cache.size_of(ColumnKey(self.key, overflow.COLUMN))
            total += 2 * (file.decoded_bytes(overflow.COLUMN) if lists is None else lists)
            total += hidden * count * overflow.HIDDEN_VALUE_BYTES
        return total

    def ready_bytes(self, column: str) -> int | None:
        """The size of the whole column where the cache has it."""
        return self._cache.size_of(ColumnKey(self.key, column))

    def entry_count(self, column: str) -> int:
        """How many values the leaf has that `entry_keys` reads."""
        return self._file().entry_count(column)

    def entry_keys(self, column: str) -> Any:
        """The attribute keys of a column of events or links, as DictionaryArray. Of all leaves only that of the keys is
        read.
        """
        return self._file().entry_keys(column)

    def sparse_columns(self) -> frozenset[str]:
        """Names of the columns that the overflow holds."""
        return self._sparse if self.columns else frozenset()

    def sparse(self) -> overflow.SparseColumns:
        """All attributes in the overflow column, as one sparse column each."""
        return overflow.SparseColumns.of(self._overflow())

    def content_key(self) -> str:
        """Names the content, which never changes."""
        return self.key

    def kept(self, name: str) -> Any:
        """What `keep` has under that name, or None."""
        return self._cache.get(ColumnKey(self.key, _KEPT + name))

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """Caches a small object with `nbytes` that `make` computes from the columns; computes it again if the cache has
        evicted it.
        """
        return self._cache.get_or_make(ColumnKey(self.key, _KEPT + name), make)

    def read(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> Mapping[str, Any]:
        """The columns, all rows or a range. Raises: KeyError for an unknown column, StorageError"""
        return self._read(columns, rows, 0.0)

    def read_once(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> Mapping[str, Any]:
        """As `read`, but without caching: the caller keeps the data in another form."""
        return self._read(columns, rows, _IN_USE_S)

    def _read(self, columns: Sequence[str], rows: tuple[int, int] | None, spares_s: float) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        missing: list[str] = []
        for column in columns:
            cached = self._cache.get(ColumnKey(self.key, column))
            if cached is None:
                missing.append(column)
            else:
                found[column] = cached
        if missing:
            own = self._file().names
            hidden = [column for column in missing if column not in own]
            if unknown := set(hidden) - (self.columns if hidden else set()):
                raise KeyError(f"{self.key} has no column {min(unknown)!r}")
            present = [column for column in missing if column in own]
            if rows is None or len(columns) <= _FEW_COLUMNS:
                found |= self._decode(present, keep=True, spares_s=spares_s)
            else:
                found |= self._some_pages(present, rows)
            found |= self._from_overflow(hidden, rows)
        if rows is not None:
            first, end = rows
            # What came from the overflow or from single pages has these rows only.
            return {
                column: found[column].slice(first, end - first) if len(found[column]) == self.rows else found[column]
                for column in columns
            }
        return found

    def digest_bytes(self) -> int:
        """About how much memory `row_digests` takes at once."""
        return _COPIES * max(sum(map(self._file().decoded_bytes, names)) for names in self._batches())

    def row_digests(self, rows: Int64s) -> UInt64s:
        """As of `tables.columns.row_digests`, made once and kept. Raises: StorageError, DamagedError"""
        return kept_digests(self._cache, ColumnKey(self.key, DIGESTS), rows, self.rows, self._made_digests)

    def _made_digests(self, rows: Int64s) -> UInt64s:
        at, digests = pa.array(rows), row_digests({}, len(rows))
        for names in self._batches():
            columns: dict[str, Any] = {name: self._cache.get(ColumnKey(self.key, name)) for name in names}
            columns |= self._decode([name for name in names if columns[name] is None], keep=False)
            digests += row_digests({name: array.take(at) for name, array in columns.items()}, len(rows))
        return digests

    def _batches(self) -> list[list[str]]:
        names = [name for name in self._file().names if name not in FACT_COLUMNS]
        return [names[at : at + _COLUMNS_AT_ONCE] for at in range(0, len(names), _COLUMNS_AT_ONCE)]

    def _some_pages(self, columns: Sequence[str], rows: tuple[int, int]) -> dict[str, Any]:
        """Rows of the columns. For many columns it decodes only the pages with these rows, if that saves work."""
        if len(columns) <= _SOME_COLUMNS or (rows[1] - rows[0]) * 2 > self.rows:
            return self._decode(columns, keep=False)
        pages = self._pages()
        around = pages.around(*rows)
        paged = [column for column in columns if column in pages.columns]
        found = self._decode([column for column in columns if column not in paged], keep=False)
        if paged:
            file, data = self._file(), pages.cut(paged, around, self._ranges)
            first = pages.starts[around[0]]
            shapes = {column: file.shape(column) for column in paged}
            with reading(self.name, "has pages that cannot be read"):
                found |= decode_cut(data, shapes, (rows[0] - first, rows[1] - first))
            check_codes(self.name, found.values())
            if any(len(found[column]) != rows[1] - rows[0] for column in paged):
                raise DamagedError(self.name, "has pages without the rows that its offset index says")
        return found

    def _pages(self) -> Pages:
        key = ColumnKey(self.key, _PAGES)
        pages: Pages | None = self._cache.get(key)
        if pages is None:
            size, end = self._open_file().size(), self._end.read()
            if end is None:
                start = max(map(sum, self._opened().chunks(list(self._file().names))))
                end = self._bytes(start, size)
            try:
                pages = parse_pages(bytes(end), size - len(end), self._end.directory(self.rows))
            except (IndexError, ValueError) as err:
                raise DamagedError(self.name, f"has an offset index that cannot be read: {err}") from err
            self._cache.put(key, pages, pages.nbytes)
        return pages

    def _bytes(self, start: int, end: int) -> Any:
        return self._ranges([(start, end)])[0]

    def _ranges(self, ranges: Sequence[tuple[int, int]]) -> Sequence[Any]:
        """The file's bytes from start to end, of several ranges in one request where the storage can."""
        return self._open_file().read_ranges([(start, end - start) for start, end in ranges])

    def _from_overflow(self, columns: Sequence[str], rows: tuple[int, int] | None) -> Mapping[str, Any]:
        if not columns:
            return {}
        lists = self._overflow()
        if rows is not None:
            return overflow.columns_of(lists.slice(rows[0], rows[1] - rows[0]), columns)
        made = overflow.columns_of(lists, columns)
        for column, array in made.items():
            self._cache.put(ColumnKey(self.key, column), array, max(array.nbytes, 64))
        return made

    def _overflow(self) -> Any:
        lists = self._cache.get(ColumnKey(self.key, overflow.COLUMN))
        return self._decode([overflow.COLUMN], keep=True)[overflow.COLUMN] if lists is None else lists

    def _decode(self, columns: Sequence[str], *, keep: bool, spares_s: float = 0.0) -> dict[str, Any]:
        if not columns:
            return {}
        decoded = dict(zip(columns, self._file().decode(columns), strict=True))
        if keep:
            for column, array in decoded.items():
                self._cache.put(ColumnKey(self.key, column), array, max(array.nbytes, 64), spares_s=spares_s)
        return decoded

    def _file(self) -> DirectoryFile | OpenFile:
        """What says where the columns lie, and decodes them."""
        directory = self._end.directory(self.rows)
        return self._opened() if directory is None else DirectoryFile(self.name, directory, self._open_file)

    def _opened(self) -> OpenFile:
        key = ColumnKey(self.name, _FOOTER)
        opened: OpenFile | None = self._cache.get(key)
        if opened is None:
            opened = open_parquet(self.name, self._open_file, self._end.read(), is_own=self.is_own)
            if opened.file.metadata.num_rows != self.rows:
                raise DamagedError(self.name, f"has {opened.file.metadata.num_rows} rows of {self.rows}")
            self._cache.put(key, opened, opened.nbytes)
        return opened


def keep_traces(cache: ColumnCache, key: str, traces: TraceIndex) -> None:
    """Caches the index of a new file, so that nobody must open the file to see that a trace is not in it."""
    cache.put(ColumnKey(key, TRACES), traces, traces.nbytes)


@lru_cache(maxsize=256)
def _shared(columns: frozenset[str]) -> frozenset[str]:
    """The same object for equal columns: most files have the columns of their neighbours."""
    return columns
