"""What the threads of queries and answers do besides their work: they give way, and they leave nothing behind."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from app.process.memory import has_grown, release_to_system
from query.memory import MemoryBudget
from query.tracebacks import free_locals

# After work that took so much, memory that is free goes back to the system: allocators would keep it.
_LARGE_BYTES: Final = 64 << 20


def lower_priority(niceness: int) -> None:
    """The thread that calls it computes when nobody else wants to: the event loop waits less for a CPU."""
    if niceness and sys.platform == "linux":  # where each thread has its own, and 0 stands for the one that asks
        with suppress(OSError):  # forbidden here: then as it is
            os.setpriority(os.PRIO_PROCESS, 0, min(19, os.getpriority(os.PRIO_PROCESS, 0) + niceness))


@contextmanager
def leaving_nothing(budget: MemoryBudget) -> Iterator[None]:
    """Around the work of a thread: what that had is freed there when it fails, not by the event loop or later, and free
    memory goes back to the system.
    """
    before = budget.peak_bytes
    try:
        yield
    except BaseException as err:
        free_locals(err)
        raise
    finally:
        if budget.peak_bytes - before > _LARGE_BYTES or has_grown(_LARGE_BYTES):
            release_to_system()
