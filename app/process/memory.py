"""Returns memory to the system after a burst: allocators would otherwise keep it for good."""

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
_asked_s = -_SECONDS_BETWEEN


def release_to_system() -> bool:
    """Returns free memory of Arrow's pool and, with glibc, of malloc to the system.

    It takes up to some ms per GB that was used; malloc_trim does not hold the GIL meanwhile. Call it on a thread, after
    a large answer or body, not after each one. Without glibc it handles only Arrow's pool.

    Out: False if it ran less than a second ago; then it does nothing
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
    """By how much more memory is resident than after the last `release_to_system`."""
    return resident_bytes() - _left_bytes


def has_grown(bytes_max: int) -> bool:
    """Whether `grown_bytes` is above the limit. It looks once a second, and says no in between: asking the system takes
    10 to 100 µs, as much as a small answer.
    """
    global _asked_s
    now_s = time.monotonic()
    if now_s - _asked_s < _SECONDS_BETWEEN:
        return False
    _asked_s = now_s
    return grown_bytes() > bytes_max


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
