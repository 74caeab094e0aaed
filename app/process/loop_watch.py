"""How long the event loop was busy with something else when it should have turned to a timer."""

import asyncio
import os
import threading
import time
from contextlib import suppress
from typing import Any, Final

import faust
from prometheus_client import Histogram

_EVERY_S: Final = 0.01

_BUCKETS_S: Final = (0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5)

STALL_SECONDS: Final = Histogram(
    "stretto_event_loop_stall_seconds",
    "How late a timer of 10 ms was: while the event loop is held up, nothing is received, acknowledged or answered.",
    buckets=_BUCKETS_S,
)
WORK_SECONDS: Final = Histogram(
    "stretto_event_loop_work_seconds",
    "Of how late that timer was, what the event loop itself computed.",
    buckets=_BUCKETS_S,
)
CPU_WAIT_SECONDS: Final = Histogram(
    "stretto_event_loop_cpu_wait_seconds",
    "Of how late that timer was, for how long other threads and processes had all CPUs (Linux only).",
    buckets=_BUCKETS_S,
)
GIL_WAIT_SECONDS: Final = Histogram(
    "stretto_event_loop_gil_wait_seconds",
    "Of how late that timer was, the rest: other threads of this process had the GIL (Linux only).",
    buckets=_BUCKETS_S,
)


class LoopWatch(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """One for a process: a hundred looks at the clock a second. A stall is seen up to 10 ms shorter than it is."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = self._worked_s = self._waited_s = 0.0
        self._schedule: int | None = None  # a file descriptor

    async def on_start(self) -> None:
        """Looks for the first time in 10 ms."""
        with suppress(OSError):  # not there but on Linux, and not in every kernel
            self._schedule = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        self._again()

    async def on_stop(self) -> None:
        """Looks no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._schedule is not None:
            os.close(self._schedule)
            self._schedule = None

    def _again(self) -> None:
        # Not the loop's own clock: uvloop's stands still while a callback runs.
        self._due_s, self._worked_s, self._waited_s = time.perf_counter() + _EVERY_S, time.thread_time(), self._waited()
        self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self._look)

    def _look(self) -> None:
        late_s = max(0.0, time.perf_counter() - self._due_s)
        worked_s = min(late_s, time.thread_time() - self._worked_s)
        STALL_SECONDS.observe(late_s)
        WORK_SECONDS.observe(worked_s)
        if self._schedule is not None:
            waited_s = min(late_s - worked_s, self._waited() - self._waited_s)
            CPU_WAIT_SECONDS.observe(waited_s)
            GIL_WAIT_SECONDS.observe(late_s - worked_s - waited_s)
        self._again()

    def _waited(self) -> float:
        """For how long this thread could have run, but no CPU was free."""
        return 0.0 if self._schedule is None else int(os.pread(self._schedule, 100, 0).split()[1]) / 1e9
