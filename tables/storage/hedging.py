"""Hedged reads: if a request takes long, another one starts; the first answer counts, and the others are cancelled.

Requests run on the event loop of a thread of their own, because only there a request can be cancelled: its connection
is closed at once. Without hedging, reads run on the caller's thread, which saves two changes of threads.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tables.storage.config import Hedging
from tables.storage.request_metrics import RequestMetrics
from tables.storage.request_slots import RequestSlots
from tables.storage.request_usage import current_usage

T = TypeVar("T")


class HedgedReads:
    """Sends a read a second time if the first answer takes too long. Thread-safe; a storage has one."""

    def __init__(self, hedging: Hedging, timeout_s: float, slots: RequestSlots, metrics: RequestMetrics) -> None:
        """timeout_s: for a read with all its requests"""
        self._hedging, self._timeout_s, self._slots, self._metrics = hedging, timeout_s, slots, metrics
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, operation: str, request: Callable[[], Awaitable[T]]) -> T:
        """The first answer of one or more requests.

        Raises: what the last request raises, if all fail; TimeoutError
        """
        usage = current_usage()

        def on_hedge() -> None:
            if usage is not None:
                usage.add_hedged(operation)

        return asyncio.run_coroutine_threadsafe(self._first(request, on_hedge), self._running_loop()).result()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="storage-reads", daemon=True).start()
            return self._loop

    async def _first(self, request: Callable[[], Awaitable[T]], on_hedge: Callable[[], None]) -> T:
        first = asyncio.ensure_future(_awaited(request))
        running, hedges = {first}, 0
        deadline_s = asyncio.get_running_loop().time() + self._timeout_s
        try:
            while True:
                left_s = deadline_s - asyncio.get_running_loop().time()
                if left_s <= 0:
                    self._count(hedges, won=False)
                    raise TimeoutError(f"of {1 + hedges} requests")
                wait_s = min(self._hedging.at_s, left_s) if 1 + hedges < self._hedging.up_to else left_s
                done, running = await asyncio.wait(running, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                answered = [task for task in done if task.exception() is None or _is_answer(task.exception())]
                if answered:
                    self._count(hedges, won=answered[0] is not first)
                    return answered[0].result()
                if done and not running:
                    self._count(hedges, won=False)
                    return done.pop().result()
                # At the limit of requests, another one would make things worse.
                if not done and 1 + hedges < self._hedging.up_to and self._slots.take_free():
                    hedges += 1
                    on_hedge()
                    hedge = asyncio.ensure_future(_awaited(request))
                    hedge.add_done_callback(lambda _: self._slots.give_back(1))
                    running.add(hedge)
        finally:
            for task in running:
                task.cancel()

    def _count(self, hedges: int, *, won: bool) -> None:
        for number in range(hedges):
            self._metrics.hedged("won" if won and number == 0 else "lost")


async def _awaited(request: Callable[[], Awaitable[T]]) -> T:
    return await request()


def _is_answer(err: Any) -> bool:
    return isinstance(err, FileNotFoundError)
