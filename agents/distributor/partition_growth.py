"""Writes to new partitions of topic `spans` only once whoever reads knows of them.

The number of partitions decides where a trace goes. Somebody may raise it while everything runs, and processes learn of
it one after the other. A distributor goes on with the old number until all live stores and all who answer queries know
the new one, and live stores have the new partitions. Then it says that it is about to use it, waits until that has come
around, and uses it.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import faust
from aiokafka.errors import KafkaError

from agents.distributor.record_producer import RecordProducer
from agents.members.member import Member, Members, MemberState
from agents.members.routing import LIVE_STORE

log = logging.getLogger(__name__)

_READERS: Final = frozenset({LIVE_STORE, "querier", "query-frontend"})
_LOOK_S: Final = 1.0


class PartitionGrowth(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """A part of the distributor's process. announced: among how many partitions it splits traces, or is about to"""

    def __init__(
        self,
        producer: RecordProducer,
        members: Members,
        around_s: float,
        clock: Callable[[], float] = time.monotonic,
        **kwargs: Any,
    ) -> None:
        """around_s: until all have heard what this process says"""
        super().__init__(**kwargs)
        self._producer, self._members, self._around_s, self._clock = producer, members, around_s, clock
        self._raised: int | None = None
        self._since_s = 0.0
        producer.first_partitions = self.at_start

    @property
    def announced(self) -> int:
        return max(self._raised or 0, self._producer.partitions)

    def at_start(self, count: int) -> int:
        """How many to use at the start, if the topic has `count`: those that all who read know of."""
        known = known_to_readers(self._members.all())
        return min(count, known) if known else count

    @faust.Service.task
    async def _follow(self) -> None:
        while not self.should_stop:
            await self.sleep(_LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Once a second: whether there are new partitions that can be used."""
        used, now_s = self._producer.partitions, self._clock()
        if not used:
            return
        if self._raised is None or self._raised <= used:
            members = self._members.all()
            known = known_to_readers(members)
            if known > used and held(members) >= set(range(known)):
                self._raised, self._since_s = known, now_s
            return
        if now_s - self._since_s < self._around_s:
            return
        try:
            if await self._producer.raise_partitions(self._raised):
                log.info("traces are split among %d partitions now, not %d", self._raised, used)
        except (KafkaError, OSError, TimeoutError) as err:
            log.warning("new partitions are not used yet: %r", err)


def known_to_readers(members: Iterable[Member]) -> int:
    """How many partitions all who read know of; 0: nobody says."""
    counts = [one.partition_count for one in _active(members) if one.targets & _READERS and one.partition_count]
    return min(counts, default=0)


def held(members: Iterable[Member]) -> set[int]:
    """The partitions that live stores have."""
    return {number for one in _active(members) for number in one.partitions}


def _active(members: Iterable[Member]) -> list[Member]:
    return [one for one in members if one.state is MemberState.ACTIVE]
