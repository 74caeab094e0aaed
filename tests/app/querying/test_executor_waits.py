"""A query that others keep waiting is told to come back; one that takes too long itself is told so."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from app.api.errors import TooManyRequests
from app.querying.running.executor import Cancelled, QueryExecutor, QueryLimits
from tables.storage.request_usage import current_usage
from tests.helpers.loops import in_loop

# A query that computes gets the CPU for most of its time, unless others have it at this very moment.
_TRIES = 10


async def fate(executor: QueryExecutor, query: Callable[[Cancelled], None]) -> Exception | None:
    """What became of a query that does not end by itself."""
    try:
        await executor.run(query)
    except (TimeoutError, TooManyRequests) as err:
        return err
    return None


def until(cancelled: Cancelled) -> None:
    """A query that computes until it is told to stop."""
    while not cancelled():
        sum(range(1000))


def held_up(cancelled: Cancelled) -> None:
    """One that others keep from the CPU, or from a lock, until it is told to stop."""
    while not cancelled():
        time.sleep(0.001)


def asking(cancelled: Cancelled) -> None:
    """One whose storage does not answer; two requests at once."""
    usage = current_usage()
    assert usage is not None
    usage.begin()
    usage.begin()
    held_up(cancelled)
    usage.end()
    usage.end()


@pytest.mark.parametrize(
    ("query", "error"),
    [
        pytest.param(until, TimeoutError, id="computes"),
        pytest.param(asking, TimeoutError, id="waits for storage"),
        pytest.param(held_up, TooManyRequests, id="neither"),
    ],
)
@in_loop
async def test_what_the_time_went_into(query: Callable[[Cancelled], None], error: type[Exception]) -> None:
    executor = QueryExecutor(QueryLimits(threads=1, concurrent_max=4, timeout_s=0.5))
    for _ in range(_TRIES):
        raised = await fate(executor, query)
        if isinstance(raised, error):
            break
    assert isinstance(raised, error)
    executor.close()


@pytest.mark.parametrize(
    ("held_share", "error"),
    [
        pytest.param(0.75, TooManyRequests, id="begun too late"),
        pytest.param(0.2, TimeoutError, id="has most of its time"),
        pytest.param(2.0, TooManyRequests, id="never begun"),
    ],
)
@in_loop
async def test_others_have_the_threads(held_share: float, error: type[Exception]) -> None:
    timeout_s = 0.5
    executor = QueryExecutor(QueryLimits(threads=1, concurrent_max=4, timeout_s=timeout_s))
    for _ in range(_TRIES):
        free = threading.Event()
        executor.pool.submit(free.wait)
        asyncio.get_running_loop().call_later(held_share * timeout_s, free.set)
        raised = await fate(executor, until)
        free.set()
        assert await executor.run(lambda _: 1) == 1
        if isinstance(raised, error):
            break
    assert isinstance(raised, error)
    if error is TooManyRequests:
        assert "query.threads" in str(raised)
    executor.close()
