"""A cache that several processes share: bytes of immutable objects in memcached or Redis.

Such a cache saves time, and is trusted with nothing: a value has a checksum, a server that is away or slow is left
alone for a while, and whoever asks goes to the storage instead. Values are written in the background.
"""

import logging
import queue
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple, get_args

from prometheus_client import Counter, Gauge

from tables.storage.cache_servers import CacheServer
from tables.storage.circuit_breaker import CircuitBreaker

log = logging.getLogger(__name__)

# Tempo's names of what may be cached, as far as Stretto has it.
Role = Literal["bloom", "parquet-footer", "parquet-page", "frontend-search"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

_LOOKUPS: Final = Counter(
    "stretto_shared_cache_lookups_total",
    "Values looked up in memcached or Redis, by role and result: hit, miss, error (the server did not answer, or with "
    "a damaged value), skipped (after too many errors).",
    ["role", "result"],
)
_WRITES: Final = Counter(
    "stretto_shared_cache_writes_total",
    "Values for memcached or Redis, by role and result: written, error, skipped (after too many errors), too_large, "
    "queue_full.",
    ["role", "result"],
)
_QUEUED: Final = Gauge("stretto_shared_cache_queued_bytes", "Bytes that wait to be written to memcached or Redis.")

_FRAME: Final = b"S1"  # then the checksum, then the bytes
_FRAME_BYTES: Final = len(_FRAME) + 4
_NAMESPACE: Final = "stretto:1"
_STOP_S: Final = 2.0


class CacheKey(NamedTuple):
    """Bytes of an object, which never changes. bucket: which of all buckets it is in"""

    role: Role
    bucket: str
    path: str
    start: int
    length: int

    @property
    def text(self) -> str:
        """The key on the server: of printable ASCII, and short."""
        said = f"{self.bucket}\0{self.path}\0{self.start}\0{self.length}"
        return f"{_NAMESPACE}:{self.role}:{blake2b(said.encode(), digest_size=20).hexdigest()}"


@dataclass(frozen=True, slots=True)
class SharedCacheLimits:
    """item_bytes_max: larger values are not sent; queue_max, queue_bytes_max: values that wait to be written
    failures_max: so many failures in a row begin a pause of pause_s; 0: never
    """

    item_bytes_max: int = 1 << 20
    queue_max: int = 10_000
    queue_bytes_max: int = 16 << 20
    writers: int = 1
    failures_max: int = 10
    pause_s: float = 10.0


class SharedCache:
    """Values on a server. Thread-safe; no method raises."""

    def __init__(self, name: str, server: CacheServer, limits: SharedCacheLimits) -> None:
        """name: for the log"""
        self._name, self._server, self._limits = name, server, limits
        self._breaker = CircuitBreaker(limits.failures_max, limits.pause_s)
        self._queue: queue.Queue[tuple[CacheKey, Any] | None] = queue.Queue(limits.queue_max)
        self._queued_bytes = 0
        self._lock = threading.Lock()
        self._writers: list[threading.Thread] = []
        self._closed = False

    def get_many(self, keys: Sequence[CacheKey]) -> Mapping[CacheKey, bytes]:
        """The values that are there and whole. In: keys of one role"""
        role = keys[0].role
        if not self._breaker.allows():
            _LOOKUPS.labels(role, "skipped").inc(len(keys))
            return {}
        try:
            answered = self._server.get_many([key.text for key in keys])
        except Exception as err:  # noqa: BLE001  # clients raise all kinds; none may fail a query
            self._failed("read from", err)
            _LOOKUPS.labels(role, "error").inc(len(keys))
            return {}
        self._breaker.succeeded()
        found: dict[CacheKey, bytes] = {}
        for key in keys:
            value = answered.get(key.text)
            data = None if value is None else _unframed(value, key.length)
            if data is not None:
                found[key] = data
            _LOOKUPS.labels(role, "hit" if data is not None else "miss" if value is None else "error").inc()
        return found

    def put(self, key: CacheKey, data: Any) -> None:
        """Writes a value in the background, unless too much waits already. data: bytes or another buffer"""
        size = len(memoryview(data).cast("B")) + _FRAME_BYTES
        if size > self._limits.item_bytes_max:
            _WRITES.labels(key.role, "too_large").inc()
            return
        with self._lock:
            if self._closed or self._queued_bytes + size > self._limits.queue_bytes_max or self._queue.full():
                _WRITES.labels(key.role, "queue_full").inc()
                return
            self._queued_bytes += size
            _QUEUED.inc(size)
            if not self._writers:
                self._start()
            self._queue.put_nowait((key, data))

    def _start(self) -> None:
        self._writers = [
            threading.Thread(target=self._write_all, name="shared-cache", daemon=True)
            for _ in range(self._limits.writers)
        ]
        for writer in self._writers:
            writer.start()

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            key, data = item
            framed = _framed(data)
            with self._lock:
                self._queued_bytes -= len(framed)
            _QUEUED.dec(len(framed))
            _WRITES.labels(key.role, self._write(key, framed)).inc()

    def _write(self, key: CacheKey, framed: bytes) -> str:
        if not self._breaker.allows():
            return "skipped"
        try:
            self._server.put(key.text, framed)
        except Exception as err:  # noqa: BLE001  # as above
            self._failed("write to", err)
            return "error"
        self._breaker.succeeded()
        return "written"

    def _failed(self, verb: str, err: Exception) -> None:
        if self._breaker.failed():
            log.warning(
                "cannot %s the cache %s: %s; it is left alone for %g s at a time until it answers",
                verb,
                self._name,
                str(err)[:200] or type(err).__name__,
                self._limits.pause_s,
            )

    def close(self) -> None:
        """Ends the writers; what waits is written if that takes no longer than two seconds."""
        with self._lock:
            self._closed = True
            writers = self._writers
        for _ in writers:
            try:
                self._queue.put(None, timeout=_STOP_S)
            except queue.Full:
                break
        for writer in writers:
            writer.join(_STOP_S)
        self._server.close()


def _framed(data: Any) -> bytes:
    view = memoryview(data).cast("B")
    return b"".join([_FRAME, zlib.crc32(view).to_bytes(4, "little"), view])


def _unframed(value: bytes, length: int) -> bytes | None:
    """The bytes of a value; None: it is not what was written."""
    data = value[_FRAME_BYTES:]
    whole = value[: len(_FRAME)] == _FRAME and len(data) == length
    return data if whole and zlib.crc32(data) == int.from_bytes(value[len(_FRAME) : _FRAME_BYTES], "little") else None
