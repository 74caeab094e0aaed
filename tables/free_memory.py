"""Gives memory back to the system that allocators keep for later: without it they keep what a burst took for good."""

import ctypes
import sys
from functools import lru_cache
from typing import Any

import pyarrow as pa


def release_free_memory() -> None:
    """Returns free memory of Arrow's pool and, with glibc, of malloc to the system.

    It takes up to some ms per GB that was used; malloc_trim does not hold the GIL meanwhile. Without glibc it handles
    only Arrow's pool.
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
