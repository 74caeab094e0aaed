"""Memory that a burst has taken goes back to the system: allocators keep it otherwise, for good."""

import ctypes
import ctypes.util
import sys
from functools import lru_cache
from typing import Any

import pyarrow as pa


def release_to_system() -> None:
    """Gives free memory of Arrow's pool and, where the C library is glibc, of malloc back to the system.

    It takes up to some ms for each GB that was used, without holding Python's lock in malloc_trim. Call it after a
    large answer or body, not after each one. Where the C library cannot trim only Arrow's pool is asked.
    """
    pa.default_memory_pool().release_unused()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


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
