"""Measures stalls of the event loop: the delay of a 10 ms timer."""

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
    "Delay of a 10 ms timer of the event loop. While the loop stalls, the process receives, acknowledges and "
    "answers nothing.",
    buckets=_BUCKETS_S,
)
WORK_SECONDS: Final = Histogram(
    "stretto_event_loop_work_seconds",
    "Part of that delay in which the event loop itself computed.",
    buckets=_BUCKETS_S,
)
CPU_WAIT_SECONDS: Final = Histogram(
    "stretto_event_loop_cpu_wait_seconds",
    "Part of that delay in which the event loop waited for a CPU (Linux only).",
    buckets=_BUCKETS_S,
)
GIL_WAIT_SECONDS: Final = Histogram(
    "stretto_event_loop_gil_wait_seconds",
    "Part of that delay in which other threads of this process computed, and may have held the GIL (Linux only).",
    buckets=_BUCKETS_S,
)
OTHER_WAIT_SECONDS: Final = Histogram(
    "stretto_event_loop_other_wait_seconds",
    "Rest of that delay, in which nothing of this process computed: whoever held the GIL waited for a CPU, a disk or "
    "memory, or the host took the CPUs away (Linux only).",
    buckets=_BUCKETS_S,
)


class LoopWatch(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """One per process: reads the clock a hundred times a second. It measures a stall up to 10 ms too short."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = self._worked_s = self._waited_s = self._all_worked_s = 0.0
        self._schedule: int | None = None  # a file descriptor

    async def on_start(self) -> None:
        """Starts the timer."""
        with suppress(OSError):  # not there but on Linux, and not in every kernel
            self._schedule = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        self._again()

    async def on_stop(self) -> None:
        """Stops the timer."""
        if self._timer is not None:
            self._timer.cancel()
        if self._schedule is not None:
            os.close(self._schedule)
            self._schedule = None

    def _again(self) -> None:
        # Not the loop's own clock: uvloop's stands still while a callback runs.
        self._due_s, self._worked_s, self._waited_s = time.perf_counter() + _EVERY_S, time.thread_time(), self._waited()
        self._all_worked_s = time.process_time()
        self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self._look)

    def _look(self) -> None:
        late_s = max(0.0, time.perf_counter() - self._due_s)
        worked_s = min(late_s, time.thread_time() - self._worked_s)
        STALL_SECONDS.observe(late_s)
        WORK_SECONDS.observe(worked_s)
        if self._schedule is not None:
            waited_s = min(late_s - worked_s, self._waited() - self._waited_s)
            rest_s = late_s - worked_s - waited_s
            others_s = min(rest_s, max(0.0, time.process_time() - self._all_worked_s - worked_s))
            CPU_WAIT_SECONDS.observe(waited_s)
            GIL_WAIT_SECONDS.observe(others_s)
            OTHER_WAIT_SECONDS.observe(rest_s - others_s)
        self._again()

    def _waited(self) -> float:
        """Seconds in which this thread could run, but no CPU was free."""
        return 0.0 if self._schedule is None else int(os.pread(self._schedule, 100, 0).split()[1]) / 1e9
