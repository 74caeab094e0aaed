"""What is wanted of a trace that lies with several processes, where that is not all of it: asked for in two turns.

See `query.trace.parts`. Both turns are about the same rows: a live store keeps its view for a conversation, and blocks
do not change.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any

import pyarrow as pa

from app.querying.gathering import all_of
from app.querying.live.live_messages import ENOUGH, FURTHER, PARTIAL, expect
from app.querying.participants import begin
from app.querying.running.executor import QueryExecutor
from app.querying.trace.trace_partial import DIGESTS, ROWS, ChangedPart, Further, TracePart
from app.rpc.conversation import CallingConversation, PeerGone
from app.rpc.frames import RpcFrame
from query.requests import TraceRequest
from query.scan.arrays import Rows, to_numpy
from query.trace.by_id import check_spans, find_joined
from query.trace.filter import compile_filter
from query.trace.parts import DIGEST, JoinedFamily, JoinedOutline
from tables.columns.arrays import one_array
from tables.columns.in_memory import TableSource

# Gives what somebody has of a trace: first without, then with a question about some of its rows.
AskTrace = Callable[[Further | None], Awaitable[TracePart]]


def begun(stack: AsyncExitStack, ask: AskTrace) -> AskTrace:
    """The first turn begins now. stack: gives it up at its end"""
    first = begin(stack, ask(None))

    async def either(further: Further | None) -> TracePart:
        return await first() if further is None else await ask(further)

    return either


class LiveTrace:
    """What the live store of another process has, in a conversation that is opened."""

    def __init__(self, conversation: CallingConversation, *, in_turns: bool) -> None:
        self._conversation, self._in_turns = conversation, in_turns

    async def ask(self, further: Further | None) -> TracePart:
        """Raises: PeerGone, and what the live store raised"""
        if further is not None:
            await self._conversation.send(RpcFrame(FURTHER, further.to_json(), further.data))
        part = TracePart.from_ipc(expect(await self._conversation.receive(), PARTIAL).data)
        if part.spans < 0:  # it expects no further question
            self._conversation.over()
            self._in_turns = False
        return part

    async def enough(self) -> None:
        """No question follows: the conversation is free for others."""
        if self._in_turns:
            with suppress(PeerGone):
                await self._conversation.send(RpcFrame(ENOUGH))
                self._conversation.over()


async def whole_answer(
    asks: Sequence[AskTrace], request: TraceRequest, executor: QueryExecutor
) -> tuple[pa.Table | None, bool]:
    """An outline, or what a filter keeps, and whether the filter leaves spans out. Raises: TraceTooLarge,
    MemoryExceeded, ChangedPart, and what somebody raises
    """
    firsts = list(await all_of(ask(None) for ask in asks))
    asks = list(asks)
    for number, first in enumerate(firsts):
        if first.spans < 0:  # the spans themselves, of a process of a former version
            asks[number] = _asked_here(first, request, executor)
            firsts[number] = await asks[number](None)
    having = [(ask, first) for ask, first in zip(asks, firsts, strict=True) if first.spans]
    if not having:
        return None, False
    spans = sum(first.spans for _, first in having)
    if request.filter is None:
        return await _outline(having, request, executor), False
    check_spans(spans, request)
    wanted = compile_filter(request.filter.query, request.filter.below, request.filter.above)
    if not wanted.has_family:
        tables, kept = [first.table for _, first in having], sum(first.kept for _, first in having)
    else:
        family = await executor.run_in_thread(lambda: JoinedFamily(_tables(having), request.trace_id, wanted))
        kept = sum(map(len, family.asks().values()))
        tables = [part.table for part in (await _further(having, ROWS, family.asks())).values()]
    some = [table for table in tables if table is not None]
    return await executor.run_in_thread(lambda: find_joined(some, request.trace_id)), kept < spans


async def _outline(
    having: Sequence[tuple[AskTrace, TracePart]], request: TraceRequest, executor: QueryExecutor
) -> pa.Table:
    outline = await executor.run_in_thread(lambda: JoinedOutline(_tables(having), request.trace_id))
    found = await _further(having, DIGESTS, outline.asks())
    digests = {number: _digests(part) for number, part in found.items()}
    return await executor.run_in_thread(partial(outline.finish, digests))


async def _further(
    having: Sequence[tuple[AskTrace, TracePart]], wanted: str, asks: Mapping[int, Rows]
) -> dict[int, TracePart]:
    """By the number of the part what its process says of some rows."""
    questions = [having[number][0](Further(wanted, rows, having[number][1].spans)) for number, rows in asks.items()]
    parts = await all_of(questions)
    if any(part.spans < 0 for part in parts):  # a querier of a former version, which gives all spans again
        raise ChangedPart
    return dict(zip(asks, parts, strict=True))


def _tables(having: Sequence[tuple[AskTrace, TracePart]]) -> list[pa.Table]:
    return [first.table for _, first in having if first.table is not None]


def _digests(part: TracePart) -> Any:
    assert part.table is not None
    return to_numpy(one_array(part.table[DIGEST]))


def _asked_here(first: TracePart, request: TraceRequest, executor: QueryExecutor) -> AskTrace:
    sources = [] if first.table is None else [TableSource(first.table.combine_chunks())]

    async def ask(further: Further | None) -> TracePart:
        return await executor.run_in_thread(lambda: TracePart.of_whole(sources, request, further))

    return ask
