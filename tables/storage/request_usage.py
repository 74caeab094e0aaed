"""What a query, or another piece of work, costs in requests to the storage: counted where the requests are made."""

import threading
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class RequestUsage:
    """Requests to the storage, their bytes and seconds. Thread-safe.

    requests: by operation. hedged: those of them that were sent because another one took long
    seconds: of all requests; they may overlap. waited_s: how long at least one of them was under way
    """

    requests: dict[str, int] = field(default_factory=dict)
    hedged: int = 0
    bytes: int = 0
    seconds: float = 0.0
    _waited_s: float = field(default=0.0, repr=False, compare=False)
    _under_way: int = field(default=0, repr=False, compare=False)
    _since_s: float = field(default=0.0, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, operation: str, requests: int, size_bytes: int, seconds: float) -> None:
        """Counts requests of one operation."""
        with self._lock:
            self.requests[operation] = self.requests.get(operation, 0) + requests
            self.bytes += size_bytes
            self.seconds += seconds

    def add_hedged(self, operation: str) -> None:
        """Counts a hedged request."""
        with self._lock:
            self.requests[operation] = self.requests.get(operation, 0) + 1
            self.hedged += 1

    def begin(self) -> None:
        """From now on a request is under way, until `end` is called for it."""
        with self._lock:
            if not self._under_way:
                self._since_s = monotonic()
            self._under_way += 1

    def end(self) -> None:
        """A request has ended, with or without an answer."""
        with self._lock:
            self._under_way -= 1
            if not self._under_way:
                self._waited_s += monotonic() - self._since_s

    @property
    def waited_s(self) -> float:
        with self._lock:
            return self._waited_s + (monotonic() - self._since_s if self._under_way else 0.0)

    def merge(self, other: "RequestUsage") -> None:
        """Adds what another one has counted, whose work is over."""
        with self._lock:
            for operation, count in other.requests.items():
                self.requests[operation] = self.requests.get(operation, 0) + count
            self.hedged += other.hedged
            self.bytes += other.bytes
            self.seconds += other.seconds

    def counting(self) -> "_Counting":
        """Inside, the requests of this thread count here. What other threads do for it must run in a
        copy of its context, as `tables.storage.at_once` makes them.
        """
        return _Counting(self)


class _Counting:
    """By hand: a generator would take several times as long, for every query."""

    __slots__ = ("_token", "_usage")

    def __init__(self, usage: RequestUsage) -> None:
        self._usage = usage

    def __enter__(self) -> RequestUsage:
        self._token = _CURRENT.set(self._usage)
        return self._usage

    def __exit__(self, *_: object) -> None:
        _CURRENT.reset(self._token)


_CURRENT: Final[ContextVar[RequestUsage | None]] = ContextVar("storage requests", default=None)


def current_usage() -> RequestUsage | None:
    """Where the requests of this thread count; None: nobody wants to know."""
    return _CURRENT.get()
