"""A thread-safe LRU cache with a limit in bytes."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

K = TypeVar("K")
V = TypeVar("V")

# What an entry takes besides its value, about.
_MADE_BYTES_MIN: Final = 64
# Entries that took long to make may have this share of the bytes for themselves.
COSTLY_SHARE: Final = 1 / 8

_MISSES = Counter("stretto_cache_misses_total", "Lookups that the cache could not answer.", ["cache"])
_EVICTIONS = Counter("stretto_cache_evictions_total", "Entries evicted because the cache was full.", ["cache"])
_NOT_KEPT = Counter(
    "stretto_cache_not_kept_total",
    "Entries that were not cached because all other entries of a full cache were in use.",
    ["cache"],
)
_BYTES = Gauge("stretto_cache_bytes", "Bytes in the cache.", ["cache"])


@dataclass(slots=True)
class _Count:
    value: int = 0


class _HitCounts(Collector):
    """The counter of hits. Caches add to plain numbers, under their own lock: a Counter takes as long as a look-up, of
    which a query makes hundreds.
    """

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}

    def of(self, cache: str) -> _Count:
        """The counters of a cache, made at its first use."""
        return self._counts.setdefault(cache, _Count())

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The samples of all caches, as a collector of prometheus_client gives them."""
        family = CounterMetricFamily("stretto_cache_hits_total", "Look-ups answered by a cache.", labels=["cache"])
        for name, count in list(self._counts.items()):
            family.add_metric([name], count.value)
        yield family


_HITS: Final = _HitCounts()
REGISTRY.register(_HITS)


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    size_bytes: int
    used_s: float  # when it was put or last got


class ByteCache(Generic[K, V]):
    """Evicts the least recently used entries when the sizes given to `put` add up to more than `bytes_max`.

    Costly entries are evicted by each other only, above COSTLY_SHARE of `bytes_max`: one query that reads many columns
    would cost the next ones what took seconds to make and has a few kilobytes.
    """

    def __init__(self, name: str, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._costly: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._costly_bytes = 0
        self._lock = threading.Lock()
        self._hits, self._misses = _HITS.of(name), _MISSES.labels(name)
        self._not_kept = _NOT_KEPT.labels(name)
        self._evictions, self._gauge = _EVICTIONS.labels(name), _BYTES.labels(name)

    def get(self, key: K) -> V | None:
        """The entry, now the most recently used one."""
        with self._lock:
            entries = self._costly if key in self._costly else self._entries
            entry = entries.get(key)
            if entry is None:
                self._misses.inc()
                return None
            entries.move_to_end(key)
            entry.used_s = time.monotonic()
            self._hits.value += 1
            return entry.value

    def put(self, key: K, value: V, size_bytes: int, *, spares_s: float = 0.0, costly: bool = False) -> None:
        """Adds an entry, unless it is larger than the whole cache.

        spares_s: also unless it would evict entries that were used within this many seconds
        costly: it took long to make; unless it is larger than the share of those
        """
        if size_bytes > self.bytes_max:
            return
        costly = costly and size_bytes <= self.bytes_max * COSTLY_SHARE
        now_s = time.monotonic()
        with self._lock:
            if spares_s and not self._has_room(size_bytes, now_s - spares_s):
                self._not_kept.inc()
                return
            self._drop(key)
            (self._costly if costly else self._entries)[key] = _Entry(value, size_bytes, now_s)
            self.bytes += size_bytes
            self._costly_bytes += size_bytes if costly else 0
            self._evict()
            self._gauge.set(self.bytes)

    def get_or_make(self, key: K, make: Callable[[], Any]) -> Any:
        """The entry. If it is absent, `make` makes it, and it counts with its `nbytes`."""
        found: Any = self.get(key)
        if found is None:
            found = make()
            self.put(key, found, max(int(found.nbytes), _MADE_BYTES_MIN))
        return found

    def size_of(self, key: K) -> int | None:
        """The size of an entry; None if it is absent. Does not count as a use."""
        with self._lock:
            entry = self._costly.get(key) or self._entries.get(key)
            return None if entry is None else entry.size_bytes

    def discard(self, key: K) -> None:
        """Forgets an entry, if it is there."""
        with self._lock:
            self._drop(key)
            self._gauge.set(self.bytes)

    def _has_room(self, size_bytes: int, unused_since_s: float) -> bool:
        """Whether the entry fits without evicting what was used since then."""
        wanted = self.bytes + size_bytes - self.bytes_max
        for entry in self._entries.values():
            if wanted <= 0 or entry.used_s > unused_since_s:
                break
            wanted -= entry.size_bytes
        return wanted <= 0

    def _evict(self) -> None:
        while self._costly_bytes > self.bytes_max * COSTLY_SHARE:
            self._drop(next(iter(self._costly)))
            self._evictions.inc()
        while self.bytes > self.bytes_max:
            self._drop(next(iter(self._entries)))
            self._evictions.inc()

    def _drop(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is None and (entry := self._costly.pop(key, None)) is not None:
            self._costly_bytes -= entry.size_bytes
        if entry is not None:
            self.bytes -= entry.size_bytes
