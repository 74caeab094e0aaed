"""Which files of many blocks may hold a trace: by the ranges of their trace ids, then by their filters, which are read
at once and kept within a limit.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from prometheus_client import Counter

from tables.blocks.bloom import FilterQuestion, bloom_path, checked_filter, filter_ranges, inline_filter
from tables.blocks.meta import BlockMeta, FileMeta
from tables.errors import DamagedError, StorageError
from tables.storage.at_once import at_once
from tables.storage.byte_cache import ByteCache
from tables.wall import walled

log = logging.getLogger(__name__)

FILES = Counter(
    "stretto_trace_lookup_files_total",
    "Files of blocks that lookups by trace id had to do with, by what ruled them out: range (of trace ids), bloom; "
    "read: nothing did.",
    ["by"],
)
UNUSABLE = Counter(
    "stretto_bloom_unusable_total",
    "Filters of trace ids that could not be used, by reason: damaged, missing, unreadable (storage). Their files are "
    "read instead.",
    ["reason"],
)
# What an entry of the cache takes besides the filter: its key, the objects around it.
_ENTRY_BYTES: Final = 400
# The log names this many blocks with unusable filters; the metric counts all.
_LOGGED_MAX: Final = 100


class FilterKey(NamedTuple):
    """The cache key of the filter of one file of a block."""

    block_id: str
    file: int


BloomCache = ByteCache[FilterKey, bytes]
Files = list[tuple[BlockMeta, list[int]]]  # blocks, and numbers of some of their files


class RangeReader(Protocol):
    """Reads parts of objects, as `ObjectStore` does."""

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> Sequence[Any]:
        """Raises: DamagedError, StorageError"""
        ...


class TraceFilters:
    """The filters of all blocks that a process reads. Thread-safe.

    pool: reads filters; as many at once as it has threads
    """

    def __init__(self, pool: Executor, cache: BloomCache) -> None:
        self._pool, self._cache = pool, cache
        self._logged: set[str] = set()

    def files_with(self, store: RangeReader, metas: Iterable[BlockMeta], trace_id: bytes) -> Files:
        """The files that may hold the trace: all that do, and few others. Blocks without such a file are left out.

        A filter that is damaged or cannot be read rules out nothing.
        """
        wanted, question = trace_id.hex(), FilterQuestion(trace_id)
        outside = ruled_out = 0
        found: list[tuple[BlockMeta, list[int]]] = []
        unread: list[tuple[BlockMeta, list[int]]] = []
        for meta in metas:
            kept, unknown = [], []
            for number, file in enumerate(meta.files):
                if file.trace_id_min and not file.trace_id_min <= wanted <= file.trace_id_max:
                    outside += 1
                    continue
                data = self._known(meta, number, file)
                if data is None and file.bloom_bytes:
                    unknown.append(number)
                elif data is None or question.may_be_in(data):
                    kept.append(number)
                else:
                    ruled_out += 1
            if unknown:
                unread.append((meta, unknown))
            if kept or unknown:
                found.append((meta, kept))
        read = self._read(store, unread)
        files: Files = []
        for meta, kept in found:
            filters = read.get(meta.block_id, {})
            passed = [number for number, data in filters.items() if data is None or question.may_be_in(data)]
            ruled_out += len(filters) - len(passed)
            if numbers := sorted(kept + passed):
                files.append((meta, numbers))
        for reason, count in (("range", outside), ("bloom", ruled_out), ("read", sum(len(n) for _, n in files))):
            FILES.labels(reason).inc(count)
        return files

    def at_once(self, calls: Sequence[Callable[[], Any]]) -> None:
        """Makes the calls, as many at once as the pool has threads; one alone here. Raises: what the first one does"""
        if len(calls) == 1:
            calls[0]()
            return
        at_once(self._pool, [partial(walled, call) for call in calls])

    def _known(self, meta: BlockMeta, number: int, file: FileMeta) -> bytes | None:
        """The filter, if it needs no request."""
        if file.bloom_bytes:
            return self._cache.get(FilterKey(meta.block_id, number))
        try:
            return inline_filter(meta, file)
        except DamagedError as err:
            self._unusable("damaged", err)
            return None

    def _read(self, store: RangeReader, unread: Files) -> Mapping[str, dict[int, bytes | None]]:
        """Filters by block id and number of the file; None: it cannot be used."""
        found: dict[str, dict[int, bytes | None]] = {}

        def load(meta: BlockMeta, numbers: list[int]) -> None:
            found[meta.block_id] = self._filters(store, meta, numbers)

        if unread:
            self.at_once([partial(load, meta, numbers) for meta, numbers in unread])
        return found

    def _filters(self, store: RangeReader, meta: BlockMeta, numbers: list[int]) -> dict[int, bytes | None]:
        """Some filters of one block, in one request."""
        places = filter_ranges(meta.files)
        filters: dict[int, bytes | None] = dict.fromkeys(numbers)
        try:
            parts = store.get_ranges(bloom_path(meta), [places[number] for number in numbers])
        except DamagedError as err:
            self._unusable("missing", err)
            return filters
        except StorageError as err:
            self._unusable("unreadable", err)
            return filters
        for number, part in zip(numbers, parts, strict=True):
            try:
                data = checked_filter(meta, meta.files[number], part)
            except DamagedError as err:
                self._unusable("damaged", err)
                continue
            filters[number] = data
            self._cache.put(FilterKey(meta.block_id, number), data, len(data) + _ENTRY_BYTES)
        return filters

    def _unusable(self, reason: str, err: StorageError) -> None:
        UNUSABLE.labels(reason).inc()
        if len(self._logged) < _LOGGED_MAX and (text := str(err)) not in self._logged:
            self._logged.add(text)
            log.warning("a filter of trace ids cannot be used, the file is read instead: %s", text)
