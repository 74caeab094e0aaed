"""Gives memory that the process does not use any more back to the operating system."""

import ctypes
import threading
import time
from typing import Final

import pyarrow as pa

_SECONDS_BETWEEN: Final = 1.0
_lock = threading.Lock()
_last_s = -_SECONDS_BETWEEN


def release_to_system() -> bool:
    """Returns free memory of Arrow's pool and of glibc's heap to the system. Takes milliseconds: call it on a thread.

    Out: False if it ran less than a second ago; then nothing is done
    """
    global _last_s
    with _lock:
        if time.monotonic() - _last_s < _SECONDS_BETWEEN:
            return False
        _last_s = time.monotonic()
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
    return True
