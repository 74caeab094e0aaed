"""How many queries run at once, fair between tenants: one that asks a lot waits for itself."""

import asyncio
from collections import OrderedDict, deque

from app.api.errors import TooManyRequests
from app.querying.running.executor import REFUSED


class FairSlots:
    """One for a process; belongs to its event loop. running_max: queries at once. Of each tenant as many may wait, each
    for at most wait_max_s.
    """

    def __init__(self, running_max: int, wait_max_s: float) -> None:
        self._running_max, self._running, self._wait_max_s = running_max, 0, wait_max_s
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # the next tenant first

    def taken(self, tenant: str) -> "_Slot":
        """A slot, while the query runs. Entering raises: as `take`"""
        return _Slot(self, tenant)

    async def take(self, tenant: str) -> None:
        """Waits for a slot, which `free` gives back.

        Raises: TooManyRequests where too many of the tenant wait, or none is free in time
        """
        if self._running < self._running_max:
            self._running += 1
            return
        waiting = self._waiting.setdefault(tenant, deque())
        if len(waiting) >= self._running_max:
            REFUSED.inc()
            raise TooManyRequests(
                f"{self._running_max} queries run, and as many of tenant {tenant} wait (query.concurrent_max)"
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_max_s):
                await turn
        except (TimeoutError, asyncio.CancelledError) as err:
            if turn.done() and not turn.cancelled():  # it was woken at the same moment
                self.free()
            if not isinstance(err, TimeoutError):
                raise
            REFUSED.inc()
            raise TooManyRequests(
                f"{self._running_max} queries run, and none ended within {self._wait_max_s:g} s (half of "
                "query.timeout_s)"
            ) from err
        finally:
            if turn in waiting:
                waiting.remove(turn)
            if not waiting:
                self._waiting.pop(tenant, None)

    def free(self) -> None:
        """Gives back a slot, to the tenant whose turn it is."""
        self._running -= 1
        self._wake()

    def _wake(self) -> None:
        """Gives a free slot to the tenant whose turn it is."""
        while self._waiting and self._running < self._running_max:
            tenant, waiting = next(iter(self._waiting.items()))
            turn = waiting.popleft()
            if waiting:
                self._waiting.move_to_end(tenant)
            else:
                del self._waiting[tenant]
            if not turn.done():
                self._running += 1
                turn.set_result(None)


class _Slot:
    """By hand: an asynchronous generator would take several times as long."""

    __slots__ = ("_slots", "_tenant")

    def __init__(self, slots: FairSlots, tenant: str) -> None:
        self._slots, self._tenant = slots, tenant

    async def __aenter__(self) -> None:
        await self._slots.take(self._tenant)

    async def __aexit__(self, *_: object) -> None:
        self._slots.free()
