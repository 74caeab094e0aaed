"""The blocks that a process knows, how far they cover each partition, and what of them cannot be read."""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from tables.blocks.chain import Chain, chain
from tables.blocks.cuts import Cut, Cuts, Place
from tables.blocks.damage import CUTS_DAMAGED, Damage, tell
from tables.blocks.inspect import inspect, recheck, stamped
from tables.blocks.meta import BlockMeta
from tables.errors import DamagedError, OutdatedError
from tables.parquet.read import ColumnCache, ParquetSource
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import Tail
from tables.storage.object_store import ObjectStore, RangeFile

log = logging.getLogger(__name__)

_VERIFY_CACHE_BYTES: Final = 64 << 20  # for footers


@dataclass(frozen=True, slots=True)
class BlockSnapshot:
    """The blocks of a tenant that count, as of one moment.

    blocks: those of other clusters, and of this one what lies below the flushed offset
    flushed_offsets: by partition; absent means 0
    damaged: blocks that count, too, and cannot be read. problems: partitions of which nobody knows which blocks count
    """

    blocks: list[BlockMeta]
    flushed_offsets: dict[int, int]
    damaged: list[Damage] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)


class BlockList:
    """Blocks by tenant, with their files as sources. Safe for threads: readers get copies of the lists."""

    def __init__(self, store: ObjectStore, cluster_id: str, cache: ColumnCache) -> None:
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
        # The bytes of a file that this process has on its own disk: quicker, and there while the storage is away.
        self.local_copy: Callable[[str], Any] = lambda _: None

    # ---- what is in storage

    def poll(self, partitions: Iterable[int]) -> None:
        """Reads what is in storage: cuts of the partitions first, then metas, so that every block that a known cut
        names is found. Blocks that vanished and are not named any more are forgotten; what cannot be read is damaged
        until a later poll finds it whole. Raises: StorageError where the storage is away, for no single object.
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
            self._tell({**found.damaged, **unread_still})

    def _take_chain(self, place: Place, found: Chain | None) -> None:
        """The flushed offset never goes back, and what was told once stays true."""
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

    def _tell(self, damaged: dict[str, Damage]) -> None:
        tell(self._damaged, damaged)
        self._damaged = damaged

    def add(self, cut: Cut, metas: Iterable[BlockMeta], known_as: Mapping[str, str] | None = None) -> None:
        """A cut that this process has just made visible. known_as: what files of it are called in the column cache."""
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
        """Blocks hold every offset below it that was ever in the topic; 0 without any block."""
        with self._lock:
            held = self._chains.get((self.cluster_id, partition))
            return 0 if held is None else held.end

    def unknown_end(self, partition: int) -> str:
        """Why nobody knows how far blocks cover the partition; "" if it is known."""
        with self._lock:
            held = self._chains.get((self.cluster_id, partition))
            return held.problem() if held is not None and held.open_end else ""

    def snapshot(self, tenant: str) -> "BlockSnapshot":
        """The tenant's blocks that count, and the flushed offset of every partition, as of one moment."""
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
            # Their offsets mean nothing here, and nobody reads them from Kafka again.
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
        """How many partitions the topic had when blocks of the Kafka cluster were written."""
        with self._lock:
            every = [meta for blocks in self._blocks.values() for meta in blocks.values()]
        return {meta.partition_count for meta in every if meta.cluster_id == cluster_id}

    def damaged(self) -> list[Damage]:
        """Of all tenants."""
        with self._lock:
            return list(self._damaged.values())

    def problems(self) -> list[str]:
        """What is wrong with cuts, of all Kafka clusters."""
        with self._lock:
            return [
                f"partition {place[1]}: {problem}"
                for place, held in sorted(self._chains.items())
                if (problem := held.problem())
            ]

    def found_damaged(self, err: DamagedError) -> Damage | None:
        """A reader met it: looks at the storage anew (which may raise StorageError), so that what was replaced and
        deleted meanwhile is no damage. None: the object is no block's.

        Raises: OutdatedError where the block does not count any more
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
                self._tell({**self._damaged, damage.key: damage})
        return damage

    def _block_of(self, path: str) -> BlockMeta | None:
        parts = path.split("/")
        if len(parts) != 4 or parts[0] != "blocks":
            return None
        with self._lock:
            return self._blocks.get(parts[1], {}).get(parts[2])

    # ---- files

    def sources(self, meta: BlockMeta) -> list[ParquetSource]:
        """The block's files."""
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
        """Of nothing that was read before, and for no other reader."""
        return self._open(meta, {}, ByteCache("verify", _VERIFY_CACHE_BYTES))

    def _opener(self, path: str, size_bytes: int) -> Callable[[], Any]:
        return lambda: RangeFile(partial(self._ranges, path), size_bytes)

    def _ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> Sequence[Any]:
        copy = self.local_copy(path)
        return self.store.get_ranges(path, ranges) if copy is None else [copy.slice(*one) for one in ranges]
