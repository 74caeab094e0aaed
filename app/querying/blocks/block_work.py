"""Who reads the blocks of a query: this process, or queriers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

from app.querying.blocks.block_reader import BlockReader, blocks_of_trace
from app.querying.blocks.redacted import redacted_parts
from app.querying.damage import MissingData, past_damage
from app.querying.live.live_stores import OpenedLive
from app.querying.participants import Local, Participant
from app.querying.running.executor import Cancelled, QueryExecutor, wanted
from app.querying.trace.trace_partial import Further, TracePart, is_of_whole
from app.querying.trace.trace_parts import AskTrace
from query.request_json import Request
from query.requests import TraceRequest
from query.scan.progress import QueryObserver
from query.tags.tag_cache import TagCache
from query.trace.by_id import trace_by_id
from tables.blocks.meta import BlockMeta
from tables.catalog.block_list import BlockList
from tables.catalog.snapshot import BlockSnapshot


@dataclass(frozen=True)
class BlockView:
    """The blocks that a query reads. excluded: ids of those that it goes on without

    live_only: none of them, because others read them
    """

    known: BlockList
    snapshot: BlockSnapshot
    excluded: frozenset[str]
    missing_data: MissingData
    live_only: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is no block."""
        return self.live_only or not (len(self.snapshot.rows) or self.snapshot.cut_blocks)

    @cached_property
    def metas(self) -> list[BlockMeta]:
        """The first use takes 20 µs for each: not on the event loop, if there may be thousands."""
        if self.live_only:
            return []
        return [meta for meta in self.snapshot.blocks if meta.block_id not in self.excluded]


class BlockWork(Protocol):
    """Makes those take part in a query who read blocks, and this process's own live store.

    Whoever reads blocks elsewhere need not wait until live stores have said what they have: so `jobs` comes first. The
    view that it gives back is what is left for this process, and goes to `here`.
    """

    def has_others(self) -> bool:
        """Whether other processes read blocks for this one."""
        ...

    async def jobs(self, tenant: str, request: Request, view: BlockView) -> tuple[list[Participant], BlockView]:
        """Of a question that is merged: what other processes do."""
        ...

    def here(
        self, request: Request, view: BlockView, live: OpenedLive, observer: QueryObserver
    ) -> Sequence[Participant]:
        """Of a question that is merged: what this process does. live: with the view of its live store"""
        ...

    async def trace_jobs(self, tenant: str, request: TraceRequest, view: BlockView) -> tuple[list[AskTrace], BlockView]:
        """As `jobs`, of a trace by its id."""
        ...

    def trace_here(self, request: TraceRequest, view: BlockView, live: OpenedLive) -> Sequence[AskTrace]:
        """As `here`, of a trace by its id."""
        ...


class LocalBlockWork:
    """The process reads all blocks itself, together with its own live store: as one participant."""

    def __init__(self, executor: QueryExecutor) -> None:
        self._executor = executor
        self._reader = BlockReader(executor.filters)
        self._tag_cache = TagCache()

    def has_others(self) -> bool:
        """No."""
        return False

    async def jobs(
        self,
        tenant: str,  # noqa: ARG002 (as the protocol has it)
        request: Request,  # noqa: ARG002
        view: BlockView,
    ) -> tuple[list[Participant], BlockView]:
        """None: all is read here."""
        return [], view

    def here(
        self, request: Request, view: BlockView, live: OpenedLive, observer: QueryObserver
    ) -> Sequence[Participant]:
        if view.is_empty and not live.local_partitions:
            return []
        redactions = view.snapshot.redactions

        def open_blocks(metas: Sequence[BlockMeta]) -> list[Any]:
            return self._reader.sources(view.known, metas, redactions)

        return [
            Local(
                self._executor,
                request,
                observer,
                blocks=view.known,
                metas=lambda: view.metas,
                open_blocks=open_blocks,
                open_live=lambda go_on: redacted_parts(
                    live.local.sources(live.local_partitions, go_on=go_on), redactions
                ),
                missing_data=view.missing_data,
                tag_cache=self._tag_cache,
            )
        ]

    async def trace_jobs(
        self,
        tenant: str,  # noqa: ARG002
        request: TraceRequest,  # noqa: ARG002
        view: BlockView,
    ) -> tuple[list[AskTrace], BlockView]:
        """None: all is read here."""
        return [], view

    def trace_here(self, request: TraceRequest, view: BlockView, live: OpenedLive) -> Sequence[AskTrace]:
        if view.is_empty and not live.local_partitions:
            return []
        trace_id, redactions = request.trace_id, view.snapshot.redactions

        recent: list[list[Any]] = []

        def over(further: Further | None, cancelled: Cancelled, metas: Sequence[BlockMeta]) -> TracePart:
            packs = view.snapshot.filter_packs
            sources = self._reader.trace_sources(view.known, metas, trace_id, redactions, packs)
            if not recent:  # both turns see the same: the head grows meanwhile
                parts = live.local.sources(live.local_partitions, trace_id, wanted(cancelled))
                recent.append(redacted_parts(parts, redactions))
            if is_of_whole(request):
                return TracePart.of_whole(sources + recent[0], request, further)
            return TracePart(*trace_by_id(sources + recent[0], request))

        async def ask(further: Further | None) -> TracePart:
            def on_thread(cancelled: Cancelled) -> TracePart:
                metas = blocks_of_trace(view.metas, trace_id)
                return past_damage(view.known, metas, partial(over, further, cancelled), view.missing_data)

            return await self._executor.run(on_thread, always_waits=True)

        return [ask]
