"""Answers queries over all processes: `app.api.backend.Backend`.

It takes a view of the blocks at one moment, which says for each partition up to which offset blocks have the spans. It
asks live stores for the offsets from there on, and whoever reads blocks for the rest. So each span counts once,
whatever is flushed, merged or moved meanwhile: who cannot answer for exactly these offsets says so, and is not counted.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from prometheus_client import Counter

from app.api.backend import TraceAnswer
from app.api.errors import Unavailable
from app.net.access import SEPARATOR
from app.querying.blocks.block_work import BlockView, BlockWork
from app.querying.damage import MissingData, damage_text, missing_in_range, missing_of_trace
from app.querying.gathering import all_of, gather
from app.querying.live.live_messages import LiveAsk
from app.querying.live.live_stores import LiveStores, OpenedLive, StaleBlocks
from app.querying.live.partition_counts import PartitionCounts
from app.querying.participants import EagerParticipant, LivePeer, Participant
from app.querying.querier import Querier, compile_early
from app.querying.questions import kind_of
from app.querying.running.executor import QueryExecutor, unavailable
from app.querying.running.fair_slots import FairSlots
from app.querying.trace.trace_partial import ChangedPart, asked_of_parts, is_of_whole, joined
from app.querying.trace.trace_parts import AskTrace, LiveTrace, begun, whole_answer
from app.rpc.conversation import PeerGone
from query.request_json import Request
from query.requests import InstantRequest, RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest, TraceRequest
from query.results import MetricsResult, SearchResult
from query.scan.progress import QueryObserver
from query.tags.tags import TagNames, TagValues
from tables.catalog.block_list import BlockList
from tables.catalog.damage import damage_lines
from tables.errors import DamagedError, OutdatedError, StorageError
from tables.wall import walled
from tables.wire.split import SEVERAL, places_of

log = logging.getLogger(__name__)
T = TypeVar("T")

# So often a query begins anew because what it had asked was not there any more, or knew more than this process.
_VIEWS_MAX: Final = 6
_AGAIN_S: Final = 0.05

ANEW: Final = Counter(
    "stretto_query_restarts_total",
    "Queries over several processes that began anew, by reason: stale (a live store has flushed more than was known "
    "here), outdated (a block was replaced), gone (a live store went away), damaged (a block cannot be read), "
    "shared (more live stores have spans than it seemed).",
    ["reason"],
)


@dataclass(frozen=True, slots=True)
class FrontendLimits:
    """timeout_s: of a query. live_store_wait_s: how long to look for somebody who has a partition"""

    timeout_s: float
    live_store_wait_s: float


class Frontend:
    """One for a process; belongs to its event loop."""

    def __init__(  # noqa: PLR0913 (its collaborators)
        self,
        executor: QueryExecutor,
        blocks: Callable[[], BlockList | None],
        partitions: PartitionCounts,
        live_stores: LiveStores,
        block_work: BlockWork,
        limits: FrontendLimits,
        *,
        querier: Querier | None = None,
        not_ready: Callable[[], Sequence[str]] = lambda: (),
    ) -> None:
        """blocks: None: not known yet. partitions: how many the topic has. block_work: who reads blocks
        querier: what answers alone where this process has everything; not_ready: of a process without one
        """
        self._executor, self._blocks, self._partitions = executor, blocks, partitions
        self._live_stores, self._block_work, self._limits = live_stores, block_work, limits
        self._querier, self._not_ready = querier, not_ready
        self._slots = FairSlots(executor.limits.concurrent_max, executor.limits.wait_max_s)

    def close(self) -> None:
        """Gives up the queries that wait or run."""
        self._executor.close()

    def not_ready(self) -> Sequence[str]:
        """Why this process cannot serve yet."""
        return self._not_ready() if self._querier is None else self._querier.not_ready()

    def damage(self) -> Sequence[str]:
        """What of the stored data cannot be read; the rest is served."""
        if self._querier is not None:
            return self._querier.damage()
        blocks = self._blocks()
        return () if blocks is None else [*blocks.problems(), *damage_lines(blocks.damaged())]

    async def run_in_thread(self, make: Callable[[], T]) -> T:
        """What `make` returns, run on one of the threads that make answers. Raises: MemoryExceeded"""
        return await self._executor.run_in_thread(make)

    async def search(self, tenant: str, request: SearchRequest, observer: QueryObserver) -> SearchResult:
        async with self._slots.taken(tenant):
            if (alone := self._alone(tenant)) is not None:
                return await alone.search(tenant, request, observer)
            found: SearchResult = await self._ask(tenant, request, observer)
            return found

    async def metrics_range(self, tenant: str, request: RangeRequest, observer: QueryObserver) -> MetricsResult:
        async with self._slots.taken(tenant):
            if (alone := self._alone(tenant)) is not None:
                return await alone.metrics_range(tenant, request, observer)
            found: MetricsResult = await self._ask(tenant, request, observer)
            return found

    async def metrics_instant(self, tenant: str, request: InstantRequest, observer: QueryObserver) -> MetricsResult:
        async with self._slots.taken(tenant):
            if (alone := self._alone(tenant)) is not None:
                return await alone.metrics_instant(tenant, request, observer)
            found: MetricsResult = await self._ask(tenant, request, observer)
            return found

    async def tag_names(self, tenant: str, request: TagNamesRequest, observer: QueryObserver) -> TagNames:
        async with self._slots.taken(tenant):
            if (alone := self._alone(tenant)) is not None:
                return await alone.tag_names(tenant, request, observer)
            found: TagNames = await self._ask(tenant, request, observer)
            return found

    async def tag_values(self, tenant: str, request: TagValuesRequest, observer: QueryObserver) -> TagValues:
        async with self._slots.taken(tenant):
            if (alone := self._alone(tenant)) is not None:
                return await alone.tag_values(tenant, request, observer)
            found: TagValues = await self._ask(tenant, request, observer)
            return found

    async def trace(self, tenant: str, request: TraceRequest) -> TraceAnswer:
        async with self._slots.taken(tenant):
            if (alone := self._alone(tenant)) is not None:
                return await alone.trace(tenant, request)
            return await self._begun_anew(lambda learned: self._trace_once(tenants_of(tenant), request, learned))

    def _alone(self, tenant: str) -> Querier | None:
        """What answers without any other process: where there is nobody else who has spans or reads blocks, and one
        tenant is asked for.
        """
        others = self._querier is None or self._live_stores.others() or self._block_work.has_others()
        if others or len(tenants_of(tenant)) > 1:
            return None
        return self._querier

    async def _ask(self, tenant: str, request: Any, observer: QueryObserver) -> Any:
        if len(getattr(request, "query", "")) > 0:
            compile_early(lambda _: kind_of(request).check(request), request.query)
        tenants = tenants_of(tenant)
        return await self._begun_anew(lambda learned: self._ask_once(tenants, request, observer, learned))

    async def _ask_once(
        self, tenants: Sequence[str], request: Request, observer: QueryObserver, learned: "_Learned"
    ) -> Any:
        """Of several tenants all are asked, and what they have is put together as if it were one's."""
        missing_data = MissingData(observer.missing_data)
        for text in learned.texts():
            missing_data.add_damage(text)
        async with AsyncExitStack() as stack:
            views = [(tenant, self._view(tenant, request, missing_data, learned)) for tenant in tenants]
            concerned = kind_of(request).concerns_traces(request)
            wants_keys = concerned and (learned.needs_keys or not self._is_sole([view for _, view in views]))
            found = await all_of(self._participants(stack, *one, request, observer, wants_keys) for one in views)
            participants = [one for some in found for one in some]
            if concerned and not wants_keys and len(participants) > 1:
                learned.needs_keys = True
                raise _NotSole
            return await gather(participants, request, observer, self._executor)

    def _is_sole(self, views: Sequence[BlockView]) -> bool:
        """Whether it seems that one live store has all that is asked for: then it need not say which traces it has."""
        return len(views) == 1 and views[0].is_empty and self._live_stores.is_sole(range(self._partitions.now()))

    def _view(self, tenant: str, request: Request, missing_data: MissingData, learned: "_Learned") -> BlockView:
        """The tenant's blocks at this moment."""
        blocks, within = self._known_blocks(), (request.start_ns, request.end_ns)
        snapshot = blocks.snapshot(tenant, *within)
        for text in missing_in_range(snapshot, *within):
            missing_data.add_damage(text)
        return BlockView(blocks, snapshot, learned.block_ids, missing_data)

    async def _participants(
        self,
        stack: AsyncExitStack,
        tenant: str,
        view: BlockView,
        request: Request,
        observer: QueryObserver,
        wants_keys: bool,  # noqa: FBT001
    ) -> list[Participant]:
        ask = LiveAsk(
            tenant=tenant,
            request=request,
            partitions={n: view.snapshot.flushed_offsets.get(n, 0) for n in range(self._partitions.now())},
            wants_keys=wants_keys,
            behind_too=observer.missing_data is not None,
            redactions=view.snapshot.redactions,
            read_limit=self._executor.budget().read_limit,
        )
        jobs, rest = await self._block_work.jobs(tenant, request, view)
        if not wants_keys:  # then nobody need wait for anybody
            jobs = [EagerParticipant(stack, job) for job in jobs]
        with observer.profile.stage("ask live stores"):
            live = await self._live_stores.open(stack, ask, self._limits.live_store_wait_s)
        if text := missing_text(live):
            view.missing_data.add(text)
        peers = [LivePeer(one, request, self._executor, wants_keys=wants_keys) for one in live.peers]
        return [*peers, *jobs, *self._block_work.here(request, rest, live, observer)]

    async def _trace_once(self, tenants: Sequence[str], request: TraceRequest, learned: "_Learned") -> TraceAnswer:
        texts: list[str] = []
        missing_data = MissingData(texts)
        for text in learned.texts():
            missing_data.add_damage(text)
        asked = asked_of_parts(request) if learned.needs_all_spans else request
        async with AsyncExitStack() as stack:
            found = await all_of(
                self._trace_parts(stack, tenant, asked, self._trace_view(tenant, asked, missing_data, learned))
                for tenant in tenants
            )
            asks = [ask for asks, _ in found for ask in asks]
            if is_of_whole(request):
                table, more = await whole_answer(asks, request, self._executor)
                await all_of(one.enough() for _, lives in found for one in lives)
            else:
                parts = await all_of(ask(None) for ask in asks)
                table, more = await self._executor.run_in_thread(partial(joined, parts, request))
        return TraceAnswer(table, not texts, "; ".join(texts), more)

    def _trace_view(
        self, tenant: str, request: TraceRequest, missing_data: MissingData, learned: "_Learned"
    ) -> BlockView:
        """As `_view`, of the blocks that may have the trace."""
        blocks, within = self._known_blocks(), (request.start_ns, request.end_ns)
        snapshot = blocks.snapshot(tenant, *within, request.trace_id)
        for text in missing_of_trace(blocks, snapshot, request.trace_id, self._partitions.now(), within):
            missing_data.add_damage(text)
        return BlockView(blocks, snapshot, learned.block_ids, missing_data)

    async def _trace_parts(
        self, stack: AsyncExitStack, tenant: str, request: TraceRequest, view: BlockView
    ) -> tuple[list[AskTrace], list[LiveTrace]]:
        live_counts = self._partitions.of_live_records()
        numbers = partitions_of_trace(view.known, request.trace_id, self._partitions.now(), live_counts)
        ask = LiveAsk(
            tenant=tenant,
            request=asked_of_parts(request) if is_of_whole(request) else request,
            in_turns=request if is_of_whole(request) else None,
            partitions={number: view.snapshot.flushed_offsets.get(number, 0) for number in numbers},
            behind_too=True,
            redactions=view.snapshot.redactions,
        )
        jobs, rest = await self._block_work.trace_jobs(tenant, request, view)
        eager = [begun(stack, job) for job in jobs]
        live = await self._live_stores.open(stack, ask, self._limits.live_store_wait_s)
        if text := missing_text(live):
            view.missing_data.add(text)
        peers = [LiveTrace(one, in_turns=is_of_whole(request)) for one in live.peers]
        return [*(one.ask for one in peers), *eager, *self._block_work.trace_here(request, rest, live)], peers

    def _known_blocks(self) -> BlockList:
        blocks = self._blocks()
        if blocks is None or not self._partitions.now():
            raise Unavailable("this process does not know yet which blocks and partitions there are")
        return blocks

    async def _begun_anew(self, ask: Callable[["_Learned"], Awaitable[T]]) -> T:
        """What it answers; asked again, with a newer view, where somebody says that the view was too old, or is gone.

        Raises: TimeoutError, Unavailable
        """
        learned = _Learned()
        async with asyncio.timeout(self._limits.timeout_s):
            for attempt in range(_VIEWS_MAX):
                last = attempt == _VIEWS_MAX - 1
                try:
                    return await ask(learned)
                except StaleBlocks:
                    await self._poll("stale", last=last)
                except OutdatedError:
                    await self._poll("outdated", last=last)
                except _NotSole:
                    ANEW.labels("shared").inc()
                except ChangedPart:
                    learned.needs_all_spans = True
                    await self._poll("outdated", last=last)
                except DamagedError as err:
                    ANEW.labels("damaged").inc()
                    await self._exclude(err, learned)
                except PeerGone as err:
                    ANEW.labels("gone").inc()
                    log.info("a query begins anew: %s", err)
                    if last:
                        raise Unavailable("processes that the query needs went away again and again") from err
                    await asyncio.sleep(_AGAIN_S * 2**attempt)
        raise Unavailable("what the query reads changed again and again")

    async def _poll(self, reason: str, *, last: bool) -> None:
        ANEW.labels(reason).inc()
        if last:
            return
        blocks = self._known_blocks()
        try:
            await self._on_thread(partial(blocks.poll, range(self._partitions.now())))
        except StorageError as err:
            raise unavailable(err) from err

    async def _exclude(self, err: DamagedError, learned: "_Learned") -> None:
        """Looks whether the block is damaged, or was replaced; the query goes on without it. Raises: Unavailable"""
        try:
            damage = await self._on_thread(partial(self._known_blocks().found_damaged, err))
        except OutdatedError:
            return  # the look has made the view newer
        except StorageError as away:
            raise unavailable(away) from away
        if damage is None or damage.block_id in learned.block_ids:
            raise unavailable(err) from err
        learned.damaged[damage.block_id] = damage_text(damage)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor.reads, walled, work)


def tenants_of(tenant: str) -> Sequence[str]:
    """The tenants that a query asks for: more than one where the client may ask for several at once."""
    return tuple(dict.fromkeys(tenant.split(SEPARATOR)))


class _NotSole(Exception):  # noqa: N818 (a state)
    """More have spans than it seemed: they must say which traces they share."""


class _Learned:
    """What a query has learned when it begins anew.

    damaged: blocks without which it goes on: by id, what the client is told. needs_keys: several have spans
    needs_all_spans: of a trace, as somebody cannot say later what it has left out first
    """

    def __init__(self) -> None:
        self.damaged: dict[str, str] = {}
        self.needs_keys = False
        self.needs_all_spans = False

    @property
    def block_ids(self) -> frozenset[str]:
        return frozenset(self.damaged)

    def texts(self) -> list[str]:
        return list(self.damaged.values())


def missing_text(live: OpenedLive) -> str:
    """Which partitions an answer misses spans of; "" if none."""
    if not live.missing:
        return ""
    names = ", ".join(map(str, sorted(live.missing)))
    said = ", ".join(sorted({one or "no live store has it" for one in live.missing.values()}))
    return f"recent spans of partition {names} are missing: {said}"


def partitions_of_trace(blocks: BlockList, trace_id: bytes, count: int, of_live_records: Iterable[int]) -> set[int]:
    """Where the newest spans of a trace may be: the topic may have had fewer partitions when they were written."""
    counts = {one for one in blocks.partition_counts(blocks.cluster_id) if SEVERAL < one <= count}
    return places_of(trace_id, {*counts, *of_live_records, count}, count)
