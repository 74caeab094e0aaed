"""End offsets of partitions as Kafka reported them, and when it did."""

from collections import deque
from collections.abc import Mapping
from typing import Final

from agents.stream.kafka_batches import HOLES

# For a partition that is not read, the first and the last reported ends matter.
_KNOWN_MAX: Final = 64

TopicPartition = tuple[str, int]


class TopicEnds:
    """One per process; belongs to its event loop. Times are time.monotonic()."""

    def __init__(self) -> None:
        self._known: dict[TopicPartition, deque[tuple[float, int]]] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._seen: set[TopicPartition] = set()

    def note(self, topic: str, partition: int, end: int, now_s: float) -> None:
        """Records an end offset that Kafka reported, or that follows from an acknowledgement.

        now_s: the earliest time at which the last record may have been written. Of an end that Kafka reports that is
        the time of the report before, which did not have the record yet
        """
        tp = (topic, partition)
        self._seen.add(tp)
        if end <= self._ends.get(tp, 0):
            return
        self._ends[tp] = end
        known = self._known.setdefault(tp, deque())
        if known:
            now_s = max(now_s, known[-1][0])
        if len(known) == _KNOWN_MAX:
            known.pop()  # the time of the one before counts for this one too: sooner late than never
            now_s = min(now_s, known[-1][0]) if known else now_s
        known.append((now_s, end))

    def count(self, topic: str) -> int:
        """How many partitions the topic has, as far as their ends are known."""
        return 1 + max((number for name, number in self._seen if name == topic), default=-1)

    def end(self, topic: str, partition: int) -> int | None:
        """The newest known end offset; None: unknown."""
        return self._ends.get((topic, partition))

    def overdue(self, topic: str, partition: int, next_offset: int, now_s: float, within_s: float) -> int | None:
        """The last end that has been known for longer than within_s and is not reached; None if there is none.

        next_offset: the first offset that is not read
        """
        tp = (topic, partition)
        known = self._known.get(tp)
        if not known:
            return None
        next_offset = HOLES.through(tp, next_offset)
        # The last end that is reached stays: a partition that is opened anew begins before it.
        while len(known) > 1 and known[1][1] <= next_offset:
            known.popleft()
        late = None
        for at_s, end in known:
            if at_s + within_s >= now_s:
                break
            if end > next_offset:
                late = end
        return late

    def unread_s(self, topic: str, partition: int, next_offset: int, now_s: float) -> float:
        """For how long a record has been there that is not read: seconds since the oldest such end became known."""
        tp = (topic, partition)
        next_offset = HOLES.through(tp, next_offset)
        unread = (at_s for at_s, end in self._known.get(tp, ()) if end > next_offset)
        return max(0.0, now_s - min(unread, default=now_s))


def lag(next_offset: int, topic: str, partition: int, ends: Mapping[TopicPartition, int]) -> int:
    """Number of offsets that are not read yet."""
    return max(0, ends.get((topic, partition), 0) - HOLES.through((topic, partition), next_offset))
