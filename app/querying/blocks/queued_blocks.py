"""Queriers read the blocks of a query: jobs for them, and what they answered before."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

from prometheus_client import Counter, Histogram

from agents import tracing
from app.querying.blocks.block_messages import BlockAsk, Wanted
from app.querying.blocks.block_reader import blocks_of_trace
from app.querying.blocks.block_work import BlockView, LocalBlockWork
from app.querying.blocks.job_plan import BlockJob, plan_jobs
from app.querying.blocks.result_cache import ResultCache, cache_key
from app.querying.jobs.job_queue import JobQueue
from app.querying.live.live_messages import KEYS, PARTIAL, expect, keys_of
from app.querying.live.live_stores import OpenedLive
from app.querying.participants import Participant, decoded, decoded_suspects
from app.querying.questions import Partial
from app.querying.running.executor import QueryExecutor
from app.querying.suspect_spans import SUSPECTS, SuspectsFound
from app.querying.trace.trace_partial import Further, TracePart, asked_of_parts, is_of_whole
from app.querying.trace.trace_parts import AskTrace
from app.rpc.frames import RpcFrame, with_traceparent
from query.request_json import Request
from query.requests import TraceRequest
from query.scan.progress import QueryObserver
from query.scan.shared_traces import Keys
from query.scan.suspects import SuspectSpans
from tables.blocks.filter_pack import PackRef

# What takes about a millisecond is done on the event loop.
_PLANNED_HERE_MAX: Final = 50  # blocks

BYTES: Final = Counter(
    "stretto_query_frontend_block_bytes_total",
    "Bytes of block files in the jobs of queries, by where the answer came from: querier, cache.",
    ["from_"],
)
JOBS_PER_QUERY: Final = Histogram(
    "tempo_query_frontend_jobs_per_query",
    "Jobs for queriers that a query has, by op: traces, others.",
    ["op"],
    buckets=(0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096),
)


@dataclass(frozen=True, slots=True)
class JobLimits:
    """bytes_per_job: about so many bytes of files make a job. concurrent_max: jobs of a query that wait or run"""

    bytes_per_job: int
    concurrent_max: int


class _Turns(NamedTuple):
    """Of a query's jobs. What is asked about rows that have come does not wait for jobs that may never be needed."""

    first: asyncio.Semaphore
    suspects: asyncio.Semaphore


class QueuedBlockWork:
    """Gives blocks to queriers. The live store of this process, if there is one, is a participant of its own."""

    def __init__(
        self,
        executor: QueryExecutor,
        queue: JobQueue,
        cache: ResultCache,
        limits: JobLimits,
        *,
        own_id: str = "",
    ) -> None:
        """own_id: this process is a querier, too: its id. It reads blocks alone while no other querier is connected"""
        self.executor, self._queue, self._cache, self._limits = executor, queue, cache, limits
        self._own_id = own_id
        self._local = LocalBlockWork(executor)

    def has_others(self) -> bool:
        """Whether other queriers are connected, or must be."""
        return not self._own_id or self._queue.has_queriers(besides=self._own_id)

    async def jobs(self, tenant: str, request: Request, view: BlockView) -> tuple[list[Participant], BlockView]:
        if not self.has_others():
            return [], view
        jobs = await self._planned(lambda: plan_jobs(view.metas, self._limits.bytes_per_job), view)
        JOBS_PER_QUERY.labels("others").observe(len(jobs))
        turns = _Turns(*(asyncio.Semaphore(self._limits.concurrent_max) for _ in range(2)))
        found: list[Participant] = [_Queued(self, tenant, request, view, job, turns) for job in jobs]
        return found, replace(view, live_only=True)

    def here(
        self, request: Request, view: BlockView, live: OpenedLive, observer: QueryObserver
    ) -> Sequence[Participant]:
        return self._local.here(request, view, live, observer)

    async def trace_jobs(self, tenant: str, request: TraceRequest, view: BlockView) -> tuple[list[AskTrace], BlockView]:
        if not self.has_others():
            return [], view

        def plan() -> list[BlockJob]:
            # Whole blocks, however large: a filter of trace ids says which of their files are read.
            return plan_jobs(blocks_of_trace(view.metas, request.trace_id), sys.maxsize)

        turns = asyncio.Semaphore(self._limits.concurrent_max)
        jobs = await self._planned(plan, view)
        JOBS_PER_QUERY.labels("traces").observe(len(jobs))
        found: list[AskTrace] = [partial(self._trace_part, tenant, request, view, job, turns) for job in jobs]
        return found, replace(view, live_only=True)

    def trace_here(self, request: TraceRequest, view: BlockView, live: OpenedLive) -> Sequence[AskTrace]:
        return self._local.trace_here(request, view, live)

    async def _planned(self, plan: Callable[[], list[BlockJob]], view: BlockView) -> list[BlockJob]:
        small = len(view.snapshot.rows) + len(view.snapshot.cut_blocks) <= _PLANNED_HERE_MAX
        return await self.executor.run_where_it_fits(plan, small=small)

    async def _frame(self, ask: BlockAsk) -> RpcFrame:
        return await self.executor.run_where_it_fits(ask.to_frame, small=len(ask.files) <= _PLANNED_HERE_MAX)

    async def _run(self, ask: BlockAsk, job: BlockJob) -> RpcFrame:
        about = {"wanted": str(ask.wanted), "files": len(ask.files)}
        with tracing.span("job", about, kind=tracing.CLIENT) as span:
            return await self._queue.run(ask.tenant, job.place, with_traceparent(await self._frame(ask), span))

    async def _trace_part(
        self,
        tenant: str,
        request: TraceRequest,
        view: BlockView,
        job: BlockJob,
        turns: asyncio.Semaphore,
        further: Further | None,
    ) -> TracePart:
        in_turns = is_of_whole(request)
        ask = BlockAsk(
            tenant=tenant,
            wanted=Wanted.TRACE,
            request=asked_of_parts(request) if in_turns else request,
            in_turns=request if in_turns else None,
            further=further,
            files=job.files,
            redactions=view.snapshot.redactions,
            filter_packs=_packs_of(job, view),
        )
        async with turns:
            reply = await self._run(ask, job)
        return TracePart.from_ipc(expect(reply, PARTIAL).data)

    async def ask_suspects(self, ask: BlockAsk, job: BlockJob, turns: asyncio.Semaphore) -> RpcFrame:
        """What a querier says to a question about spans that a client may have sent twice."""
        async with turns:
            return await self._run(ask, job)

    async def ask(self, ask: BlockAsk, job: BlockJob, view: BlockView, turns: asyncio.Semaphore) -> bytes:
        """The bytes of keys or of a partial, from the cache or from a querier."""
        size_bytes = sum(one.size_bytes for one in job.files)
        key = cache_key(ask, job, _bucket(view))
        data = await self._cache.get(key, ask.wanted)
        if data is not None:
            BYTES.labels("cache").inc(size_bytes)
            return data
        async with turns:
            reply = await self._run(ask, job)
        data = expect(reply, KEYS if ask.wanted is Wanted.KEYS else PARTIAL).data
        BYTES.labels("querier").inc(size_bytes)
        self._cache.put(key, ask.wanted, data)
        return data


class _Queued:
    """Some files of blocks, for a querier."""

    def __init__(
        self,
        work: QueuedBlockWork,
        tenant: str,
        request: Request,
        view: BlockView,
        job: BlockJob,
        turns: _Turns,
    ) -> None:
        self._work, self._tenant, self._request, self._view = work, tenant, request, view
        self._job, self._turns = job, turns
        self.latest_ns = job.latest_ns

    async def keys(self) -> Keys:
        return keys_of(await self._work.ask(self._ask(Wanted.KEYS), self._job, self._view, self._turns.first))

    async def partial(self, elsewhere: Keys) -> Partial:
        ask = self._ask(Wanted.PARTIAL, elsewhere)
        data = await self._work.ask(ask, self._job, self._view, self._turns.first)
        return await decoded(data, self._request, self._work.executor)

    async def suspects(self, asked: SuspectSpans) -> SuspectsFound | None:
        ask = replace(self._ask(Wanted.PARTIAL), suspects=asked)
        frame = await self._work.ask_suspects(ask, self._job, self._turns.suspects)
        if frame.name != SUSPECTS:  # a querier of a former version, which has given a partial
            return None
        return await decoded_suspects(frame.data, self._work.executor)

    async def enough(self) -> None:
        pass

    def _ask(self, wanted: Wanted, elsewhere: Keys | None = None) -> BlockAsk:
        ask = BlockAsk(
            tenant=self._tenant,
            wanted=wanted,
            request=self._request,
            files=self._job.files,
            redactions=self._view.snapshot.redactions,
            read_limit=self._work.executor.budget().read_limit,
        )
        return ask if elsewhere is None else replace(ask, elsewhere=elsewhere)


def _bucket(view: BlockView) -> str:
    config = view.known.store.config
    return f"{config.backend}/{config.place}/{config.prefix}"


def _packs_of(job: BlockJob, view: BlockView) -> list[PackRef]:
    """The packs that may have filters of the job's blocks."""
    places = {one.meta.place for one in job.files}
    return [pack for pack in view.snapshot.filter_packs if pack.place in places]
