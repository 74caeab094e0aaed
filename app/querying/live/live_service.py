"""Serves the live store of this process to frontends of others: the method `LiveStore`."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from prometheus_client import Counter

from agents import tracing
from agents.live_store.own_metrics import LAGGED
from agents.live_store.partition_manager import PartitionManager
from app.querying.blocks.redacted import redacted_parts
from app.querying.live.live_messages import (
    ENOUGH,
    EVALUATE,
    FURTHER,
    KEYS,
    PARTIAL,
    LiveAsk,
    expect,
    keys_frame,
    keys_of,
    opened,
    partial_frame,
    waits,
)
from app.querying.live.live_view import PartitionStatus, PartitionsView, live_view
from app.querying.questions import Work, kind_of
from app.querying.running.executor import Cancelled, QueryExecutor, wanted
from app.querying.running.tempo_routes import live_store_route, observed_call
from app.querying.suspect_spans import SUSPECTS, SuspectsFound, asked_from_json
from app.querying.trace.trace_partial import Further, TracePart
from app.rpc.conversation import Conversation
from app.rpc.frames import RpcFrame
from query import memory
from query.requests import TraceRequest
from query.scan.progress import QueryObserver
from query.scan.scan import trace_ids
from query.scan.shared_traces import NO_KEYS, Keys, ids_with_keys, trace_keys
from query.scan.suspects import SuspectSpans
from query.tags.tag_cache import TagCache
from query.trace.by_id import trace_by_id
from tables.redaction.rules import Redaction

ASKED: Final = Counter(
    "stretto_live_store_partitions_asked_total",
    "Partitions that frontends of other processes asked this live store for, by what it said.",
    ["status"],
)


class LiveService:
    """One for a process; belongs to its event loop."""

    def __init__(self, manager: PartitionManager, executor: QueryExecutor) -> None:
        self._manager, self._executor = manager, executor
        self._tag_cache = TagCache()

    async def answer(self, conversation: Conversation) -> None:
        """One conversation; see `live_messages`."""
        frame = await conversation.receive()
        ask = LiveAsk.from_frame(frame)
        route, parent = live_store_route(ask.request), tracing.parent_of(frame.fields)
        about = {"tenant": ask.tenant, "partitions": len(ask.partitions)}
        with tracing.span(f"live store {route}", about, kind=tracing.SERVER, parent=parent), observed_call(route):
            await self._answer(conversation, ask)

    async def _answer(self, conversation: Conversation, ask: LiveAsk) -> None:
        memory.limit_reading(ask.read_limit)
        view = live_view(self._manager, ask.tenant, ask.partitions)
        for status in view.statuses.values():
            ASKED.labels(status).inc()
            if status is PartitionStatus.BEHIND:
                LAGGED.labels(live_store_route(ask.request)).inc()
        served = [number for number, status in view.statuses.items() if is_served(status, behind_too=ask.behind_too)]
        has_spans = any(view.parts.get(number) for number in served)
        await conversation.send(opened(view.statuses, has_spans=has_spans))
        if not has_spans:
            return
        if ask.in_turns is not None:
            await self._trace_in_turns(conversation, ask, ask.in_turns, view, served)
            return
        if isinstance(ask.request, TraceRequest):
            await conversation.send(partial_frame(await self._trace(ask, ask.request, view, served)))
        else:
            await self._question(conversation, ask, view, served)

    async def _trace(self, ask: LiveAsk, request: TraceRequest, view: PartitionsView, served: Sequence[int]) -> bytes:
        redactions = self._redactions(ask)

        def on_thread(cancelled: Cancelled) -> bytes:
            parts = redacted_parts(view.sources(served, request.trace_id, wanted(cancelled)), redactions)
            return TracePart(*trace_by_id(parts, request)).to_ipc()

        return await self._executor.run(on_thread, always_waits=True)

    async def _trace_in_turns(
        self,
        conversation: Conversation,
        ask: LiveAsk,
        request: TraceRequest,
        view: PartitionsView,
        served: Sequence[int],
    ) -> None:
        redactions = self._redactions(ask)
        sources: list[Any] = []

        def on_thread(further: Further | None, cancelled: Cancelled) -> bytes:
            if further is None:
                parts = view.sources(served, request.trace_id, wanted(cancelled))
                sources[:] = redacted_parts(parts, redactions)
            return TracePart.of_whole(sources, request, further).to_ipc()

        further: Further | None = None
        while True:
            data = await self._executor.run(partial(on_thread, further), always_waits=True)
            await conversation.send(RpcFrame(PARTIAL, data=data))
            frame = await conversation.receive()
            if frame.name == ENOUGH:
                return
            further = Further.from_json(frame.fields, expect(frame, FURTHER).data)

    async def _question(
        self, conversation: Conversation, ask: LiveAsk, view: PartitionsView, served: Sequence[int]
    ) -> None:
        redactions, kind = self._redactions(ask), kind_of(ask.request)
        sources: list[Any] = []
        elsewhere = NO_KEYS

        def open_sources(cancelled: Cancelled) -> None:
            sources[:] = redacted_parts(view.sources(served, go_on=wanted(cancelled)), redactions)

        if ask.wants_keys:

            def find_keys(cancelled: Cancelled) -> Keys:
                open_sources(cancelled)
                return trace_keys(trace_ids(sources))

            await conversation.send(keys_frame(KEYS, await self._executor.run(find_keys, always_waits=True)))
            elsewhere = keys_of(expect(await conversation.receive(), EVALUATE).data)

        def evaluate(cancelled: Cancelled) -> RpcFrame:
            if not ask.wants_keys:
                open_sources(cancelled)
            ids = ids_with_keys(trace_ids(sources), elsewhere) if len(elsewhere) else trace_ids(())
            work = Work(sources, ids, QueryObserver(), cancelled, self._tag_cache, ask.in_pieces)
            found = kind.partial(work, ask.request)
            try:
                return partial_frame(found.to_ipc(), waits=ask.of_suspects and found.shared_rows is not None)
            finally:
                kind.drop(found)

        frame = await self._executor.run(evaluate, always_waits=True)
        await conversation.send(frame)
        if waits(frame):
            await self._suspects(conversation, sources)

    async def _suspects(self, conversation: Conversation, sources: Sequence[Any]) -> None:
        while (frame := await conversation.receive()).name != ENOUGH:
            asked = asked_from_json(frame.fields, expect(frame, FURTHER).data)

            def find(cancelled: Cancelled, asked: SuspectSpans = asked) -> bytes:
                return SuspectsFound.of_sources(sources, asked, cancelled).to_ipc()

            await conversation.send(RpcFrame(SUSPECTS, data=await self._executor.run(find, always_waits=True)))

    def _redactions(self, ask: LiveAsk) -> Sequence[Redaction]:
        """Those that either side knows."""
        store = self._manager.store
        own = () if store is None else store.blocks.redactions(ask.tenant)
        return tuple({each.id: each for each in [*own, *ask.redactions]}.values())


def is_served(status: PartitionStatus, *, behind_too: bool) -> bool:
    """Whether the answer has the partition's spans."""
    return status is PartitionStatus.OK or (behind_too and status is PartitionStatus.BEHIND)
