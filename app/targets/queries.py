"""Who answers queries in a process, and what it does for the queries of others: of its targets and settings.

- a query frontend answers queries, and gives blocks to queriers
- a querier fetches jobs from all frontends; at the one of its own process without a socket
- a live store answers frontends for its partitions. Without a frontend in its process it answers queries, too, and
  reads the blocks itself
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import faust

from agents.live_store.partition_manager import PartitionManager
from app.api.backend import Backend
from app.process.caches import shared_result_cache
from app.querying.blocks import block_messages
from app.querying.blocks.block_service import BlockService
from app.querying.blocks.block_work import BlockWork, LocalBlockWork
from app.querying.blocks.queued_blocks import JobLimits, QueuedBlockWork
from app.querying.blocks.result_cache import ResultCache
from app.querying.frontend import Frontend, FrontendLimits
from app.querying.jobs.job_queue import JobQueue, QueueLimits
from app.querying.jobs.querier_slots import QuerierService
from app.querying.jobs.querier_worker import OwnSlots, QuerierWorker
from app.querying.live import live_messages
from app.querying.live.live_service import LiveService
from app.querying.live.partition_counts import PartitionCounts
from app.querying.querier import Querier
from app.querying.running.executor import QueryExecutor, QueryLimits
from app.querying.running.observed_queries import ObservedQueries, QueryLogConfig
from app.querying.running.query_metrics import QueryMetrics
from app.rpc.server import AskedAgain
from app.settings import Settings
from app.settings.sections.query_frontend import QueryFrontend
from app.targets.block_opener import BlockOpener
from app.targets.internal import Internal, live_stores
from app.targets.shared import Shared, Target
from tables.catalog.block_list import BlockList

FRONTEND: Final = "query-frontend"
QUERIER: Final = "querier"
LIVE_STORE: Final = "live-store"
_MS: Final = 1000


class Background(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """Work that goes on while the process runs."""

    def __init__(self, work: Callable[[], Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._work = work

    async def on_start(self) -> None:
        """Begins it; it ends with the service."""
        self.add_future(self._work())


def build(settings: Settings, shared: Shared, live: PartitionManager | None) -> Target:
    """What the process has for queries. live: of its live store; None: it has none"""
    here, internal = settings.targets, shared.internal
    executor = QueryExecutor(QueryLimits.of(settings.query))
    parts: list[faust.Service] = []
    blocks, not_ready, at_start = _blocks(settings, shared, live, parts)
    if live is not None:
        internal.methods[live_messages.METHOD] = AskedAgain(LiveService(live, executor).answer)
    service = BlockService(executor, blocks, forgets=live is None and FRONTEND not in here)
    work: BlockWork = LocalBlockWork(executor)
    if FRONTEND in here:
        work = _queued(settings, internal, executor, service, parts)
    if QUERIER in here:
        frontends = _frontends(settings, shared)
        jobs_max = settings.querier.max_concurrent_queries
        worker = QuerierWorker(internal.member_id, service.answer, lambda: internal.client, frontends, jobs_max)
        parts.append(Background(worker.run))
    further = [name for name in (FRONTEND, QUERIER) if name in here]
    if FRONTEND not in here and live is None:
        return Target(apps={}, servers=parts, further=further)
    counts = PartitionCounts(live, shared.members, at_start)
    alone = Querier(live, executor.limits, executor, counts.now) if live is not None else None
    frontend: Backend = Frontend(
        executor,
        blocks,
        counts,
        live_stores(internal, shared.members, live),
        work,
        FrontendLimits(settings.query.timeout_s, settings.query_frontend.live_store_wait_s),
        querier=alone,
        not_ready=not_ready,
    )
    return Target(apps={}, servers=parts, backend=_observed(frontend, settings), further=further)


def _observed(backend: Backend, settings: Settings) -> Backend:
    config = settings.query_frontend.query_log
    metrics = QueryMetrics(settings.query_frontend, settings.distributor.tenant_metrics_max)
    query_log = QueryLogConfig(config.slow_after, config.all_queries, config.query_chars_max)
    return ObservedQueries(backend, metrics, query_log)


def _blocks(
    settings: Settings, shared: Shared, live: PartitionManager | None, parts: list[faust.Service]
) -> tuple[Callable[[], BlockList | None], Callable[[], Sequence[str]], Callable[[], int]]:
    """The blocks, why they are not there yet, and the number of partitions at the start. parts: gets what opens them"""
    if live is not None:
        manager = live
        return (
            lambda: None if manager.store is None else manager.store.blocks,
            manager.not_ready,
            lambda: 0 if manager.store is None else manager.store.policy.partitions,
        )
    opener = BlockOpener(settings, shared.kafka, polls=FRONTEND in settings.targets)
    parts.append(opener)
    return lambda: opener.blocks, opener.not_ready, lambda: opener.partitions_at_start


def _queued(
    settings: Settings,
    internal: Internal,
    executor: QueryExecutor,
    service: BlockService,
    parts: list[faust.Service],
) -> QueuedBlockWork:
    frontend = settings.query_frontend
    queue = JobQueue(queue_limits(frontend))
    serving = QuerierService(queue)
    internal.methods[block_messages.METHOD] = serving.serve
    own_id = ""
    if QUERIER in settings.targets:
        own_id = internal.member_id
        own = OwnSlots(own_id, serving, service.answer, settings.query.threads)
        parts.append(Background(own.run))
    cache = ResultCache(
        frontend.result_cache_bytes_max, frontend.trace_key_cache_bytes_max, shared_result_cache(settings)
    )
    limits = JobLimits(frontend.target_bytes_per_job, frontend.concurrent_jobs)
    return QueuedBlockWork(executor, queue, cache, limits, own_id=own_id)


def queue_limits(frontend: QueryFrontend) -> QueueLimits:
    """What the section of the settings says."""
    return QueueLimits(
        outstanding_max=frontend.max_outstanding_per_tenant,
        steal_after_s=frontend.job_steal_ms / _MS,
        hedge_at_s=frontend.hedge_requests_at,
        hedge_up_to=frontend.hedge_requests_up_to,
        retries_max=frontend.max_retries,
        querier_wait_s=frontend.querier_wait_s,
    )


def _frontends(settings: Settings, shared: Shared) -> Callable[[], Iterable[str]]:
    """The addresses of all other processes with a frontend."""
    named = settings.querier.frontend_worker.frontend_address
    if named:
        return lambda: named
    own_id = shared.internal.member_id

    def announced() -> Iterable[str]:
        serving = shared.members.serving(FRONTEND)  # one that is leaving answers the queries that it has
        return [one.address for one in serving if one.member_id != own_id and one.address]

    return announced
