"""Topic otlp_spans: what becomes of good and bad messages, and of their offsets."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from prometheus_client import REGISTRY

from agents.distributor import agent
from agents.distributor.agent import _Batcher
from agents.distributor.record_producer import KafkaUnavailable
from agents.distributor.sources import TopicSource, TopicSources
from agents.distributor.span_writer import Outcome
from tests.helpers.live.whole_way import request, span
from tests.helpers.receiving.hostile import FRAMES, HUGE_LENGTHS, Producer, groups, writer


class Consumer:
    """In place of Kafka's."""

    def __init__(self) -> None:
        self.committed: dict[TP, int] = {}

    async def commit_through(self, ends: dict[TP, int]) -> None:
        self.committed |= ends


class World:
    def __init__(self, other_writer: Any = None) -> None:
        made, self.producer = writer()
        self.consumer = Consumer()
        app = SimpleNamespace(consumer=self.consumer, consumer_generation_id=1)
        sources = TopicSources([TopicSource(["otlp_spans"], tenant="default")])
        self.batcher = _Batcher(app, other_writer or made, sources)  # type: ignore[arg-type]

    async def take(self, *messages: Any) -> None:
        for message in messages:
            await self.batcher.add(SimpleNamespace(message=message))
        async with asyncio.timeout(20):
            await self.batcher._write()


def message(offset: int, value: bytes | None, partition: int = 0, headers: Any = ()) -> Any:
    tp = TP("otlp_spans", partition)
    place = {"topic": tp.topic, "partition": partition, "tp": tp, "offset": offset, "generation_id": 1}
    return SimpleNamespace(value=value, headers=headers, timestamp=1.0, **place)


def skipped(reason: str) -> float:
    return REGISTRY.get_sample_value("stretto_otlp_messages_skipped_total", {"reason": reason}) or 0.0


BAD = [*HUGE_LENGTHS.values(), *FRAMES.values(), groups(400_000), groups(400_000, closed=False)]


def test_bad_messages_beside_good_ones(caplog: pytest.LogCaptureFixture) -> None:
    """Each bad one is counted and logged with its place, its offset passed; all good ones of both tenants written."""
    world, before = World(), skipped("malformed")
    other = [("X-Scope-OrgID", b"other")]
    sent = []
    for n, body in enumerate(BAD):
        headers = other if n % 2 else ()
        sent.append(message(2 * n, request([span(n + 1)]), n % 2, headers))
        sent.append(message(2 * n + 1, body, n % 2, headers))
    with caplog.at_level(logging.WARNING):
        asyncio.run(world.take(*sent))
    assert world.producer.spans() == {"default": (len(BAD) + 1) // 2, "other": len(BAD) // 2}
    assert skipped("malformed") - before == len(BAD)
    for n in range(len(BAD)):
        assert f"skipped otlp_spans[{n % 2}]@{2 * n + 1} (malformed)" in caplog.text
    ends = {max(m.offset for m in sent if m.partition == p) + 1 for p in (0, 1)}
    assert set(world.consumer.committed.values()) == ends


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        pytest.param(None, (), id="no value"),
        pytest.param(b"", (), id="empty"),
        pytest.param(bytes(8_000_000), (), id="8 MB of zeros"),
        pytest.param(b"\x0a" * 3_000_001, (), id="3 MB of tags"),
        pytest.param(b"\x0b" * 6_000_000, (), id="6 MB of groups"),
        pytest.param(b"\x0a\x00" * 2_000_000, (), id="2 million empty resources"),
        pytest.param(request([span(7)]), [("x-scope-orgid", None)], id="tenant without a value"),
        pytest.param(request([span(7)]), [("x-scope-orgid", b"\xff" * 100_000)], id="absurd tenant"),
        pytest.param(request([span(7)]), [(f"h{n}", b"x" * 100) for n in range(20_000)], id="20,000 headers"),
        pytest.param(request([span(7)]), {"X-Scope-OrgID": b"a/b"}, id="headers as a mapping"),
    ],
)
def test_absurd_messages(value: bytes | None, headers: Any) -> None:
    """Whatever comes, the partition goes on, and its neighbours are written."""
    world = World()
    good = request([span(1)])
    asyncio.run(world.take(message(0, good), message(1, value, headers=headers), message(2, good, 1)))
    assert world.consumer.committed == {TP("otlp_spans", 0): 2, TP("otlp_spans", 1): 3}
    # Whose spans these are nobody can know where the header names no tenant: they are skipped.
    named = any(name.lower() == "x-scope-orgid" for name in dict(headers))
    assert world.producer.spans() == {"default": 2 + (value == request([span(7)]) and not named)}


@pytest.mark.parametrize("error", [RuntimeError("boom"), KafkaUnavailable("away")])
def test_a_writer_that_fails(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that is no message's own: all wait and are written, none is passed over."""
    monkeypatch.setattr(agent, "_RETRY_S", 0.001)

    class Failing:
        calls = 0

        async def write(self, requests: list[Any]) -> list[Outcome]:
            self.calls += 1
            if self.calls < 3:
                raise error
            return [Outcome(1)] * len(requests)

    failing = Failing()
    world = World(failing)
    asyncio.run(world.take(message(4, request([span(1)]))))
    assert failing.calls == 3
    assert world.consumer.committed == {TP("otlp_spans", 0): 5}


def test_a_batch_that_a_timer_writes() -> None:
    """A bad message in it ends nothing either: what comes later is written."""
    world = World()

    async def run() -> None:
        for offset, body in enumerate([HUGE_LENGTHS["span"], request([span(1)]), request([span(2)])]):
            await world.batcher.add(SimpleNamespace(message=message(offset, body)))
            async with asyncio.timeout(20):
                while world.consumer.committed.get(TP("otlp_spans", 0), 0) <= offset:
                    await asyncio.sleep(0.001)

    asyncio.run(run())
    assert Producer.spans(world.producer) == {"default": 2}


def test_what_is_written_is_told_with_its_time() -> None:
    """The time of the message, by which limits of age judge its spans; bad messages are not told."""
    told: list[tuple[str, int, int]] = []
    world = World()
    world.batcher._took = lambda asked, outcome: told.append((asked.tenant, asked.received_ns, outcome.received))
    asyncio.run(world.take(message(0, request([span()])), message(1, b"?")))
    assert told == [("default", 1_000_000_000, 1)]
