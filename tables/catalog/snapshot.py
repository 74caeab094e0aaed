"""The blocks of a tenant at one moment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from tables.blocks.filter_pack import PackRef
from tables.blocks.meta import BlockMeta
from tables.catalog.damage import Damage
from tables.catalog.place import Place
from tables.catalog.state import CatalogState
from tables.catalog.tenant_index import Rows, TenantIndex
from tables.catalog.time_range import TRACE_SLACK_NS, overlaps
from tables.columns.sorted_sets import unique
from tables.redaction.rules import Redaction
from tables.wire.split import SEVERAL, partition_of

NO_ROWS: Final[Rows] = np.empty(0, np.int64)


@dataclass(frozen=True)
class BlockSnapshot:
    """The visible blocks of a tenant in a time range, and up to which offsets blocks hold the tenant's spans.

    flushed_offsets: by partition of this cluster; absent means 0
    damaged: visible blocks that cannot be read
    problems: partitions whose visible blocks are not all known, and why
    cut_blocks: blocks that are not in the index yet. rows: of the index; metas_of makes blocks of them
    """

    flushed_offsets: Mapping[int, int] = field(default_factory=dict)
    damaged: Sequence[Damage] = ()
    problems: Mapping[Place, str] = field(default_factory=dict)
    cut_blocks: Sequence[BlockMeta] = ()
    index: TenantIndex | None = None
    rows: Rows = field(default_factory=lambda: NO_ROWS)
    metas_of: Callable[[TenantIndex, Rows], list[BlockMeta]] = TenantIndex.metas

    @property
    def redactions(self) -> tuple[Redaction, ...]:
        """Those in force: what blocks and live parts may still have, and nobody is to see."""
        return () if self.index is None else self.index.redactions

    @property
    def filter_packs(self) -> tuple[PackRef, ...]:
        """Objects with the filters of many of the blocks."""
        return () if self.index is None else self.index.filter_packs

    @cached_property
    def blocks(self) -> list[BlockMeta]:
        """The blocks, without damaged ones. The first use makes an object of each, which takes 20 µs: not on the event
        loop, if there may be thousands.
        """
        unread = {each.block_id for each in self.damaged}
        of_index = [] if self.index is None else self.metas_of(self.index, self.rows)
        return [meta for meta in [*of_index, *self.cut_blocks] if meta.block_id not in unread]


class Snapshots:
    """Snapshots over all of time, by tenant. Each query takes one, and seldom anything has changed since the last.

    Whoever changes the state, or what is damaged, calls `clear` before anybody else may ask. Guarded as the state is.
    """

    def __init__(self) -> None:
        self._known: dict[str, BlockSnapshot] = {}

    def clear(self) -> None:
        """Forgets all, because something has changed."""
        self._known.clear()

    def of(self, tenant: str, state: CatalogState, damaged: Mapping[str, Damage]) -> BlockSnapshot:
        """The tenant's snapshot, but for the rows of the index."""
        known = self._known.get(tenant)
        if known is None:
            known = _whole(tenant, state, damaged)
            if known.cut_blocks or known.index is not None:  # clients can make up any number of other tenants
                self._known[tenant] = known
        return known


def _whole(tenant: str, state: CatalogState, damaged: Mapping[str, Damage]) -> BlockSnapshot:
    index = state.indexes.get(tenant)
    # An index may cover partitions whose cuts are not read yet: the first polls of a process are of single partitions.
    ends = [
        *({} if index is None else index.covered).items(),
        *((place, held.end) for place, held in state.chains.items()),
    ]
    flushed: dict[int, int] = {}
    for (cluster_id, partition), end in ends:
        if cluster_id == state.cluster_id:
            flushed[partition] = max(end, flushed.get(partition, 0))
    return BlockSnapshot(
        flushed_offsets=flushed,
        damaged=[each for each in damaged.values() if each.tenant == tenant],
        problems=dict(state.problems_of(tenant)),
        cut_blocks=state.cut_blocks(tenant),
        index=index,
    )


def within(
    known: BlockSnapshot,
    start_ns: int | None,
    end_ns: int | None,
    trace_id: bytes | None,
    metas_of: Callable[[TenantIndex, Rows], list[BlockMeta]],
) -> BlockSnapshot:
    """What of a snapshot over all of time a query of this range reads, as `BlockList.snapshot` says it."""
    index = known.index
    return BlockSnapshot(
        flushed_offsets=known.flushed_offsets,
        damaged=known.damaged,
        problems=known.problems,
        cut_blocks=in_range(known.cut_blocks, start_ns, end_ns),
        index=index,
        rows=NO_ROWS if index is None else rows_in_range(index, start_ns, end_ns, trace_id),
        metas_of=metas_of,
    )


def rows_in_range(index: TenantIndex, start_ns: int | None, end_ns: int | None, trace_id: bytes | None) -> Rows:
    """The rows of an index that `overlaps` holds for, and that may be of the trace, if one is given."""
    rows = index.overlapping(
        None if start_ns is None else start_ns - TRACE_SLACK_NS,
        None if end_ns is None else end_ns + TRACE_SLACK_NS - 1,
    )
    if trace_id is None or not len(rows):
        return rows
    counts, partitions = index.numbers("partition_count")[rows], index.numbers("partition")[rows]
    wanted = np.zeros(len(rows), bool)
    for count in unique(counts):
        its_own = count == SEVERAL or partitions == partition_of(trace_id, int(count))
        wanted |= (counts == count) & its_own
    return rows[wanted]


def in_range(metas: Sequence[BlockMeta], start_ns: int | None, end_ns: int | None) -> list[BlockMeta]:
    """The blocks that `overlaps` holds for."""
    return [meta for meta in metas if overlaps(meta, start_ns, end_ns)]
