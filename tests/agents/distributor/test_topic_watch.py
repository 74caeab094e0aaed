"""Topics that come and go: what the app subscribes to follows them."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from agents.distributor import topic_watch
from agents.distributor.sources import TopicSource, TopicSources
from agents.distributor.topic_watch import TopicWatch
from agents.stream.kafka_client import KafkaClient


class Conductor(list[Any]):
    """In place of Faust's: the channels, and how often it was told that topics have changed."""

    _resubscribe_sleep_lock_seconds = 45.0
    changes = 0

    def _flag_changes(self) -> None:
        self.changes += 1


class World:
    def __init__(self, *there: list[str] | Exception) -> None:
        self.there = list(there)
        self.sources = TopicSources([TopicSource(["named"]), TopicSource(["^a.*"])])
        self.channel = SimpleNamespace(topics=list(self.sources.topics))
        consumer = SimpleNamespace(topics=frozenset(self.sources.topics))
        self.app: Any = SimpleNamespace(topics=Conductor([self.channel]), started=False, consumer=consumer)
        self.watch = TopicWatch(self.app, KafkaClient.plain("127.0.0.1:1"), self.sources, 0.001)

    async def list_topics(self) -> list[str]:
        found = self.there.pop(0)
        if not self.there:
            await self.watch.stop()
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Any:
    async def nothing() -> None:
        pass

    def put(world: World) -> None:
        made = SimpleNamespace(start=nothing, close=nothing, list_topics=world.list_topics)
        monkeypatch.setattr(topic_watch, "AIOKafkaAdminClient", lambda **_: made)

    return put


def test_before_the_start(admin: Any) -> None:
    """What is there then is what the app subscribes to first."""
    world = World(["named", "ab", "b"], [])
    admin(world)
    asyncio.run(world.watch.begin())
    assert world.sources.topics == ["named", "ab"]
    assert world.app.topics.changes == 0


def test_while_it_runs(admin: Any) -> None:
    """New ones are added, those that are gone are left; Kafka may be away. A change that Faust drops is told again."""
    world = World(["named", "a1"], KafkaConnectionError(), ["named", "a1"], ["named", "a2"], ["stopped meanwhile"])
    admin(world)
    world.app.started = True

    async def main() -> None:
        await world.watch.start()
        async with asyncio.timeout(10):
            await world.watch.wait_until_stopped()

    asyncio.run(main())
    assert world.sources.topics == world.channel.topics == ["named", "a2"]
    assert world.app.topics.changes == 3, "the consumer here never subscribes: each look tells it"
