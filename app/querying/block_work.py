"""Who reads the blocks of a query: this process, or queriers."""

from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from app.querying.block_reader import BlockReader, blocks_of_trace
from app.querying.damage import MissingData, past_damage
from app.querying.executor import Cancelled, QueryExecutor
from app.querying.live_stores import OpenedLive
from app.querying.participants import Local, Participant
from app.querying.redacted import redacted_parts
from app.querying.trace_partial import TracePart
from query.request_json import Request
from query.requests import TraceRequest
from query.scan.progress import QueryObserver
from query.tags.tag_cache import TagCache
from query.trace.by_id import trace_by_id
from tables.blocks.meta import BlockMeta
from tables.catalog.block_list import BlockList
from tables.catalog.snapshot import BlockSnapshot


@dataclass(frozen=True)
class Blocks:
    """The blocks that a query reads. excluded: ids of those that it goes on without

    live_only: none of them, because others read them
    """

    known: BlockList
    snapshot: BlockSnapshot
    excluded: frozenset[str]
    missing_data: MissingData
    observer: QueryObserver
    live_only: bool = False

    @cached_property
    def metas(self) -> list[BlockMeta]:
        """The first use takes 20 µs for each: not on the event loop, if there may be thousands."""
        if self.live_only:
            return []
        return [meta for meta in self.snapshot.blocks if meta.block_id not in self.excluded]


class BlockWork(Protocol):
    """Makes those take part in a query who read blocks, and this process's own live store."""

    def has_others(self) -> bool:
        """Whether other processes read blocks for this one."""
        ...

    async def participants(
        self, stack: AsyncExitStack, tenant: str, request: Request, blocks: Blocks, live: OpenedLive
    ) -> Sequence[Participant]:
        """For a question that is merged. stack: ends what was begun. live: with the view of this process"""
        ...

    async def trace_parts(
        self, stack: AsyncExitStack, tenant: str, request: TraceRequest, blocks: Blocks, live: OpenedLive
    ) -> Sequence[Awaitable[TracePart]]:
        """For a trace by its id."""
        ...


class LocalBlockWork:
    """The process reads all blocks itself, together with its own live store: as one participant."""

    def __init__(self, executor: QueryExecutor) -> None:
        self._executor = executor
        self._reader = BlockReader(executor.reads, executor.limits.bloom_cache_bytes_max)
        self._tag_cache = TagCache()

    def has_others(self) -> bool:
        """No."""
        return False

    async def participants(
        self,
        stack: AsyncExitStack,  # noqa: ARG002 (as the protocol has it)
        tenant: str,  # noqa: ARG002
        request: Request,
        blocks: Blocks,
        live: OpenedLive,
    ) -> Sequence[Participant]:
        """As `BlockWork.participants`."""
        redactions = blocks.snapshot.redactions

        def open_blocks(metas: Sequence[BlockMeta]) -> list[Any]:
            return self._reader.sources(blocks.known, metas, redactions)

        return [
            Local(
                self._executor,
                request,
                blocks.observer,
                blocks=blocks.known,
                metas=lambda: blocks.metas,
                open_blocks=open_blocks,
                open_live=lambda: redacted_parts(live.local.sources(live.local_partitions), redactions),
                missing_data=blocks.missing_data,
                tag_cache=self._tag_cache,
            )
        ]

    async def trace_parts(
        self,
        stack: AsyncExitStack,  # noqa: ARG002
        tenant: str,  # noqa: ARG002
        request: TraceRequest,
        blocks: Blocks,
        live: OpenedLive,
    ) -> Sequence[Awaitable[TracePart]]:
        """As `BlockWork.trace_parts`."""
        trace_id, redactions = request.trace_id, blocks.snapshot.redactions

        def over(metas: Sequence[BlockMeta]) -> TracePart:
            sources = self._reader.trace_sources(blocks.known, metas, trace_id, redactions)
            parts = redacted_parts(live.local.sources(live.local_partitions, trace_id), redactions)
            return TracePart(*trace_by_id(sources + parts, request))

        def on_thread(_: Cancelled) -> TracePart:
            return past_damage(blocks.known, blocks_of_trace(blocks.metas, trace_id), over, blocks.missing_data)

        return [self._executor.run(on_thread)]
