"""What the watchdog of consumers found out last, for readiness, queries and status pages."""

from collections.abc import Sequence

from agents.stream.topic_ends import TopicEnds


class ConsumerReport:
    """One for a process; belongs to its event loop. The watchdog writes it, everybody else reads it.

    ends: where the partitions of topics end, as Kafka says
    ends_outdated: whether this process stood still, and Kafka has not been asked since: others may have written, and
        read, a lot meanwhile
    """

    def __init__(self) -> None:
        self.ends = TopicEnds()
        self.ends_outdated = False
        self._problems: dict[str, Sequence[str]] = {}

    def set_problems(self, consumer: str, texts: Sequence[str]) -> None:
        """Why a consumer does not consume; empty: it does."""
        self._problems[consumer] = texts

    def problems(self, apart_from: str = "") -> list[str]:
        """What does not consume, and why, for /ready: a line each. apart_from: a consumer that is not asked for"""
        return [
            f"{consumer}: {text}"
            for consumer, texts in self._problems.items()
            if consumer != apart_from
            for text in texts
        ]
