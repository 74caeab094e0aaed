"""Answers queries from the live store and the blocks of this process: `app.api.backend.Backend`."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, Self, TypeVar

import pyarrow as pa
from prometheus_client import Counter, Gauge, Histogram

from agents.live_store.partition_manager import PartitionManager
from app.api.backend import TraceAnswer
from app.api.errors import TooManyRequests, Unavailable
from app.querying.damage import MissingData, missing_in_range, missing_of_trace, past_damage
from app.querying.query_threads import leaving_nothing, lower_priority
from app.querying.redacted import redacted_blocks, redacted_file, redacted_parts
from app.settings.models import Query
from query.errors import QueryCancelled
from query.language.compile import compile_query
from query.memory import MemoryBudget, MemoryExceeded, SharedMemory, request_budget, running_in
from query.metrics.metrics import compile_metrics, metrics_instant, metrics_range
from query.requests import InstantRequest, RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest, TraceRequest
from query.results import MetricsResult, SearchResult
from query.scan.progress import QueryObserver
from query.search.search import search
from query.tags.tag_cache import TagCache
from query.tags.tags import TagNames, TagValues, tag_names, tag_values
from query.trace.by_id import trace_by_id
from tables.blocks.meta import BlockMeta
from tables.blocks.trace_filters import TraceFilters
from tables.catalog.block_list import BlockList
from tables.catalog.damage import damage_lines
from tables.errors import OutdatedError, StorageError
from tables.live.store import Live, LiveStore
from tables.redaction.rules import Redaction
from tables.storage.byte_cache import ByteCache
from tables.storage.request_usage import RequestUsage
from tables.wall import walled
from tables.wire.split import partition_of

log = logging.getLogger(__name__)
T = TypeVar("T")
# So often a query begins anew because blocks were replaced while it read them.
_VIEWS_MAX: Final = 3
# A longer query is not compiled on the event loop: that takes up to a second for the longest ones.
_COMPILED_HERE_CHARS_MAX: Final = 1000

Cancelled = Callable[[], bool]
Sources = list[Any]  # of query.scan.source.Source


class AskedRange(Protocol):
    """The time range of a request."""

    @property
    def start_ns(self) -> int | None:
        """The limit of the searched range in unix ns, or None if the range has no limit on this side."""

    @property
    def end_ns(self) -> int | None:
        """The limit of the searched range in unix ns, or None if the range has no limit on this side."""


RUNNING = Gauge("stretto_queries_running", "Queries that are running.")
CANCELLED = Counter(
    "stretto_queries_cancelled_total", "Queries that failed or were cancelled: timeout, client gone, storage error."
)
REFUSED = Counter("stretto_queries_refused_total", "Queries refused because too many others were waiting.")
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
    "Time of all requests to the object storage that one query made; they may overlap.",
    buckets=(0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60),
)


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


class Querier:
    """One for a process; belongs to its event loop."""

    def __init__(self, manager: PartitionManager, limits: QueryLimits) -> None:
        self._manager, self._limits = manager, limits
        begin = partial(lower_priority, limits.niceness)
        self._pool = ThreadPoolExecutor(limits.threads, "query", begin)
        # Not the threads of queries: the first rows of an answer are written while its query runs. And no more of them
        # than of those: the event loop waits for the GIL in line with all threads that compute.
        self._answers = ThreadPoolExecutor(limits.threads, "answer", begin)
        self._reads = ThreadPoolExecutor(limits.trace_reads_max, "trace-reads", begin)
        self._filters = TraceFilters(self._reads, ByteCache("bloom", limits.bloom_cache_bytes_max))
        self._slots = asyncio.Semaphore(limits.concurrent_max)
        self._memory = SharedMemory(limits.memory_total_bytes_max)
        self._admitted = 0
        self._tag_cache = TagCache()
        compile_query("{ }")  # reads the grammar: 40 ms, for which the first query would hold up the event loop

    def close(self) -> None:
        """Gives up the queries that wait or run."""
        for pool in (self._pool, self._answers, self._reads):
            pool.shutdown(wait=False, cancel_futures=True)

    def not_ready(self) -> Sequence[str]:
        """Why this process cannot serve yet."""
        return self._manager.not_ready()

    def damage(self) -> Sequence[str]:
        """What of the stored data cannot be read; the rest is served."""
        store = self._manager.store
        blocks = [] if store is None else [*store.blocks.problems(), *damage_lines(store.blocks.damaged())]
        return [*self._manager.damage.values(), *blocks]

    async def search(self, tenant: str, request: SearchRequest, observer: QueryObserver) -> SearchResult:
        """The newest traces that match. Raises: TraceQLError, Unavailable, TooManyRequests, TimeoutError."""
        _compile_early(compile_query, request.query)

        def work(sources: Sources, cancelled: Cancelled) -> SearchResult:
            return search(sources, request, observer=observer, cancelled=cancelled)

        return await self._ask(tenant, request, observer, work)

    async def metrics_range(self, tenant: str, request: RangeRequest, observer: QueryObserver) -> MetricsResult:
        """Samples over time. Raises: as `search`."""
        _compile_early(compile_metrics, request.query)

        def work(sources: Sources, cancelled: Cancelled) -> MetricsResult:
            return metrics_range(sources, request, observer=observer, cancelled=cancelled)

        return await self._ask(tenant, request, observer, work)

    async def metrics_instant(self, tenant: str, request: InstantRequest, observer: QueryObserver) -> MetricsResult:
        """One sample over the range. Raises: as `search`."""
        _compile_early(compile_metrics, request.query)

        def work(sources: Sources, cancelled: Cancelled) -> MetricsResult:
            return metrics_instant(sources, request, observer=observer, cancelled=cancelled)

        return await self._ask(tenant, request, observer, work)

    async def tag_names(self, tenant: str, request: TagNamesRequest, observer: QueryObserver) -> TagNames:
        """The tags that there are. Raises: Unavailable, TooManyRequests, TimeoutError."""

        def work(sources: Sources, cancelled: Cancelled) -> TagNames:
            return tag_names(sources, request, cache=self._tag_cache, observer=observer, cancelled=cancelled)

        return await self._ask(tenant, request, observer, work)

    async def tag_values(self, tenant: str, request: TagValuesRequest, observer: QueryObserver) -> TagValues:
        """The values of some fields. Raises: Unavailable, TooManyRequests, TimeoutError."""

        def work(sources: Sources, cancelled: Cancelled) -> TagValues:
            return tag_values(sources, request, cache=self._tag_cache, observer=observer, cancelled=cancelled)

        return await self._ask(tenant, request, observer, work)

    async def _ask(
        self, tenant: str, window: AskedRange, observer: QueryObserver, work: Callable[[Sources, Cancelled], T]
    ) -> T:
        """What `work` says of all that the tenant has in the time range, all partitions, as of now."""
        return await _on_new_views(lambda: self._ask_once(tenant, window, observer, work))

    async def _ask_once(
        self, tenant: str, window: AskedRange, observer: QueryObserver, work: Callable[[Sources, Cancelled], T]
    ) -> T:
        store, missing_data, profile = self._store(), MissingData(observer.missing_data), observer.profile
        start_ns, end_ns = window.start_ns, window.end_ns
        live = store.view(tenant, start_ns, end_ns)
        if missing := self._missing(store, live, range(store.policy.partitions)):
            missing_data.add(missing)
        for text in missing_in_range(live.blocks, start_ns, end_ns):
            missing_data.add_damage(text)
        asked_s = time.perf_counter()

        def on_thread(cancelled: Cancelled) -> T:
            profile.stages["wait for a thread"] = time.perf_counter() - asked_s
            with profile.stage("open sources"):
                parts = redacted_parts(live_sources(live, live.parts), live.blocks.redactions)

            def over(blocks: Sequence[BlockMeta]) -> T:
                return work(self._block_sources(store.blocks, blocks, live.blocks.redactions) + parts, cancelled)

            return past_damage(store.blocks, live.blocks.blocks, over, missing_data)

        return await self._run(on_thread, profile.storage)

    async def trace(self, tenant: str, request: TraceRequest) -> TraceAnswer:
        """All spans of a trace, or a page: asks only its partition.

        Raises: Unavailable, TooManyRequests, TimeoutError, TraceTooLarge
        """
        return await _on_new_views(lambda: self._trace_once(tenant, request))

    async def _trace_once(self, tenant: str, request: TraceRequest) -> TraceAnswer:
        store, trace_id = self._store(), request.trace_id
        partition = partition_of(trace_id, store.policy.partitions)
        within = (request.start_ns, request.end_ns)
        live = store.view(tenant, *within, trace_id)
        texts: list[str] = []
        missing_data = MissingData(texts)
        for text in missing_of_trace(store.blocks, live.blocks, trace_id, store.policy.partitions, within):
            missing_data.add_damage(text)

        def over(metas: Sequence[BlockMeta]) -> tuple[pa.Table | None, bool]:
            sources = self._trace_sources(store.blocks, metas, trace_id, live.blocks.redactions)
            parts = redacted_parts(live_sources(live, [partition], trace_id), live.blocks.redactions)
            return trace_by_id(sources + parts, request)

        def on_thread(_: Cancelled) -> tuple[pa.Table | None, bool]:
            return past_damage(store.blocks, _of_trace(live.blocks.blocks, trace_id), over, missing_data)

        table, more = await self._run(on_thread)
        if missing := self._missing(store, live, [partition]):
            texts.insert(0, missing)
        return TraceAnswer(table, not texts, "; ".join(texts), more)

    def _block_sources(self, blocks: BlockList, metas: Sequence[BlockMeta], redactions: Sequence[Redaction]) -> Sources:
        if not redactions:
            return block_sources(blocks, metas)
        return redacted_blocks(blocks, metas, redactions, self._filters, block_sources)

    def _trace_sources(
        self, blocks: BlockList, metas: Sequence[BlockMeta], trace_id: bytes, redactions: Sequence[Redaction]
    ) -> Sources:
        """The files of blocks that may hold the trace, with their trace ids read: at once, not one after the other."""
        files = self._filters.files_with(blocks.blooms, metas, trace_id)
        sources = [(meta, blocks.sources(meta)[number]) for meta, numbers in files for number in numbers]
        if sources:
            self._filters.at_once([source.traces for _, source in sources])
        return [redacted_file(meta, source, redactions) for meta, source in sources]

    async def run_in_thread(self, make: Callable[[], T]) -> T:
        """What `make` returns, run on one of the threads that make answers. Raises: MemoryExceeded"""
        budget = self._budget()

        def on_thread() -> T:
            with leaving_nothing(budget):
                return make()

        work = running_in(budget, on_thread)
        return await asyncio.get_running_loop().run_in_executor(self._answers, walled, work)

    def _budget(self) -> MemoryBudget:
        """Of the request that this task answers; what is asked outside of any request has one for each call."""
        return request_budget(lambda: MemoryBudget(self._limits.memory_bytes_max, self._memory))

    def _store(self) -> LiveStore:
        if self._manager.store is None:
            raise Unavailable("the live store is not open yet")
        return self._manager.store

    def _missing(self, store: LiveStore, live: Live, partitions: Iterable[int]) -> str:
        """Which partitions an answer would miss spans of; "" if none."""
        behind = {*self._manager.behind(), *live.overtaken}
        missing = [str(number) for number in partitions if number not in store.partitions or number in behind]
        if not missing:
            return ""
        names = ", ".join(missing)
        return f"recent spans of partition {names} are missing: this process does not have them, or not yet"

    async def _run(self, work: Callable[[Cancelled], T], usage: RequestUsage | None = None) -> T:
        """Runs it on a thread, within the limits; tells it to stop when nobody waits any more.

        usage: counts what it asks of the object storage
        """
        counted = RequestUsage()
        limits = self._limits
        if self._admitted >= 2 * limits.concurrent_max:
            REFUSED.inc()
            raise TooManyRequests(
                f"{limits.concurrent_max} queries are worked on and as many wait (query.concurrent_max)"
            )
        cancelled, done = threading.Event(), False
        budget = self._budget()

        def on_thread() -> T:
            with leaving_nothing(budget):
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

        self._admitted += 1
        try:
            async with asyncio.timeout(limits.timeout_s), self._slots:
                with RUNNING.track_inprogress():
                    loop, in_budget = asyncio.get_running_loop(), running_in(budget, on_thread)
                    answer = await loop.run_in_executor(self._pool, walled, in_budget)
            done = True
            return answer
        except QueryCancelled as err:
            raise TimeoutError from err
        except OutdatedError:
            raise
        except StorageError as err:
            log.warning("a query failed: %s", err)
            raise Unavailable("blocks that the query needs cannot be read now; the server's log says why") from err
        finally:
            if not done:
                CANCELLED.inc()
                cancelled.set()
            self._admitted -= 1
            _observe(counted)
            if usage is not None:
                usage.merge(counted)


def _observe(usage: RequestUsage) -> None:
    for operation, count in usage.requests.items():
        STORAGE_REQUESTS.labels(operation).observe(count)
    STORAGE_BYTES.observe(usage.bytes)
    STORAGE_SECONDS.observe(usage.seconds)


async def _on_new_views(ask: Callable[[], Awaitable[T]]) -> T:
    """Again where blocks that the view had were replaced and deleted meanwhile."""
    for _ in range(_VIEWS_MAX - 1):
        with suppress(OutdatedError):
            return await ask()
    try:
        return await ask()
    except OutdatedError as err:
        raise Unavailable("blocks were replaced again and again while the query read them") from err


def _compile_early(compile_text: Callable[[str], object], query: str) -> None:
    """Refuses a faulty query at once, without waiting for a thread. Raises: TraceQLError"""
    if len(query) <= _COMPILED_HERE_CHARS_MAX:
        compile_text(query)


def block_sources(blocks: BlockList, metas: Sequence[BlockMeta]) -> list[Any]:
    """The sources of blocks: one for each file, and few for all that are small."""
    return blocks.query_sources(metas)


def live_sources(live: Live, partitions: Iterable[int], trace_id: bytes | None = None) -> list[Any]:
    """The live parts of partitions, or what they have of one trace: shreds heads, so it belongs on a thread."""
    return [source for number in partitions for part in live.parts.get(number, []) for source in part(trace_id)]


def _of_trace(blocks: list[BlockMeta], trace_id: bytes) -> list[BlockMeta]:
    """Those of the partition that has the trace."""
    counts = {meta.partition_count for meta in blocks}
    places = {count: partition_of(trace_id, count) for count in counts}
    return [meta for meta in blocks if places[meta.partition_count] == meta.partition]
