"""Runs blocking work beside the event loop until it succeeds: what must not be lost when a disk or storage fails."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, TypeVar

from tables.wall import walled

T = TypeVar("T")

_FIRST_WAIT_S: Final = 0.5
_WAIT_S_MAX: Final = 30.0


class GaveUp(Exception):  # noqa: N818  # the caller's own wish, no fault
    """Nobody needs the result any more."""


async def retried(
    executor: Executor,
    work: Callable[[], T],
    on_failure: Callable[[Exception, float], None],
    gives_up: Callable[[], bool] = lambda: False,
) -> T:
    """The result of `work`, which runs on the executor; after a failure again, with growing waits of up to 30 s.

    on_failure: gets each exception, and the seconds until the next attempt
    gives_up: asked before each attempt
    Raises: GaveUp
    """
    wait_s = _FIRST_WAIT_S
    while not gives_up():
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, walled, work)
        except Exception as err:  # noqa: BLE001  # a job that is lost would leave a gap in the offsets that blocks cover
            on_failure(err, wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _WAIT_S_MAX)
    raise GaveUp


def log_failure(logger: logging.Logger, what: str, wait_s: float, err: Exception) -> None:
    """Logs expected errors of disks and storage in one line, and anything else with its traceback."""
    expected = isinstance(err, OSError)
    logger.error("%s, trying again in %.1f s: %s", what, wait_s, err, exc_info=None if expected else err)
