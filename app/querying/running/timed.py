"""How long something takes that is asked here, and how it ends."""

import asyncio
import time
from collections.abc import Callable

from app.api.errors import status_of
from app.net.request_metrics import CLIENT_GONE


class timed:  # noqa: N801 (a context manager, by hand: a generator would take several times as long)
    """Calls `ended` behind the `with`, whatever it raises: with the status, as of HTTP, and the time in seconds."""

    __slots__ = ("_ended", "_start_s")

    def __init__(self, ended: Callable[[int, float], None]) -> None:
        self._ended = ended

    def __enter__(self) -> None:
        self._start_s = time.perf_counter()

    def __exit__(self, _: object, err: BaseException | None, __: object) -> None:
        self._ended(_status(err), time.perf_counter() - self._start_s)


def _status(err: BaseException | None) -> int:
    if err is None:
        return 200
    if isinstance(err, asyncio.CancelledError):
        return CLIENT_GONE
    return status_of(err) if isinstance(err, Exception) else 500
