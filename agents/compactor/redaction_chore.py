"""The leader redacts what `stretto blocks redact` and `drop-trace` left: blocks flushed or merged meanwhile."""

import logging
from collections.abc import Callable
from typing import Final

from agents.compactor.own_metrics import ERRORS
from tables.catalog.block_list import BlockList
from tables.catalog.redactions import unredacted
from tables.catalog.redactor import Redactor

log = logging.getLogger(__name__)

# Blocks that are written anew in one cycle, so that no tenant holds up the others.
_BLOCKS_MAX: Final = 20
# Blocks that cannot be read are tried again after this time.
_AGAIN_S: Final = 3600.0


class RedactionChore:
    """Thread-safe as long as one thread uses it at a time. dry_run: nothing is written"""

    def __init__(
        self, blocks: BlockList, redactor: Redactor, clock: Callable[[], float], *, dry_run: bool = False
    ) -> None:
        self._blocks, self._redactor, self._clock, self._dry_run = blocks, redactor, clock, dry_run
        self._failed_s: dict[str, float] = {}

    def run(self, tenant: str) -> None:
        """Does what is due for a tenant, as of the last poll. Raises: StorageError"""
        now_s = self._clock()
        if self._dry_run or not self._is_due(tenant, now_s):
            return
        report = self._redactor.run(tenant, _BLOCKS_MAX)
        if report.failed:
            ERRORS.inc()
            self._failed_s[tenant] = now_s
            for key, problem in sorted(report.failed.items()):
                log.error("block %s may have what was to be removed, and cannot be read: %s", key, problem)

    def _is_due(self, tenant: str, now_s: float) -> bool:
        index = self._blocks.index(tenant)
        failed_s = self._failed_s.get(tenant)
        if index is None or not index.redactions or (failed_s is not None and now_s < failed_s + _AGAIN_S):
            return False
        return (
            len(unredacted(index, index.redactions)) > 0
            or bool(self._blocks.uncovered(tenant).metas)
            or any(each.kept_until_s <= now_s for each in index.redactions)
        )
