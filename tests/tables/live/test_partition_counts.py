"""A block whose records were written while the number of partitions changed may hold any trace."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tables.live.partition_jobs import FlushJob
from tables.wire.record import read_headers, with_partitions
from tables.wire.split import SEVERAL, partition_of, places_of
from tests.helpers.live.live_store import TP0, message, world
from tests.helpers.loops import in_loop

ID = b"\1" * 16


def written(offset: int, partitions: int, seconds: float = 100.0) -> SimpleNamespace:
    """A record by a distributor that splits traces among so many partitions; 0: of an earlier version."""
    made = message(offset, seconds=seconds)
    headers = with_partitions(made.headers, partitions) if partitions else made.headers
    return SimpleNamespace(**(vars(made) | {"headers": headers}))


@pytest.mark.parametrize(
    ("counts", "noted"),
    [
        pytest.param([4, 4], 4, id="one number"),
        pytest.param([4, 8], SEVERAL, id="two numbers"),
        pytest.param([8, 0], SEVERAL, id="one does not say: as many as there were at the start"),
        pytest.param([0, 0], 1, id="earlier versions"),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("restarted", [False, True])
@in_loop
async def test_what_a_block_notes(tmp_path: Path, counts, noted, apart, restarted) -> None:
    """Whether the records are in one segment or in two, and whether the process was started again in between."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        for offset, count in enumerate(counts):
            await w.manager.take(written(offset, count))
            if apart:
                await w.manager.seal_all()
                await w.manager.drain(0)
        await w.manager.seal_all()
        await w.manager.drain(0)
        if restarted:
            w.store.release(0)
            w.store.adopt(w.store.load(0))
        state = w.store.partitions[0]
        assert places_of(ID, state.record_counts(), 8) == (
            set(range(8)) if noted == SEVERAL and not apart else {partition_of(ID, count or 1) for count in counts}
        )
        job = FlushJob(0, state.next_offset - 1)
        (meta,) = w.store.flush(0, job, state.to_flush(job)).blocks
        assert meta.partition_count == noted


def test_places():
    """Each number of partitions has its place for a trace; after a change there may be several, or any."""
    assert places_of(ID, [4], 8) == {partition_of(ID, 4)}
    assert places_of(ID, [4, 8], 8) == {partition_of(ID, 4), partition_of(ID, 8)}
    assert places_of(ID, [4, SEVERAL], 8) == set(range(8))


def test_the_header():
    """Records of earlier versions do not have it."""
    made = message(0)
    assert read_headers(made.headers).partitions == 0
    assert read_headers(with_partitions(made.headers, 12)).partitions == 12
