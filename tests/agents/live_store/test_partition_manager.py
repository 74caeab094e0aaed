"""The partition manager without Kafka: redelivery, gaps, former assignments, disks and storages that fail."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from faust.types import TP

from agents.live_store import partition_manager
from agents.live_store.ages import UNFLUSHED
from agents.live_store.limits import LiveLimits
from agents.stream.kafka_batches import HOLES
from agents.stream.topic_ends import TopicEnds
from tables.catalog.cuts import Cut
from tables.errors import StorageError
from tables.live.partition import LivePartition
from tests.helpers.live.live_store import TOPIC, TP0, World, message, world
from tests.helpers.loops import in_loop
from tests.helpers.receiving.panics import PanicException


@in_loop
async def test_each_record_once(tmp_path: Path) -> None:
    """Redelivered records and those of a former assignment are passed over."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        for item in (message(0), message(1), message(0), message(1), message(2, generation=0), message(2)):
            await w.manager.take(item)
        assert w.spans() == 3
        assert w.state.next_offset == 3


@in_loop
async def test_a_record_that_comes_too_early(tmp_path: Path) -> None:
    """Offsets below are still in the topic: read again from there. They are gone: go on, and count it."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        await w.manager.take(message(5))
        assert (w.consumer.sought, w.spans()) == ([0], 0)
        w.consumer.earliest = 5
        await w.manager.take(message(5))
        assert (w.spans(), w.state.next_offset) == (1, 6)


@in_loop
async def test_bad_records_are_passed_over(tmp_path: Path) -> None:
    """Bad headers at once, bad values when the head is sealed; the others come through."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        for item in (
            message(0),
            message(1, headers=[("v", b"9")]),
            message(2, value=b"\x10\0\0\0junk"),
            message(3, key=b"a/b"),
            message(4, value=None),
            message(5),
        ):
            await w.manager.take(item)
        await w.manager.seal_all()
        assert w.spans() == 2
        assert w.state.next_offset == 6


@in_loop
async def test_blocks_know_when_their_records_were_received(tmp_path: Path) -> None:
    """By Kafka's timestamps, of each tenant's own records."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        for item in (message(0, seconds=101), message(1, seconds=102, key=b"u"), message(2, seconds=103.5)):
            await w.manager.take(item)
        await w.manager.take(message(3, seconds=200))
        await w.flush_all()
        times = {}
        for tenant in ("t", "u"):
            (meta,) = w.store.blocks.snapshot(tenant).blocks
            times[tenant] = (meta.received_min_ms, meta.received_max_ms)
        assert times == {"t": (101_000, 103_500), "u": (102_000, 102_000)}


@in_loop
async def test_readiness(tmp_path: Path) -> None:
    """Not before partitions are assigned, and read up to where the topic ended then."""
    with world(tmp_path) as w:
        assert "assigned" in w.manager.not_ready()[0]
        w.consumer.end = 2
        await w.manager.resume([TP0])
        assert "offset 0 of 2" in w.manager.not_ready()[0]
        await w.manager.take(message(0))
        await w.manager.take(message(1))
        assert not w.manager.not_ready()


@in_loop
async def test_behind_what_kafka_says(tmp_path: Path) -> None:
    """Not before the time to read it is over; and a word of the watchdog."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        for told_s_ago, behind in ((4.0, {}), (6.0, {0: 1})):
            w.consumers.ends = TopicEnds()
            w.consumers.ends.note(TOPIC, 0, 1, time.monotonic() - told_s_ago)
            assert w.manager.behind() == behind
        assert "offset 0 of 1" in w.manager.not_ready()[0]
        await w.manager.take(message(0))
        assert w.manager.behind() == {}
        assert w.manager.taken() == {TP0: 1}
        w.consumers.set_problems("distributor", ["it is not in its consumer group"])
        assert w.manager.not_ready() == ["distributor: it is not in its consumer group"]


@in_loop
async def test_offsets_without_records(tmp_path: Path) -> None:
    """Batches that cannot be read: nothing is sought again and again, and nothing is waited for at the end."""
    with world(tmp_path) as w:
        HOLES.clear()
        await w.manager.resume([TP0])
        await w.manager.take(message(0))
        HOLES.note(TP0, 1, 3)
        await w.manager.take(message(3))
        assert (w.state.next_offset, w.consumer.sought) == (4, [])
        HOLES.note(TP0, 4, 7)
        w.consumers.ends.note(TOPIC, 0, 7, 0.0)
        assert w.manager.behind() == {}
        await w.manager.take(message(9))  # what is missing, and known of nobody, is asked for again
        assert (w.state.next_offset, w.consumer.sought) == (7, [7])
        HOLES.clear()


@in_loop
async def test_kafka_does_not_say_where_it_begins(tmp_path: Path) -> None:
    """A record that came too early comes again: the agent does not end."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])

        async def away(*_: TP) -> dict[TP, int]:
            raise KafkaError("away")

        w.consumer.earliest_offsets = away  # type: ignore[method-assign]
        await w.manager.take(message(3))
        assert (w.state.next_offset, w.consumer.sought) == (0, [0])


@in_loop
async def test_flush_then_commit(tmp_path: Path) -> None:
    """The offset is committed after the block is visible, and a restart goes on behind it."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        await w.manager.take(message(0, seconds=100))
        await w.manager.take(message(1, seconds=200))
        assert not w.consumer.committed
        await w.flush_all()
        assert w.consumer.committed == [1]
        assert w.spans() == 2
    with world(tmp_path) as w:
        assert await w.manager.resume([TP0]) == {TP0: 1}
        assert w.spans() == 1


@in_loop
async def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sealing is tried again, /ready says why, nothing is committed; when there is room, all goes on."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        real, fail = w.store.seal, True

        def seal(*args: Any) -> Any:
            if fail:
                raise StorageError("no space left on device")
            return real(*args)

        monkeypatch.setattr(w.store, "seal", seal)
        await w.manager.take(message(0, spans=12, seconds=100))
        await w.manager.take(message(1, seconds=200))
        while not w.manager.problems:
            await asyncio.sleep(0.001)
        assert "no space left" in w.manager.not_ready()[0]
        assert not w.consumer.committed
        assert w.spans() == 13, "what is not sealed is searchable all the same"
        fail = False
        await w.flush_all()
        assert not w.manager.not_ready()
        assert (w.spans(), w.consumer.committed) == (13, [1])


@in_loop
async def test_consuming_waits_while_too_much_is_unsealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backpressure instead of memory."""
    with world(tmp_path, LiveLimits(15, 1 << 30, 1 << 30)) as w:
        await w.manager.resume([TP0])
        real, gate = w.store.seal, asyncio.Event()
        loop = asyncio.get_running_loop()

        def seal(*args: Any) -> Any:
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
            return real(*args)

        monkeypatch.setattr(w.store, "seal", seal)
        await w.manager.take(message(0, spans=12))
        waiting = asyncio.create_task(w.manager.take(message(1, spans=12)))
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done
        gate.set()
        await waiting
        await w.manager.drain(0)
        assert w.spans() == 24


@in_loop
async def test_heads_that_hold_too_much_are_sealed_early(tmp_path: Path) -> None:
    """Many small heads cannot fill the memory."""
    with world(tmp_path, LiveLimits(1000, 500, 1 << 30)) as w:
        await w.manager.resume([TP0])
        for offset in range(6):
            await w.manager.take(message(offset))
        await w.manager.drain(0)
        assert w.state.segments
        assert w.state.head_bytes <= 500
        assert w.spans() == 6


@in_loop
async def test_consuming_waits_while_segments_fill_the_disk(tmp_path: Path) -> None:
    """Storage away for long: /ready says so; it goes on when blocks are written."""
    with world(tmp_path, LiveLimits(1000, 1 << 30, 100)) as w:
        await w.manager.resume([TP0])
        await w.manager.take(message(0, spans=12, seconds=100))
        await w.manager.take(message(1, seconds=200))
        await w.manager.drain(0)
        w.manager.tick()
        assert "segment_bytes_max" in w.manager.not_ready()[0]
        waiting = asyncio.create_task(w.manager.take(message(2, seconds=200)))
        done, _ = await asyncio.wait({waiting}, timeout=0.05)
        assert not done
        # Kafka must keep what is in no block; the record was received at second 100 of 1970.
        assert UNFLUSHED._value.get() == pytest.approx(time.time() - 100, abs=60)
        await w.flush_all()
        w.manager.tick()
        await waiting
        assert not w.manager.not_ready()


@in_loop
async def test_storage_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks wait; records and queries go on; blocks catch up in order."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        real, fail = w.storage.put, True

        def put(*args: Any) -> None:
            if fail:
                raise StorageError("the storage is away")
            real(*args)

        monkeypatch.setattr(w.storage, "put", put)
        for offset in range(4):
            await w.manager.take(message(offset, seconds=100 + 100 * offset))
        await w.manager.drain(0)
        flushing = asyncio.create_task(w.flush_all())
        await asyncio.sleep(0.05)
        await w.manager.take(message(4, seconds=450))
        assert (w.spans(), w.consumer.committed) == (5, [])
        fail = False
        await flushing
        assert w.consumer.committed == [1, 2, 3, 4]
        assert w.spans() == 5


@in_loop
async def test_another_worker_has_cut(tmp_path: Path) -> None:
    """The cut that is there holds; this worker starts over behind it, and nothing is there twice."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        await w.manager.take(message(0, seconds=100))
        await w.manager.take(message(1, seconds=100))
        await w.manager.take(message(2, seconds=200))
        w.store.blocks.cuts.write(Cut(0, 0, 0, ()))
        await w.flush_all()
        assert w.consumer.sought == [1]
        assert w.state.next_offset == 1
        for offset in (1, 2):
            await w.manager.take(message(offset, seconds=100 * offset))
        assert w.spans() == 2


@in_loop
async def test_a_partition_that_goes_and_comes_back(tmp_path: Path) -> None:
    """Released: not served. Back: resumed from the local segments."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        await w.manager.take(message(0, spans=12))
        await w.manager.seal_all()
        await w.manager.resume([])
        assert not w.store.partitions
        await w.manager.take(message(1))
        assert await w.manager.resume([TP0]) == {TP0: 1}
        assert w.spans() == 12


@in_loop
async def test_storage_away_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The assignment does not wait for ever; what is passed over meanwhile is read again once the storage answers."""
    monkeypatch.setattr(partition_manager, "_OPEN_WAIT_S", 0.05)
    with world(tmp_path) as w:
        real, fail = w.store.load, True

        def load(number: int) -> LivePartition:
            if fail:
                raise StorageError("the storage is away")
            return real(number)

        monkeypatch.setattr(w.store, "load", load)
        assert await w.manager.resume([TP0]) == {}
        await w.manager.take(message(0))
        assert "the storage is away" in w.manager.not_ready()[0]
        assert w.manager.not_ready()[-1] == "live store: partition 0 is being opened"
        fail = False
        while not w.consumer.sought:
            await asyncio.sleep(0.01)
        assert (w.consumer.sought, w.manager.not_ready()) == ([0], [])
        await w.manager.take(message(0))
        assert w.spans() == 1


@in_loop
async def test_a_segment_is_not_read_from_the_cache_of_another(tmp_path: Path) -> None:
    """After starting over, a segment may begin at the offset of an older one and end elsewhere."""

    def span_ids(w: World) -> set[bytes]:
        (part,) = w.store.view("t").parts[0]
        return {i for source in part(None) for i in source.read(["span_id"])["span_id"].to_pylist()}

    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        await w.manager.take(message(0))
        await w.manager.seal_all()
        assert len(span_ids(w)) == 1
        await w.manager.reopen(w.state)
        for offset in (0, 1):
            await w.manager.take(message(offset))
        await w.manager.seal_all()
        assert len(span_ids(w)) == 2


@in_loop
async def test_a_panic_in_a_seal_and_in_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a disk that is full: tried again, /ready says why; nothing is lost, nobody waits for a task that is gone."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        failing = {"seal", "flush"}

        def broken(name: str) -> None:
            real = getattr(w.store, name)

            def work(*args: Any) -> Any:
                if name in failing:
                    raise PanicException("index out of bounds")
                return real(*args)

            monkeypatch.setattr(w.store, name, work)

        broken("seal")
        broken("flush")
        await w.manager.take(message(0, spans=12, seconds=100))
        await w.manager.take(message(1, seconds=200))
        async with asyncio.timeout(10):
            while not w.manager.problems:
                await asyncio.sleep(0.001)
            assert "index out of bounds" in w.manager.not_ready()[0]
            failing.discard("seal")
            await w.manager.drain(0)
            assert not w.manager.problems
            flushing = asyncio.ensure_future(w.flush_all())
            await asyncio.sleep(0.1)
            assert not flushing.done()
            failing.clear()
            await flushing
        assert w.consumer.committed == [1]
        assert w.spans() == 13


@in_loop
async def test_others_have_all_partitions(tmp_path: Path) -> None:
    """A live store without any is ready; one that had some lets go of them."""
    with world(tmp_path) as w:
        assert w.manager.not_ready()
        await w.manager.emptied()
        assert not w.manager.not_ready()
        await w.manager.resume([TP0])
        await w.manager.take(message(0))
        await w.manager.emptied()
        assert not w.store.partitions
        assert not w.manager.not_ready()
