"""A limit of bytes that many users share."""

import threading

from prometheus_client import Gauge


class SharedBytes:
    """What all users of a process may take together. Safe for threads. used: shows how much is taken"""

    def __init__(self, bytes_max: int, used: Gauge) -> None:
        self.bytes_max, self.bytes = bytes_max, 0
        self._used, self._lock = used, threading.Lock()

    def take_bytes(self, size: int) -> bool:
        """Takes so many bytes if there is room. Out: whether there was"""
        with self._lock:
            if self.bytes + size > self.bytes_max:
                return False
            self.bytes += size
        self._used.inc(size)
        return True

    def give_back_bytes(self, size: int) -> None:
        """Frees bytes that were taken before."""
        with self._lock:
            self.bytes -= size
        self._used.dec(size)
