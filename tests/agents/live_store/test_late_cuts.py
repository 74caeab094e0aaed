"""A worker that lost a partition still finishes its flush: its cut counts, and the new owner starts over behind it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.live_store.flush_queue import Flush
from app.api.errors import Unavailable
from app.querying.live.live_view import PartitionStatus, live_view
from app.querying.querier import Querier
from query.requests import SearchRequest
from query.scan.progress import QueryObserver
from tables.catalog.cuts import Cut
from tables.live.partition_jobs import FlushJob
from tests.helpers.live.live_store import TOPIC, TP0, World, message, world
from tests.helpers.loops import in_loop
from tests.helpers.querying.queriers import LIMITS


@in_loop
async def test_a_former_owner_cuts_late(tmp_path: Path) -> None:
    """Until the partition starts over behind the cut, its recent spans are missing, and not there twice."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        for offset in range(3):
            await w.manager.take(message(offset, seconds=100))
        await w.flusher.reopen_overtaken()
        assert (w.spans(), w.store.view("t").overtaken, w.consumer.sought) == (3, [], [])
        w.store.blocks.cuts.write(Cut(0, 0, 0, ()))
        w.store.blocks.poll([0])
        assert (w.spans(), w.store.view("t").overtaken) == (0, [0])
        asked = Querier(w.manager, LIMITS)
        with pytest.raises(Unavailable, match="recent spans of partition 0 are missing"):
            await asked.search("t", SearchRequest(query="{ }"), QueryObserver())
        await w.flusher.reopen_overtaken()
        assert (w.consumer.sought, w.state.next_offset) == ([1], 1)
        for offset in (1, 2):
            await w.manager.take(message(offset, seconds=100))
        assert (w.spans(), w.store.view("t").overtaken) == (2, [])
        asked.close()


@in_loop
async def test_behind_until_it_is_where_it_was(tmp_path: Path) -> None:
    """A partition that starts over reads again what was found before: until then an answer would miss it."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        w.consumers.ends.note(TOPIC, 0, 3, 0.0)
        for offset in range(3):
            await w.manager.take(message(offset, seconds=100))
        assert w.manager.behind() == {}
        w.store.blocks.cuts.write(Cut(0, 0, 0, ()))
        w.store.blocks.poll([0])
        await w.flusher.reopen_overtaken()
        for offset in (1, 2):
            assert w.manager.behind() == {0: 3}
            assert live_view(w.manager, "t", {0: 1}).statuses == {0: PartitionStatus.BEHIND}
            await w.manager.take(message(offset, seconds=100))
        assert live_view(w.manager, "t", {0: 1}).statuses == {0: PartitionStatus.OK}


@pytest.mark.parametrize("when", ["flush", "load"])
@in_loop
async def test_a_partition_that_is_lost_is_not_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Its new owner has cut it. Here it would be empty behind the cut, and answer for what it does not have."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        for offset in range(3):
            await w.manager.take(message(offset, seconds=100))
        await w.manager.seal_all()
        w.store.blocks.cuts.write(Cut(0, 0, 0, ()))
        lost_in(when, w, monkeypatch)
        await w.flusher.flush(Flush(w.state, FlushJob(0, 2)))
        assert (w.store.partitions, w.consumer.sought) == ({}, [])
        assert live_view(w.manager, "t", {0: 1}).statuses == {0: PartitionStatus.NOT_OWNER}


@in_loop
async def test_a_partition_that_is_lost_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next assignment does not wait for the storage of the one before."""
    with world(tmp_path) as w:
        lost_in("load", w, monkeypatch)
        assert await w.manager.resume([TP0]) == {}
        assert w.store.partitions == {}
        monkeypatch.undo()
        assert await w.manager.resume([TP0]) == {TP0: 0}


def lost_in(method: str, w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next assignment takes the partition away while the store, on its thread, is in that method."""
    work, loop = getattr(w.store, method), asyncio.get_running_loop()

    def slow(*args: Any) -> Any:
        asyncio.run_coroutine_threadsafe(w.manager.emptied(), loop).result(10)
        return work(*args)

    monkeypatch.setattr(w.store, method, slow)
