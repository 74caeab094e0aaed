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
from typing import Any, Final, TypeVar

import pyarrow as pa
from prometheus_client import Counter, Gauge

from agents.live_store.agent import PartitionManager
from app.api.backend import Page, TraceAnswer
from app.api.errors import TooManyRequests, TraceTooLarge, Unavailable
from app.querying.damage import Lacks, lacking, lacking_of_trace, overlaps, past_damage
from app.querying.query_threads import give_way, leaving_nothing
from query.errors import QueryCancelled
from query.language import ast
from query.language.compile import compile_query
from query.memory import MemoryBudget, MemoryExceeded, SharedMemory, request_budget, running_in
from query.metrics.metrics import compile_metrics, metrics_instant, metrics_range
from query.results import MetricsResult, SearchResult
from query.scan.progress import Watch
from query.search.search import search
from query.search.top_traces import Order
from query.tags.tags import Known, TagNames, TagValues, tag_names, tag_values
from query.trace.pages import count_spans, trace_page
from query.trace.trace import find_trace
from tables.blocks.block_list import BlockList
from tables.blocks.damage import damage_lines
from tables.blocks.meta import BlockMeta
from tables.errors import OutdatedError, StorageError
from tables.live.store import Live, LiveStore
from tables.wall import walled
from tables.wire.split import partition_of

log = logging.getLogger(__name__)
T = TypeVar("T")
NS: Final = 1_000_000_000
# So often a query begins anew because blocks were replaced while it read them.
_VIEWS_MAX: Final = 3
# A longer query is not compiled on the event loop: that takes up to a second for the longest ones.
_COMPILED_HERE_CHARS_MAX: Final = 1000
_ALL_SPANS: Final = 2**31
# The least that a span takes as OTLP: its ids and times, and what stands around them.
_SPAN_BYTES_MIN: Final = 50

Cancelled = Callable[[], bool]

RUNNING = Gauge("stretto_queries_running", "Queries that are worked on.")
CANCELLED = Counter(
    "stretto_queries_cancelled_total", "Queries that failed or were given up: time, nobody waits, storage."
)
REFUSED = Counter("stretto_queries_refused_total", "Queries refused because too many were waiting.")


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


class Querier:
    """One for a process; belongs to its event loop."""

    def __init__(self, manager: PartitionManager, limits: QueryLimits) -> None:
        self._manager, self._limits = manager, limits
        begin = partial(give_way, limits.niceness)
        self._pool = ThreadPoolExecutor(limits.threads, "query", begin)
        # Others than those of queries: what is known of an answer is told while its query runs. And not more of them:
        # the event loop waits for the GIL in line with all threads that compute.
        self._answers = ThreadPoolExecutor(limits.threads, "answer", begin)
        self._slots = asyncio.Semaphore(limits.concurrent_max)
        self._memory = SharedMemory(limits.memory_total_bytes_max)
        self._admitted = 0
        self._known_tags = Known()
        compile_query("{ }")  # reads the grammar: 40 ms, for which the first query would hold up the event loop

    def close(self) -> None:
        """Gives up what runs."""
        for pool in (self._pool, self._answers):
            pool.shutdown(wait=False, cancel_futures=True)

    def not_ready(self) -> Sequence[str]:
        """Why this process cannot serve yet."""
        return self._manager.not_ready()

    def damage(self) -> Sequence[str]:
        """What of the stored data cannot be read; the rest is served."""
        store = self._manager.store
        blocks = [] if store is None else [*store.blocks.problems(), *damage_lines(store.blocks.damaged())]
        return [*self._manager.damage.values(), *blocks]

    async def search(
        self,
        tenant: str,
        query: str,
        *,
        start_s: int | None,
        end_s: int | None,
        limit: int,
        spans_per_span_set: int,
        order: Order = "start",
        total: bool = False,
        cursor: str | None = None,
        watch: Watch | None = None,
    ) -> SearchResult:
        """The newest traces that match. Raises: TraceQLError, Unavailable, TooManyRequests, TimeoutError."""
        _compile_early(compile_query, query)
        work = partial(
            search,
            query=query,
            limit=limit,
            spans_per_span_set=spans_per_span_set or _ALL_SPANS,
            order=order,
            total=total,
            cursor=cursor,
        )
        return await self._ask_watched(tenant, _nanoseconds(start_s), _nanoseconds(end_s), work, watch)

    async def metrics_range(
        self,
        tenant: str,
        query: str,
        *,
        start_ns: int,
        end_ns: int,
        step_ns: int,
        exemplars: int,
        watch: Watch | None = None,
    ) -> MetricsResult:
        """Samples over time. Raises: as `search`."""
        _compile_early(compile_metrics, query)
        work = partial(metrics_range, query=query, step_ns=step_ns, exemplars=exemplars)
        return await self._ask_watched(tenant, start_ns, end_ns, work, watch)

    async def metrics_instant(
        self, tenant: str, query: str, *, start_ns: int, end_ns: int, watch: Watch | None = None
    ) -> MetricsResult:
        """One sample over the range. Raises: as `search`."""
        _compile_early(compile_metrics, query)
        return await self._ask_watched(tenant, start_ns, end_ns, partial(metrics_instant, query=query), watch)

    async def tag_names(
        self,
        tenant: str,
        *,
        scope: str | None,
        query: str,
        start_s: int | None,
        end_s: int | None,
        limit: int,
        watch: Watch | None = None,
    ) -> TagNames:
        """The tags that there are. Raises: Unavailable, TooManyRequests, TimeoutError."""
        work = partial(tag_names, scope=scope, query=query, limit=limit, known=self._known_tags)
        return await self._ask(tenant, _nanoseconds(start_s), _nanoseconds(end_s), work, watch)

    async def tag_values(
        self,
        tenant: str,
        fields: Sequence[ast.Field],
        *,
        query: str,
        start_s: int | None,
        end_s: int | None,
        limit: int,
        watch: Watch | None = None,
    ) -> TagValues:
        """The values of some fields. Raises: Unavailable, TooManyRequests, TimeoutError."""
        work = partial(tag_values, fields=fields, query=query, limit=limit, known=self._known_tags)
        return await self._ask(tenant, _nanoseconds(start_s), _nanoseconds(end_s), work, watch)

    async def _ask_watched(
        self, tenant: str, start_ns: int | None, end_ns: int | None, work: Callable[..., T], watch: Watch | None
    ) -> T:
        """As `_ask`, for work that says what it does."""
        watch = Watch() if watch is None else watch
        telling = partial(work, profile=watch.profile, progress=watch.progress)
        return await self._ask(tenant, start_ns, end_ns, telling, watch)

    async def _ask(
        self,
        tenant: str,
        start_ns: int | None,
        end_ns: int | None,
        work: Callable[..., T],
        watch: Watch | None = None,
    ) -> T:
        """Runs it over all that the tenant has in the time range, all partitions, as of now.

        work: takes the sources, start_ns, end_ns and cancelled
        """
        watch = Watch() if watch is None else watch
        return await _on_new_views(lambda: self._ask_once(tenant, start_ns, end_ns, work, watch))

    async def _ask_once(
        self, tenant: str, start_ns: int | None, end_ns: int | None, work: Callable[..., T], watch: Watch
    ) -> T:
        store, lacks, profile = self._store(), Lacks(watch.lacks), watch.profile
        if missing := self._missing(store, range(store.policy.partitions)):
            lacks.add(missing)
        live = store.view(tenant)
        for text in lacking(live.blocks, start_ns, end_ns):
            lacks.add_damage(text)
        asked_s = time.perf_counter()

        def on_thread(cancelled: Cancelled) -> T:
            profile.stages["wait for a thread"] = time.perf_counter() - asked_s
            with profile.stage("open sources"):
                parts = live_sources(live, live.parts)

            def over(blocks: Sequence[BlockMeta]) -> T:
                sources = block_sources(store.blocks, blocks) + parts
                return work(sources, start_ns=start_ns, end_ns=end_ns, cancelled=cancelled)

            return past_damage(store.blocks, _overlapping(live.blocks.blocks, start_ns, end_ns), over, lacks)

        return await self._run(on_thread)

    async def trace(
        self,
        tenant: str,
        trace_id: bytes,
        *,
        start_s: int | None,
        end_s: int | None,
        bytes_max: int = 0,
        page: Page | None = None,
    ) -> TraceAnswer:
        """All spans of a trace, or a page: asks only its partition.

        Raises: Unavailable, TooManyRequests, TimeoutError, TraceTooLarge
        """
        within = (_nanoseconds(start_s), _nanoseconds(end_s))
        return await _on_new_views(lambda: self._trace_once(tenant, trace_id, within, bytes_max, page))

    async def _trace_once(
        self,
        tenant: str,
        trace_id: bytes,
        within: tuple[int | None, int | None],
        bytes_max: int,
        page: Page | None,
    ) -> TraceAnswer:
        store = self._store()
        partition = partition_of(trace_id, store.policy.partitions)
        live = store.view(tenant)
        blocks = [
            meta
            for meta in _overlapping(live.blocks.blocks, *within)
            if partition_of(trace_id, meta.partition_count) == meta.partition
        ]
        texts: list[str] = []
        lacks = Lacks(texts)
        for text in lacking_of_trace(store.blocks, live.blocks, trace_id, store.policy.partitions, within):
            lacks.add_damage(text)

        def over(metas: Sequence[BlockMeta]) -> tuple[pa.Table | None, bool]:
            sources = block_sources(store.blocks, metas) + live_sources(live, [partition], trace_id)
            if page is not None:
                return trace_page(sources, trace_id, page.after, page.spans_max)
            if bytes_max and (spans := count_spans(sources, trace_id)) * _SPAN_BYTES_MIN > bytes_max:
                raise TraceTooLarge(trace_id, spans, f"at least {spans * _SPAN_BYTES_MIN} bytes", bytes_max)
            return find_trace(sources, trace_id), False

        table, more = await self._run(lambda _: past_damage(store.blocks, blocks, over, lacks))
        if missing := self._missing(store, [partition]):
            texts.insert(0, missing)
        return TraceAnswer(table, not texts, "; ".join(texts), more)

    async def beside(self, make: Callable[[], T]) -> T:
        """What `make` gives, on a thread of those that make answers. Raises: MemoryExceeded"""
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

    def _missing(self, store: LiveStore, partitions: Iterable[int]) -> str:
        """Which partitions an answer would miss spans of; "" if none."""
        behind = self._manager.behind()
        missing = [str(number) for number in partitions if number not in store.partitions or number in behind]
        if not missing:
            return ""
        names = ", ".join(missing)
        return f"recent spans of partition {names} are missing: this process does not have them, or not yet"

    async def _run(self, work: Callable[[Cancelled], T]) -> T:
        """Runs it on a thread, within the limits; tells it to stop when nobody waits any more."""
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
    """A faulty query is told so at once, without waiting for a thread. Raises: TraceQLError"""
    if len(query) <= _COMPILED_HERE_CHARS_MAX:
        compile_text(query)


def _nanoseconds(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * NS


def block_sources(blocks: BlockList, metas: Iterable[BlockMeta]) -> list[Any]:
    """The files of blocks."""
    return [source for meta in metas for source in blocks.sources(meta)]


def live_sources(live: Live, partitions: Iterable[int], trace_id: bytes | None = None) -> list[Any]:
    """The live parts of partitions, or what they have of one trace: shreds heads, so it belongs on a thread."""
    return [source for number in partitions for part in live.parts.get(number, []) for source in part(trace_id)]


def _overlapping(blocks: list[BlockMeta], start_ns: int | None, end_ns: int | None) -> list[BlockMeta]:
    return [meta for meta in blocks if overlaps(meta, start_ns, end_ns)]
