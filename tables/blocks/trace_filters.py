"""Which files of many blocks may hold a trace: by the ranges of their trace ids, then by their filters, which are read
at once and kept within a limit. Filters of many blocks come together, where the tenant's index names packs of them
(`tables.blocks.filter_pack`).
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final, Protocol

from prometheus_client import Counter

from tables.blocks.bloom import FilterQuestion, bloom_path, checked_filter, filter_ranges, inline_filter
from tables.blocks.filter_pack import FilterKey, PackHead, PackRef, filter_key
from tables.blocks.meta import BlockMeta, FileMeta
from tables.blocks.pack_reader import Answers, PackReader
from tables.errors import DamagedError, StorageError
from tables.storage.at_once import at_once
from tables.storage.byte_cache import ByteCache
from tables.storage.read_ahead import Range, Reserve, current_read_ahead
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


# Whole filters of files, and heads and slices of packs.
BloomCache = ByteCache[FilterKey, Any]
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
        self._packs = PackReader(cache, self._unusable)

    def files_with(
        self, store: RangeReader, metas: Iterable[BlockMeta], trace_id: bytes, packs: Sequence[PackRef] = ()
    ) -> Files:
        """The files that may hold the trace: all that do, and few others. Blocks without such a file are left out.

        metas: of one tenant. packs: those that its index names
        A filter that is damaged or cannot be read rules out nothing.
        """
        wanted, question = trace_id.hex(), FilterQuestion(trace_id)
        answers = self._packs.known(packs, question)
        outside = ruled_out = 0
        found: list[tuple[BlockMeta, list[int]]] = []
        unread: list[tuple[BlockMeta, list[int]]] = []
        for meta in metas:
            kept, unknown = [], []
            for number, file in enumerate(meta.files):
                if file.trace_id_min and not file.trace_id_min <= wanted <= file.trace_id_max:
                    outside += 1
                    continue
                passes = self._passes(meta, number, question, answers)
                if passes is None:
                    unknown.append(number)
                elif passes:
                    kept.append(number)
                else:
                    ruled_out += 1
            if unknown:
                unread.append((meta, unknown))
            if kept or unknown:
                found.append((meta, kept))
        answers |= self._read(store, unread, question, packs)
        unknown_files = {meta.block_id: numbers for meta, numbers in unread}
        files: Files = []
        for meta, kept in found:
            asked = unknown_files.get(meta.block_id, [])
            passed = [number for number in asked if answers[filter_key(meta, number)]]
            ruled_out += len(asked) - len(passed)
            if numbers := sorted(kept + passed):
                files.append((meta, numbers))
        for reason, count in (("range", outside), ("bloom", ruled_out), ("read", sum(len(n) for _, n in files))):
            FILES.labels(reason).inc(count)
        return files

    def filter_of(self, store: RangeReader, meta: BlockMeta, number: int) -> bytes | None:
        """The filter of one file; None: there is none that can be used."""
        if not meta.files[number].bloom_bytes:
            return self._inline(meta, meta.files[number])
        if (ahead := current_read_ahead()) is not None:
            ahead.wait_for(bloom_path(meta))
        data: bytes | None = self._cache.get(filter_key(meta, number))
        return self._filters(store, meta, [number])[number] if data is None else data

    def read_ahead(self, store: RangeReader, meta: BlockMeta) -> None:
        """Begins to read the filters of a block's files that are not here, for the query of this thread."""
        ahead, path = current_read_ahead(), bloom_path(meta)
        if ahead is None or ahead.has_begun(path):
            return
        missing = [
            number
            for number, file in enumerate(meta.files)
            if file.bloom_bytes and self._cache.size_of(filter_key(meta, number)) is None
        ]

        def fetch(reserve: Reserve) -> dict[Range, Any]:
            if reserve(sum(meta.files[number].bloom_bytes for number in missing)):
                self._filters(store, meta, missing)  # which puts them into the cache
            return {}

        if missing:
            ahead.begin(path, fetch)

    def at_once(self, calls: Sequence[Callable[[], Any]]) -> None:
        """Makes the calls, as many at once as the pool has threads; one alone here. Raises: what the first one does"""
        if len(calls) == 1:
            calls[0]()
            return
        at_once(self._pool, [partial(walled, call) for call in calls])

    def _passes(self, meta: BlockMeta, number: int, question: FilterQuestion, answers: Answers) -> bool | None:
        """Whether a file may hold the trace, as far as it needs no request; None: its filter is to be read."""
        file = meta.files[number]
        if not file.bloom_bytes:
            data = self._inline(meta, file)
            return data is None or question.may_be_in(data)
        key = filter_key(meta, number)
        if (answer := answers.get(key)) is not None:
            return answer
        data = self._cache.get(key)
        return None if data is None else question.may_be_in(data)

    def _inline(self, meta: BlockMeta, file: FileMeta) -> bytes | None:
        try:
            return inline_filter(meta, file)
        except DamagedError as err:
            self._unusable("damaged", err)
            return None

    def _read(self, store: RangeReader, unread: Files, question: FilterQuestion, packs: Sequence[PackRef]) -> Answers:
        """What the filters say of the files. A file whose filter cannot be used may hold the trace."""
        if not unread:
            return {}
        heads = self._heads(store, unread, packs, question)
        packed = {key.block_id for _, head in heads for key in head.keys}
        answers: Answers = {}

        def ask(pack: PackRef, head: PackHead) -> None:
            answers.update(self._packs.ask(store, pack, head, question))

        def load(meta: BlockMeta, numbers: list[int]) -> None:
            for number, data in self._filters(store, meta, numbers).items():
                answers[filter_key(meta, number)] = data is None or question.may_be_in(data)

        alone = [(meta, numbers) for meta, numbers in unread if meta.block_id not in packed]
        self.at_once([*(partial(ask, *one) for one in heads), *(partial(load, *one) for one in alone)])
        # A pack that cannot be used, or has not all files of a block.
        left = [
            (meta, some)
            for meta, numbers in unread
            if (some := [number for number in numbers if filter_key(meta, number) not in answers])
        ]
        if left:
            self.at_once([partial(load, *one) for one in left])
        return answers

    def _heads(
        self, store: RangeReader, unread: Files, packs: Sequence[PackRef], question: FilterQuestion
    ) -> list[tuple[PackRef, PackHead]]:
        """The packs that have filters of the files."""
        metas = [meta for meta, _ in unread]
        worth = self._packs.worth_reading(packs, metas)
        heads: dict[str, PackHead | None] = {}

        def load(pack: PackRef) -> None:
            heads[pack.id] = self._packs.head(store, metas[0].tenant, pack, question)

        if worth:
            self.at_once([partial(load, pack) for pack in worth])
        wanted = {meta.block_id for meta in metas}
        return [
            (pack, head)
            for pack in worth
            if (head := heads[pack.id]) is not None and any(key.block_id in wanted for key in head.keys)
        ]

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
            self._cache.put(filter_key(meta, number), data, len(data) + _ENTRY_BYTES)
        return filters

    def _unusable(self, reason: str, err: StorageError) -> None:
        UNUSABLE.labels(reason).inc()
        if len(self._logged) < _LOGGED_MAX and (text := str(err)) not in self._logged:
            self._logged.add(text)
            log.warning("a filter of trace ids cannot be used, the file is read instead: %s", text)
