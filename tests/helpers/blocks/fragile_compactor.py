"""A compactor without plan and clock: each step when a test says so, and it may die between any two writes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tables.blocks.meta import BlockMeta
from tables.catalog.block_list import BlockList
from tables.catalog.changes import forget_removed, remove_blocks, replace_blocks
from tables.catalog.checkpoints import Checkpoints
from tables.catalog.index_store import Folding, IndexStore
from tables.catalog.tenant_index import TenantIndex
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.blocks.catalog import adding, merged_meta

# Indexes are small here, and would be written whole each time.
_DELTAS = Folding(whole_bytes_min=0, share=100.0, deltas_max=3)


class DiedError(Exception):
    """The process ended before a write."""


class FragileStore(ObjectStore):
    """writes_left: so many writes go well, then the process dies; None: all do. Each deleted object is a write.

    before_index: happens before the next version of an index is created: another process was first
    """

    def __init__(self, config: StorageConfig) -> None:
        super().__init__(config)
        self.writes_left: int | None = None
        self.before_index: Callable[[], None] | None = None

    def put(self, path: str, data: Any) -> None:
        self._write()
        super().put(path, data)

    def create(self, path: str, data: Any) -> bool:
        if path.startswith("index/") and self.before_index is not None:
            happens, self.before_index = self.before_index, None
            happens()
        self._write()
        return super().create(path, data)

    def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            self._write()
            super().delete([path])

    def _write(self) -> None:
        if self.writes_left is not None:
            if self.writes_left == 0:
                raise DiedError
            self.writes_left -= 1


class Compactor:
    """One process. It knows what its last poll has read."""

    def __init__(self, config: StorageConfig, cluster_id: str) -> None:
        self.store = FragileStore(config)
        self.indexes, self.checkpoints = IndexStore(self.store, -1, _DELTAS), Checkpoints(self.store)
        self.blocks = BlockList(self.store, cluster_id, ByteCache("compactor", 1 << 20))

    def fold(self, tenant: str) -> None:
        """What cuts have goes to the index."""
        self._commit(tenant, partial(adding, self.blocks.uncovered(tenant)))

    def merge(self, tenant: str, picks: Sequence[int]) -> None:
        """Some rows of the index become one block, whose files are theirs."""
        index = self.blocks.index(tenant)
        rows = [] if index is None else index.metas()
        inputs = [rows[n] for n in sorted({pick % len(rows) for pick in picks})] if rows else []
        if len(inputs) < 2:
            return
        merged, names = merged_meta(inputs), [meta.block_id for meta in inputs]
        sources = [f"{meta.folder}/{file.name}" for meta in inputs for file in meta.files]
        for source, file in zip(sources, merged.files, strict=True):
            data = self.store.get(source)
            if data is None:
                return  # replaced, and deleted since
            self.store.put(f"{merged.folder}/{file.name}", data)
        self.store.put(merged.path, merged.encode())
        if self._commit(tenant, lambda at: replace_blocks(at, [merged], names, self.now_s)) is None:
            self._delete_unnamed(merged)

    now_s = 0.0

    def _delete_unnamed(self, merged: BlockMeta) -> None:
        latest = self.indexes.latest(merged.tenant)
        if latest is None or not latest.names(merged.block_id):
            self._delete(merged.tenant, merged.block_id)

    def remove(self, tenant: str, pick: int) -> None:
        """A row is too old."""
        index = self.blocks.index(tenant)
        if index is not None and len(index):
            block_id = index.table["block_id"][pick % len(index)].as_py()
            self._commit(tenant, lambda at: remove_blocks(at, [block_id], self.now_s))

    def delete_removed(self, tenant: str, before_s: float) -> None:
        """Deletes the objects of blocks that were removed before that."""
        latest = self.indexes.latest(tenant)
        old = [] if latest is None else [one.block_id for one in latest.removed if one.removed_s < before_s]
        for block_id in old:
            self._delete(tenant, block_id)
        if old:
            self._commit(tenant, lambda at: forget_removed(at, old))

    def checkpoint(self) -> None:
        """Writes checkpoints, and deletes the cuts below older ones."""
        for place in self.blocks.places():
            if checkpoint := self.blocks.checkpoint(place):
                self.checkpoints.write(checkpoint)
            self.checkpoints.delete_covered(place, 0)

    def _delete(self, tenant: str, block_id: str) -> None:
        self.store.delete(sorted(self.store.paths(f"blocks/{tenant}/{block_id}"), reverse=True))

    def _commit(self, tenant: str, change: Callable[[TenantIndex], TenantIndex | None]) -> TenantIndex | None:
        made = self.indexes.commit(tenant, change, self.blocks.index(tenant))
        if made is not None and made.version:
            self.blocks.take_index(made)
        return made
