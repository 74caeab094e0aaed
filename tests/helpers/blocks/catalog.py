"""Blocks, cuts and indexes for tests of the catalogue: metas without data."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tables.blocks.meta import BlockMeta, FileMeta, block_id, merged_block_id
from tables.catalog.block_list import BlockList
from tables.catalog.changes import add_blocks, replace_blocks
from tables.catalog.checkpoints import Checkpoints
from tables.catalog.cuts import Cut, Cuts
from tables.catalog.index_store import IndexStore
from tables.catalog.snapshot import BlockSnapshot
from tables.catalog.state import Uncovered
from tables.catalog.tenant_index import TenantIndex
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig

CLUSTER = "cluster_id"


def block_meta(
    first: int, last: int, *, tenant: str = "t", cluster_id: str = CLUSTER, partition: int = 0, **other: Any
) -> BlockMeta:
    """A block as flushed. Its spans have times that follow from its offsets: 1,000 ns each."""
    start_ns, end_ns = first * 1000, (last + 1) * 1000 - 1
    spans = last - first + 1
    file = FileMeta(name="data-0000.parquet", size_bytes=9, spans=spans, start_min_ns=start_ns, end_max_ns=end_ns)
    values: dict[str, Any] = {
        "block_id": block_id(cluster_id, tenant, partition, first, last),
        "tenant": tenant,
        "cluster_id": cluster_id,
        "partition": partition,
        "partition_count": 4,
        "first_offset": first,
        "last_offset": last,
        "spans": spans,
        "start_min_ns": start_ns,
        "end_max_ns": end_ns,
        "size_bytes": 9,
        "files": [file],
    }
    return BlockMeta(**(values | other))


def merged_meta(metas: Sequence[BlockMeta], **other: Any) -> BlockMeta:
    """The block that replaces others; its files are their files."""
    files = [file for meta in metas for file in meta.files]
    values: dict[str, Any] = {
        "block_id": merged_block_id(meta.block_id for meta in metas),
        "first_offset": min(meta.first_offset for meta in metas),
        "last_offset": max(meta.last_offset for meta in metas),
        "spans": sum(meta.spans for meta in metas),
        "start_min_ns": min(meta.start_min_ns for meta in metas),
        "end_max_ns": max(meta.end_max_ns for meta in metas),
        "size_bytes": sum(meta.size_bytes for meta in metas),
        "files": [file.model_copy(update={"name": f"data-{n:04d}.parquet"}) for n, file in enumerate(files)],
        "level": max(meta.level for meta in metas) + 1,
        "replaces": [meta.block_id for meta in metas],
    }
    return metas[0].model_copy(update=values | other)


def adding(change: Uncovered, index: TenantIndex) -> TenantIndex | None:
    """The index with what cuts have."""
    return add_blocks(index, *change)


class Counted(ObjectStore):
    """Remembers the paths of what is read."""

    def __init__(self, config: StorageConfig) -> None:
        super().__init__(config)
        self.read: list[str] = []

    def get(self, path: str) -> bytes | None:
        self.read.append(path)
        return super().get(path)


class Bucket:
    """A bucket of metas without data; flushes, folds and merges as the live store and the compactor do."""

    def __init__(self, folder: Path) -> None:
        self.store = ObjectStore(StorageConfig("local", str(folder)))
        self.indexes, self.checkpoints = IndexStore(self.store), Checkpoints(self.store)
        self.compactor = self.reader()

    def reader(self, cluster_id: str = CLUSTER) -> BlockList:
        columns: ByteCache[Any, Any] = ByteCache("columns-blocks", 1 << 20)
        return BlockList(self.store, cluster_id, columns)

    def flush(
        self, first: int, last: int, *tenants: str, partition: int = 0, cluster_id: str = CLUSTER, old: bool = False
    ) -> list[BlockMeta]:
        """old: as earlier versions wrote cuts: without metas"""
        made: dict[str, Any] = {"partition": partition, "cluster_id": cluster_id}
        metas = [block_meta(first, last, tenant=tenant, **made) for tenant in tenants or ("t",)]
        for meta in metas:
            self.store.put(meta.path, meta.encode())
        inline = () if old else tuple(metas)
        cut = Cut(partition, first, last, tuple(sorted(meta.key for meta in metas)), inline)
        Cuts(self.store, cluster_id).write(cut)
        return metas

    def fold(self, *tenants: str, partitions: Iterable[int] = (0,)) -> None:
        """What cuts have goes to the indexes."""
        self.compactor.poll(partitions)
        for tenant in tenants or sorted(self.compactor.tenants()):
            change = self.compactor.uncovered(tenant)
            index = self.indexes.commit(tenant, partial(adding, change))
            assert index is not None
            self.compactor.take_index(index)
        self.compactor.poll(partitions)

    def merge(self, *metas: BlockMeta) -> BlockMeta:
        """Blocks of an index become one."""
        merged = merged_meta(metas)
        names = [meta.block_id for meta in metas]
        assert self.indexes.commit(merged.tenant, lambda at: replace_blocks(at, [merged], names, 1.0)) is not None
        return merged

    def checkpoint(self, *, delete: bool = True) -> None:
        """Writes the checkpoints that are due, and deletes what they make unneeded."""
        for place in self.compactor.places():
            if checkpoint := self.compactor.checkpoint(place):
                self.checkpoints.write(checkpoint)
            if delete:
                self.checkpoints.delete_covered(place, 0)


def keys(snapshot: BlockSnapshot) -> list[str]:
    """The blocks of a snapshot that lacks nothing."""
    assert (snapshot.damaged, snapshot.problems) == ([], {})
    return sorted(meta.key for meta in snapshot.blocks)


def named(*metas: BlockMeta) -> list[str]:
    """The keys of blocks."""
    return sorted(meta.key for meta in metas)
