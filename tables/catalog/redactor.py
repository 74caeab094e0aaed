"""Removes from the blocks of a tenant what its redactions name: block by block, each replaced by one new index version.

Whoever does it may die at any point, and two at once are fine: a block that is written anew has an id that follows from
the old one, and is shown only while the old one is.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from prometheus_client import Counter

from tables.blocks.meta import BlockMeta
from tables.blocks.trace_filters import TraceFilters
from tables.catalog.block_list import BlockList
from tables.catalog.changes import add_blocks, forget_removed, remove_blocks, replace_blocks
from tables.catalog.index_store import IndexStore
from tables.catalog.known_index import commit_known, latest_known
from tables.catalog.redaction_objects import delete_redactions, write_redaction
from tables.catalog.redactions import add_redaction, end_redactions, mark_redacted, unredacted
from tables.catalog.tenant_index import TenantIndex
from tables.errors import DamagedError, StorageError
from tables.redaction.rewrite import Rewritten, may_concern, rewrite_block
from tables.redaction.rules import Redaction

log = logging.getLogger(__name__)

REWRITTEN = Counter("stretto_redaction_blocks_rewritten_total", "Blocks that redactions replaced or removed.")
SPANS = Counter("stretto_redaction_spans_removed_total", "Spans that redactions removed from blocks.")

# Other writers replace blocks meanwhile: what they made is looked at in the next round.
_ROUNDS_MAX: Final = 20
_MARKED_AT_ONCE: Final = 1000


@dataclass(slots=True)
class RedactionReport:
    """What was done. blocks: written anew; removed: of which nothing was left; failed: problems with blocks that still
    have what they should not have; replaced: ids of blocks that are not shown any more, and still exist
    """

    blocks: int = 0
    removed: int = 0
    spans: int = 0
    files: int = 0
    untouched: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether all visible blocks are redacted."""
        return not self.failed

    def add(self, other: "RedactionReport") -> None:
        """Takes in the report of a later run."""
        self.blocks, self.removed = self.blocks + other.blocks, self.removed + other.removed
        self.spans, self.files = self.spans + other.spans, self.files + other.files
        self.failed = other.failed
        self.untouched += other.untouched
        self.replaced = [*self.replaced, *other.replaced]


class Redactor:
    """For one storage. Thread-safe as long as one thread uses it at a time.

    partitions: of the topic of spans, for polls; none: all cuts count. clock: Unix seconds
    """

    def __init__(
        self,
        blocks: BlockList,
        indexes: IndexStore,
        filters: TraceFilters,
        partitions: Iterable[int] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._blocks, self._indexes, self._filters = blocks, indexes, filters
        self._partitions, self._clock = tuple(partitions), clock

    def put_in_force(self, tenant: str, redaction: Redaction) -> TenantIndex:
        """From the next poll on queries hide what it removes, and flushes leave it out. Raises: StorageError"""
        write_redaction(self._blocks.store, tenant, redaction)
        made = self._commit(tenant, lambda index: add_redaction(index, redaction))
        assert made is not None, "it fits every version"
        return made

    def run(self, tenant: str, blocks_max: int | None = None) -> RedactionReport:
        """Applies the redactions in force to all visible blocks, those of cuts included.

        blocks_max: of so many; the rest is for the next run
        Raises: StorageError; what is done by then stays done
        """
        report = RedactionReport()
        for _ in range(_ROUNDS_MAX):
            index = self._with_cut_blocks(tenant)
            if index is None or not index.redactions:
                return report
            todo = [meta for meta in index.metas(unredacted(index, index.redactions)) if meta.key not in report.failed]
            if not todo:
                self._end(tenant, index)
                return report
            self._round(tenant, todo[:blocks_max], index.redactions, report)
            if blocks_max is not None:
                return report
        raise StorageError(f"the blocks of tenant {tenant} change faster than they can be redacted; try again")

    def delete_replaced(self, tenant: str, block_ids: Sequence[str]) -> None:
        """Deletes the objects of blocks that are not shown any more, and forgets them. The caller has waited until no
        reader needs them. Raises: StorageError
        """
        index = self._latest(tenant)
        if index is None:
            return
        gone = [one.block_id for one in index.removed if one.block_id in set(block_ids)]
        for block_id in gone:
            paths = sorted(
                self._blocks.store.paths(f"blocks/{tenant}/{block_id}"), key=lambda path: path[-4:] != "json"
            )
            if paths:
                self._blocks.store.delete(paths)
        if gone:
            self._commit(tenant, lambda found: forget_removed(found, gone))

    # ---- steps

    def _end(self, tenant: str, index: TenantIndex) -> None:
        """Removes redactions that are over from the index, then their objects."""
        made = self._commit(tenant, lambda found: end_redactions(found, self._clock()))
        left = set() if made is None else {each.id for each in made.redactions}
        delete_redactions(self._blocks.store, tenant, [each.id for each in index.redactions if each.id not in left])

    def _with_cut_blocks(self, tenant: str) -> TenantIndex | None:
        """The newest index, to which the blocks of cuts were added."""
        self._blocks.poll(self._partitions)
        fresh = self._blocks.uncovered(tenant)
        if fresh.metas:
            self._commit(tenant, lambda index: add_blocks(index, fresh.metas, fresh.covered, fresh.since))
        return self._blocks.index(tenant)

    def _commit(self, tenant: str, change: Callable[[TenantIndex], TenantIndex | None]) -> TenantIndex | None:
        return commit_known(self._blocks, self._indexes, tenant, change)

    def _latest(self, tenant: str) -> TenantIndex | None:
        return latest_known(self._blocks, self._indexes, tenant)

    def _round(
        self, tenant: str, metas: Sequence[BlockMeta], redactions: Sequence[Redaction], report: RedactionReport
    ) -> None:
        holding = self._holding(metas, redactions)
        clean: list[str] = []
        for meta in metas:
            todo = [each for each in redactions if each.id not in meta.redactions]
            try:
                made = None
                if any(may_concern(meta, file, each) for file in meta.files for each in todo):
                    made = rewrite_block(self._blocks.store, meta, todo, holding.get(meta.block_id))
            except DamagedError as err:
                if self._is_visible(tenant, meta):  # else somebody has replaced and deleted it
                    report.failed[meta.key] = str(err)
                continue
            if made is None:
                clean.append(meta.block_id)
                report.untouched += 1
            elif self._show(tenant, meta, made):
                self._count(made, meta, report)
        for first in range(0, len(clean), _MARKED_AT_ONCE):
            some = clean[first : first + _MARKED_AT_ONCE]
            self._commit(tenant, partial(_marked, block_ids=some, redactions=redactions))

    def _holding(self, metas: Sequence[BlockMeta], redactions: Sequence[Redaction]) -> dict[str, dict[str, list[int]]]:
        """By block and trace id: which files may hold the trace. Filters are read at once."""
        found: dict[str, dict[str, list[int]]] = {meta.block_id: {} for meta in metas}
        for trace_id in {redaction.trace_id for redaction in redactions if redaction.trace_id}:
            packs = self._blocks.filter_packs(metas[0].tenant) if metas else ()
            files = self._filters.files_with(self._blocks.store, metas, bytes.fromhex(trace_id), packs)
            numbers = {meta.block_id: held for meta, held in files}
            for block_id, of_block in found.items():
                of_block[trace_id] = numbers.get(block_id, [])
        return found

    def _is_visible(self, tenant: str, meta: BlockMeta) -> bool:
        newest = self._latest(tenant)
        return newest is not None and newest.meta_of(meta.block_id) is not None

    def _show(self, tenant: str, meta: BlockMeta, made: Rewritten) -> bool:
        """Shows the new block instead of the old one. False: the old one is not shown any more, the new one deleted"""

        def change(index: TenantIndex) -> TenantIndex | None:
            if made.meta is None:
                shown = len(index.rows_with([meta.block_id])) > 0
                return remove_blocks(index, [meta.block_id], self._clock()) if shown else None
            return replace_blocks(index, [made.meta], [meta.block_id], self._clock())

        index = self._commit(tenant, change)
        if index is not None or made.meta is None:
            return index is not None
        newest = self._latest(tenant)
        if newest is None or not newest.names(made.meta.block_id):
            self._blocks.store.delete(list(self._blocks.store.paths(made.meta.folder)))
        return False

    def _count(self, made: Rewritten, before: BlockMeta, report: RedactionReport) -> None:
        REWRITTEN.inc()
        SPANS.inc(made.spans)
        report.blocks += made.meta is not None
        report.removed += made.meta is None
        report.spans += made.spans
        report.files += made.files
        report.replaced.append(before.block_id)
        log.info("block %s: %d spans and values of %d files are removed", before.key, made.spans, made.files)


def _marked(index: TenantIndex, block_ids: Sequence[str], redactions: Sequence[Redaction]) -> TenantIndex:
    return mark_redacted(index, block_ids, redactions)
