"""A query that others keep waiting is told to come back; one that takes too long itself is told so."""

import asyncio
import threading
import time

import pytest

from app.api.errors import TooManyRequests
from app.querying.running.executor import Cancelled, QueryExecutor, QueryLimits
from tests.helpers.loops import in_loop


def until(cancelled: Cancelled) -> None:
    """A query that goes on until it is told to stop."""
    while not cancelled():
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("held_share", "error"),
    [
        pytest.param(0.75, TooManyRequests, id="begun too late"),
        pytest.param(0.2, TimeoutError, id="had most of its time"),
        pytest.param(2.0, TooManyRequests, id="never begun"),
    ],
)
@in_loop
async def test_others_have_the_threads(held_share: float, error: type[Exception]) -> None:
    timeout_s = 0.5
    executor, free = QueryExecutor(QueryLimits(threads=1, concurrent_max=4, timeout_s=timeout_s)), threading.Event()
    executor.pool.submit(free.wait)
    asyncio.get_running_loop().call_later(held_share * timeout_s, free.set)
    with pytest.raises(error) as raised:
        await executor.run(until)
    if error is TooManyRequests:
        assert "query.threads" in str(raised.value)
    free.set()
    assert await executor.run(lambda _: 1) == 1
    executor.close()
