"""Ends the process in time, although threads may wait for a storage that is away."""

import logging
import os
import threading
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
