"""Runs the work of queries on threads, within the limits of the process: admission, time, memory, and how it ends."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, Self, TypeVar

import pyarrow as pa
from prometheus_client import Counter, Gauge, Histogram

from agents import tracing
from app.api.errors import Stopping, TooManyRequests, Unavailable
from app.querying.running.query_threads import leaving_nothing, lower_priority, thread_cpu_s
from app.settings.models import Query
from query.errors import QueryCancelled
from query.language.compile import compile_query
from query.memory import MemoryBudget, MemoryExceeded, SharedMemory, request_budget, running_in
from tables.blocks.trace_filters import TraceFilters
from tables.errors import DamagedError, OutdatedError, StorageError
from tables.storage.byte_cache import ByteCache
from tables.storage.request_usage import RequestUsage
from tables.wall import walled

log = logging.getLogger(__name__)
T = TypeVar("T")

Cancelled = Callable[[], bool]

RUNNING = Gauge("stretto_queries_running", "Queries that are running.")
CANCELLED = Counter(
    "stretto_queries_cancelled_total", "Queries that failed or were cancelled: timeout, client gone, storage error."
)
REFUSED = Counter("stretto_queries_refused_total", "Queries refused: too many others were waiting, or took too long.")
WORK_QUEUE = Gauge("tempodb_work_queue_length", "Queries and jobs that wait for a thread.")
WORK_QUEUE_MAX = Gauge("tempodb_work_queue_max", "How many queries and jobs may wait for a thread.")
STORAGE_REQUESTS = Histogram(
    "stretto_query_storage_requests",
    "Requests to the object storage that one query made, by operation.",
    ["operation"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000),
)
STORAGE_BYTES = Histogram(
    "stretto_query_storage_bytes",
    "Bytes that one query read from the object storage.",
    buckets=(0, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000),
)
STORAGE_SECONDS = Histogram(
    "stretto_query_storage_seconds",
    "Time of all requests to the object storage that one query made, if it made any; they may overlap.",
    buckets=(0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60),
)
UNREADABLE: Final = "blocks that the query needs cannot be read now; the server's log says why"


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """threads evaluate, as many write answers; concurrent_max queries are worked on, as many again may wait; each has
    timeout_s. niceness: of those threads. memory_bytes_max: of each query, memory_total_bytes_max: of all together
    """

    threads: int
    concurrent_max: int
    timeout_s: float
    niceness: int = 0
    memory_bytes_max: int = 256 << 20
    memory_total_bytes_max: int = 384 << 20
    trace_reads_max: int = 32
    bloom_cache_bytes_max: int = 64 << 20

    @property
    def wait_max_s(self) -> float:
        """How long a query may wait for others: what is left of its time after that is too little."""
        return self.timeout_s / 2

    @classmethod
    def of(cls, query: Query) -> Self:
        """What the section `query` of the settings says."""
        return cls(
            threads=query.threads,
            concurrent_max=query.concurrent_max,
            timeout_s=query.timeout_s,
            niceness=query.niceness,
            memory_bytes_max=query.memory_bytes_max,
            memory_total_bytes_max=query.memory_total_bytes_max,
            trace_reads_max=query.trace_reads_max,
            bloom_cache_bytes_max=query.bloom_cache_bytes_max,
        )


class QueryExecutor:
    """One for a process; belongs to its event loop."""

    def __init__(self, limits: QueryLimits) -> None:
        self.limits = limits
        begin = partial(lower_priority, limits.niceness)
        self.pool = ThreadPoolExecutor(limits.threads, "query", begin)
        # Not the threads of queries: the first rows of an answer are written while its query runs. And no more of them
        # than of those: the event loop waits for the GIL in line with all threads that compute.
        self._answers = ThreadPoolExecutor(limits.threads, "answer", begin)
        self.reads = ThreadPoolExecutor(limits.trace_reads_max, "trace-reads", begin)
        self.filters = TraceFilters(self.reads, ByteCache("bloom", limits.bloom_cache_bytes_max))
        self._slots = asyncio.Semaphore(limits.concurrent_max)
        self.memory = SharedMemory(limits.memory_total_bytes_max)
        self._admitted = 0
        WORK_QUEUE_MAX.set(limits.concurrent_max)
        self._closed = False
        compile_query("{ }")  # reads the grammar: 40 ms, for which the first query would hold up the event loop

    def close(self) -> None:
        """Gives up the queries that wait or run."""
        self._closed = True
        for pool in (self.pool, self._answers, self.reads):
            pool.shutdown(wait=False, cancel_futures=True)

    def budget(self) -> MemoryBudget:
        """Of the request that this task answers; what is asked outside of any request has one for each call."""
        return request_budget(lambda: MemoryBudget(self.limits.memory_bytes_max, self.memory))

    async def run_in_thread(self, make: Callable[[], T]) -> T:
        """What `make` returns, run on one of the threads that make answers. Raises: MemoryExceeded, Stopping"""
        self._check_open()
        budget = self.budget()

        def on_thread() -> T:
            with leaving_nothing(budget):
                return make()

        work = running_in(budget, on_thread)
        return await asyncio.get_running_loop().run_in_executor(self._answers, walled, work)

    async def run_where_it_fits(self, make: Callable[[], T], *, small: bool) -> T:
        """As `run_in_thread`; what is small is made at once: a way to a thread and back takes longer, and waits in line
        for the GIL.
        """
        if not small:
            return await self.run_in_thread(make)
        with self.budget().active():
            return make()

    async def run(
        self, work: Callable[[Cancelled], T], usage: RequestUsage | None = None, *, always_waits: bool = False
    ) -> T:
        """Runs it on a thread, within the limits; tells it to stop when nobody waits any more.

        usage: counts what it asks of the object storage. always_waits: however many others wait, because somebody else
        has let this one in
        Raises: Stopping, MemoryExceeded; TooManyRequests where too many wait already, or where it does not end within
        `timeout_s` since others had threads and CPUs for most of that; TimeoutError where it does not though it
        computed, and waited for the storage, for most of that; OutdatedError and DamagedError as they are, every other
        StorageError as Unavailable
        """
        with tracing.span("execute", {}) as span:
            counted = RequestUsage()
            try:
                return await self._run(work, counted, always_waits=always_waits)
            finally:
                _observe(counted)
                span.set({"storage.requests": sum(counted.requests.values()), "storage.bytes": counted.bytes})
                if usage is not None:
                    usage.merge(counted)

    async def _run(self, work: Callable[[Cancelled], T], counted: RequestUsage, *, always_waits: bool) -> T:
        limits = self.limits
        if self._admitted >= 2 * limits.concurrent_max and not always_waits:
            REFUSED.inc()
            raise TooManyRequests(
                f"{limits.concurrent_max} queries are worked on and as many wait (query.concurrent_max)"
            )
        cancelled, done = _Flag(), False
        in_budget = self._on_thread(work, cancelled, counted)
        self._admitted += 1
        waits = self._slots.locked()
        if waits:
            WORK_QUEUE.inc()
        try:
            async with asyncio.timeout(limits.timeout_s), self._slots:
                self._check_open()
                if waits:
                    waits = False
                    WORK_QUEUE.dec()
                with RUNNING.track_inprogress():
                    answer = await asyncio.get_running_loop().run_in_executor(self.pool, walled, in_budget)
            done = True
            return answer
        except QueryCancelled as err:
            raise TimeoutError from err
        except TimeoutError as err:
            others_s = limits.timeout_s - (cancelled.computed_s() + counted.waited_s)
            if others_s <= limits.wait_max_s:
                raise
            REFUSED.inc()
            raise TooManyRequests(
                f"others had threads (query.threads) or CPUs for {others_s:.1f} s of the {limits.timeout_s:g} s that "
                "the query may take (query.timeout_s)"
            ) from err
        except (OutdatedError, DamagedError):
            raise
        except StorageError as err:
            raise unavailable(err) from err
        finally:
            if not done:
                CANCELLED.inc()
                cancelled.set()
            self._admitted -= 1
            if waits:
                WORK_QUEUE.dec()

    def _check_open(self) -> None:
        """Its threads take no more work once it is closed. Raises: Stopping"""
        if self._closed:
            raise Stopping

    def _on_thread(self, work: Callable[[Cancelled], T], cancelled: "_Flag", counted: RequestUsage) -> Callable[..., T]:
        budget = self.budget()

        def on_thread() -> T:
            with cancelled, leaving_nothing(budget):
                try:
                    with counted.counting():
                        answer = work(cancelled.is_set)
                except (pa.ArrowMemoryError, MemoryError) as err:
                    # The system's own limit was below ours.
                    text = "the process has no memory left for the query; ask for less, or later"
                    raise MemoryExceeded(text) from err
                if cancelled.is_set():
                    del answer  # nobody takes it: it ends here, not on the event loop
                    raise QueryCancelled
                return answer

        return running_in(budget, on_thread)


class _Flag:
    """A threading.Event that nobody waits for: making one of those takes 5 µs. And the CPU time of what it may stop,
    which runs inside of it as a context.
    """

    __slots__ = ("_begun_s", "_is_set", "_thread", "_took_s")

    def __init__(self) -> None:
        self._is_set = False
        self._begun_s = self._took_s = 0.0
        self._thread = 0  # that runs it now

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set

    def __enter__(self) -> None:
        self._begun_s, self._thread = time.thread_time(), threading.get_native_id()

    def __exit__(self, *_: object) -> None:
        self._thread, self._took_s = 0, time.thread_time() - self._begun_s

    def computed_s(self) -> float:
        """CPU seconds so far, asked by another thread."""
        if not self._thread:
            return self._took_s
        return thread_cpu_s(self._thread) - self._begun_s


def _observe(usage: RequestUsage) -> None:
    for operation, count in usage.requests.items():
        STORAGE_REQUESTS.labels(operation).observe(count)
    STORAGE_BYTES.observe(usage.bytes)
    if usage.requests:
        STORAGE_SECONDS.observe(usage.seconds)


def wanted(cancelled: Cancelled) -> Callable[[], None]:
    """What work calls between its pieces. Raises, when called: QueryCancelled: nobody waits any more"""

    def go_on() -> None:
        if cancelled():
            raise QueryCancelled

    return go_on


def unavailable(err: StorageError) -> Unavailable:
    """What a client is told of storage that cannot be read."""
    log.warning("a query failed: %s", err)
    return Unavailable(UNREADABLE)
