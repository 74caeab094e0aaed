"""The visible blocks of a tenant as compactors see them: its index, and the blocks of cuts that the index lacks."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from agents.compactor.plan import BlockColumns, Ints
from tables.blocks.meta import BlockMeta
from tables.catalog.block_list import BlockList
from tables.catalog.changes import add_blocks
from tables.catalog.state import Uncovered
from tables.catalog.tenant_index import TenantIndex, index_path
from tables.errors import DamagedError
from tables.units import NS_PER_MS


@dataclass(frozen=True, slots=True)
class TenantBlocks:
    """index: the newest known version; shown: the same with the blocks of later cuts, as queries see them
    fresh: these blocks, which the index lacks
    """

    index: TenantIndex
    shown: TenantIndex
    fresh: Uncovered

    def with_fresh(self, index: TenantIndex) -> TenantIndex | None:
        """A version of the index with the blocks of later cuts. None: it covers less than the one that they follow."""
        return add_blocks(index, self.fresh.metas, self.fresh.covered, self.fresh.since)

    def lacks_blocks(self) -> int:
        """How many blocks the index lacks."""
        return len(self.shown) - len(self.index)

    def find(self, block_ids: Collection[str]) -> list[BlockMeta]:
        """Those of the blocks that are visible, by offset."""
        found = self.shown.metas(self.shown.rows_with(list(block_ids)))
        return sorted(found, key=lambda meta: (meta.first_offset, meta.last_offset))

    def columns(self) -> BlockColumns:
        """The fields of all visible blocks that decide which are merged, one array per field."""
        shown = self.shown
        received, latest = shown.numbers("received_max_ms"), shown.numbers("end_max_ns")
        return BlockColumns(
            ids=shown.table["block_id"].to_pylist(),
            places=_places(shown),
            newest_ms=np.where(received > 0, received, latest // NS_PER_MS),
            first_offsets=shown.numbers("first_offset"),
            size_bytes=shown.numbers("size_bytes"),
            levels=shown.numbers("level"),
        )

    def ids_of(self, rows: Ints) -> list[str]:
        """The ids of rows of `columns`."""
        ids: list[str] = self.shown.table["block_id"].take(pa.array(rows)).to_pylist()
        return ids


def _places(index: TenantIndex) -> Ints:
    """A number for each Kafka cluster, partition, and number of partitions that the topic had: with another number the
    same partition has other traces.
    """
    if not len(index):
        return np.zeros(0, np.int64)
    clusters = pc.dictionary_encode(index.table["cluster_id"]).combine_chunks().indices.to_numpy()
    numbers: Ints = clusters.astype(np.int64)
    for column in map(index.numbers, ("partition", "partition_count")):
        numbers = numbers * (int(column.max()) + 1) + column
    return numbers


def tenant_blocks(blocks: BlockList, tenant: str) -> TenantBlocks:
    """The tenant's blocks, as of the last poll. Raises: DamagedError if the index is older than it was"""
    fresh = blocks.uncovered(tenant)
    known = blocks.index(tenant)
    index = TenantIndex(tenant) if known is None else known  # one without blocks is false
    shown = add_blocks(index, fresh.metas, fresh.covered, fresh.since)
    if shown is None:
        path = index_path(tenant, index.version)
        raise DamagedError(path, "covers less than an earlier version; is something deleting objects of index/?")
    return TenantBlocks(index, shown, fresh)
