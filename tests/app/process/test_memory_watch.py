"""What is free goes back to the system without a query that asks for it."""

import asyncio
import gc
import sys
import threading
import time
import weakref

import pytest

from app.process import memory_watch
from app.process.memory_watch import MemoryWatch


@pytest.mark.parametrize(("grown_mb", "released"), [(65, True), (63, False)])
def test_only_much_is_given_back(monkeypatch: pytest.MonkeyPatch, grown_mb: int, released: bool) -> None:
    """On another thread than the event loop's, again and again, and not after the stop."""
    threads: list[int] = []
    looks = 0

    def grown_bytes() -> int:
        nonlocal looks
        looks += 1
        return grown_mb << 20

    def release() -> bool:
        threads.append(threading.get_ident())
        return True

    monkeypatch.setattr(memory_watch, "grown_bytes", grown_bytes)
    monkeypatch.setattr(memory_watch, "release_to_system", release)

    async def run() -> None:
        watch = MemoryWatch(every_s=0.001)
        await watch.on_start()
        async with asyncio.timeout(5):
            while looks < 3 or (released and len(threads) < 2):
                await asyncio.sleep(0.001)
        await watch.on_stop()
        ended = looks
        await asyncio.sleep(0.02)
        assert looks == ended

    asyncio.run(run())
    assert bool(threads) is released
    assert threading.get_ident() not in threads


class Ring:
    """One that only a garbage collection frees."""

    def __init__(self) -> None:
        self.itself = self


def test_cycles_are_freed(monkeypatch):
    """Also of objects that have become old: those of the young the interpreter frees."""
    monkeypatch.setattr(memory_watch, "grown_bytes", lambda: 0)

    async def use() -> None:
        watch = MemoryWatch(every_s=0.001, collect_every_s=0.02)
        ring = Ring()
        gc.collect()
        freed = asyncio.Event()
        weakref.finalize(ring, asyncio.get_running_loop().call_soon_threadsafe, freed.set)
        await watch.on_start()
        del ring
        async with asyncio.timeout(10):
            await freed.wait()
        await watch.on_stop()

    gc.disable()
    try:
        asyncio.run(use())
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("more", "late_s", "collects"),
    [
        pytest.param(0, -1.0, False, id="not yet due"),
        pytest.param(0, 1.0, True, id="at rest"),
        pytest.param(600_000, 1.0, False, id="at work"),
        pytest.param(600_000, 3601.0, True, id="at work for an hour"),
    ],
)
def test_it_waits_for_a_rest(monkeypatch: pytest.MonkeyPatch, more: int, late_s: float, collects: bool) -> None:
    """A full collection holds up everything, for longer where there are many objects."""
    monkeypatch.setattr(memory_watch, "grown_bytes", lambda: 0)
    monkeypatch.setattr(memory_watch, "release_to_system", lambda: True)
    objects, now_s, collections = 1_000_000, 1_000.0, list[float]()
    monkeypatch.setattr(sys, "getallocatedblocks", lambda: objects)
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    monkeypatch.setattr(gc, "collect", lambda: collections.append(now_s))
    watch = MemoryWatch(collect_every_s=300.0)
    objects, now_s = objects + more, now_s + 300.0 + late_s

    async def use() -> None:
        watch._look()
        if watch._running is not None:
            await watch._running
        await watch.on_stop()

    asyncio.run(use())
    assert bool(collections) is collects
