"""What the leader does with a tenant besides planning merges: retention, new blocks, objects of removed blocks."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from agents.compactor.delete_block import delete_block
from agents.compactor.own_metrics import DELETED, MARKED, RETENTION_ERRORS
from agents.compactor.plan import expired
from agents.compactor.tenant_blocks import TenantBlocks, tenant_blocks
from tables.catalog.block_list import BlockList
from tables.catalog.changes import forget_removed, remove_blocks
from tables.catalog.index_store import IndexStore
from tables.catalog.known_index import commit_known
from tables.catalog.tenant_index import TenantIndex
from tables.errors import StorageError
from tables.storage.at_once import at_once

log = logging.getLogger(__name__)

# Blocks of a tenant whose objects are deleted in one cycle, so that no tenant holds up the others.
_DELETED_MAX: Final = 500
_THREADS: Final = 8
# So many blocks behind the indexes are added to them without waiting for the next merge.
_FRESH_MAX: Final = 64


class Upkeep:
    """Thread-safe as long as one thread uses it at a time. All methods may raise StorageError.

    dry_run: nothing is hidden or deleted; the log says what would be
    """

    def __init__(
        self,
        blocks: BlockList,
        indexes: IndexStore,
        grace_s: float,
        fold_s: float,
        clock: Callable[[], float],
        *,
        dry_run: bool = False,
    ) -> None:
        """grace_s: how long objects of removed blocks stay. fold_s: how long new blocks may be missing in an index
        clock: Unix seconds
        """
        self._blocks, self._indexes, self._clock = blocks, indexes, clock
        self._grace_s, self._fold_s, self._dry_run = grace_s, fold_s, dry_run
        self._since_s: dict[str, float] = {}  # since when the tenant's index lacks blocks
        self._told: dict[str, frozenset[str]] = {}  # what a dry run has logged

    def run(self, name: str, retention_s: float) -> None:
        """Does all that is due for a tenant, as of the last poll."""
        self.retain(tenant_blocks(self._blocks, name), retention_s)
        self.fold(tenant_blocks(self._blocks, name))
        index = self._blocks.index(name)
        if index is not None:
            self.delete_removed(index)

    def retain(self, tenant: TenantBlocks, retention_s: float) -> None:
        """Hides the blocks that are older than the retention."""
        columns = tenant.columns()
        rows = expired(columns, round((self._clock() - retention_s) * 1000))
        if not len(rows):
            return
        gone = tenant.ids_of(rows)
        name = tenant.index.tenant
        text = f"tenant {name}: {len(gone)} blocks, {int(columns.size_bytes[rows].sum())} bytes, are older than "
        text += f"{retention_s:g} s"
        if self._dry_run:
            self._tell(f"{name} retention", gone, text)
            return

        def change(index: TenantIndex) -> TenantIndex | None:
            shown = tenant.with_fresh(index)
            return None if shown is None else remove_blocks(shown, gone, self._clock())

        if self._commit(name, change):
            MARKED.inc(len(gone))
            log.info("%s: queries do not see them any more", text)

    def fold(self, tenant: TenantBlocks) -> None:
        """Adds the blocks of new cuts to the index, if they are many or it lacks them for long."""
        name, now_s = tenant.index.tenant, self._clock()
        lacks = tenant.lacks_blocks()
        if not lacks:
            self._since_s.pop(name, None)
            return
        since_s = self._since_s.setdefault(name, now_s)
        if lacks < _FRESH_MAX and now_s - since_s < self._fold_s:
            return
        if self._commit(name, tenant.with_fresh):
            self._since_s.pop(name, None)

    def delete_removed(self, index: TenantIndex) -> None:
        """Deletes the objects of blocks that were hidden long enough ago."""
        before_s = self._clock() - self._grace_s
        due = [one.block_id for one in index.removed if one.removed_s <= before_s][:_DELETED_MAX]
        if not due:
            return
        if self._dry_run:
            self._tell(f"{index.tenant} removed", due, f"tenant {index.tenant}: {len(due)} merged or removed blocks")
            return
        gone = self._deleted(index.tenant, due)
        DELETED.inc(len(gone))
        log.info("tenant %s: the objects of %d merged or removed blocks are deleted", index.tenant, len(gone))
        # Only now: whoever dies before forgets nothing, and whoever comes next finds nothing left to delete.
        if gone:
            self._commit(index.tenant, lambda newest: forget_removed(newest, gone))

    def _commit(self, tenant: str, change: Callable[[TenantIndex], TenantIndex | None]) -> bool:
        return commit_known(self._blocks, self._indexes, tenant, change) is not None

    def _deleted(self, tenant: str, block_ids: Sequence[str]) -> list[str]:
        """Deletes blocks; returns those whose objects are gone."""

        def one(block_id: str) -> bool:
            try:
                delete_block(self._blocks.store, tenant, block_id)
            except StorageError as err:
                RETENTION_ERRORS.inc()
                log.warning("block %s of tenant %s is deleted later: %s", block_id, tenant, err)
                return False
            return True

        with ThreadPoolExecutor(_THREADS, "delete-blocks") as pool:
            done = at_once(pool, [partial(one, block_id) for block_id in block_ids])
        return [name for name, gone in zip(block_ids, done, strict=True) if gone]

    def _tell(self, what: str, block_ids: Sequence[str], text: str) -> None:
        """Logs a dry run, when it would do something else than the time before."""
        ids = frozenset(block_ids)
        if self._told.get(what) != ids:
            self._told[what] = ids
            log.warning("dry run: %s; they would be deleted", text)
