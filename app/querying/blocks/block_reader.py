"""The files of blocks as sources, without what redactions remove. For threads: reads filters and trace ids."""

from collections.abc import Sequence
from typing import Any

from app.querying.blocks.redacted import redacted_blocks, redacted_file
from tables.blocks.filter_pack import PackRef
from tables.blocks.meta import BlockMeta
from tables.blocks.trace_filters import TraceFilters
from tables.catalog.block_list import BlockList
from tables.redaction.rules import Redaction
from tables.wire.split import SEVERAL, partition_of

Sources = list[Any]  # of query.scan.source.Source


class BlockReader:
    """filters: those of the process"""

    def __init__(self, filters: TraceFilters) -> None:
        self._filters = filters

    def sources(self, blocks: BlockList, metas: Sequence[BlockMeta], redactions: Sequence[Redaction]) -> Sources:
        """One for each file, and few for all that are small."""
        if not redactions:
            return blocks.query_sources(metas, self._filters)
        return redacted_blocks(blocks, metas, redactions, self._filters)

    def trace_sources(
        self,
        blocks: BlockList,
        metas: Sequence[BlockMeta],
        trace_id: bytes,
        redactions: Sequence[Redaction],
        packs: Sequence[PackRef] = (),
    ) -> Sources:
        """The files of blocks that may hold the trace, with their trace ids read: at once, not one after the other.

        packs: of filters, that the tenant's index names
        """
        files = self._filters.files_with(blocks.blooms, metas, trace_id, packs)
        sources = [(meta, blocks.sources(meta, self._filters)[number]) for meta, numbers in files for number in numbers]
        if sources:
            self._filters.at_once([source.traces for _, source in sources])
        return [redacted_file(meta, source, redactions) for meta, source in sources]


def blocks_of_trace(blocks: Sequence[BlockMeta], trace_id: bytes) -> list[BlockMeta]:
    """Those of the partition that has the trace, and those written while the number of partitions changed."""
    counts = {meta.partition_count for meta in blocks} - {SEVERAL}
    places = {count: partition_of(trace_id, count) for count in counts}
    return [meta for meta in blocks if places.get(meta.partition_count, meta.partition) == meta.partition]
