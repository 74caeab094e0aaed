"""How far the partitions of the live store are behind the end of the topic."""

import time
from collections.abc import Iterable, Mapping

from agents.stream.consumer_report import ConsumerReport
from agents.stream.kafka_batches import HOLES
from tables.live.partition import LivePartition


class PartitionLag:
    """One for a live store; belongs to its event loop. Queries miss spans of a partition that is behind."""

    def __init__(self, topic: str, consumers: ConsumerReport, lag_s_max: float) -> None:
        """consumers: says where the topic ends. lag_s_max: see `LiveLimits`"""
        self._topic, self._consumers, self._lag_s_max = topic, consumers, lag_s_max
        self._to_reach: dict[int, int] = {}

    def assigned(self, ends: Mapping[int, int]) -> None:
        """ends: of the partitions that are this process's from now on, the end of the topic at this moment"""
        self._to_reach = dict(ends)

    def went_back(self, state: LivePartition) -> None:
        """The partition is about to be opened again, and to read again some of what it has read."""
        self._to_reach[state.partition] = max(self._to_reach.get(state.partition, 0), state.next_offset)

    def behind(self, states: Iterable[LivePartition]) -> dict[int, int]:
        """Partitions that lag, with the end offset to reach. They have not reached the end at the time of their
        assignment, or not where they were before they went back, or not a later end in time. All lag, as far as is
        known, when this process stood still.
        """
        behind, now_s, ends = {}, time.monotonic(), self._consumers.ends
        for state in sorted(states, key=lambda one: one.partition):
            number, at = state.partition, self.past_holes(state)
            late = ends.overdue(self._topic, number, at, now_s, self._lag_s_max)
            first = self._to_reach.get(number, 0)
            if late is not None or at < first or self._consumers.ends_outdated:
                behind[number] = max(late or 0, first)
        return behind

    def past_holes(self, state: LivePartition) -> int:
        """Skips offsets that hold no readable record. Out: the next offset"""
        after = HOLES.through((self._topic, state.partition), state.next_offset)
        if after > state.next_offset:
            state.skip(after - 1)
        return state.next_offset
