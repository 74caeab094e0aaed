"""Fetches jobs from all frontends and answers them: a querier."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

from app.querying.blocks.block_messages import METHOD
from app.querying.gathering import cancel_all
from app.querying.jobs.querier_slots import QuerierService, fetch_jobs
from app.rpc.client import InternalClient
from app.rpc.conversation import PeerGone, checked
from app.rpc.frames import RpcFrame
from query import memory

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.5
_AGAIN_S: Final = 0.05
_AGAIN_MAX_S: Final = 1.0

Answer = Callable[[RpcFrame], Awaitable[RpcFrame]]


class QuerierWorker:
    """One for a process; belongs to its event loop."""

    def __init__(
        self,
        querier: str,
        answer: Answer,
        client: Callable[[], InternalClient],
        frontends: Callable[[], Iterable[str]],
        jobs_max: int,
    ) -> None:
        """querier: its id as a member. frontends: the addresses of all that are there now. jobs_max: jobs at once"""
        self._querier, self._answer, self._client = querier, answer, client
        self._frontends, self._jobs_max = frontends, jobs_max
        self._slots: dict[str, list[asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """For ever: holds slots at every frontend, about as many at each."""
        try:
            while True:
                await self._hold(sorted(set(self._frontends())))
                await asyncio.sleep(_LOOK_S)
        finally:
            await cancel_all([slot for slots in self._slots.values() for slot in slots])

    async def _hold(self, addresses: list[str]) -> None:
        each = max(1, self._jobs_max // max(1, len(addresses)))
        surplus: list[asyncio.Task[None]] = []
        for address in self._slots.keys() - set(addresses):
            surplus += self._slots.pop(address)
        for address in addresses:
            slots = self._slots.setdefault(address, [])
            surplus += slots[each:]
            del slots[each:]
            while len(slots) < each:
                slots.append(asyncio.ensure_future(self._slot(address)))
        await cancel_all(surplus)

    async def _slot(self, address: str) -> None:
        again_s = _AGAIN_S
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                with self._client().call(address, METHOD) as conversation:
                    await fetch_jobs(conversation, self._querier, self._answered)
            except PeerGone as err:
                log.debug("frontend %s: %s", address, err)
            except Exception:
                log.exception("a slot at frontend %s failed", address)
            # At once where a job was given up, less often where nobody is there.
            again_s = _AGAIN_S if loop.time() - began_s > _AGAIN_MAX_S else min(2 * again_s, _AGAIN_MAX_S)
            await asyncio.sleep(again_s)

    async def _answered(self, frame: RpcFrame) -> RpcFrame:
        with memory.request():
            return await self._answer(frame)


class OwnSlots:
    """The querier of a process at the frontend of the same process: the same code without a socket."""

    def __init__(self, querier: str, service: QuerierService, answer: Answer, jobs_max: int) -> None:
        self._querier, self._service, self._answer, self._jobs_max = querier, service, answer, jobs_max

    async def run(self) -> None:
        """Takes jobs from query frontends until it is cancelled."""
        slots = [asyncio.ensure_future(self._slot()) for _ in range(self._jobs_max)]
        try:
            await asyncio.gather(*slots)
        finally:
            await cancel_all(slots)

    async def _slot(self) -> None:
        while True:
            there, here = LocalConversation.pair()
            serving = asyncio.ensure_future(self._service.serve(there))
            serving.add_done_callback(partial(_end, here))
            try:
                await fetch_jobs(here, self._querier, self._answered)
            except PeerGone:
                log.debug("a job was given up")
            finally:
                await cancel_all([serving])

    async def _answered(self, frame: RpcFrame) -> RpcFrame:
        with memory.request():
            return await self._answer(frame)


def _end(here: "LocalConversation", _: object) -> None:
    here.end()


class LocalConversation:
    """One end of a conversation within a process."""

    def __init__(self, incoming: "asyncio.Queue[RpcFrame | None]", outgoing: "asyncio.Queue[RpcFrame | None]") -> None:
        self._incoming, self._outgoing = incoming, outgoing

    @classmethod
    def pair(cls) -> "tuple[LocalConversation, LocalConversation]":
        """Both ends."""
        one: asyncio.Queue[RpcFrame | None] = asyncio.Queue()
        other: asyncio.Queue[RpcFrame | None] = asyncio.Queue()
        return cls(one, other), cls(other, one)

    async def send(self, frame: RpcFrame) -> None:
        self._outgoing.put_nowait(frame)

    async def receive(self) -> RpcFrame:
        frame = await self._incoming.get()
        if frame is None:
            raise PeerGone("the other end has ended the conversation")
        return checked(frame)

    def end(self) -> None:
        """No frame comes any more."""
        self._incoming.put_nowait(None)
