"""How records go from Faust's consumer to an agent: in few turns of the event loop, and ended when partitions go."""

import asyncio
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.events import Event
from faust.types import TP

from agents.stream.kafka_client import KafkaClient
from agents.stream.stream_app import StreamApp, new_app
from agents.stream.stream_events import events

P0 = TP("spans", 0)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[StreamApp]:
    app = new_app(
        "app",
        kafka=KafkaClient.plain("127.0.0.1:1"),
        datadir=tmp_path,
        session_timeout_s=6.0,
        message_bytes_max=1 << 20,
        keeps_partitions=False,
    )
    yield app
    if app._consumer is not None:
        app._consumer._thread.thread_loop.close()


class Turns:
    """Of the event loop."""

    def __init__(self) -> None:
        self.count = 0
        self._again()

    def _again(self) -> None:
        self.count += 1
        self._handle = asyncio.get_running_loop().call_soon(self._again)

    def stop(self) -> None:
        self._handle.cancel()


def test_records_for_which_there_is_room_take_no_turns(made: StreamApp) -> None:
    """Two or three turns each held a partition up for 12 s on a busy loop: its consumer was taken for dead."""

    async def run() -> int:
        taken: list[int] = []

        async def take(number: int) -> None:
            taken.append(number)

        consumer, turns = made.consumer, Turns()
        for number in range(1000):
            await consumer.wait_first(take(number), consumer.suspend_flow.wait())
        turns.stop()
        assert taken == list(range(1000))
        return turns.count

    assert asyncio.run(run()) < 20


def test_a_record_that_must_wait_is_handed_over_later(made: StreamApp) -> None:
    async def run() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        consumer = made.consumer

        async def take(number: int) -> None:
            await queue.put(number)
            await asyncio.sleep(0)
            await queue.put(-number)

        async def agent() -> list[int]:
            return [await queue.get() for _ in range(20)]

        reading = asyncio.ensure_future(agent())
        for number in range(1, 11):
            await consumer.wait_first(take(number), consumer.suspend_flow.wait())
        assert await reading == [signed for number in range(1, 11) for signed in (number, -number)]

    asyncio.run(run())


def test_what_waits_is_given_up_when_partitions_go(made: StreamApp) -> None:
    async def run() -> list[str]:
        consumer, reply = made.consumer, list[str]()

        async def take() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                reply.append("given up")
                raise

        asyncio.get_running_loop().call_later(0.01, consumer.suspend_flow.set)
        await asyncio.wait_for(consumer.wait_first(take(), consumer.suspend_flow.wait()), 5)
        await asyncio.sleep(0)
        # Nothing is handed over while the flow is suspended.
        begun = asyncio.Event()

        async def later() -> None:
            begun.set()
            await asyncio.Event().wait()

        await asyncio.wait_for(consumer.wait_first(later(), consumer.suspend_flow.wait()), 5)
        return reply

    assert asyncio.run(run()) == ["given up"]


@pytest.mark.parametrize("waits", [False, True])
def test_errors_pass(made: StreamApp, waits: bool) -> None:
    async def run() -> Any:
        async def take() -> None:
            if waits:
                await asyncio.sleep(0)
            raise KeyError("no agent")

        await made.consumer.wait_first(take(), made.consumer.suspend_flow.wait())

    with pytest.raises(KeyError, match="no agent"):
        asyncio.run(run())


class Buffers:
    """aiokafka's consumer with records in its buffers. fails_at: the call that raises"""

    def __init__(self, values: list[bytes], fails_at: int = -1) -> None:
        self._left = [SimpleNamespace(value=value) for value in values]
        self._fails_at, self.calls = fails_at, 0
        self._closed = False
        self._subscriptions = SimpleNamespace(fetch_context=nullcontext)
        self._fetcher = self

    async def fetched_records(self, partitions: Any, timeout: float, max_records: int) -> Any:
        self.calls += 1
        if self.calls == self._fails_at:
            raise KeyError("of a rebalance")
        taken, self._left = self._left[:max_records], self._left[max_records:]
        return {P0: taken} if taken else {}


@pytest.mark.parametrize(
    ("values", "fails_at", "count"),
    [
        pytest.param([], -1, 0, id="none"),
        pytest.param([b"x"] * 31, -1, 31, id="few"),
        pytest.param([b"x"] * 500, -1, 500, id="small"),
        pytest.param([b"x"] * 5000, -1, 1024, id="very many"),
        pytest.param([bytes(1 << 16)] * 500, -1, 32, id="large"),
        pytest.param([bytes(1 << 14)] * 500, -1, 64, id="a megabyte"),
        pytest.param([b"x"] * 500, 3, 64, id="nothing is lost where a further call fails"),
        pytest.param([None] * 100, -1, 100, id="without values"),
    ],
)
def test_small_records_come_together(made: StreamApp, values: list[Any], fails_at: int, count: int) -> None:
    async def run() -> Any:
        thread = made.consumer._thread
        return await thread._fetch_records(Buffers(values, fails_at), {P0}, timeout=1.0, max_records=32)

    records = asyncio.run(run())
    assert sum(map(len, records.values())) == count


def test_an_agent_takes_what_is_there_in_one_turn(made: StreamApp) -> None:
    """Faust gives the event loop away before each record; of another assignment it takes none, nor do we."""

    async def run() -> tuple[list[int], int]:
        made.flow_control.resume()
        stream = made.channel(maxsize=1000).stream()
        for offset in range(330):
            message = SimpleNamespace(
                generation_id=made.consumer_generation_id + (offset % 3 == 1),
                offset=offset,
                tp=P0,
                topic="spans",
                tracked=False,
            )
            stream.channel.queue.put_nowait(Event(made, None, offset, {}, message))
        taken: list[int] = []
        turns = Turns()
        async for event in events(stream):
            taken.append(event.message.offset)
            if event.message.offset == 329:
                break
        turns.stop()
        return taken, turns.count

    taken, turns = asyncio.run(run())
    assert taken == [offset for offset in range(330) if offset % 3 != 1]
    assert turns < 40
