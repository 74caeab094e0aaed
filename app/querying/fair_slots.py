"""How many queries run at once, fair between tenants: one that asks a lot waits for itself."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.api.errors import TooManyRequests
from app.querying.executor import REFUSED


class FairSlots:
    """One for a process; belongs to its event loop. running_max: queries at once. Of each tenant as many may wait."""

    def __init__(self, running_max: int) -> None:
        self._running_max, self._running = running_max, 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # the next tenant first

    @asynccontextmanager
    async def taken(self, tenant: str) -> AsyncIterator[None]:
        """A slot, while the query runs. Raises: TooManyRequests, where too many of the tenant wait"""
        await self._take(tenant)
        try:
            yield
        finally:
            self._running -= 1
            self._wake()

    async def _take(self, tenant: str) -> None:
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
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was woken at the same moment
                self._running -= 1
                self._wake()
            raise
        finally:
            if turn in waiting:
                waiting.remove(turn)
            if not waiting:
                self._waiting.pop(tenant, None)

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
