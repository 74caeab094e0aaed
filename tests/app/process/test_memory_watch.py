"""What is free goes back to the system without a query that asks for it."""

import asyncio
import gc
import threading
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
