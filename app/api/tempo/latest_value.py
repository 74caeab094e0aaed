"""Hands the latest value from a query's thread to the event loop."""

import asyncio
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class LatestValue(Generic[T]):
    """Keeps the last value that was put in until somebody takes it; older ones are dropped. Made on the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._value: T | None = None

    def put(self, value: T) -> None:
        """May be called on any thread."""
        self._value = value
        self.wake()

    def wake(self) -> None:
        """Ends a `take` that waits, without a value. May be called on any thread."""
        with suppress(RuntimeError):  # the server has stopped
            self._loop.call_soon_threadsafe(self._changed.set)

    async def take(self, timeout_s: float) -> T | None:
        """The value, as soon as there is one that was not taken yet; None after `timeout_s` or a `wake` without one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        self._changed.clear()
        value, self._value = self._value, None
        return value
