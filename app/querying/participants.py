"""Those who have a part of the spans that a query asks for, and what each makes of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from app.querying.damage import MissingData, past_damage
from app.querying.live.live_messages import ENOUGH, EVALUATE, FURTHER, KEYS, PARTIAL, expect, keys_frame, keys_of, waits
from app.querying.questions import Partial, Work, kind_of
from app.querying.running.executor import Cancelled, QueryExecutor, wanted
from app.querying.suspect_spans import SUSPECTS, SuspectsFound, asked_data, asked_to_json
from app.rpc.conversation import CallingConversation, PeerGone
from app.rpc.frames import RpcFrame
from query import memory
from query.metrics.metrics_partial import MetricsPartial
from query.request_json import Request
from query.scan.ipc import partial_bytes
from query.scan.pieces import UNKNOWN_NS
from query.scan.progress import QueryObserver
from query.scan.scan import trace_ids
from query.scan.shared_traces import NO_KEYS, Keys, ids_with_keys, trace_keys
from query.scan.suspects import SuspectSpans
from query.tags.tag_cache import TagCache
from tables.blocks.meta import BlockMeta
from tables.catalog.block_list import BlockList
from tables.live.decode_together import GoOn

T = TypeVar("T")

# What takes less than a millisecond is done on the event loop.
_DECODED_HERE_BYTES_MAX: Final = 64 << 10


class Participant(Protocol):
    """Belongs to one query."""

    @property
    def latest_ns(self) -> int:
        """No trace or span of it begins later, in Unix ns; `UNKNOWN_NS`: not known."""
        ...

    async def keys(self) -> Keys:
        """Of its traces. Asked for only where the question concerns whole traces, before `partial`."""
        ...

    async def partial(self, elsewhere: Keys) -> Partial:
        """Its partial. elsewhere: keys of those of its traces that others have, too"""
        ...

    async def suspects(self, asked: SuspectSpans) -> SuspectsFound | None:
        """What it knows of some of the spans of its partial; None: it cannot say, as it is of a former version."""
        ...

    async def enough(self) -> None:
        """After its partial: it is asked nothing any more."""
        ...


class LivePeer:
    """The live store of another process, in a conversation that is opened."""

    latest_ns = UNKNOWN_NS

    def __init__(
        self, conversation: CallingConversation, request: Request, executor: QueryExecutor, *, wants_keys: bool
    ) -> None:
        self._conversation, self._request, self._wants_keys = conversation, request, wants_keys
        self._executor = executor
        self._gave_keys = self._waits = False

    async def keys(self) -> Keys:
        """The keys of the traces that the other process has. Raises: PeerGone"""
        self._gave_keys = True
        return keys_of(expect(await self._conversation.receive(), KEYS).data)

    async def partial(self, elsewhere: Keys) -> Partial:
        """What the other process has found. Raises: PeerGone"""
        if self._wants_keys:
            await self._conversation.send(keys_frame(EVALUATE, elsewhere))
            if not self._gave_keys:  # nobody has asked: it says them all the same
                await self.keys()
        frame = expect(await self._conversation.receive(), PARTIAL)
        self._waits = waits(frame)
        if not self._waits:
            self._conversation.over()
        return await decoded(frame.data, self._request, self._executor)

    async def suspects(self, asked: SuspectSpans) -> SuspectsFound | None:
        """The rows of some spans again, with digests; None: it cannot say. Raises: PeerGone"""
        if not self._waits:
            return None
        await self._conversation.send(RpcFrame(FURTHER, asked_to_json(asked), asked_data(asked)))
        data = expect(await self._conversation.receive(), SUSPECTS).data
        return await decoded_suspects(data, self._executor)

    async def enough(self) -> None:
        """The conversation is free for others."""
        if self._waits:
            self._waits = False
            with suppress(PeerGone):
                await self._conversation.send(RpcFrame(ENOUGH))
                self._conversation.over()


class EagerParticipant:
    """A participant that works already, while others are still looked for. Only where no traces are shared"""

    def __init__(self, stack: AsyncExitStack, other: Participant) -> None:
        """stack: gives the work up at its end"""
        self.latest_ns = other.latest_ns
        self._other = other
        self._result = begin(stack, other.partial(NO_KEYS))

    async def keys(self) -> Keys:
        return await self._other.keys()

    async def partial(self, elsewhere: Keys) -> Partial:
        assert not len(elsewhere), "the work has begun without knowing of shared traces"
        return await self._result()

    async def suspects(self, asked: SuspectSpans) -> SuspectsFound | None:
        return await self._other.suspects(asked)

    async def enough(self) -> None:
        await self._other.enough()


def begin(stack: AsyncExitStack, work: Awaitable[T]) -> Callable[[], Awaitable[T]]:
    """Begins work now. Out: gives its result. stack: gives it up at its end"""
    task = asyncio.ensure_future(work)

    async def give_up() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(give_up)
    return lambda: task


class Local:
    """What this process has: blocks, its live store, or both."""

    def __init__(  # noqa: PLR0913 (what it has, and what it works with)
        self,
        executor: QueryExecutor,
        request: Request,
        observer: QueryObserver,
        *,
        blocks: BlockList,
        metas: Callable[[], Sequence[BlockMeta]],
        open_blocks: Callable[[Sequence[BlockMeta]], list[Any]],
        open_live: Callable[[GoOn], list[Any]],
        missing_data: MissingData,
        tag_cache: TagCache,
    ) -> None:
        """metas, open_blocks, open_live: called on a thread"""
        self._executor, self._request, self._observer = executor, request, observer
        self._blocks, self._metas, self._open_blocks, self._open_live = blocks, metas, open_blocks, open_live
        self._missing_data, self._tag_cache = missing_data, tag_cache
        self._live: list[Any] | None = None
        self.latest_ns = UNKNOWN_NS

    async def keys(self) -> Keys:
        found: Keys = await self._run(lambda sources, _: trace_keys(trace_ids(sources)))
        return found

    async def partial(self, elsewhere: Keys) -> Partial:

        def evaluate(sources: list[Any], cancelled: Cancelled) -> Partial:
            ids = ids_with_keys(trace_ids(sources), elsewhere) if len(elsewhere) else trace_ids(())
            work = Work(sources, ids, self._observer, cancelled, self._tag_cache)
            return kind_of(self._request).partial(work, self._request)

        return await self._run(evaluate)

    async def suspects(self, asked: SuspectSpans) -> SuspectsFound | None:
        found: SuspectsFound = await self._run(
            lambda sources, cancelled: SuspectsFound.of_sources(sources, asked, cancelled)
        )
        return found

    async def enough(self) -> None:
        pass

    async def _run(self, use: Callable[[list[Any], Cancelled], Any]) -> Any:
        def on_thread(cancelled: Cancelled) -> Any:
            # The same sources for keys and partial: the head grows meanwhile.
            live = self._live = self._open_live(wanted(cancelled)) if self._live is None else self._live

            def over(metas: Sequence[BlockMeta]) -> Any:
                return use(self._open_blocks(metas) + live, cancelled)

            return past_damage(self._blocks, self._metas(), over, self._missing_data)

        return await self._executor.run(on_thread, self._observer.profile.storage, always_waits=True)


async def decoded(data: bytes, request: Request, executor: QueryExecutor) -> Partial:
    """A partial of another process. Raises: memory.MemoryExceeded, pa.ArrowInvalid"""
    small = len(data) <= _DECODED_HERE_BYTES_MAX
    return await executor.run_where_it_fits(partial(_decoded, data, request), small=small)


async def decoded_suspects(data: bytes, executor: QueryExecutor) -> SuspectsFound:
    """What another process knows of some spans. Raises: memory.MemoryExceeded, pa.ArrowInvalid"""

    def decode() -> SuspectsFound:
        memory.current().reserve(partial_bytes(data), "spans that a client may have sent twice")
        return SuspectsFound.from_ipc(data)

    return await executor.run_where_it_fits(decode, small=len(data) <= _DECODED_HERE_BYTES_MAX)


def _decoded(data: bytes, request: Request) -> Partial:
    budget = memory.current()
    size = partial_bytes(data)
    budget.reserve(size, "the answer of another process")
    found = kind_of(request).decode(data, request)
    if isinstance(found, MetricsPartial):  # whoever merges these gives them back by their own size
        budget.release(size)
        budget.reserve(sum(each.nbytes for each in found.functions), "the answer of another process")
    return found
