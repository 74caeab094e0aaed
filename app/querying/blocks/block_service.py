"""Answers jobs about blocks: what a querier does."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from prometheus_client import Counter

from agents import tracing
from app.querying.blocks.block_messages import BlockAsk, BlockFiles, Wanted
from app.querying.blocks.block_reader import BlockReader
from app.querying.blocks.redacted import redacted_file
from app.querying.live.live_messages import KEYS, PARTIAL, keys_frame
from app.querying.questions import Work, kind_of
from app.querying.running.executor import Cancelled, QueryExecutor
from app.querying.running.tempo_routes import observed_call, querier_route
from app.querying.suspect_spans import SUSPECTS, SuspectsFound
from app.querying.trace.trace_partial import TracePart
from app.rpc.frames import RpcFrame
from query import memory
from query.request_json import BadRequest
from query.requests import TraceRequest
from query.scan.progress import QueryObserver
from query.scan.scan import trace_ids
from query.scan.shared_traces import Keys, ids_with_keys, trace_keys
from query.tags.tag_cache import TagCache
from query.trace.by_id import trace_by_id
from tables.catalog.block_list import BlockList
from tables.errors import DamagedError

EXECUTED: Final = Counter("tempo_querier_worker_request_executed_total", "Jobs that this querier has worked on.")
_BLOCKS_SHOWN_MAX: Final = 20  # of a job, in its span
# A file that is open costs some KB; those of the last jobs are opened already when the next job has them, too.
OPEN_BLOCKS_MAX: Final = 4096


class BlockService:
    """One for a process; belongs to its event loop."""

    def __init__(self, executor: QueryExecutor, blocks: Callable[[], BlockList | None], *, forgets: bool) -> None:
        """blocks: whose storage is read. forgets: whether to close blocks that were not asked for lately; no, where
        somebody else does
        """
        self._executor, self._blocks, self._forgets = executor, blocks, forgets
        self._reader = BlockReader(executor.filters)
        self._tag_cache = TagCache()
        self._recent: OrderedDict[str, None] = OrderedDict()

    async def answer(self, frame: RpcFrame) -> RpcFrame:
        """The answer to a job. Raises: BadRequest, DamagedError, OutdatedError, and as `QueryExecutor.run`"""
        ask, blocks = BlockAsk.from_frame(frame), self._blocks()
        memory.limit_reading(ask.read_limit)
        if blocks is None:
            raise BadRequest("the storage is not open yet")
        self._use(blocks, ask)
        EXECUTED.inc()
        about = {
            "tenant": ask.tenant,
            "wanted": str(ask.wanted),
            "files": len(ask.files),
            "size_bytes": sum(one.size_bytes for one in ask.files),
            "blocks": [one.meta.block_id for one in ask.files[:_BLOCKS_SHOWN_MAX]],
        }
        parent = tracing.parent_of(frame.fields)
        with (
            tracing.span("querier job", about, kind=tracing.SERVER, parent=parent),
            observed_call(querier_route(ask.request), "GET"),
        ):
            return await self._answer(blocks, ask)

    async def _answer(self, blocks: BlockList, ask: BlockAsk) -> RpcFrame:
        match ask.wanted:
            case Wanted.KEYS:
                keys: Keys = await self._run(blocks, lambda _: trace_keys(trace_ids(self._sources(blocks, ask))))
                return keys_frame(KEYS, keys)
            case Wanted.PARTIAL if ask.suspects is not None:
                asked = ask.suspects

                def find(cancelled: Cancelled) -> bytes:
                    return SuspectsFound.of_sources(self._sources(blocks, ask), asked, cancelled).to_ipc()

                return RpcFrame(SUSPECTS, data=await self._run(blocks, find))
            case Wanted.PARTIAL:
                return RpcFrame(
                    PARTIAL, data=await self._run(blocks, lambda cancelled: self._partial(blocks, ask, cancelled))
                )
            case Wanted.TRACE:
                return RpcFrame(PARTIAL, data=await self._run(blocks, lambda _: self._trace(blocks, ask)))

    async def _run(self, blocks: BlockList, work: Callable[[Cancelled], Any]) -> Any:
        def on_thread(cancelled: Cancelled) -> Any:
            while True:
                try:
                    return work(cancelled)
                except DamagedError as err:
                    # What comes from a cache is read again from the storage; what the storage has is damaged.
                    if not blocks.reads_again(err):
                        raise

        return await self._executor.run(on_thread, always_waits=True)

    def _partial(self, blocks: BlockList, ask: BlockAsk, cancelled: Cancelled) -> bytes:
        sources = self._sources(blocks, ask)
        ids = ids_with_keys(trace_ids(sources), ask.elsewhere) if len(ask.elsewhere) else trace_ids(())
        work = Work(sources, ids, QueryObserver(), cancelled, self._tag_cache, ask.in_pieces)
        kind = kind_of(ask.request)
        found = kind.partial(work, ask.request)
        try:
            data: bytes = found.to_ipc()
        finally:
            kind.drop(found)
        return data

    def _trace(self, blocks: BlockList, ask: BlockAsk) -> bytes:
        request = ask.request if ask.in_turns is None else ask.in_turns
        if not isinstance(request, TraceRequest):
            raise BadRequest("a job that wants a trace has no request for one")
        metas = [one.meta for one in ask.files]
        sources = self._reader.trace_sources(blocks, metas, request.trace_id, ask.redactions, ask.filter_packs)
        if ask.in_turns is not None:
            return TracePart.of_whole(sources, request, ask.further).to_ipc()
        return TracePart(*trace_by_id(sources, request)).to_ipc()

    def _sources(self, blocks: BlockList, ask: BlockAsk) -> list[Any]:
        whole = [one.meta for one in ask.files if one.is_whole]
        sources = self._reader.sources(blocks, whole, ask.redactions) if whole else []
        for one in ask.files:
            if not one.is_whole:
                files = blocks.sources(one.meta)[one.first : one.end]
                sources += [redacted_file(one.meta, source, ask.redactions) for source in files]
        return sources

    def _use(self, blocks: BlockList, ask: BlockAsk) -> None:
        if not self._forgets:
            return
        for one in ask.files:
            self._recent[one.meta.key] = None
            self._recent.move_to_end(one.meta.key)
        old = []
        while len(self._recent) > OPEN_BLOCKS_MAX:
            old.append(self._recent.popitem(last=False)[0])
        if old:
            blocks.forget(old)


def names_of(files: Sequence[BlockFiles]) -> str:
    """Different for different files, the same for the same."""
    return "\n".join(one.name for one in files)
