"""A limit of the requests in flight: others wait, and how long is counted."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tables.errors import StorageError
from tables.storage.request_metrics import RequestMetrics


class RequestSlots:
    """Slots for requests of one storage. Thread-safe."""

    def __init__(self, slots_max: int, metrics: RequestMetrics) -> None:
        self._max, self._metrics = slots_max, metrics
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, slots: int, wait_s: float) -> Iterator[None]:
        """Inside, so many slots are taken; at most all that there are. Raises: StorageError after wait_s seconds."""
        slots = min(slots, self._max)
        self._take(slots, wait_s)
        try:
            yield
        finally:
            self.give_back(slots)

    def _take(self, slots: int, wait_s: float) -> None:
        with self._changed:
            if self._taken + slots > self._max:
                began_s = time.monotonic()
                free = self._changed.wait_for(lambda: self._taken + slots <= self._max, wait_s)
                self._metrics.waits.inc()
                self._metrics.wait_seconds.inc(time.monotonic() - began_s)
                if not free:
                    raise StorageError(
                        f"a request waited {wait_s:g} s, because {self._taken} others are in flight "
                        "(storage.trace.concurrent_requests_max)"
                    )
            self._taken += slots
            self._metrics.in_flight.set(self._taken)

    def take_free(self) -> bool:
        """Takes a slot if one is free now. Out: whether one was"""
        with self._changed:
            if self._taken >= self._max:
                return False
            self._taken += 1
            self._metrics.in_flight.set(self._taken)
            return True

    def give_back(self, slots: int) -> None:
        """Frees slots that were taken."""
        with self._changed:
            self._taken -= slots
            self._metrics.in_flight.set(self._taken)
            self._changed.notify_all()
