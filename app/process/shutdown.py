"""How a process ends: it says so before it stops to listen, and it ends in time, although threads may wait for a
storage that is away.
"""

import asyncio
import logging
import os
import threading
import time
from typing import Any, Final, NoReturn

import faust

log = logging.getLogger(__name__)

_WITHIN_S: Final = 1.5


class ExitDeadline(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """Limits how long the process takes to end. It is the first part of the worker, and so the last that stops: all
    data is safe by then.

    Python would join all threads of executors before it ends, also one that writes a block to a storage that does not
    answer. Such a block is written after the next start.
    """

    def __init__(self, within_s: float = _WITHIN_S, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._within_s = within_s

    async def on_stop(self) -> None:
        """Ends the process after `within_s`, if it has not ended by itself."""
        timer = threading.Timer(self._within_s, _exit_now)
        timer.daemon = True
        timer.start()


class ShutdownDelay:
    """Between "stop" and stopping: /ready says 503 meanwhile, and all else goes on. What else is done before the stop
    is done in this time.
    """

    def __init__(self, delay_s: float) -> None:
        self._delay_s, self._end_s = delay_s, 0.0

    async def begin(self) -> None:
        """The first of the hooks `StreamApp.before_stop`."""
        self._end_s = time.monotonic() + self._delay_s
        if self._delay_s:
            log.info("not ready any more; goes on for %g s (shutdown_delay)", self._delay_s)

    async def rest(self) -> None:
        """The last of these hooks: returns when the time is over."""
        await asyncio.sleep(max(0.0, self._end_s - time.monotonic()))


def end_with_error(text: str) -> NoReturn:
    """Ends the process with status 1 and one line in the log, at once: for a start that cannot succeed before somebody
    changes something. Nothing is lost, no more than if the process were killed.
    """
    log.critical("%s", text)
    logging.shutdown()
    os._exit(1)


def _exit_now() -> None:
    waiting = [one.name for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]
    log.warning("not waiting for threads that have not ended: %s", ", ".join(waiting))
    logging.shutdown()
    os._exit(0)
