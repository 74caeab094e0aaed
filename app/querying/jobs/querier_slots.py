"""Both ends of a querier's connection to a frontend: it fetches a job, answers it, and fetches the next.

The querier calls the frontend, so that a frontend needs to know no queriers. It holds as many calls as it takes jobs at
once. If a job is not needed any more, the frontend ends the call, and the querier begins another.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client import Counter

from app.api.errors import TooManyRequests, Unavailable
from app.querying.blocks.block_messages import HELLO, hello, querier_of
from app.querying.gathering import cancel_all
from app.querying.jobs.job_queue import JobQueue
from app.querying.live.live_messages import expect
from app.rpc.conversation import Conversation, PeerGone
from app.rpc.errors import InternalError, to_frame
from app.rpc.frames import BadFrame, RpcFrame
from query.memory import QueriesTooLarge

log = logging.getLogger(__name__)

ANSWERED: Final = Counter(
    "stretto_querier_jobs_total", "Jobs of this querier, by result: ok, error, abandoned.", ["result"]
)
# Another querier may have what this one lacks at the moment.
_ELSEWHERE: Final = (InternalError, Unavailable, TooManyRequests, QueriesTooLarge, BadFrame)


class QuerierService:
    """The frontend's end: the method `Frontend`."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    async def serve(self, conversation: Conversation) -> None:
        """Gives jobs to a slot of a querier, until a job is given up, or the querier goes."""
        querier = querier_of(expect(await conversation.receive(), HELLO).fields)
        with self._queue.connected(querier):
            while await self._serve_one(conversation, querier):
                pass

    async def _serve_one(self, conversation: Conversation, querier: str) -> bool:
        """Out: whether the slot can take another job."""
        attempt = await self._queue.next(querier)
        reply: asyncio.Future[RpcFrame] | None = None
        abandoned = asyncio.ensure_future(attempt.abandoned.wait())
        try:
            await conversation.send(attempt.frame)
            reply = asyncio.ensure_future(conversation.receive())
            await asyncio.wait({reply, abandoned}, return_when=asyncio.FIRST_COMPLETED)
            if not reply.done():
                self._queue.abandon(attempt)
                return False
            self._queue.finish(attempt, reply.result())
        except asyncio.CancelledError:
            self._queue.fail(attempt, PeerGone(f"querier {querier} went away"))
            raise
        except PeerGone as err:
            self._queue.fail(attempt, err)
            return False
        except _ELSEWHERE as err:
            self._queue.fail(attempt, err)
        except Exception as err:  # noqa: BLE001 (an answer as any other: whoever asked gets it)
            self._queue.fail(attempt, err, elsewhere=False)
        finally:
            await cancel_all([abandoned] if reply is None else [abandoned, reply])
        return True


async def fetch_jobs(
    conversation: Conversation, querier: str, answer: Callable[[RpcFrame], Awaitable[RpcFrame]]
) -> None:
    """The querier's end of a slot. Raises: PeerGone when the frontend ends the call"""
    await conversation.send(hello(querier))
    job = await conversation.receive()
    while True:
        work = asyncio.ensure_future(answer(job))
        coming = asyncio.ensure_future(conversation.receive())
        try:
            await asyncio.wait({work, coming}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                ANSWERED.labels("abandoned").inc()
                coming.result()  # raises: a frontend sends nothing while a job is worked on
                raise PeerGone("the frontend sent a job while another one was worked on")
            await conversation.send(_reply(work))
            job = await coming
        finally:
            await cancel_all([work, coming])


def _reply(work: "asyncio.Future[RpcFrame]") -> RpcFrame:
    err = work.exception()
    if err is None:
        ANSWERED.labels("ok").inc()
        return work.result()
    ANSWERED.labels("error").inc()
    if not isinstance(err, Exception):
        raise err
    return to_frame(err, "a job")
