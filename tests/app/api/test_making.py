"""An answer whose text takes too long ends with an error, and nobody makes one for a client that is gone."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import TypeVar

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from app.api import making as module
from app.api.backend import BACKEND
from app.api.errors import AnswerTooSlow, TooManyRequests
from app.api.limits import LIMITS, ApiLimits, CurrentLimits
from app.api.making import Making
from app.api.replies import reply
from query.errors import QueryCancelled
from tests.helpers.querying.api import FakeBackend

T = TypeVar("T")
LIMIT_S = 10.0


class Clock(SimpleNamespace):
    """What the time is, and how much CPU the thread has taken."""

    def __init__(self) -> None:
        super().__init__(now_s=100.0, cpu_s=5.0)

    def monotonic(self) -> float:
        return self.now_s

    def thread_time(self) -> float:
        return self.cpu_s


@pytest.mark.parametrize(
    ("turns", "want"),
    [
        pytest.param([(9.0, 9.0)], None, id="in time"),
        pytest.param([(11.0, 8.0)], AnswerTooSlow, id="too long"),
        pytest.param([(6.0, 6.0), (5.0, 5.0)], AnswerTooSlow, id="in several turns"),
        pytest.param([(11.0, 2.0)], TooManyRequests, id="others had the CPUs"),
        pytest.param([(6.0, 1.0), (5.0, 1.0)], TooManyRequests, id="in several turns, too"),
    ],
)
def test_time(turns: list[tuple[float, float]], want: type[Exception] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the time counts in which it is made: a client that reads slowly takes none of it."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    making = Making(LIMIT_S)

    def work() -> None:
        for wall_s, cpu_s in turns:
            with making:
                clock.now_s += wall_s
                clock.cpu_s += cpu_s
                making.go_on()
            clock.now_s += 1000.0  # until the client has read it

    if want is None:
        work()
        return
    with pytest.raises(want, match=r"query\.timeout_s"):
        work()


def test_nobody_waits() -> None:
    """Whoever makes it stops between two parts."""
    making = Making(LIMIT_S)
    with making:
        making.go_on()
        making.stop()
        with pytest.raises(QueryCancelled):
            making.go_on()


def endless(made: list[float]) -> Iterator[bytes]:
    while True:
        made.append(time.monotonic())
        yield b"x" * (256 << 10)


async def quiet(made: list[float]) -> None:
    """Waits until no part was made for half a second."""
    async with asyncio.timeout(10):
        while time.monotonic() - made[-1] < 0.5:
            await asyncio.sleep(0.05)


def over_http(timeout_s: float, use: Callable[[TestClient, list[float]], Awaitable[T]]) -> T:
    """What `use` gives, of a client of a server whose answers never end."""
    made: list[float] = []

    async def handler(request: web.Request) -> web.Response:
        try:
            return await reply(request, lambda: endless(made))
        except AnswerTooSlow as err:
            return web.Response(status=504, text=str(err))

    async def main() -> T:
        app = web.Application()
        app[BACKEND], app[LIMITS] = FakeBackend(), CurrentLimits(ApiLimits(timeout_s=timeout_s))
        app.router.add_get("/", handler)
        async with TestClient(TestServer(app)) as client:
            return await use(client, made)

    return asyncio.run(main())


def test_an_answer_without_end_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """504, with the setting; and it is made no longer."""
    # As if nobody else had the CPUs.
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=time.monotonic, thread_time=time.monotonic))

    async def use(client: TestClient, made: list[float]) -> tuple[int, str]:
        async with client.get("/", headers={"Accept-Encoding": "gzip"}) as response:
            status, text = response.status, await response.text()
        await quiet(made)
        return status, text

    status, text = over_http(0.3, use)
    assert status == 504
    assert "query.timeout_s" in text


def test_a_client_that_goes_away() -> None:
    """Its answer is made no longer."""

    async def use(client: TestClient, made: list[float]) -> None:
        with pytest.raises(asyncio.TimeoutError):
            async with asyncio.timeout(0.5):
                await client.get("/", headers={"Accept-Encoding": "gzip"})
        await client.close()
        await quiet(made)

    over_http(60.0, use)
