"""Does jobs: merges blocks into one, and shows it instead of them.

A job may run twice, at once or one after the other, and whoever runs it may die at any point. So the merged block
becomes visible by one new version of the tenant's index, which holds only if all inputs are still visible. Whatever
else was written is deleted, by this executor or by the audit of the leader.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from agents import tracing
from agents.compactor.delete_block import delete_block
from agents.compactor.job import Job
from agents.compactor.own_metrics import BLOCKS, BYTES, DAMAGED, JOB_SECONDS, OUTPUT_BYTES, SPANS
from agents.compactor.tenant_blocks import TenantBlocks, tenant_blocks
from tables.blocks.meta import BlockMeta
from tables.catalog.block_list import BlockList
from tables.catalog.changes import replace_blocks
from tables.catalog.index_store import IndexStore
from tables.catalog.known_index import commit_known, latest_known
from tables.catalog.tenant_index import TenantIndex
from tables.errors import DamagedError, StorageError
from tables.merge.merge_blocks import MergedBlock

log = logging.getLogger(__name__)

DONE: Final = "done"
STALE: Final = "stale"
UNKNOWN: Final = "unknown"
_COMMITS_MAX: Final = 3


# Writes one block of several, which are given in the order of their offsets. It may be called again after it failed.
Merge = Callable[[Sequence[BlockMeta]], MergedBlock]
# Does a job of one kind on a thread, and returns its outcome.
Handler = Callable[[Job], str]


def run_job(handlers: Mapping[str, Handler], job: Job) -> str:
    """Does a job of any known kind."""
    handler = handlers.get(job.kind)
    if handler is None:
        log.warning("a job of kind %s is skipped: this build does not know it", job.kind)
        return UNKNOWN
    return handler(job)


class MergeExecutor:
    """Merges. Thread-safe: it keeps nothing."""

    def __init__(
        self,
        blocks: BlockList,
        indexes: IndexStore,
        merge: Merge,
        partitions: Iterable[int] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """partitions: of the topic of spans. clock: Unix seconds"""
        self._blocks, self._indexes, self._merge = blocks, indexes, merge
        self._partitions, self._clock = tuple(partitions), clock

    def run(self, job: Job) -> str:
        """Does a job of kind MERGE. Raises: StorageError, after which it may be called again"""
        inputs = self._look(job.tenant).find(job.block_ids)
        if len(inputs) < len(job.block_ids):
            return STALE
        spans = sum(meta.spans for meta in inputs)
        about = {"tenant": job.tenant, "blocks": len(inputs), "spans": spans}
        with tracing.background("merge blocks", about, {job.tenant: spans}), JOB_SECONDS.time():
            merged, inputs = self._merged(job, inputs)
        if merged is None:
            return STALE
        if not self._commit(job.tenant, merged.meta, inputs):
            self._discard(merged.meta)
            return STALE
        _count(merged, inputs)
        return DONE

    def _look(self, tenant: str) -> TenantBlocks:
        self._blocks.poll(self._partitions)
        return tenant_blocks(self._blocks, tenant)

    def _merged(self, job: Job, inputs: list[BlockMeta]) -> tuple[MergedBlock | None, list[BlockMeta]]:
        """The merged block, and its inputs: without those that are damaged, so that they do not hold up the others."""
        while True:
            try:
                return self._merge(inputs), inputs
            except DamagedError as err:
                # Inputs that another compactor has replaced are deleted after a while.
                if len(self._look(job.tenant).find(job.block_ids)) < len(job.block_ids):
                    return None, inputs
                whole = [meta for meta in inputs if not err.path.startswith(f"{meta.folder}/")]
                if len(whole) == len(inputs) or len(whole) < 2:
                    raise
                DAMAGED.inc()
                log.error("a merge of tenant %s leaves out a damaged block: %s", job.tenant, err)
                inputs = whole

    def _commit(self, tenant: str, merged: BlockMeta, inputs: Sequence[BlockMeta]) -> bool:
        """Shows the merged block instead of its inputs. False: one of them is not visible any more."""
        replaced = [meta.block_id for meta in inputs]
        for _ in range(_COMMITS_MAX):
            view = self._look(tenant)
            if len(view.find(replaced)) < len(replaced):
                break

            def change(index: TenantIndex, view: TenantBlocks = view) -> TenantIndex | None:
                shown = view.with_fresh(index)
                return None if shown is None else replace_blocks(shown, [merged], replaced, self._clock())

            if commit_known(self._blocks, self._indexes, tenant, change) is not None:
                return True
        # Another executor has done the same job, or this one's own write came through although it seemed to fail.
        newest = latest_known(self._blocks, self._indexes, tenant)
        return newest is not None and newest.meta_of(merged.block_id) is not None

    def _discard(self, merged: BlockMeta) -> None:
        """Deletes a block that nobody sees, and nobody will: its inputs are not visible any more."""
        newest = latest_known(self._blocks, self._indexes, merged.tenant)
        if newest is not None and newest.names(merged.block_id):
            return
        try:
            delete_block(self._blocks.store, merged.tenant, merged.block_id)
        except StorageError as err:
            log.warning("a block that nobody sees stays until the next audit: %s", err)


def _count(merged: MergedBlock, inputs: Sequence[BlockMeta]) -> None:
    for meta in inputs:
        BLOCKS.labels(str(meta.level)).inc()
    SPANS.inc(merged.meta.spans)
    OUTPUT_BYTES.observe(merged.meta.size_bytes)
    BYTES.labels(str(max(meta.level for meta in inputs))).inc(merged.meta.size_bytes)
