"""End offsets of partitions as Kafka reported them, and when it did."""

from collections import deque
from collections.abc import Mapping
from typing import Final

from agents.stream.kafka_batches import HOLES

# Of a partition that is not read, what was told first and what was told last matter.
_TOLD_MAX: Final = 64

TopicPartition = tuple[str, int]


class TopicEnds:
    """One per process; belongs to its event loop. Times are time.monotonic()."""

    def __init__(self) -> None:
        self._told: dict[TopicPartition, deque[tuple[float, int]]] = {}
        self._ends: dict[TopicPartition, int] = {}

    def note(self, topic: str, partition: int, end: int, now_s: float) -> None:
        """Records an end offset that Kafka reported, or that follows from an acknowledgement."""
        tp = (topic, partition)
        if end <= self._ends.get(tp, 0):
            return
        self._ends[tp] = end
        told = self._told.setdefault(tp, deque())
        if len(told) == _TOLD_MAX:
            told.pop()  # the time of the one before counts for this one too: sooner late than never
            now_s = min(now_s, told[-1][0]) if told else now_s
        told.append((now_s, end))

    def end(self, topic: str, partition: int) -> int | None:
        """The newest known end offset; None: unknown."""
        return self._ends.get((topic, partition))

    def overdue(self, topic: str, partition: int, next_offset: int, now_s: float, within_s: float) -> int | None:
        """The last end that has been known for longer than within_s and is not reached; None if there is none.

        next_offset: the first offset that is not read
        """
        tp = (topic, partition)
        told = self._told.get(tp)
        if not told:
            return None
        next_offset = HOLES.through(tp, next_offset)
        while told and told[0][1] <= next_offset:
            told.popleft()
        late = None
        for at_s, end in told:
            if at_s + within_s >= now_s:
                break
            late = end
        return late


def lag(next_offset: int, topic: str, partition: int, ends: Mapping[TopicPartition, int]) -> int:
    """Number of offsets that are not read yet."""
    return max(0, ends.get((topic, partition), 0) - HOLES.through((topic, partition), next_offset))
