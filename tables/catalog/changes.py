"""What changes a tenant's index: pure functions that make the next version from one.

`IndexStore.commit` applies them to the newest version, and again if another writer was first. So each of them is right
for any version that it meets: what is done already is not done again. None: the change does not fit this version any
more. The same index: there is nothing to change.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from tables.blocks.filter_pack import PackRef
from tables.blocks.meta import BlockMeta
from tables.catalog.place import Place
from tables.catalog.tenant_index import Removed, TenantIndex, rows_of


def add_blocks(
    index: TenantIndex,
    metas: Sequence[BlockMeta],
    covered: Mapping[Place, int],
    since: Mapping[Place, int] | None = None,
) -> TenantIndex | None:
    """Adds the blocks of cuts that the index does not cover yet.

    metas: all of the tenant's blocks in the cuts from `since` on
    covered: the offsets up to which these cuts reach, by place
    since: what the index covered when the cuts were collected. None is returned if this index covers less, because
    blocks would be missing then: somebody has deleted index objects
    """
    if since is not None and any(index.covered.get(place, 0) < offset for place, offset in since.items()):
        return None
    fresh = [meta for meta in metas if meta.first_offset >= index.covered.get((meta.cluster_id, meta.partition), 0)]
    further = {place: end for place, end in covered.items() if end > index.covered.get(place, 0)}
    if not fresh and not further:
        return index
    return replace(
        index,
        table=pa.concat_tables([index.table, rows_of(fresh)]),
        covered={**index.covered, **further},
    )


def replace_blocks(
    index: TenantIndex, merged: Sequence[BlockMeta], replaced: Collection[str], now_s: float
) -> TenantIndex | None:
    """Shows the merged blocks instead of the replaced ones, in one step.

    replaced: block ids. None is returned if one of them is not visible any more: another writer has replaced or removed
    it. The merged blocks' objects may be deleted then, but only those that the newest index does not name
    (`TenantIndex.names`): the other writer may have committed the same merge.
    """
    wanted = set(replaced)
    rows = index.rows_with(sorted(wanted))
    if len(rows) < len(wanted) or len(index.rows_with([meta.block_id for meta in merged])):
        return None
    left = _without(index, rows, now_s)
    return replace(left, table=pa.concat_tables([left.table, rows_of(merged)]))


def remove_blocks(index: TenantIndex, block_ids: Collection[str], now_s: float) -> TenantIndex:
    """Hides blocks for good. Ids of others are ignored."""
    rows = index.rows_with(sorted(set(block_ids)))
    return _without(index, rows, now_s) if len(rows) else index


def forget_removed(index: TenantIndex, block_ids: Collection[str]) -> TenantIndex:
    """Forgets removed blocks whose objects are deleted."""
    gone = set(block_ids)
    left = tuple(one for one in index.removed if one.block_id not in gone)
    return replace(index, removed=left) if len(left) < len(index.removed) else index


def replace_packs(index: TenantIndex, made: Sequence[PackRef], replaced: Collection[str]) -> TenantIndex | None:
    """Names packs of filters instead of others (their ids). None: another writer has replaced one of these"""
    gone = set(replaced)
    if not gone <= {pack.id for pack in index.filter_packs}:
        return None
    left = [pack for pack in index.filter_packs if pack.id not in gone]
    return replace(index, filter_packs=(*left, *made))


def _without(index: TenantIndex, rows: np.ndarray, now_s: float) -> TenantIndex:
    kept = np.ones(len(index), bool)
    kept[rows] = False
    ids = index.table["block_id"].take(pa.array(rows)).to_pylist()
    return replace(
        index,
        table=index.table.filter(pa.array(kept)),
        removed=(*index.removed, *(Removed(block_id, now_s) for block_id in ids)),
    )
