"""A live store that is told to stop goes on until others have its partitions, so that no query has to wait for them."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

from aiokafka.errors import IllegalStateError, KafkaError
from prometheus_client import Counter, Histogram

from agents.live_store.partition_manager import PartitionManager
from agents.members.member import Member, Members, MemberState
from agents.members.routing import LIVE_STORE
from agents.stream.stream_app import StreamApp

log = logging.getLogger(__name__)

HAND_OVERS: Final = Counter(
    "stretto_live_store_hand_overs_total",
    "Stops of this live store, by what became of its partitions: taken (others had them before it ended), replicas "
    "(they had them anyway), alone (there was nobody), late (not all were taken in time).",
    ["result"],
)
SECONDS: Final = Histogram(
    "stretto_live_store_hand_over_seconds",
    "Time that a live store went on after it was told to stop, until others had its partitions.",
    buckets=(0.5, 1, 2, 3, 5, 10, 20, 30, 60),
)

_LOOK_S: Final = 0.05
_ANNOUNCED_S: Final = 1.0
# How long those who ask may still take this live store for the one to ask.
_SPREAD_S: Final = 0.5


class HandOver:
    """One for a process; belongs to its event loop.

    A static member of a consumer group that stops for good is missed only after the session timeout; until then nobody
    reads its partitions. So it leaves the group itself, which gives its partitions to others at once, reads on without
    the group, and answers queries, until the others say that they have caught up.
    """

    def __init__(
        self, app: StreamApp, manager: PartitionManager, members: Members, own_id: str, zone: str, timeout_s: float
    ) -> None:
        """own_id, zone: of this process as a member. timeout_s: how long to wait for the others; 0: not at all"""
        self._app, self._manager, self._members = app, manager, members
        self._own_id, self._zone, self._timeout_s = own_id, zone, timeout_s

    async def run(self) -> None:
        """Returns when this live store is not needed any more, or the time is over."""
        if not self._timeout_s or not self._left():
            return
        began_s = time.monotonic()
        await self._announced()
        result = await self._handed_over(began_s + self._timeout_s)
        HAND_OVERS.labels(result).inc()
        SECONDS.observe(time.monotonic() - began_s)
        log.info("hand-over of partitions: %s, after %.1f s", result, time.monotonic() - began_s)

    async def _handed_over(self, deadline_s: float) -> str:
        if not self._left(taken_by=self._others()):
            return "replicas"
        if not self._successors():
            return "alone"
        try:
            await self._app.consumer.leave_group()
        except (KafkaError, OSError, TimeoutError, IllegalStateError) as err:
            log.warning("the consumer group does not know yet that this live store stops: %r", err)
        while left := self._left(taken_by=self._others()):
            if not self._successors():
                return "alone"  # all stop at the same time
            if time.monotonic() >= deadline_s:
                log.warning("nobody has taken partitions %s in time", ", ".join(map(str, left)))
                return "late"
            await asyncio.sleep(_LOOK_S)
        await asyncio.sleep(_SPREAD_S)
        return "taken"

    async def _announced(self) -> None:
        """Waits until the topic of members says that this one is leaving: by then it also says who else is, where all
        stop together.
        """
        deadline_s = time.monotonic() + _ANNOUNCED_S
        while time.monotonic() < deadline_s:
            own = next((one for one in self._members.all() if one.member_id == self._own_id), None)
            if own is not None and own.state is MemberState.LEAVING:
                return
            await asyncio.sleep(_LOOK_S)

    def _others(self) -> Sequence[Member]:
        """Live stores that stay, of all zones."""
        return [one for one in self._members.alive(LIVE_STORE) if one.member_id != self._own_id]

    def _successors(self) -> Sequence[Member]:
        """Those that get the partitions when this one leaves the group."""
        return [one for one in self._others() if one.zone == self._zone]

    def _left(self, *, taken_by: Sequence[Member] = ()) -> list[int]:
        """The partitions here that none of those has read to the end."""
        store = self._manager.store
        ready = [one for one in taken_by if one.services.get(LIVE_STORE) == "Running"]
        here = () if store is None else sorted(store.partitions)
        return [number for number in here if not any(number in one.partitions for one in ready)]
