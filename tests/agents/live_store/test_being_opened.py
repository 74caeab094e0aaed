"""What a live store says of itself while it opens partitions."""

import asyncio
import threading
from pathlib import Path

import pytest

from tables.live.partition import LivePartition
from tests.helpers.live.live_store import TP0, world
from tests.helpers.loops import in_loop


@in_loop
async def test_not_ready_while_partitions_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the next process of a rolling restart would be stopped before this one can answer for its partitions."""
    with world(tmp_path) as w:
        real, opening, goes_on = w.store.load, threading.Event(), threading.Event()

        def load(number: int) -> LivePartition:
            opening.set()
            goes_on.wait(10)
            return real(number)

        monkeypatch.setattr(w.store, "load", load)
        resuming = asyncio.ensure_future(w.manager.resume([TP0]))
        while not opening.is_set():
            await asyncio.sleep(0.01)
        assert w.manager.not_ready() == ["live store: partition 0 is being opened"]
        goes_on.set()
        await resuming
        assert w.manager.not_ready() == []
