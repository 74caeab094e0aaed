"""The API over a fake backend, asked through real sockets."""

import asyncio
from collections.abc import Callable

import aiohttp
import pyarrow as pa
import pytest

from tests.helpers.querying.api import Answer, api_over, serving, spans


@pytest.fixture
def ask(backend):
    """ask(path, method="GET", headers={}, params={}, **settings) -> Answer"""

    def ask(path, *, method="GET", headers=None, params=None, data=None, **settings) -> Answer:
        async def use(base: str) -> Answer:
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, base + path, headers=headers, params=params, data=data) as response,
            ):
                return Answer(response.status, dict(response.headers), await response.read())

        return asyncio.run(serving(api_over(backend, **settings), use))

    return ask


@pytest.fixture
def serve(backend):
    """serve(use) runs the coroutine function `use` with the address of the API over `backend`."""
    return lambda use: asyncio.run(serving(api_over(backend), use))


@pytest.fixture
def trace_table() -> Callable[[int], pa.Table]:
    """trace_table(count) is a trace of so many spans."""
    return spans
