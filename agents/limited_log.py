"""Log lines that anybody can cause with a request or message: so many, then how many more there were."""

import logging
import time
from collections.abc import Callable
from typing import Final

LINES_MAX: Final = 100
WINDOW_S: Final = 10.0


class FewLines(logging.Filter):
    """Passes LINES_MAX records in WINDOW_S seconds of each statement that logs. The first one after such a window says
    how many were left out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[tuple[str, int], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Statements are few: nothing needs to be forgotten here."""
        now_s = self._clock()
        window = self._windows.setdefault((record.pathname, record.lineno), _Window())
        left_out = 0
        if now_s >= window.end_s:
            left_out = max(0, window.lines - LINES_MAX)
            window.end_s, window.lines = now_s + WINDOW_S, 0
        window.lines += 1
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out} more like this were not logged)"
            record.args = ()  # Faust's formatter takes None for an argument
        return window.lines <= LINES_MAX


class _Window:
    """end_s: when the next one may begin"""

    def __init__(self) -> None:
        self.end_s, self.lines = 0.0, 0


def limited_logger(name: str) -> logging.Logger:
    """The logger of this name, which logs few lines."""
    logger = logging.getLogger(name)
    if not any(isinstance(one, FewLines) for one in logger.filters):
        logger.addFilter(FewLines())
    return logger
