"""A process that is told to stop says so before it stops to listen."""

import asyncio
import time
from pathlib import Path

import aiohttp

from app.main import build
from app.process.shutdown import ShutdownDelay
from app.settings import Settings
from app.targets.query_server import QueryServer
from tests.harness.ports import own_port
from tests.helpers.querying.api import FakeBackend


def test_ready_says_so_and_all_else_goes_on() -> None:
    stops = False

    async def ask(where: str) -> tuple[int, int]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{where}/ready") as ready,
            session.get(f"{where}/api/search?q={{}}") as search,
        ):
            return ready.status, search.status

    async def main() -> list[tuple[int, int]]:
        nonlocal stops
        port = own_port()
        settings = Settings.model_validate({"server": {"http_listen_address": "127.0.0.1", "http_listen_port": port}})
        server = QueryServer(settings, FakeBackend())
        server.stopping = lambda: stops
        await server.on_start()
        try:
            before = await ask(f"http://127.0.0.1:{port}")
            stops = True
            return [before, await ask(f"http://127.0.0.1:{port}")]
        finally:
            await server.on_stop()

    assert asyncio.run(main()) == [(200, 200), (503, 200)]


def test_it_takes_so_long_in_all() -> None:
    """What else is done before the stop is done in this time."""

    async def main() -> float:
        delay = ShutdownDelay(0.5)
        began_s = time.monotonic()
        await delay.begin()
        await asyncio.sleep(0.3)
        await delay.rest()
        return time.monotonic() - began_s

    assert 0.5 <= asyncio.run(main()) < 0.75


def test_the_order_of_the_hooks(tmp_path: Path) -> None:
    """The partitions are handed over meanwhile."""
    settings = {"target": "live-store", "data_dir": tmp_path, "shutdown_delay": "5s"}
    worker = build(Settings.model_validate(settings))
    assert [hook.__qualname__ for hook in worker.before_stop] == [
        "ShutdownDelay.begin",
        "HandOver.run",
        "ShutdownDelay.rest",
    ]
