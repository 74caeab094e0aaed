"""The live store's agent with records that tenants share: whose is what, and when small heads are sealed."""

from pathlib import Path

from tables.live.partition import CutPolicy
from tests.helpers.live.live_store import TP0, message, shared_message, world
from tests.helpers.loops import in_loop


@in_loop
async def test_a_shared_record(tmp_path: Path) -> None:
    """Each tenant has its spans, in heads, segments and blocks; after a restart too."""
    for restart in (False, True):
        with world(tmp_path) as w:
            await w.manager.resume([TP0])
            if not restart:
                for item in (shared_message(0, 2, 3), message(1), shared_message(2, 1, 1, 1), shared_message(0, 2, 3)):
                    await w.manager.take(item)
                bad = shared_message(3, 1, 1, headers=[("v", b"2"), ("n", b"2"), ("t", b"0-0"), ("m", b"t:1")])
                await w.manager.take(bad)
                assert [w.spans(tenant) for tenant in ("t", "t1", "t2", "t3")] == [4, 4, 1, 0]
                await w.manager.seal_all()
            assert w.state.next_offset == 4
            assert {info.tenant: info.spans for info in w.state.segments} == {"t": 4, "t1": 4, "t2": 1}
            assert [w.spans(tenant) for tenant in ("t", "t1", "t2", "t3")] == [4, 4, 1, 0]


@in_loop
async def test_small_heads_wait_for_the_block(tmp_path: Path) -> None:
    """Where there are many: a window's end seals the others only, a restart reads again from the first that waits."""
    policy = CutPolicy(1, 100, segment_age_ms=1000, block_age_ms=5000, many_heads=2, small_head_spans=4)
    with world(tmp_path, policy=policy) as w:
        await w.manager.resume([TP0])
        await w.manager.take(message(0, 4, seconds=100))
        await w.manager.take(shared_message(1, 1, 1, 1, seconds=100))
        await w.manager.take(shared_message(2, 1, 1, 1, seconds=101))
        await w.manager.drain(0)
        assert [(info.tenant, info.spans) for info in w.state.segments] == [("t", 5)]
        assert [w.spans(tenant) for tenant in ("t", "t1", "t2")] == [6, 2, 2]
    with world(tmp_path, policy=policy) as w:
        # The mark is at offset 1, which the segment of `t` reaches beyond: read again from its begin.
        assert await w.manager.resume([TP0]) == {TP0: 0}
        for item in (message(0, 4, seconds=100), *(shared_message(n, 1, 1, 1, seconds=99 + n) for n in (1, 2))):
            await w.manager.take(item)
        assert [w.spans(tenant) for tenant in ("t", "t1", "t2")] == [6, 2, 2]
        await w.manager.take(message(3, seconds=105))
        await w.flush_all()
        assert w.consumer.committed == [3]
        assert [w.spans(tenant) for tenant in ("t", "t1", "t2")] == [7, 2, 2]


@in_loop
async def test_a_block_never_ends_inside_a_segment(tmp_path: Path) -> None:
    """Started again with smaller blocks, what is sealed already decides where the first may end."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        await w.manager.take(message(0, 6))
        await w.manager.take(message(1, 6))
        await w.manager.drain(0)
        assert [(info.first_offset, info.last_offset) for info in w.state.segments] == [(0, 1)]
    with world(tmp_path, policy=CutPolicy(partitions=1, block_rows_max=1)) as w:
        assert await w.manager.resume([TP0]) == {TP0: 0}
        for offset, spans in ((0, 6), (1, 6), (2, 1), (3, 1)):
            await w.manager.take(message(offset, spans))
        await w.flush_all()
        assert w.consumer.committed == [2, 3]
        assert w.spans() == 14
