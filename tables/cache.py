"""A cache with a limit in bytes, shared by threads."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from prometheus_client import Counter, Gauge

K = TypeVar("K")
V = TypeVar("V")

_HITS = Counter("stretto_cache_hits_total", "Look-ups answered by a cache.", ["cache"])
_MISSES = Counter("stretto_cache_misses_total", "Look-ups that a cache could not answer.", ["cache"])
_EVICTIONS = Counter("stretto_cache_evictions_total", "Entries dropped because a cache was full.", ["cache"])
_BYTES = Gauge("stretto_cache_bytes", "What a cache holds.", ["cache"])


class ByteCache(Generic[K, V]):
    """Least recently used entries go when the sizes given at `put` add up to more than `bytes_max`."""

    def __init__(self, name: str, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._hits, self._misses = _HITS.labels(name), _MISSES.labels(name)
        self._evictions, self._gauge = _EVICTIONS.labels(name), _BYTES.labels(name)

    def get(self, key: K) -> V | None:
        """The entry, now the most recently used one."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self._misses.inc()
                return None
            self._entries.move_to_end(key)
        self._hits.inc()
        return entry[0]

    def put(self, key: K, value: V, size_bytes: int) -> None:
        """Adds an entry; one larger than the whole cache is not kept."""
        if size_bytes > self.bytes_max:
            return
        with self._lock:
            self._drop(key)
            self._entries[key] = (value, size_bytes)
            self.bytes += size_bytes
            while self.bytes > self.bytes_max:
                self._drop(next(iter(self._entries)))
                self._evictions.inc()
            self._gauge.set(self.bytes)

    def discard(self, key: K) -> None:
        """Forgets an entry, if it is there."""
        with self._lock:
            self._drop(key)
            self._gauge.set(self.bytes)

    def _drop(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry[1]
