"""Memory that a burst has taken goes back to the system: allocators keep it otherwise, for good."""

import ctypes
import os
import sys
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

_SECONDS_BETWEEN: Final = 1.0
_lock = threading.Lock()
_last_s = -_SECONDS_BETWEEN
_left_bytes = 0  # resident after the last time


def release_to_system() -> bool:
    """Gives free memory of Arrow's pool and, where the C library is glibc, of malloc back to the system.

    It takes up to some ms for each GB that was used; malloc_trim does not hold the GIL meanwhile. Call it on a thread,
    after a large answer or body, not after each one. Where the C library cannot trim only Arrow's pool is asked.

    Out: False if it ran less than a second ago; then nothing is done
    """
    global _last_s, _left_bytes
    with _lock:
        if time.monotonic() - _last_s < _SECONDS_BETWEEN:
            return False
        _last_s = time.monotonic()
    pa.default_memory_pool().release_unused()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)
    _left_bytes = resident_bytes()
    return True


def grown_bytes() -> int:
    """By how much more memory is resident than after the last `release_to_system`; takes 10 µs."""
    return resident_bytes() - _left_bytes


def resident_bytes() -> int:
    """Of this process; 0 where the system does not say it (other than Linux)."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@lru_cache(maxsize=1)
def _malloc_trim() -> Any:
    """Glibc's malloc_trim; None where there is none (macOS, musl)."""
    if sys.platform != "linux":
        return None
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim
