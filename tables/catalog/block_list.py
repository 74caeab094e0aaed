"""The blocks that a process knows, the flushed offset of each partition, and blocks that cannot be read."""

import logging
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final

from tables.blocks.block_file import BlockFile, LazyFilter
from tables.blocks.file_groups import FileGroups
from tables.blocks.filter_pack import PackRef
from tables.blocks.meta import BlockMeta, FileMeta
from tables.blocks.trace_filters import TraceFilters
from tables.catalog.audit import Auditor
from tables.catalog.block_file_reader import BlockFileReader, LocalFile, not_here
from tables.catalog.checkpoints import Checkpoint
from tables.catalog.cuts import Cut, Cuts
from tables.catalog.damage import CUTS_DAMAGED, Damage, report_change
from tables.catalog.meta_cache import MetaCache
from tables.catalog.place import Place
from tables.catalog.poll_metrics import INDEXES_DAMAGED, POLL_ERRORS, POLL_SECONDS, TenantBlockMetrics, observe_poll
from tables.catalog.read_catalog import CatalogReader, Gaps
from tables.catalog.recheck import files_of, recheck, stamped
from tables.catalog.snapshot import BlockSnapshot, Snapshots, within
from tables.catalog.state import CatalogState, Uncovered
from tables.catalog.tenant_index import TenantIndex
from tables.errors import DamagedError, OutdatedError, StorageError
from tables.parquet.read import ColumnCache
from tables.redaction.rules import Redaction
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, RangeFile
from tables.storage.range_cache import Range, RangeCache, RoleOf, RoleReader
from tables.storage.request_usage import RequestUsage
from tables.storage.shared_cache import Role

log = logging.getLogger(__name__)

ReadRanges = Callable[[Role | RoleOf, str, Sequence[Range]], Sequence[Any]]

SMALL_FILES_BYTES_MAX: Final = 64 << 20
_VERIFY_CACHE_BYTES: Final = 64 << 20  # for footers
# Small files that a query reads at once from remote storage.
_READS_AT_ONCE: Final = 32


class BlockList:
    """Blocks by tenant, with their files as sources. Thread-safe."""

    def __init__(  # noqa: PLR0913 (what it reads from, options by their names)
        self,
        store: ObjectStore,
        cluster_id: str,
        cache: ColumnCache,
        local_copy: LocalFile = not_here,
        small_files_bytes_max: int = SMALL_FILES_BYTES_MAX,
        ranges: RangeCache | None = None,
        *,
        remake: LocalFile = not_here,
    ) -> None:
        """local_copy, remake: as of `BlockFileReader`
        small_files_bytes_max: for the bytes of small files; ranges: what reads files; None: without caches
        """
        self.store = store
        self.cuts = Cuts(store, cluster_id)
        self.cluster_id = cluster_id
        self._reader, self._auditor = CatalogReader(store, cluster_id), Auditor(store)
        self._cache = cache
        self._lock = threading.Lock()
        self._polling = threading.Lock()
        self._polled: tuple[float, frozenset[int]] = (-math.inf, frozenset())  # when the last poll began, and of what
        self._state = CatalogState(cluster_id)
        self._snapshots = Snapshots()
        self._metas = MetaCache()
        self._tenant_metrics = TenantBlockMetrics()
        self._sources: dict[str, list[BlockFile]] = {}  # by key
        self._unread: dict[str, Damage] = {}  # by key: blocks with damaged data
        self._damaged: dict[str, Damage] = {}  # by key: these, and blocks with damaged metas
        self._ranges_of = RangeCache(store, 0, {}) if ranges is None else ranges
        self._files = BlockFileReader(self._ranges_of, local_copy, remake)
        self.blooms = RoleReader(self._ranges_of, "bloom")
        local = store.config.backend == "local"
        threads = 1 if local else _READS_AT_ONCE
        self._groups = FileGroups(self._read_file, cache, small_files_bytes_max, threads, ends_first=local)

    # ---- what is in storage

    def poll(self, partitions: Iterable[int], age_max_s: float = 0.0) -> float:
        """Reads new cuts of the partitions and new versions of indexes; see `tables.catalog.read_catalog`. A block that
        cannot be read is damaged until a later poll finds it repaired.

        age_max_s: what a poll of all these partitions has read that began so short a time ago is new enough
        Returns: when the poll began that has read what is known now (time.monotonic())
        Raises: StorageError if the storage is away; never for a single object
        """
        wanted = frozenset(partitions)
        with self._polling:
            began_s, polled = self._polled
            if wanted <= polled and time.monotonic() - began_s < age_max_s:
                return began_s
            try:
                with POLL_SECONDS.time():
                    self._poll(wanted)
            except StorageError:
                POLL_ERRORS.labels("").inc()
                raise
            return self._polled[0]

    def _poll(self, partitions: frozenset[int]) -> None:
        usage, began_s = RequestUsage(), time.monotonic()
        with usage.counting():
            with self._lock:
                known = self._state.copy()
            read = self._reader.read(known, partitions)
            with self._lock:
                self._state.take(read)
                self._snapshots.clear()
                gaps = {place: ranges for place in self._state.chains if (ranges := self._state.gaps(place))}
            self._look_into_gaps(gaps)
            unread = recheck(self._unread, self.store.stamp, self._fresh_sources) if self._unread else {}
        with self._lock:
            for key in self._unread.keys() - unread.keys():
                self._forget(key)  # what is open may be of the damaged file
            self._unread = unread
            self._forget_invisible({index.tenant for index in read.indexes})
            self._report()
            observe_poll(usage, self._state)
            self._tenant_metrics.show(self._state)
        self._polled = (began_s, partitions)

    def _look_into_gaps(self, gaps: Gaps) -> None:
        """Blocks that missing cuts may name are looked for in the whole bucket."""
        if self._reader.wants_gap_metas(gaps):
            with self._lock:
                known = self._state.known_keys() if gaps else set()
            found = self._reader.gap_metas(gaps, known)
            with self._lock:
                self._state.gap_metas = {meta.key: meta for meta in found}
                self._snapshots.clear()

    def _report(self) -> None:
        """Writes what is damaged to the log and to the metrics."""
        state = self._state
        self._snapshots.clear()
        self._unread = {key: one for key, one in self._unread.items() if state.is_visible(one.tenant, one.block_id)}
        damaged = dict(self._unread)
        for key, (place, _, problem) in state.unread.items():
            tenant, _, block_id = key.partition("/")
            if key not in damaged and state.is_visible(tenant, block_id):
                damaged[key] = Damage(tenant, block_id, "meta", problem, *place)
        report_change(self._damaged, damaged)
        self._damaged = damaged
        CUTS_DAMAGED.set(sum(bool(each.problem()) for each in state.chains.values()))
        INDEXES_DAMAGED.set(len(state.damaged_indexes))

    def add(self, cut: Cut, metas: Iterable[BlockMeta], known_as: Mapping[str, str] | None = None) -> None:
        """Adds a cut that this process has just written. known_as: the column-cache keys of its files"""
        with self._lock:
            found = list(metas)
            self._state.add(self.cluster_id, replace(cut, metas=()), found)
            self._snapshots.clear()
            if known_as:
                for meta in found:
                    self._sources[meta.key] = self._open(meta, known_as)

    def take_index(self, index: TenantIndex) -> None:
        """Takes over a version of an index that this process has just written."""
        with self._lock:
            self._state.take_index(index)
            self._snapshots.clear()
            self._forget_invisible({index.tenant})

    def audit(self) -> None:
        """Looks whether the files of some blocks are there, and as long as they were: about one request, for the next
        thousand objects of the bucket. A block that is not is damaged; queries would find that out later.

        Raises: StorageError
        """
        page = self._auditor.next_page()
        if page is None:
            return
        with self._lock:
            indexes, metas = list(self._state.indexes.values()), dict(self._state.metas)
        self._found_damaged(list(self._auditor.damaged(page, indexes, metas)))

    # ---- what compactors need

    def tenants(self) -> set[str]:
        """All tenants with blocks, or that had some."""
        with self._lock:
            return self._state.tenants()

    def uncovered(self, tenant: str) -> Uncovered:
        """What `changes.add_blocks` has to add to the tenant's index."""
        with self._lock:
            return self._state.uncovered(tenant)

    def index(self, tenant: str) -> TenantIndex | None:
        """The newest known version of the tenant's index."""
        with self._lock:
            return self._state.indexes.get(tenant)

    def redactions(self, tenant: str) -> tuple[Redaction, ...]:
        """The tenant's redactions in force: a flush leaves out what they remove."""
        index = self.index(tenant)
        return () if index is None else index.redactions

    def filter_packs(self, tenant: str) -> tuple[PackRef, ...]:
        """Objects with the filters of many of the tenant's blocks, as the newest known index names them."""
        index = self.index(tenant)
        return () if index is None else index.filter_packs

    def places(self) -> list[Place]:
        """The partitions with known cuts or checkpoints, of all Kafka clusters."""
        with self._lock:
            return sorted(self._state.chains)

    def checkpoint(self, place: Place) -> Checkpoint | None:
        """The checkpoint that is true now: up to the first cut whose blocks are not all in the known indexes."""
        with self._lock:
            return self._state.checkpoint(place)

    # ---- what readers see

    def flushed_offset(self, partition: int) -> int:
        """The end of the offsets that blocks cover without a gap; 0 without any block."""
        with self._lock:
            held = self._state.chains.get((self.cluster_id, partition))
            return 0 if held is None else held.end

    def unknown_end(self, partition: int) -> str:
        """Why the flushed offset of the partition is unknown; "" if it is known."""
        with self._lock:
            held = self._state.chains.get((self.cluster_id, partition))
            return held.problem() if held is not None and held.open_end else ""

    def snapshot(
        self, tenant: str, start_ns: int | None = None, end_ns: int | None = None, trace_id: bytes | None = None
    ) -> BlockSnapshot:
        """The tenant's visible blocks in a time range, and the flushed offset of every partition, at one moment.

        start_ns, end_ns: Unix ns; None: open
        trace_id: of the index's blocks only those of partitions that the trace may be in
        """
        with self._lock:
            known = self._snapshots.of(tenant, self._state, self._damaged)
        return within(known, start_ns, end_ns, trace_id, self._metas.of_rows)

    def partition_counts(self, cluster_id: str) -> set[int]:
        """Numbers of partitions that the topic had when blocks of the Kafka cluster were written."""
        with self._lock:
            indexes = list(self._state.indexes.values())
            metas = [meta for of_tenant in self._state.metas.values() for meta in of_tenant.values()]
        counts = {meta.partition_count for meta in metas if meta.cluster_id == cluster_id}
        return counts.union(*(index.partition_counts(cluster_id) for index in indexes))

    def damaged(self) -> list[Damage]:
        """The damaged blocks of all tenants."""
        with self._lock:
            return list(self._damaged.values())

    def problems(self) -> list[str]:
        """Problems with cuts, checkpoints and indexes, of all Kafka clusters and tenants."""
        with self._lock:
            state = self._state
            of_cuts = [(place, held.problem()) for place, held in sorted(state.chains.items())]
            return [
                *(f"partition {place[1]}: {problem}" for place, problem in of_cuts if problem),
                *(f"partition {place[1]}: {problem}" for place, problem in sorted(state.checkpoint_problems.items())),
                *(problem for _, problem in sorted(state.damaged_indexes.items())),
            ]

    def reads_again(self, err: DamagedError) -> bool:
        """Whether to read again what a reader found damaged: it came from caches, from now on it comes from storage."""
        return self._ranges_of.distrust(err.path)

    def found_damaged(self, err: DamagedError) -> Damage | None:
        """Handles damage that a reader found. It checks storage again (which may raise StorageError), because a block
        that was replaced and deleted meanwhile is not damage. None: the object belongs to no block.

        Raises: OutdatedError if the block is not visible any more
        """
        key = _key_of(err.path)
        if key is None:
            return None
        found = self._found_damaged([err])
        if key not in found:
            raise OutdatedError(f"block {key} was replaced")
        return found[key]

    def _found_damaged(self, errors: Sequence[DamagedError]) -> dict[str, Damage]:
        """The damage of those of the blocks that are still visible, by key."""
        named = {key: err for err in errors if (key := _key_of(err.path)) is not None}
        with self._polling:  # one look for all that wait for it
            with self._lock:
                known = {key: self._damaged[key] for key in named if key in self._damaged}
                metas = [self._state.find(*key.split("/")) for key in named if key not in known]
            partitions = {meta.partition for meta in metas if meta is not None and meta.cluster_id == self.cluster_id}
            if not any(metas):
                return known
            self._poll(frozenset(partitions))
            for meta in metas:
                with self._lock:
                    if meta is None or self._state.find(meta.tenant, meta.block_id) is None:
                        continue
                problem = f"a file of it {named[meta.key].problem}"
                damage = Damage(meta.tenant, meta.block_id, "data", problem, meta.cluster_id, meta.partition, meta)
                known[meta.key] = stamped(damage, {path: self.store.stamp(path) for path in files_of(meta)})
            with self._lock:
                self._unread.update({key: one for key, one in known.items() if one.reason == "data"})
                self._report()
        return known

    # ---- files

    def sources(self, meta: BlockMeta, filters: TraceFilters | None = None) -> list[BlockFile]:
        """The files of a block, as sources. filters: of whoever looks for traces in them"""
        with self._lock:
            sources = self._sources.get(meta.key)
            if sources is None:
                sources = self._sources[meta.key] = self._open(meta, {})
            if filters is not None and sources and sources[0].trace_filter is None:
                for number, source in enumerate(sources):
                    source.trace_filter = LazyFilter(meta, number, self.blooms, filters)
            return sources

    def query_sources(self, metas: Sequence[BlockMeta], filters: TraceFilters | None = None) -> list[Any]:
        """The files of some blocks of one tenant as sources: small ones in groups. filters: as of `sources`"""
        return self._groups.sources(metas, lambda meta: self.sources(meta, filters))

    def reading_ahead(self) -> AbstractContextManager[None]:
        """Inside, this thread works on one query, for which sources may be read ahead."""
        return self._ranges_of.reading_ahead()

    def forget(self, keys: Iterable[str]) -> None:
        """Closes the files of blocks, by their keys. A query that has them goes on."""
        with self._lock:
            for key in keys:
                self._forget(key)

    def _forget(self, key: str) -> None:
        for source in self._sources.pop(key, []):
            source.close()

    def _forget_invisible(self, tenants: Container[str]) -> None:
        """Closes files of blocks that were replaced or removed."""
        opened = defaultdict[str, list[str]](list)
        for key in self._sources:
            tenant, _, block_id = key.partition("/")
            if tenant in tenants:
                opened[tenant].append(block_id)
        for tenant, block_ids in opened.items():
            for block_id in set(block_ids) - self._state.visible(tenant, block_ids):
                self._forget(f"{tenant}/{block_id}")

    def _open(self, meta: BlockMeta, known_as: Mapping[str, str]) -> list[BlockFile]:
        return [self._source(meta, file, known_as, self._cache, self._files.read) for file in meta.files]

    def _fresh_sources(self, meta: BlockMeta) -> list[BlockFile]:
        """New sources that share no cache and no reader."""
        cache: ColumnCache = ByteCache("verify", _VERIFY_CACHE_BYTES)

        def read(_: Role | RoleOf, path: str, ranges: Sequence[Range]) -> Sequence[Any]:
            return self.store.get_ranges(path, ranges)

        return [self._source(meta, file, {}, cache, read) for file in meta.files]

    def _source(
        self, meta: BlockMeta, file: FileMeta, known_as: Mapping[str, str], cache: ColumnCache, read: ReadRanges
    ) -> BlockFile:
        path = meta.path_of(file)
        tail = file.tail
        pages_end = file.size_bytes - file.tail_bytes

        def role_of(part: Range) -> Role:
            return "parquet-footer" if tail is not None and part[0] >= pages_end else "parquet-page"

        def read_ranges(ranges: Sequence[Range]) -> Sequence[Any]:
            return read(role_of, path, ranges)

        def open_file() -> RangeFile:
            return RangeFile(read_ranges, file.size_bytes)

        source = BlockFile(known_as.get(path, path), open_file, cache, file.spans, path, tail)
        source.known_trace_count, source.trace_id_range = file.traces, file.trace_ids
        source.period = file.trace_period
        return source

    def _read_file(self, path: str, start: int, length: int) -> Any:
        return self._files.read("parquet-page", path, [(start, length)])[0]


def _key_of(path: str) -> str | None:
    """The block that an object belongs to."""
    parts = path.split("/")
    return f"{parts[1]}/{parts[2]}" if len(parts) == 4 and parts[0] == "blocks" else None
