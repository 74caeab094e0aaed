"""What the threads of queries and answers do besides their work: they give way, and they leave nothing behind."""

import math
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from app.process.memory import has_grown, release_to_system
from query.memory import MemoryBudget
from query.tracebacks import free_locals
from tables.units import NS_PER_S

# After work that took so much, memory that is free goes back to the system: allocators would keep it.
_LARGE_BYTES: Final = 64 << 20


def lower_priority(niceness: int) -> None:
    """The thread that calls it computes when nobody else wants to: the event loop waits less for a CPU."""
    if niceness and sys.platform == "linux":  # where each thread has its own, and 0 stands for the one that asks
        with suppress(OSError):  # forbidden here: then as it is
            os.setpriority(os.PRIO_PROCESS, 0, min(19, os.getpriority(os.PRIO_PROCESS, 0) + niceness))


def thread_cpu_s(native_id: int) -> float:
    """CPU seconds of a thread of this process so far, as `time.thread_time` gives them to itself; infinite where the
    system does not say. (`time.pthread_getcpuclockid` may end the process if the thread is gone.)
    """
    try:
        return int(Path(f"/proc/self/task/{native_id}/schedstat").read_text().split()[0]) / NS_PER_S
    except (OSError, ValueError, IndexError):
        return math.inf


class leaving_nothing:  # noqa: N801 (a context manager, by hand: a generator would take several times as long)
    """Around the work of a thread: what that had is freed there when it fails, not by the event loop or later, and free
    memory goes back to the system.
    """

    __slots__ = ("_before", "_budget")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget, self._before = budget, budget.peak_bytes

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, err: BaseException | None, __: object) -> None:
        if err is not None:
            free_locals(err)
        if self._budget.peak_bytes - self._before > _LARGE_BYTES or has_grown(_LARGE_BYTES):
            release_to_system()
