"""Answers queries from the live store and the blocks of this process: `app.api.backend.Backend`."""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

import pyarrow as pa

from agents.live_store.partition_manager import PartitionManager
from app.api.backend import TraceAnswer
from app.api.errors import Unavailable
from app.querying.blocks.block_reader import BlockReader, Sources, blocks_of_trace
from app.querying.blocks.redacted import redacted_parts
from app.querying.damage import MissingData, missing_in_range, missing_of_trace, past_damage
from app.querying.running.executor import Cancelled, QueryExecutor, QueryLimits, unavailable, wanted
from query.language.compile import compile_query
from query.metrics.metrics import compile_metrics, metrics_instant, metrics_range
from query.requests import InstantRequest, RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest, TraceRequest
from query.results import MetricsResult, SearchResult
from query.scan.progress import QueryObserver
from query.search.search import search
from query.tags.tag_cache import TagCache
from query.tags.tags import TagNames, TagValues, tag_names, tag_values
from query.trace.by_id import trace_by_id
from tables.blocks.meta import BlockMeta
from tables.catalog.damage import damage_lines
from tables.errors import DamagedError, OutdatedError
from tables.live.decode_together import GoOn, keep_going
from tables.live.store import Live, LiveStore
from tables.storage.request_usage import RequestUsage
from tables.wire.split import places_of

log = logging.getLogger(__name__)
T = TypeVar("T")
# So often a query begins anew because blocks were replaced while it read them.
_VIEWS_MAX: Final = 3
# A longer query is not compiled on the event loop: that takes up to a second for the longest ones.
_COMPILED_HERE_CHARS_MAX: Final = 1000


class AskedRange(Protocol):
    """The time range of a request."""

    @property
    def start_ns(self) -> int | None:
        """The limit of the searched range in unix ns, or None if the range has no limit on this side."""

    @property
    def end_ns(self) -> int | None:
        """The limit of the searched range in unix ns, or None if the range has no limit on this side."""


class Querier:
    """One for a process; belongs to its event loop."""

    def __init__(
        self,
        manager: PartitionManager,
        limits: QueryLimits,
        executor: QueryExecutor | None = None,
        partitions: Callable[[], int] | None = None,
    ) -> None:
        """executor: that of the process; None: an own one. partitions: how many may have spans; None: all that there
        are
        """
        self._manager = manager
        self._partitions = partitions or (lambda: manager.partition_count)
        self._executor = executor or QueryExecutor(limits)
        self._reader = BlockReader(self._executor.filters)
        self._tag_cache = TagCache()

    def close(self) -> None:
        """Gives up the queries that wait or run."""
        self._executor.close()

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
        compile_early(compile_query, request.query)

        def work(sources: Sources, cancelled: Cancelled) -> SearchResult:
            return search(sources, request, observer=observer, cancelled=cancelled)

        return await self._ask(tenant, request, observer, work)

    async def metrics_range(self, tenant: str, request: RangeRequest, observer: QueryObserver) -> MetricsResult:
        """Samples over time. Raises: as `search`."""
        compile_early(compile_metrics, request.query)

        def work(sources: Sources, cancelled: Cancelled) -> MetricsResult:
            return metrics_range(sources, request, observer=observer, cancelled=cancelled)

        return await self._ask(tenant, request, observer, work)

    async def metrics_instant(self, tenant: str, request: InstantRequest, observer: QueryObserver) -> MetricsResult:
        """One sample over the range. Raises: as `search`."""
        compile_early(compile_metrics, request.query)

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
        return await on_new_views(lambda: self._ask_once(tenant, window, observer, work))

    async def _ask_once(
        self, tenant: str, window: AskedRange, observer: QueryObserver, work: Callable[[Sources, Cancelled], T]
    ) -> T:
        store, missing_data, profile = self._store(), MissingData(observer.missing_data), observer.profile
        start_ns, end_ns = window.start_ns, window.end_ns
        live = store.view(tenant, start_ns, end_ns)
        if missing := self._missing(store, live, range(self._partitions())):
            missing_data.add(missing)
        for text in missing_in_range(live.blocks, start_ns, end_ns):
            missing_data.add_damage(text)
        asked_s = time.perf_counter()

        def on_thread(cancelled: Cancelled) -> T:
            profile.stages["wait for a thread"] = time.perf_counter() - asked_s
            with profile.stage("open sources"):
                parts = redacted_parts(live_sources(live, live.parts, go_on=wanted(cancelled)), live.blocks.redactions)

            def over(blocks: Sequence[BlockMeta]) -> T:
                return work(self._reader.sources(store.blocks, blocks, live.blocks.redactions) + parts, cancelled)

            return past_damage(store.blocks, live.blocks.blocks, over, missing_data)

        return await self._run(on_thread, profile.storage)

    async def trace(self, tenant: str, request: TraceRequest) -> TraceAnswer:
        """All spans of a trace, or a page: asks only the partitions that it may be in.

        Raises: Unavailable, TooManyRequests, TimeoutError, TraceTooLarge
        """
        return await on_new_views(lambda: self._trace_once(tenant, request))

    async def _trace_once(self, tenant: str, request: TraceRequest) -> TraceAnswer:
        store, trace_id = self._store(), request.trace_id
        count = self._partitions()
        partitions = places_of(trace_id, {count, *self._manager.record_counts()}, count)
        within = (request.start_ns, request.end_ns)
        live = store.view(tenant, *within, trace_id)
        texts: list[str] = []
        missing_data = MissingData(texts)
        for text in missing_of_trace(store.blocks, live.blocks, trace_id, count, within):
            missing_data.add_damage(text)

        def on_thread(cancelled: Cancelled) -> tuple[pa.Table | None, bool]:
            def over(metas: Sequence[BlockMeta]) -> tuple[pa.Table | None, bool]:
                shown = live.blocks
                sources = self._reader.trace_sources(
                    store.blocks, metas, trace_id, shown.redactions, shown.filter_packs
                )
                parts = live_sources(live, sorted(partitions), trace_id, wanted(cancelled))
                return trace_by_id(sources + redacted_parts(parts, shown.redactions), request)

            return past_damage(store.blocks, blocks_of_trace(live.blocks.blocks, trace_id), over, missing_data)

        table, more = await self._run(on_thread)
        if missing := self._missing(store, live, sorted(partitions)):
            texts.insert(0, missing)
        return TraceAnswer(table, not texts, "; ".join(texts), more)

    async def run_in_thread(self, make: Callable[[], T]) -> T:
        """What `make` returns, run on one of the threads that make answers. Raises: MemoryExceeded"""
        return await self._executor.run_in_thread(make)

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
        try:
            return await self._executor.run(work, usage)
        except DamagedError as err:
            raise unavailable(err) from err


async def on_new_views(ask: Callable[[], Awaitable[T]]) -> T:
    """Again where blocks that the view had were replaced and deleted meanwhile."""
    for _ in range(_VIEWS_MAX - 1):
        try:
            return await ask()
        except OutdatedError:
            continue
    try:
        return await ask()
    except OutdatedError as err:
        raise Unavailable("blocks were replaced again and again while the query read them") from err


def compile_early(compile_text: Callable[[str], object], query: str) -> None:
    """Refuses a faulty query at once, without waiting for a thread. Raises: TraceQLError"""
    if len(query) <= _COMPILED_HERE_CHARS_MAX:
        compile_text(query)


def live_sources(
    live: Live, partitions: Iterable[int], trace_id: bytes | None = None, go_on: GoOn = keep_going
) -> list[Any]:
    """The live parts of partitions, or what they have of one trace: shreds heads, so it belongs on a thread."""
    parts = [part for number in partitions for part in live.parts.get(number, [])]
    return [source for part in parts for source in part(trace_id, go_on)]
