"""Keeps callers from waiting for a server that does not answer."""

import threading
import time
from collections.abc import Callable


class CircuitBreaker:
    """After some failures in a row nobody asks for a while; then one caller tries. Thread-safe."""

    def __init__(self, failures_max: int, pause_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`failures_max`: failures in a row until it pauses; 0: it never pauses."""
        self._failures_max, self._pause_s, self._clock = failures_max, pause_s, clock
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_until_s = 0.0

    def allows(self) -> bool:
        """Whether to ask now. In a pause that is over, only one caller is told so until it reports."""
        with self._lock:
            if not self._failures_max or self._failures < self._failures_max:
                return True
            now_s = self._clock()
            if now_s < self._closed_until_s:
                return False
            self._closed_until_s = now_s + self._pause_s
            return True

    def succeeded(self) -> None:
        """The server has answered."""
        with self._lock:
            self._failures = 0

    def failed(self) -> bool:
        """The server has not answered, or wrongly. Out: whether the pause begins with this failure"""
        with self._lock:
            self._failures += 1
            if not self._failures_max or self._failures < self._failures_max:
                return False
            self._closed_until_s = self._clock() + self._pause_s
            return self._failures == self._failures_max
