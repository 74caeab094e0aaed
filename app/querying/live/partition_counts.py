"""How many partitions the topic has, and had when the live records were written."""

from collections.abc import Callable

from agents.live_store.partition_manager import PartitionManager
from agents.members.member import Members


class PartitionCounts:
    """One for a process; belongs to its event loop. The topic may get more partitions while the processes run.

    A distributor says that it writes to so many before it does, and does so only once live stores have them all: so
    whoever asks for as many as any distributor says asks for all that have spans.
    """

    def __init__(self, manager: PartitionManager | None, members: Members, at_start: Callable[[], int]) -> None:
        """manager: of the live store of this process. at_start: how many there were then; 0: not known yet"""
        self._manager, self._members, self._at_start = manager, members, at_start

    def now(self) -> int:
        """How many are to be asked for; 0: not known yet."""
        if not (known := self._at_start()):
            return 0
        counts = self.of_live_records()
        counts.add(known)
        for one in self._members.all():
            counts.add(one.partitions_written)
        return max(counts)

    def of_live_records(self) -> set[int]:
        """Among how many partitions the writers of records that are in live stores have split the traces."""
        counts = set() if self._manager is None else self._manager.record_counts()
        for one in self._members.all():
            counts.update(one.record_counts)
        return counts
