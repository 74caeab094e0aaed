"""Gives memory back to the system that allocators keep for later: without it they keep what a burst took for good."""

import ctypes
import os
import sys
from functools import lru_cache
from pathlib import Path
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


class FreeMemoryLimit:
    """Returns free memory to the system only where a process has grown: what is released is zeroed by the system when
    it is used again, which takes a quarter of the time of a merge if it is always done.

    grown_bytes: by how much memory may grow, from when this is made
    """

    def __init__(self, grown_bytes: int) -> None:
        self._resident_max = resident_bytes() + grown_bytes

    def keep(self) -> bool:
        """Releases free memory if the process is above the limit. Out: whether it was"""
        resident = resident_bytes()
        if resident and resident <= self._resident_max:
            return False
        release_free_memory()
        return True


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
