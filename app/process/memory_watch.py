"""Gives memory that nobody uses back to the system from time to time: what ingest, sealing and queries have left, and
cycles of objects, for which the interpreter itself looks too seldom (`app.main.tune`).
"""

import asyncio
import gc
import sys
import time
from typing import Any, Final

import faust
from prometheus_client import Summary

from app.process.memory import grown_bytes, release_to_system

# What is given back is zeroed again when it is taken again: at full speed a head of 300 MB, so less than 1 % of a CPU.
_EVERY_S: Final = 10.0
# Of less it is not worth while.
_BYTES_MIN: Final = 64 << 20
# A full garbage collection holds the GIL: some 20 ms, and longer with a catalogue of 100,000 blocks. So the next one
# comes later, the longer this one takes. It should find little: a cycle with an error in it is a fault of ours.
_COLLECT_EVERY_S: Final = 300.0
_COLLECT_SHARE: Final = 1 / 6000
# So many objects more than after the last one are those of queries at work: a collection would take ten times as long,
# and find no more. It waits for a moment with fewer of them, up to so long.
_MORE_OBJECTS_MAX: Final = 500_000
_WAIT_MAX_S: Final = 3600.0

COLLECTED: Final = Summary(
    "stretto_full_collection_seconds",
    "Full garbage collections, and the time that they took, in which nothing else ran in the process.",
)


class MemoryWatch(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """One for a process. Queries do so by themselves, when they end; a seal and a burst of requests do not."""

    def __init__(self, every_s: float = _EVERY_S, collect_every_s: float = _COLLECT_EVERY_S, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._every_s, self._collect_every_s = every_s, collect_every_s
        self._collect_s = time.monotonic() + collect_every_s
        self._objects = sys.getallocatedblocks()
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Future[bool] | None = None

    async def on_start(self) -> None:
        """Looks for the first time after a while."""
        self._again()

    async def on_stop(self) -> None:
        """Stops the task that looks at the memory."""
        if self._timer is not None:
            self._timer.cancel()

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._look)

    def _look(self) -> None:
        if self._collects():
            self._running = asyncio.get_running_loop().run_in_executor(None, self._collect)
        elif grown_bytes() > _BYTES_MIN:
            # On a thread: the allocator's own locks apart, nothing waits for it.
            self._running = asyncio.get_running_loop().run_in_executor(None, release_to_system)
        self._again()

    def _collects(self) -> bool:
        late_s = time.monotonic() - self._collect_s
        if late_s < 0:
            return False
        return late_s > _WAIT_MAX_S or sys.getallocatedblocks() - self._objects <= _MORE_OBJECTS_MAX

    def _collect(self) -> bool:
        begun_s = time.monotonic()
        gc.collect()
        self._objects = sys.getallocatedblocks()
        took_s = time.monotonic() - begun_s
        COLLECTED.observe(took_s)
        self._collect_s = begun_s + took_s + max(self._collect_every_s, took_s / _COLLECT_SHARE)
        return release_to_system()
