"""A worker that lost a partition still finishes its flush: its cut counts, and the new owner starts over behind it."""

from pathlib import Path

import pytest

from app.api.errors import Unavailable
from app.querying.querier import Querier
from query.requests import SearchRequest
from query.scan.progress import QueryObserver
from tables.catalog.cuts import Cut
from tests.helpers.live.live_store import TP0, message, world
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
