"""The blocks that a process knows, and how far they cover each partition."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tables.blocks.cuts import Cut, Cuts, covered_end
from tables.blocks.meta import BlockMeta, decode_meta
from tables.blocks.object_store import ObjectStore, RangeFile
from tables.blocks.parquet_read import ColumnCache, ParquetSource


@dataclass(frozen=True, slots=True)
class Snapshot:
    """blocks: those of other epochs, and of this one what lies below F. covered: F by partition; absent means 0."""

    blocks: list[BlockMeta]
    covered: dict[int, int]


class BlockList:
    """Blocks by tenant, with their files as sources. Safe for threads: readers get copies of the lists."""

    def __init__(self, store: ObjectStore, epoch: str, cache: ColumnCache) -> None:
        self.store = store
        self.cuts = Cuts(store, epoch)
        self.epoch = epoch
        self._cache = cache
        self._lock = threading.Lock()
        self._blocks: dict[str, dict[str, BlockMeta]] = defaultdict(dict)
        self._sources: dict[str, list[ParquetSource]] = {}
        self._covered: dict[int, int] = {}
        # The bytes of a file that this process has on its own disk: quicker, and there while the storage is away.
        self.local_copy: Callable[[str], Any] = lambda _: None

    def poll(self, partitions: Iterable[int]) -> None:
        """Reads what is in storage: cuts of the partitions first, then metas, so that every block that a known cut
        names is found. Blocks that vanished are forgotten. Raises: StorageError.
        """
        covered = {}
        for partition in partitions:
            end = covered_end(self.cuts.read(partition))
            if end is not None:
                covered[partition] = end
        with self._lock:
            known = {meta.path for blocks in self._blocks.values() for meta in blocks.values()}
        there = {path for path in self.store.paths("blocks") if path.endswith("/meta.json")}
        new = []
        for path in sorted(there - known):
            data = self.store.get(path)
            if data is not None:
                new.append(decode_meta(path, data))
        with self._lock:
            for meta in new:
                self._blocks[meta.tenant][meta.block_id] = meta
            gone = known - there
            for blocks in self._blocks.values():
                for meta in [meta for meta in blocks.values() if meta.path in gone]:
                    del blocks[meta.block_id]
                    self._sources.pop(meta.block_id, None)
            for partition, end in covered.items():
                self._covered[partition] = max(end, self._covered.get(partition, 0))

    def add(self, cut: Cut, metas: Iterable[BlockMeta], known_as: Mapping[str, str] | None = None) -> None:
        """A cut that this process has just made visible. known_as: what files of it are called in the column cache."""
        with self._lock:
            for meta in metas:
                self._blocks[meta.tenant][meta.block_id] = meta
                if known_as:
                    self._sources[meta.block_id] = self._open(meta, known_as)
            self._covered[cut.partition] = max(cut.last_offset + 1, self._covered.get(cut.partition, 0))

    def covered(self, partition: int) -> int:
        """F of the partition: blocks hold every offset below it that was ever in the topic; 0 without any block."""
        with self._lock:
            return self._covered.get(partition, 0)

    def snapshot(self, tenant: str) -> "Snapshot":
        """The tenant's blocks that count, and the F of every partition, as of one moment."""
        with self._lock:
            covered = dict(self._covered)
            blocks = [
                meta
                for meta in self._blocks.get(tenant, {}).values()
                if meta.epoch != self.epoch or meta.last_offset < covered.get(meta.partition, 0)
            ]
        return Snapshot(blocks, covered)

    def sources(self, meta: BlockMeta) -> list[ParquetSource]:
        """The block's files."""
        with self._lock:
            sources = self._sources.get(meta.block_id)
            if sources is None:
                sources = self._sources[meta.block_id] = self._open(meta, {})
            return sources

    def _open(self, meta: BlockMeta, known_as: Mapping[str, str]) -> list[ParquetSource]:
        paths = [(f"{meta.folder}/{file.name}", file) for file in meta.files]
        return [
            ParquetSource(known_as.get(path, path), self._opener(path, file.size_bytes), self._cache, file.spans, path)
            for path, file in paths
        ]

    def _opener(self, path: str, size_bytes: int) -> Callable[[], Any]:
        return lambda: RangeFile(partial(self._ranges, path), size_bytes)

    def _ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> Sequence[Any]:
        copy = self.local_copy(path)
        return self.store.get_ranges(path, ranges) if copy is None else [copy.slice(*one) for one in ranges]
