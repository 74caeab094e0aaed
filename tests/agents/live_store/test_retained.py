"""Flushed segments answer readers that do not know their blocks yet, until they are about to be deleted."""

from pathlib import Path

from app.querying.live.live_view import PartitionStatus, live_view
from tests.helpers.live.live_store import TP0, World, message, world
from tests.helpers.loops import in_loop


def seen(w: World, offset: int, tenant: str = "t") -> tuple[PartitionStatus, int]:
    """What the live store says of partition 0 from the offset on, and how many spans it has."""
    view = live_view(w.manager, tenant, {0: offset})
    return view.statuses[0], sum(source.rows for source in view.sources([0]))


@in_loop
async def test_offsets_below_the_flushed_one(tmp_path: Path) -> None:
    with world(tmp_path, flushed=(0.0, 0)) as w:
        assert seen(w, 0) == (PartitionStatus.NOT_OWNER, 0)
        await w.manager.resume([TP0])
        for offset, seconds in ((0, 100), (1, 110), (2, 120)):  # each in a window of its own
            await w.manager.take(message(offset, spans=4, seconds=seconds))
            await w.flush_all()
        assert w.state.flushed_offset == 2
        assert [seen(w, offset) for offset in (0, 1, 2)] == [(PartitionStatus.OK, 4 * n) for n in (3, 2, 1)]
        assert seen(w, 0, "other") == (PartitionStatus.OK, 0)
        assert seen(w, 4) == (PartitionStatus.NOT_OWNER, 0), "somebody else has cut where nothing ends here"
        await w.flusher.trim()
        assert [seen(w, offset) for offset in (0, 1)] == [(PartitionStatus.FLUSHED_FURTHER, 0)] * 2
        assert seen(w, 2) == (PartitionStatus.OK, 4)
        await w.manager.resume([])
        assert seen(w, 2) == (PartitionStatus.NOT_OWNER, 0)


@in_loop
async def test_after_a_restart(tmp_path: Path) -> None:
    """What blocks have is in blocks only."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        for offset, seconds in ((0, 100), (1, 110)):
            await w.manager.take(message(offset, spans=4, seconds=seconds))
            await w.flush_all()
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        assert seen(w, 0)[0] is PartitionStatus.FLUSHED_FURTHER
        assert seen(w, 1) == (PartitionStatus.OK, 0)


@in_loop
async def test_not_read_yet(tmp_path: Path) -> None:
    """It says so, and what it has."""
    with world(tmp_path) as w:
        w.consumer.end = 2
        await w.manager.resume([TP0])
        await w.manager.take(message(0, spans=3))
        assert seen(w, 0) == (PartitionStatus.BEHIND, 3)
        await w.manager.take(message(1, spans=3))
        assert seen(w, 0) == (PartitionStatus.OK, 6)
