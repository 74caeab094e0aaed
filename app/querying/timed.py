"""How long something takes that is asked here, and how it ends."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.api.errors import status_of
from app.net.request_metrics import CLIENT_GONE


@contextmanager
def timed(ended: Callable[[int, float], None]) -> Iterator[None]:
    """Calls `ended` behind the `with`, whatever it raises: with the status, as of HTTP, and the time in seconds."""
    start_s, status = time.perf_counter(), 500
    try:
        yield
        status = 200
    except asyncio.CancelledError:
        status = CLIENT_GONE
        raise
    except Exception as err:
        status = status_of(err)
        raise
    finally:
        ended(status, time.perf_counter() - start_s)
