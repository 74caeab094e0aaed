"""What the watchdog asks Kafka, where answers lack, come late or never. aiokafka is a stand-in."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from agents.stream.kafka_client import KafkaClient
from app.targets import kafka_state
from app.targets.kafka_state import KafkaSilent, KafkaState


class Client:
    """topics: what Kafka knows, by name the partitions' numbers"""

    def __init__(self) -> None:
        self.topics: dict[str, set[int]] = {}
        self.made = self.stopped = 0
        self.hangs = False

    def __call__(self, **_: object) -> Any:
        self.made += 1
        return SimpleNamespace(start=self.answer, stop=self.stop, end_offsets=self.ends, _client=self)

    async def answer(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()

    async def stop(self) -> None:
        self.stopped += 1

    async def fetch_all_metadata(self) -> Any:
        return SimpleNamespace(partitions_for_topic=dict(self.topics).get)

    async def ends(self, wanted: list[TP]) -> dict[TP, int]:
        await self.answer()
        return dict.fromkeys(wanted, 7)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()

    async def reach(_: object) -> None:
        pass

    monkeypatch.setattr(kafka_state, "AIOKafkaConsumer", made)
    monkeypatch.setattr(KafkaClient, "reach", reach)
    monkeypatch.setattr(kafka_state, "_ANSWER_S", 0.05)
    return made


def test_topics_that_are_made_later(client: Client) -> None:
    """The watch begins before the topics are made: one that is missing at first is not missing for good."""

    async def main() -> None:
        state = KafkaState(KafkaClient.plain("127.0.0.1:1"))
        with pytest.raises(KafkaSilent, match="does not know the topics"):
            await state.ends(["spans", "otlp_spans"])
        client.topics["spans"] = {0}
        assert await state.ends(["spans", "otlp_spans"]) == {TP("spans", 0): 7}
        client.topics["otlp_spans"] = {0}
        assert await state.ends(["spans", "otlp_spans"]) == {TP("spans", 0): 7, TP("otlp_spans", 0): 7}

    asyncio.run(main())


def test_answer_that_never_comes(client: Client) -> None:
    """Silence, soon; the next question goes over another connection."""

    async def main() -> None:
        state = KafkaState(KafkaClient.plain("127.0.0.1:1"))
        client.topics["spans"] = {0}
        assert await state.ends(["spans"]) == {TP("spans", 0): 7}
        client.hangs = True
        with pytest.raises(KafkaSilent):
            await state.ends(["spans"])
        client.hangs = False
        assert await state.ends(["spans"]) == {TP("spans", 0): 7}
        assert (client.made, client.stopped) == (2, 1)

    asyncio.run(main())
