"""A process announces itself, and learns of others. The topic is a stand-in."""

import asyncio
from collections.abc import Callable

import pytest
from aiokafka.errors import KafkaConnectionError

from agents.members import service as service_
from agents.members.directory import MemberDirectory, MemberTimes
from agents.members.member import MemberState, OffsetRange
from agents.members.record import decode, encode
from agents.members.service import MembersService
from tests.helpers.querying.members import member

MS = 1_795_259_580_000


class Topic:
    """Keeps what is written, and hands it to the reader at once, a second of the broker's clock later each."""

    name = "members"

    def __init__(self) -> None:
        self.written: list[tuple[str, bytes | None]] = []
        self.waiting: list[tuple[str, bytes | None]] = []
        self.away = False
        self.closed = False

    async def write(self, key: str, value: bytes | None) -> None:
        if self.away:
            raise KafkaConnectionError("away")
        self.written.append((key, value))
        self.waiting.append((key, value))

    async def read(self, take, replayed) -> None:
        replayed()
        at_ms = MS
        while True:
            while self.waiting:
                key, value = self.waiting.pop(0)
                at_ms += 1000
                take(key.encode(), value, at_ms)
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.closed = True

    def states(self, name: str) -> list[str]:
        return ["gone" if v is None else decode(k, v).state.value for k, v in self.written if k == name]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_, "_LOOK_S", 0.001)


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.001)


def run(use, *, period_s: float = 1000.0) -> None:
    """use(topic, directory, own) while the service runs; own[0] is this process's member."""

    async def main() -> None:
        topic, own = Topic(), [member("own")]
        directory = MemberDirectory(MemberTimes(3, 6), step_s=2)
        service = MembersService(topic, directory, lambda: own[0], period_s)
        await service.start()
        try:
            await use(topic, directory, own)
        finally:
            await service.stop()
        assert topic.states("own")[-1] == "gone"
        assert topic.closed

    asyncio.run(main())


def test_what_changes_is_told_at_once():
    """Partitions, states: yes. Offsets: with the next heartbeat."""

    async def use(topic, directory, own):
        await until(lambda: directory.get("own"))
        own[0] = member("own", ends={0: 10})
        await until(lambda: directory.get("own").partitions)
        assert len(topic.written) == 2
        own[0] = member("own", partitions={0: OffsetRange(0, 20, topic_end=30)})
        await asyncio.sleep(0.05)
        assert len(topic.written) == 2
        own[0] = member("own", ends={0: 30}, state=MemberState.LEAVING)
        await until(lambda: directory.get("own").state is MemberState.LEAVING)
        assert directory.get("own").partitions[0].end == 30

    run(use)


def test_kafka_comes_back():
    """What could not be told is told then, as it is then."""

    async def use(topic, directory, own):
        topic.away = True
        await asyncio.sleep(0.02)
        own[0] = member("own", zone="b")
        topic.away = False
        await until(lambda: directory.get("own"))
        assert directory.get("own").zone == "b"

    run(use, period_s=0.001)


def test_the_forgotten_are_removed_by_one():
    """By the first of those that are there; the others leave it to that one."""

    async def use(topic, directory, own):
        topic.waiting.append(("died", encode(member("died"))))
        await until(lambda: "gone" in topic.states("died"))
        topic.waiting += [("a", encode(member("a"))), ("died too", encode(member("died too")))]
        for _ in range(12):
            topic.waiting.append(("a", encode(member("a"))))
        await until(lambda: directory.get("died too") is None and not topic.waiting)
        assert topic.states("died too") == []

    run(use, period_s=0.001)


def test_an_unreachable_topic_does_not_hold_up_the_start(monkeypatch):
    """The process starts, and knows later who is there."""
    monkeypatch.setattr(service_, "_REPLAY_S", 0.01)

    async def main() -> None:
        topic = Topic()

        async def never(take, replayed) -> None:
            await asyncio.Event().wait()

        topic.read = never
        service = MembersService(topic, MemberDirectory(MemberTimes(3, 6), 2), lambda: member("own"), 1.0)
        await service.start()
        await until(lambda: topic.written)
        await service.stop()

    asyncio.run(main())
