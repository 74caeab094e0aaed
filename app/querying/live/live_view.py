"""What the live store of this process can answer of some partitions, from given offsets on, at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from agents.live_store.partition_manager import PartitionManager
from tables.live.decode_together import GoOn, keep_going
from tables.live.partition import LivePartition
from tables.live.store import LivePart


class PartitionStatus(StrEnum):
    """What a live store says of a partition. Each process must understand the words of all others."""

    OK = "OK"
    NOT_OWNER = "NOT_OWNER"  # it does not have the partition, or opens it at the moment
    BEHIND = "BEHIND"  # it has not read all that was in the topic
    FLUSHED_FURTHER = "FLUSHED_FURTHER"  # a part is in blocks only, which the asker does not know yet


@dataclass(frozen=True, slots=True)
class PartitionsView:
    """statuses: of all partitions that were asked for; parts: of those that are OK, and of those that are BEHIND"""

    statuses: Mapping[int, PartitionStatus] = field(default_factory=dict)
    parts: Mapping[int, Sequence[LivePart]] = field(default_factory=dict)

    def sources(self, partitions: Sequence[int], trace_id: bytes | None = None, go_on: GoOn = keep_going) -> list[Any]:
        """The sources of some of the partitions, or what they have of one trace. Shreds heads: on a thread

        go_on: called now and then; what it raises ends the work
        """
        parts = [part for number in partitions for part in self.parts.get(number, ())]
        return [source for part in parts for source in part(trace_id, go_on)]


def live_view(manager: PartitionManager, tenant: str, asked: Mapping[int, int]) -> PartitionsView:
    """The tenant's spans of some partitions. asked: by partition, from which offset on. On the event loop"""
    store = manager.store
    if store is None:
        return PartitionsView(dict.fromkeys(asked, PartitionStatus.NOT_OWNER))
    behind = manager.behind()
    statuses: dict[int, PartitionStatus] = {}
    parts: dict[int, Sequence[LivePart]] = {}
    for number, offset in asked.items():
        partition = store.partitions.get(number)
        statuses[number] = status = _status(partition, offset, number in behind)
        if partition is not None and status in (PartitionStatus.OK, PartitionStatus.BEHIND):
            parts[number] = store.parts_from(partition, offset, tenant)
    return PartitionsView(statuses, parts)


def _status(partition: LivePartition | None, offset: int, is_behind: bool) -> PartitionStatus:  # noqa: FBT001
    if partition is None or partition.closed:
        return PartitionStatus.NOT_OWNER
    if offset < partition.flushed_offset:
        if not partition.holds_from(offset):
            return PartitionStatus.FLUSHED_FURTHER
    elif not partition.fits(offset):
        return PartitionStatus.NOT_OWNER  # another process has cut it here; it is about to be opened anew
    if offset > partition.next_offset:
        return PartitionStatus.BEHIND
    return PartitionStatus.BEHIND if is_behind else PartitionStatus.OK
