"""The blocks that a process knows, the flushed offset of each partition, and blocks that cannot be read."""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from tables.blocks.meta import BlockMeta
from tables.catalog.chain import Chain, chain
from tables.catalog.cuts import Cut, Cuts
from tables.catalog.damage import CUTS_DAMAGED, Damage, report_change
from tables.catalog.inspect import inspect, recheck, stamped
from tables.catalog.place import Place
from tables.errors import DamagedError, OutdatedError
from tables.parquet.read import ColumnCache, ParquetSource
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import Tail
from tables.storage.object_store import ObjectStore, RangeFile

log = logging.getLogger(__name__)

_VERIFY_CACHE_BYTES: Final = 64 << 20  # for footers


@dataclass(frozen=True, slots=True)
class BlockSnapshot:
    """The visible blocks of a tenant at one moment.

    blocks: of other clusters all, of this cluster those below the flushed offset
    flushed_offsets: by partition; absent means 0
    damaged: visible blocks that cannot be read; problems: partitions whose visible blocks are not known
    """

    blocks: list[BlockMeta]
    flushed_offsets: dict[int, int]
    damaged: list[Damage] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)


class BlockList:
    """Blocks by tenant, with their files as sources. Thread-safe: readers get copies of the lists."""

    def __init__(
        self,
        store: ObjectStore,
        cluster_id: str,
        cache: ColumnCache,
        local_copy: Callable[[str], Any] = lambda _: None,
    ) -> None:
        """local_copy: the bytes of a file that this process has on its own disk, by path, or None: they are quicker to
        read, and there while the storage is away
        """
        self.store = store
        self.cuts = Cuts(store, cluster_id)
        self.cluster_id = cluster_id
        self._cache = cache
        self._lock = threading.Lock()
        self._polling = threading.Lock()
        self._blocks: dict[str, dict[str, BlockMeta]] = defaultdict(dict)
        self._sources: dict[str, list[ParquetSource]] = {}
        self._chains: dict[Place, Chain] = {}
        self._damaged: dict[str, Damage] = {}  # by key
        self._local_copy = local_copy

    # ---- what is in storage

    def poll(self, partitions: Iterable[int]) -> None:
        """Reads the cuts of the partitions, then the metas, so that it finds every block that a known cut names. It
        forgets blocks that vanished and that no cut names any more. An unreadable block is damaged until a later
        poll finds it intact.

        Raises: StorageError if the storage is away; never for a single object
        """
        with self._polling:
            self._poll(frozenset(partitions))

    def _poll(self, partitions: frozenset[int]) -> None:
        read = self.cuts.read(lambda place: place[0] != self.cluster_id or place[1] in partitions)
        with self._lock:
            for place, entries in read.items():
                self._take_chain(place, chain(entries))
            chains = {place: set(of_place.blocks) for place, of_place in self._chains.items()}
            known = {meta.key: meta for blocks in self._blocks.values() for meta in blocks.values()}
            damaged = dict(self._damaged)
        found = inspect(self.store, known, chains, damaged)
        unread = {key: each for key, each in damaged.items() if each.reason == "data" and key in found.known}
        unread_still = recheck(unread, found.stamps, self._fresh_sources)
        with self._lock:
            for meta in found.new:
                self._blocks[meta.tenant][meta.block_id] = meta
            for meta in found.gone:
                self._forget(self._blocks[meta.tenant].pop(meta.block_id, meta))
            for key in unread.keys() - unread_still.keys():
                self._forget(unread[key].meta)
            # A block whose files cannot be read may have lost its meta.json, too: the files count.
            self._report_damage({**found.damaged, **unread_still})

    def _take_chain(self, place: Place, found: Chain | None) -> None:
        """Takes over a chain of cuts. The flushed offset never goes back, and known blocks stay known."""
        before = self._chains.get(place)
        if found is None:
            return
        if before is not None and before.end > found.end:
            found.blocks |= before.blocks
            found.end, found.open_end = before.end, False
        if (problem := found.problem()) and (before is None or before.problem() != problem):
            log.error("partition %d of Kafka cluster %s: %s", place[1], place[0], problem)
        self._chains[place] = found
        CUTS_DAMAGED.set(sum(bool(each.problem()) for each in self._chains.values()))

    def _report_damage(self, damaged: dict[str, Damage]) -> None:
        report_change(self._damaged, damaged)
        self._damaged = damaged

    def add(self, cut: Cut, metas: Iterable[BlockMeta], known_as: Mapping[str, str] | None = None) -> None:
        """Adds a cut that this process has just written. known_as: the column-cache keys of its files"""
        with self._lock:
            for meta in metas:
                self._blocks[meta.tenant][meta.block_id] = meta
                if known_as:
                    self._sources[meta.block_id] = self._open(meta, known_as)
            place = (self.cluster_id, cut.partition)
            held = self._chains.setdefault(place, Chain(cut.first_offset, cut.first_offset))
            held.blocks.update(cut.blocks)
            held.end = max(cut.last_offset + 1, held.end)

    # ---- what readers see

    def flushed_offset(self, partition: int) -> int:
        """The end of the offsets that blocks cover without a gap; 0 without any block."""
        with self._lock:
            held = self._chains.get((self.cluster_id, partition))
            return 0 if held is None else held.end

    def unknown_end(self, partition: int) -> str:
        """Why the flushed offset of the partition is unknown; "" if it is known."""
        with self._lock:
            held = self._chains.get((self.cluster_id, partition))
            return held.problem() if held is not None and held.open_end else ""

    def snapshot(self, tenant: str) -> "BlockSnapshot":
        """The tenant's visible blocks and the flushed offset of every partition, at one moment."""
        with self._lock:
            own = {place[1]: held for place, held in self._chains.items() if place[0] == self.cluster_id}
            replaced = {name for meta in self._blocks.get(tenant, {}).values() for name in meta.replaces}
            damaged = [each for each in self._damaged.values() if each.tenant == tenant and not each.readable]
            unread = {each.block_id for each in damaged}
            blocks = [
                meta
                for meta in self._blocks.get(tenant, {}).values()
                if meta.block_id not in unread and meta.block_id not in replaced and self._counts(meta)
            ]
            problems = {number: problem for number, held in own.items() if (problem := held.problem())}
            return BlockSnapshot(blocks, {number: held.end for number, held in own.items()}, damaged, problems)

    def _counts(self, meta: BlockMeta) -> bool:
        held = self._chains.get((meta.cluster_id, meta.partition))
        if meta.cluster_id != self.cluster_id:
            # Their offsets belong to another Kafka cluster, and nobody reads them from Kafka again.
            return (
                held is None
                or meta.last_offset >= held.end
                or held.counts(meta.key, meta.first_offset, meta.last_offset)
            )
        return (
            held is not None
            and meta.last_offset < held.end
            and held.counts(meta.key, meta.first_offset, meta.last_offset)
        )

    def partition_counts(self, cluster_id: str | None) -> set[int]:
        """Numbers of partitions that the topic had when blocks of the Kafka cluster were written."""
        with self._lock:
            every = [meta for blocks in self._blocks.values() for meta in blocks.values()]
        return {meta.partition_count for meta in every if meta.cluster_id == cluster_id}

    def damaged(self) -> list[Damage]:
        """The damaged blocks of all tenants."""
        with self._lock:
            return list(self._damaged.values())

    def problems(self) -> list[str]:
        """Problems with cuts, of all Kafka clusters."""
        with self._lock:
            return [
                f"partition {place[1]}: {problem}"
                for place, held in sorted(self._chains.items())
                if (problem := held.problem())
            ]

    def found_damaged(self, err: DamagedError) -> Damage | None:
        """Handles damage that a reader found. It checks storage again (which may raise StorageError), because a block
        that was replaced and deleted meanwhile is not damage. None: the object belongs to no block.

        Raises: OutdatedError if the block is not visible any more
        """
        meta = self._block_of(err.path)
        if meta is None:
            return None
        with self._polling:  # one look for all that wait for it
            with self._lock:
                held = self._damaged.get(meta.key)
            if held is not None and not held.readable:
                return held
            self._poll(frozenset([meta.partition] if meta.cluster_id == self.cluster_id else []))
            with self._lock:
                there = self._blocks.get(meta.tenant, {}).get(meta.block_id)
                if there is None or not self._counts(there):
                    raise OutdatedError(f"block {meta.key} was replaced")
            paths = [f"{meta.folder}/{file.name}" for file in meta.files]
            problem = f"a file of it {err.problem}"
            damage = Damage(meta.tenant, meta.block_id, "data", problem, meta.cluster_id, meta.partition, meta)
            damage = stamped(damage, {path: self.store.stamp(path) for path in paths})
            with self._lock:
                self._report_damage({**self._damaged, damage.key: damage})
        return damage

    def _block_of(self, path: str) -> BlockMeta | None:
        parts = path.split("/")
        if len(parts) != 4 or parts[0] != "blocks":
            return None
        with self._lock:
            return self._blocks.get(parts[1], {}).get(parts[2])

    # ---- files

    def sources(self, meta: BlockMeta) -> list[ParquetSource]:
        """The files of a block, as sources."""
        with self._lock:
            sources = self._sources.get(meta.block_id)
            if sources is None:
                sources = self._sources[meta.block_id] = self._open(meta, {})
            return sources

    def _forget(self, meta: BlockMeta | None) -> None:
        if meta is not None:
            for source in self._sources.pop(meta.block_id, []):
                source.close()

    def _open(
        self, meta: BlockMeta, known_as: Mapping[str, str], cache: ColumnCache | None = None
    ) -> list[ParquetSource]:
        cache = self._cache if cache is None else cache
        sources = []
        for file in meta.files:
            path = f"{meta.folder}/{file.name}"
            tail = Tail(file.tail_bytes, file.tail_crc32) if file.tail_bytes else None
            opener = self._opener(path, file.size_bytes)
            sources.append(ParquetSource(known_as.get(path, path), opener, cache, file.spans, path, tail))
        return sources

    def _fresh_sources(self, meta: BlockMeta) -> list[ParquetSource]:
        """New sources that share no cache and no reader."""
        return self._open(meta, {}, ByteCache("verify", _VERIFY_CACHE_BYTES))

    def _opener(self, path: str, size_bytes: int) -> Callable[[], Any]:
        return lambda: RangeFile(partial(self._ranges, path), size_bytes)

    def _ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> Sequence[Any]:
        copy = self._local_copy(path)
        return self.store.get_ranges(path, ranges) if copy is None else [copy.slice(*one) for one in ranges]
