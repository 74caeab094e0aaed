"""Writes checkpoints of partitions, so that readers need not look at old cuts, and deletes cuts that nobody needs."""

import logging
from collections.abc import Callable
from typing import Final

from agents.compactor.own_metrics import CHECKPOINTS, CUTS_DELETED, ERRORS
from tables.catalog.block_list import BlockList
from tables.catalog.checkpoints import Checkpoint, Checkpoints
from tables.catalog.cuts import cut_path
from tables.catalog.place import Place
from tables.errors import StorageError

log = logging.getLogger(__name__)

_CUTS_MAX: Final = 64
_COUNT_AGAIN_S: Final = 300.0


class Checkpointer:
    """Thread-safe as long as one thread uses it at a time.

    dry_run: no cuts are deleted
    """

    def __init__(
        self,
        blocks: BlockList,
        interval_s: float,
        grace_s: float,
        clock: Callable[[], float],
        *,
        dry_run: bool = False,
    ) -> None:
        """interval_s: between two checkpoints of a partition with few cuts. grace_s: how long cuts stay that no reader
        needs any more
        """
        self._blocks, self._clock, self._dry_run = blocks, clock, dry_run
        self._checkpoints = Checkpoints(blocks.store)
        self._interval_s, self._grace_s = interval_s, grace_s
        self._known: dict[Place, tuple[int, float]] | None = None  # offset, and when it was written
        self._counted_s: dict[Place, float] = {}
        self._emptied: set[Place] = set()  # partitions of former clusters, whose cuts are deleted

    def run(self) -> None:
        """Writes the checkpoints that are due. What concerns one partition holds up no other.

        Raises: StorageError if the checkpoints cannot be listed
        """
        if self._known is None:
            stamps = self._checkpoints.listed()
            self._known = {place: (max(of), of[max(of)].modified_s) for place, of in stamps.items()}
        for place in self._blocks.places():
            checkpoint = self._blocks.checkpoint(place)
            try:
                if checkpoint is not None:
                    self._write_if_due(self._known, checkpoint)
            except StorageError as err:
                ERRORS.inc()
                log.warning("checkpoint of partition %d: %s", place[1], err)

    def _write_if_due(self, known: dict[Place, tuple[int, float]], checkpoint: Checkpoint) -> None:
        place, now_s = checkpoint.place, self._clock()
        offset, written_s = known.get(place, (0, 0.0))
        if checkpoint.offset <= offset:
            if place in known and place[0] != self._blocks.cluster_id and now_s - written_s >= self._grace_s:
                self._delete_former(checkpoint)
            return
        if now_s - written_s < self._interval_s and not self._has_many_cuts(place, offset, checkpoint.offset, now_s):
            return
        self._checkpoints.write(checkpoint)
        known[place] = (checkpoint.offset, now_s)
        CHECKPOINTS.inc()
        if self._dry_run:
            return
        gone = self._checkpoints.delete_covered(place, self._grace_s)
        CUTS_DELETED.inc(gone)
        if gone:
            log.info(
                "partition %d of Kafka cluster %s: %d old cuts and checkpoints are deleted", place[1], place[0], gone
            )

    def _delete_former(self, checkpoint: Checkpoint) -> None:
        """Deletes the cuts of a former Kafka cluster: nobody writes more, and so there is no later checkpoint."""
        place = checkpoint.place
        if self._dry_run or place in self._emptied:
            return
        first, end = cut_path(place, 0), cut_path(place, checkpoint.offset)
        old = [path for path in self._blocks.store.paths(first.rpartition("/")[0]) if path < end]
        self._blocks.store.delete(old)
        self._emptied.add(place)
        CUTS_DELETED.inc(len(old))
        log.info("partition %d of the former Kafka cluster %s: %d cuts are deleted", place[1], place[0], len(old))

    def _has_many_cuts(self, place: Place, offset: int, end: int, now_s: float) -> bool:
        """Whether there are many cuts since the last checkpoint. Counting them is a request: not in each cycle."""
        if now_s - self._counted_s.get(place, 0.0) < _COUNT_AGAIN_S:
            return False
        self._counted_s[place] = now_s
        folder = cut_path(place, 0).rpartition("/")[0]
        first, last = cut_path(place, offset), cut_path(place, end)
        count = sum(first <= path < last for path in self._blocks.store.paths(folder, first))
        return count >= _CUTS_MAX
