"""Returns memory to the system after a burst: allocators would otherwise keep it for good."""

import threading
import time
from typing import Final

from tables.free_memory import release_free_memory, resident_bytes

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
    release_free_memory()
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
