"""What consumers do at the end of a worker: quickly, and without a word about calls that nobody waits for any more."""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers.live.stream_apps import close_loops, in_this_loop, stream_app
from tests.helpers.loops import in_loop


@pytest.fixture(autouse=True)
def loops_closed() -> Iterator[None]:
    """Each thread has one, whether it runs or not."""
    yield
    close_loops()


@in_loop
async def test_cancelled_fetcher_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the worker each app cancels its fetcher and waits for it, one app after the other. Faust's part of
    it takes the cancellation for its end, and nothing may wait after it.
    """
    monkeypatch.setattr("agents.stream.stream_consumer._SEEK_AGAIN_S", 60.0)
    made = stream_app(tmp_path)
    consumer, waits = made.consumer, asyncio.Event()

    async def getmany(timeout: float) -> Any:
        waits.set()
        await asyncio.Event().wait()
        yield

    consumer.getmany = getmany
    fetcher = SimpleNamespace(should_stop=False, _stopped=asyncio.Event())
    draining = asyncio.ensure_future(consumer._drain_messages(fetcher))
    await waits.wait()
    made._stopped.set()
    draining.cancel()
    await asyncio.wait({draining}, timeout=5)
    assert draining.done()


@in_loop
async def test_a_call_that_fails_later_is_not_told(tmp_path: Path) -> None:
    """Its caller was cancelled. asyncio would log it as an error that was never retrieved."""
    thread = stream_app(tmp_path).consumer._thread
    in_this_loop(thread)
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def fails() -> None:
        begun.set()
        await go_on.wait()
        raise ValueError("no")

    calling = asyncio.ensure_future(thread.call_thread(fails))
    await begun.wait()
    calling.cancel()
    await asyncio.wait({calling})
    go_on.set()
    del calling
    for _ in range(10):
        await asyncio.sleep(0)
    gc.collect()
    assert told == []
