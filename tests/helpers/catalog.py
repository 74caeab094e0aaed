"""Blocks, cuts and indexes for tests of the catalogue: metas without data."""

from collections.abc import Sequence
from typing import Any

from tables.blocks.meta import BlockMeta, FileMeta, block_id, merged_block_id

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
