"""Reaches Kafka when a process starts: an answer that is lost is asked for again."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from aiokafka.errors import KafkaError

T = TypeVar("T")

log = logging.getLogger(__name__)

# What one attempt may take: aiokafka waits for each answer longer than that, some of its clients for minutes.
ATTEMPT_S: Final = 5.0
WITHIN_S: Final = 60.0
_AGAIN_S: Final = 0.5


async def reached(
    what: str,
    attempt: Callable[[], Awaitable[T]],
    within_s: float = WITHIN_S,
    attempt_s: float = ATTEMPT_S,
) -> T:
    """What the first attempt that succeeds returns. An attempt that takes longer than attempt_s is cancelled; it must
    close what it has opened. what: is done, for the log ("open the producer")

    Raises: KafkaError, OSError, TimeoutError of the last attempt, where within_s are over
    """
    end_s = time.monotonic() + within_s
    while True:
        try:
            return await bounded(attempt(), attempt_s)
        except (KafkaError, OSError, TimeoutError) as err:
            if time.monotonic() >= end_s:
                raise
            log.warning("cannot %s yet: %r; trying again", what, err)
        await asyncio.sleep(_AGAIN_S)


async def bounded(work: Awaitable[T], within_s: float) -> T:
    """Like asyncio.timeout, also where the work does not end when it is cancelled, or aiokafka cancels it. Raises:
    TimeoutError, what the work raises
    """
    task: asyncio.Future[Any] = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=within_s)
    finally:
        if not task.done():
            task.add_done_callback(_forgotten)
            task.cancel()
            await asyncio.wait({task}, timeout=_AGAIN_S)
    if not task.done() or task.cancelled():
        raise TimeoutError(f"no answer within {within_s:.0f} s")
    found: T = task.result()
    return found


def _forgotten(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled() and (err := task.exception()):
        log.debug("given up, and failed: %r", err)
