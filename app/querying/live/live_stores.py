"""Finds, for each partition, a live store that can answer for it, and opens a conversation with it.

What members say of their partitions is only a hint whom to ask first. Who has a partition, and from which offset on, is
what a live store says when it is asked. A partition that nobody has at the moment, as in a rebalance, is asked for
again, until a deadline.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Final

from prometheus_client import Counter

from agents import tracing
from agents.members.member import Member, Members
from agents.members.routing import LIVE_STORE, members_of
from app.querying.live.live_messages import METHOD, OPENED, LiveAsk, expect, has_spans, statuses_of
from app.querying.live.live_service import is_served
from app.querying.live.live_view import PartitionStatus, PartitionsView
from app.rpc.client import InternalClient
from app.rpc.conversation import CallingConversation, PeerGone
from app.rpc.errors import InternalError
from app.rpc.frames import BadFrame, RpcFrame, with_traceparent
from query.request_json import BadRequest

log = logging.getLogger(__name__)

GONE: Final = "gone"

# A live store says at once what it has; one that stands still is not waited for.
_OPEN_S: Final = 3.0
_AGAIN_S: Final = 0.1
# So many that do not name a partition as theirs are asked for it at once, where nobody does.
_OTHERS_MAX: Final = 8

RETRIED: Final = Counter(
    "stretto_query_partitions_retried_total",
    "Partitions that were asked for again, by what the live store had said, or gone: it was not there.",
    ["status"],
)


class StaleBlocks(Exception):  # noqa: N818 (a state)
    """Live stores have flushed what the view of the blocks does not have: a newer view is needed."""


@dataclass(slots=True)
class OpenedLive:
    """What answers for the partitions of a query.

    peers: conversations with other processes, which have said what they answer for
    local: the view of this process, with the partitions of it that count
    missing: by partition, what the last live store said that was asked for it; "": there was none to ask
    """

    peers: list[CallingConversation] = field(default_factory=list)
    local: PartitionsView = field(default_factory=PartitionsView)
    local_partitions: list[int] = field(default_factory=list)
    missing: dict[int, str] = field(default_factory=dict)


# Takes a view of the live store of this process, as `live_view`.
TakeView = Callable[[str, Mapping[int, int]], PartitionsView]


class LiveStores:
    """All live stores, that of this process included. Belongs to the event loop."""

    def __init__(
        self, members: Members, client: Callable[[], InternalClient], take_view: TakeView | None, own_id: str
    ) -> None:
        """take_view: None: this process has no live store. own_id: its id as a member"""
        self._members, self._client, self._take_view, self._own_id = members, client, take_view, own_id

    def others(self) -> Sequence[Member]:
        """The live stores of other processes. One that is LEAVING answers until others have its partitions."""
        serving = self._members.serving(LIVE_STORE)
        return [one for one in serving if one.member_id != self._own_id and one.address]

    def is_sole(self, partitions: Iterable[int]) -> bool:
        """Whether it seems that one live store has all the partitions, in another process."""
        having = [one for one in self.others() if one.partitions]
        if self._take_view is not None or len(having) != 1:
            return False
        return all(number in having[0].partitions for number in partitions)

    def candidates(self, partition: int) -> list[Member]:
        """Whom to ask for a partition, the best first; then some of those that do not say that they have it: who has
        just taken it over may not have said so yet.
        """
        others = {one.member_id: one for one in self.others()}
        having = [one for one in members_of(self._members, partition) if others.pop(one.member_id, None) is not None]
        return [*having, *list(others.values())[:_OTHERS_MAX]]

    async def open(self, stack: AsyncExitStack, ask: LiveAsk, wait_s: float) -> OpenedLive:
        """Opens what is needed to answer for all partitions of `ask`. stack: ends the conversations

        wait_s: how long to look for somebody who has a partition. After that, where `ask` has `behind_too`, also
        partitions count that are BEHIND
        Raises: StaleBlocks
        """
        opening = _Opening(self, stack, replace(ask, behind_too=False))
        deadline_s = time.monotonic() + wait_s
        while opening.left:
            await opening.ask_all()
            if not opening.left or time.monotonic() >= deadline_s:
                break
            await asyncio.sleep(_AGAIN_S)
        if opening.left and ask.behind_too:
            opening.ask = ask
            await opening.ask_all()
        opening.found.missing = opening.left_with_reasons()
        return opening.found

    def view(self, tenant: str, asked: Mapping[int, int]) -> PartitionsView | None:
        """Of the live store of this process; None: it has none."""
        return None if self._take_view is None else self._take_view(tenant, asked)

    def call(self, stack: AsyncExitStack, member: Member, *, new: bool) -> CallingConversation:
        """A conversation with another live store; new: not one that was kept."""
        return stack.enter_context(self._client().kept_call(member.address, METHOD, new=new))


class _Opening:
    """left: the partitions, with their offsets, that nobody answers for yet"""

    def __init__(self, stores: LiveStores, stack: AsyncExitStack, ask: LiveAsk) -> None:
        self._stores, self._stack, self.ask = stores, stack, ask
        self.left = dict(ask.partitions)
        self.found = OpenedLive()
        self._said: dict[int, str] = {}

    def left_with_reasons(self) -> dict[int, str]:
        return {number: self._said.get(number, "") for number in self.left}

    async def ask_all(self) -> None:
        """Asks everybody once who may have one of the partitions that are left. Raises: StaleBlocks"""
        self._ask_here()
        waiting = {number: self._stores.candidates(number) for number in self.left}
        while any(waiting.values()):
            asked: dict[str, tuple[Member, dict[int, int]]] = {}
            for number, members in waiting.items():
                if members:
                    member = members.pop(0)
                    asked.setdefault(member.member_id, (member, {}))[1][number] = self.left[number]
            results = await asyncio.gather(*(self._ask_one(*each) for each in asked.values()))
            for statuses in results:
                self._take(statuses)
            waiting = {number: members for number, members in waiting.items() if number in self.left}

    def _ask_here(self) -> None:
        view = self._stores.view(self.ask.tenant, self.left)
        if view is None:
            return
        served = self._take(view.statuses)
        if served:
            self.found.local = PartitionsView(
                {**self.found.local.statuses, **view.statuses}, {**self.found.local.parts, **view.parts}
            )
            self.found.local_partitions += served

    async def _ask_one(self, member: Member, partitions: Mapping[int, int]) -> Mapping[int, PartitionStatus]:
        """What a live store says of the partitions; nothing where it is not there."""
        about = {"member": member.member_id, "partitions": len(partitions)}
        with tracing.span("ask live store", about, kind=tracing.CLIENT) as span:
            frame = with_traceparent(replace(self.ask, partitions=partitions).to_frame(), span)
        try:
            async with asyncio.timeout(_OPEN_S):
                conversation, reply = await self._opened(member, frame)
            statuses = statuses_of(reply)
        except (PeerGone, TimeoutError, BadFrame, BadRequest, InternalError) as err:
            log.info("the live store of %s does not answer: %r", member.member_id, err)
            for number in partitions:
                self._said[number] = GONE
                RETRIED.labels(GONE).inc()
            return {}
        known = {number: status for number, status in statuses.items() if number in partitions}
        served = any(is_served(status, behind_too=self.ask.behind_too) for status in known.values())
        if not has_spans(reply):
            conversation.over()
        elif served:
            self.found.peers.append(conversation)
        else:
            conversation.close()
        return known

    async def _opened(self, member: Member, frame: RpcFrame) -> tuple[CallingConversation, RpcFrame]:
        """What a live store says to it. One that has gone, and is back, has left a conversation that was kept before:
        then in a new one. Raises: PeerGone
        """
        conversation = self._stores.call(self._stack, member, new=False)
        try:
            return conversation, await _said(conversation, frame)
        except PeerGone:
            if not conversation.was_used:
                raise
        conversation = self._stores.call(self._stack, member, new=True)
        return conversation, await _said(conversation, frame)

    def _take(self, statuses: Mapping[int, PartitionStatus]) -> list[int]:
        """Takes in what somebody has said. Out: the partitions that are answered for"""
        if PartitionStatus.FLUSHED_FURTHER in statuses.values():
            RETRIED.labels(PartitionStatus.FLUSHED_FURTHER).inc()
            raise StaleBlocks
        served = []
        for number, status in statuses.items():
            if is_served(status, behind_too=self.ask.behind_too):
                self.left.pop(number, None)
                served.append(number)
            else:
                self._said[number] = status
                RETRIED.labels(status).inc()
        return served


async def _said(conversation: CallingConversation, frame: RpcFrame) -> RpcFrame:
    await conversation.send(frame)
    return expect(await conversation.receive(), OPENED)
