"""A budget of memory for each query, and one for all of them together.

What a query holds is reserved before it is made: decoded columns, the rows of stitched traces, groups, cells, answers.
Sizes are estimates from row counts and column sizes; they are meant to be right within a factor of two, and to be too
large rather than too small. A query that does not fit ends with an error that names the setting; the process goes on.

The budget of a query is set for the thread that works on it (`MemoryBudget.active`), so that what makes arrays deep in
the engine can reserve without being handed one. Without a budget (tests, `stretto explain`) nothing is limited.
"""

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, TypeVar

import pyarrow as pa
from prometheus_client import Counter, Gauge

from tables.shared_bytes import SharedBytes

T = TypeVar("T")

QUERY_SETTING: Final = "query.memory_bytes_max"
TOTAL_SETTING: Final = "query.memory_total_bytes_max"
READ_SETTING: Final = "query_frontend.max_bytes_read_per_query"
CHEAPER: Final = "a shorter time range, a narrower filter, fewer fields in by() and select(), or a lower limit"

# What a query takes of the common limit at once: so the lock of all is taken seldom.
_STEP_BYTES: Final = 1 << 20
# So much of each query is not counted for the common limit: small queries are answered whatever large ones do.
FREE_BYTES: Final = 4 << 20

# Below this an array's size is not looked at closely.
_SMALL_BYTES: Final = 64 << 10

REFUSED: Final = Counter(
    "stretto_query_memory_refused_total",
    "Queries refused because they reached a limit of memory, or of bytes that they may read.",
    ["limit"],
)
USED: Final = Gauge(
    "stretto_query_memory_bytes", "Bytes reserved by running queries and by answers that are being sent."
)


class MemoryExceeded(Exception):  # noqa: N818 (says what happened)
    """A query needs more memory than a limit allows: which, how much for what, and what would be cheaper."""

    setting = ""


class QueryTooLarge(MemoryExceeded):
    """The limit of one query: asking again does not help."""

    setting = QUERY_SETTING


class QueriesTooLarge(MemoryExceeded):
    """The limit of all queries together: others hold the memory, so asking again later may help."""

    setting = TOTAL_SETTING


class ReadsTooMuch(QueryTooLarge):
    """The limit of what one query may read: asking again does not help."""


class SharedMemory(SharedBytes):
    """What all queries of a process may take together."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(bytes_max, USED)


class MemoryBudget:
    """What one query has reserved. Safe for threads: an answer is written on another thread than its query.

    It is kept by its users, who each call `open` and `close`, or `active`; when the last one has closed it, everything
    that is still reserved goes back.
    """

    def __init__(self, bytes_max: int, shared: SharedMemory, free_bytes: int = FREE_BYTES) -> None:
        """free_bytes: so much is not counted for the limit of all"""
        self._free_bytes = free_bytes
        self.bytes_max, self.bytes, self.peak_bytes = bytes_max, 0, 0
        self._shared, self._taken, self._users = shared, 0, 0
        self._setting = QUERY_SETTING
        self.read_limit: ReadLimit | None = None
        self._lock = threading.Lock()

    def limited(self, limit: "RequestLimit | None") -> "MemoryBudget":
        """Itself, with a lower limit, if that is lower."""
        if limit is not None and limit.bytes_max < self.bytes_max:
            self.bytes_max, self._setting = limit
        return self

    def limited_reading(self, limit: "ReadLimit | None") -> "MemoryBudget":
        """Itself, of a query that may read no more than this."""
        self.read_limit = limit
        return self

    def check_read(self, size: int) -> None:
        """In: how many bytes of columns the query has read in all. Raises: ReadsTooMuch"""
        limit = self.read_limit
        if limit is not None and size > limit.bytes_max:
            REFUSED.labels(READ_SETTING).inc()
            raise ReadsTooMuch(
                f"the query of tenant {limit.tenant} reads more than the setting {limit.setting} allows: "
                f"{_mb(size)} until now; the limit is {_mb(limit.bytes_max)}. Cheaper would be {CHEAPER}"
            )

    def reserve(self, size: int, what: str, cheaper: str = CHEAPER) -> None:
        """Counts bytes that are about to be made. what: a noun, for the error

        Raises: QueryTooLarge, QueriesTooLarge; then nothing is reserved
        """
        size = int(size)
        with self._lock:
            needed = self.bytes + size
            if needed > self.bytes_max:
                REFUSED.labels(QUERY_SETTING).inc()
                raise QueryTooLarge(_text(needed, what, self._setting, self.bytes_max, cheaper))
            wanted = needed - self._free_bytes - self._taken
            if wanted > 0:
                step = -(-wanted // _STEP_BYTES) * _STEP_BYTES
                if not self._shared.take_bytes(step):
                    REFUSED.labels(TOTAL_SETTING).inc()
                    text = _text(needed, what, TOTAL_SETTING, self._shared.bytes_max, f"to ask again later, {cheaper}")
                    raise QueriesTooLarge(f"{text}. Other queries hold {_mb(self._shared.bytes)} now")
                self._taken += step
            self.bytes = needed
            if needed > self.peak_bytes:
                self.peak_bytes = needed

    @property
    def left_bytes(self) -> int:
        """What may still be reserved, as far as this query alone decides."""
        return self.bytes_max - self.bytes

    def release(self, size: int) -> None:
        """Gives back bytes that were reserved and are free now."""
        with self._lock:
            self.bytes -= int(size)
            spare = self._taken - max(0, self.bytes - self._free_bytes)
            spare -= spare % _STEP_BYTES
            if spare > 0:
                self._taken -= spare
                self._shared.give_back_bytes(spare)

    def scratch(self, size: int, what: str) -> "_Scratch":
        """Reserved inside a `with` only. Entering raises: as `reserve`"""
        return _Scratch(self, size, what)

    def sibling(self) -> "MemoryBudget":
        """Another one with the same limits, for what is made of a query's result and may live longer: nothing of it is
        free, for there may be many more answers on their way than queries.
        """
        return MemoryBudget(self.bytes_max, self._shared, free_bytes=0)

    def open(self) -> "MemoryBudget":
        """Adds a user, who calls `close` at the end."""
        with self._lock:
            self._users += 1
        return self

    def close(self) -> None:
        """Removes a user. The last one gives back all that is still reserved."""
        with self._lock:
            self._users -= 1
            if self._users > 0:
                return
            taken, self._taken, self.bytes = self._taken, 0, 0
        if taken:
            self._shared.give_back_bytes(taken)

    def active(self) -> "_Active":
        """Inside, it is the budget of this thread (of this task, on an event loop)."""
        return _Active(self)


class _Active:
    """By hand, as `_Scratch` is."""

    __slots__ = ("_budget", "_token")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget

    def __enter__(self) -> MemoryBudget:
        self._token = _CURRENT.set(self._budget.open())
        return self._budget

    def __exit__(self, *_: object) -> None:
        _CURRENT.reset(self._token)
        self._budget.close()


class _Scratch:
    """By hand: a generator would take three times as long, for every source of every query."""

    __slots__ = ("_budget", "_size", "_what")

    def __init__(self, budget: MemoryBudget, size: int, what: str) -> None:
        self._budget, self._size, self._what = budget, size, what

    def __enter__(self) -> None:
        self._budget.reserve(self._size, self._what)

    def __exit__(self, *_: object) -> None:
        self._budget.release(self._size)


class _Unlimited(MemoryBudget):
    """The budget where nothing is limited: it counts nothing."""

    def __init__(self) -> None:
        super().__init__(0, SharedMemory(0))

    def reserve(self, size: int, what: str, cheaper: str = CHEAPER) -> None:
        """Grants whatever is asked for, and counts nothing."""

    def release(self, size: int) -> None:
        """Does nothing, because nothing was counted."""

    @property
    def left_bytes(self) -> int:
        """As much as anybody may want."""
        return sys.maxsize

    def sibling(self) -> "MemoryBudget":
        """The budget itself, which has no state."""
        return self


_CURRENT: Final[ContextVar[MemoryBudget | None]] = ContextVar("query memory", default=None)
UNLIMITED: Final = _Unlimited()


def current() -> MemoryBudget:
    """The budget of the query that this thread works on."""
    return _CURRENT.get() or UNLIMITED


def reserve(size: int, what: str, cheaper: str = CHEAPER) -> None:
    """Of the current budget, until the query's end. Raises: as `MemoryBudget.reserve`"""
    current().reserve(size, what, cheaper)


class RequestLimit(NamedTuple):
    """A limit of one request below that of all. setting: its name in errors"""

    bytes_max: int
    setting: str


class ReadLimit(NamedTuple):
    """How many bytes of columns one query may read. setting, tenant: for errors"""

    bytes_max: int
    setting: str
    tenant: str


class _Request:
    """The budget of one request, made when it is first needed. Inside of a `with` it is that of this task."""

    __slots__ = ("_token", "budget", "limit", "read_limit")

    def __init__(self) -> None:
        self.budget: MemoryBudget | None = None
        self.limit: RequestLimit | None = None
        self.read_limit: ReadLimit | None = None

    def __enter__(self) -> None:
        self._token = _REQUEST.set(self)

    def __exit__(self, *_: object) -> None:
        try:  # noqa: SIM105 (suppress would take longer than all else here)
            _REQUEST.reset(self._token)
        except ValueError:  # a generator may be closed in another context than it was begun in
            pass
        if self.budget is not None:
            self.budget.close()


_REQUEST: Final[ContextVar[_Request | None]] = ContextVar("request memory", default=None)


def request() -> AbstractContextManager[None]:
    """Inside, in this task and those that it starts, `request_budget` gives the same budget. It is closed at the end,
    though work on other threads may keep it open for longer.
    """
    return _Request()


def further_query() -> AbstractContextManager[None]:
    """Inside, one of several queries that a request asks: with a budget of its own, and the limits of the request."""
    here, own = _REQUEST.get(), _Request()
    if here is not None:
        own.limit, own.read_limit = here.limit, here.read_limit
    return own


def request_budget(make: Callable[[], MemoryBudget]) -> MemoryBudget:
    """The budget of the request that this task answers; outside of any, a new one, which its first user closes."""
    here = _REQUEST.get()
    if here is None:
        return make()
    if here.budget is None:
        here.budget = make().limited(here.limit).limited_reading(here.read_limit).open()
    return here.budget


def limit_request(limit: RequestLimit) -> None:
    """The request that this task answers may use no more than this. Before it uses anything."""
    here = _REQUEST.get()
    if here is not None:
        here.limit = limit


def limit_reading(limit: ReadLimit | None) -> None:
    """The request that this task answers may read no more than this; None: as much as it needs. Before it uses
    anything.
    """
    here = _REQUEST.get()
    if here is not None:
        here.read_limit = limit


def running_in(budget: MemoryBudget, work: Callable[..., T]) -> Callable[..., T]:
    """The work, for another thread, with this budget; the budget is kept open until the work has ended, or has been
    given up before it began.
    """
    user = BudgetUser(budget)

    def run(*args: Any) -> T:
        try:
            with budget.active():
                return work(*args)
        finally:
            user.close()

    return run


class BudgetUser:
    """One user of a budget, until `close` or until nobody knows it any more: work that is never run is forgotten, and
    so is an answer that is never sent.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget: MemoryBudget | None = budget.open()

    def close(self) -> None:
        """It does not use it any more."""
        budget, self._budget = self._budget, None
        if budget is not None:
            budget.close()

    def __del__(self) -> None:
        self.close()


def array_bytes(arrays: Any) -> int:
    """Of pyarrow or numpy arrays by name, those that share a dictionary counted each."""
    return sum(_array_bytes(array) for array in arrays.values())


def _array_bytes(array: Any) -> int:
    if isinstance(array, pa.Array):
        # Whole buffers, also where the array is a slice of them; asking for the slice takes 50 times as long.
        whole: int = array.get_total_buffer_size()
        if whole <= _SMALL_BYTES:
            return whole
    size: int = array.nbytes
    return size


def _text(needed: int, what: str, setting: str, bytes_max: int, cheaper: str) -> str:
    return (
        f"the query needs more memory than the setting {setting} allows: {_mb(needed)} with {what}; the limit is "
        f"{_mb(bytes_max)}. Cheaper would be {cheaper}"
    )


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
