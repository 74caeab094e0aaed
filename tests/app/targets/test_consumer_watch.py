"""The watchdog's service: what it asks Kafka, what it makes of it, what it does. Kafka and Faust are stand-ins."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from agents.stream.topic_ends import TopicEnds
from app.targets import consumer_watch
from app.targets.consumer_watch import LAG, REBUILDS, ConsumerWatch
from app.targets.kafka_state import KafkaSilent, Member
from tests.helpers.loops import in_loop

P0 = TP("spans", 0)


class Kafka:
    def __init__(self) -> None:
        self.end, self.silent, self.group = 5, False, {"me": Member("me", frozenset({P0}))}

    async def ends(self, topics: list[str]) -> dict[TP, int]:
        if self.silent:
            raise KafkaSilent("away")
        return {TP(topic, 0): self.end for topic in topics}

    async def members(self, group: str) -> dict[str, Member]:
        assert group == "stretto-live-store"
        return self.group

    async def close(self) -> None:
        pass


class World:
    """A worker with a live store; a look a second, by a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kafka, self.now_s, self.ended = Kafka(), 100.0, []
        self.taken, self.rebuilt = 5, 0
        self.helps = True
        self.consumer = SimpleNamespace(
            failure="",
            beat_s=1e9,
            subscribed=True,
            member_id=lambda: "me",
            assignment=lambda: {P0},
            rebuild=self.rebuild,
        )
        app: Any = SimpleNamespace(
            consumer=self.consumer,
            conf=SimpleNamespace(id="stretto-live-store"),
            started=True,
            should_stop=False,
            progress=lambda: {P0: self.taken},
            waits=dict,
        )
        self.ends = TopicEnds()
        monkeypatch.setattr(consumer_watch.time, "monotonic", lambda: self.now_s)
        topics: Any = {"live-store": "spans", "distributor": "otlp_spans"}
        self.watch = ConsumerWatch(self.kafka, {"live-store": app}, topics, self.ends, 13.0, self.ended.append)  # type: ignore[arg-type]

    async def rebuild(self) -> None:
        self.rebuilt += 1
        if not self.helps:
            raise KafkaSilent("no")
        self.taken = self.kafka.end

    async def look(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_s += 1.0
            await self.watch._look(with_groups=True)
            await asyncio.sleep(0)


@in_loop
async def test_standing_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rebuilt once, and well again: no problem is left, lag is 0."""
    w = World(monkeypatch)
    before = REBUILDS.labels("live-store", "behind")._value.get()
    await w.look(2)
    w.kafka.end = 9
    await w.look(7)
    assert w.watch.problems() == ["live-store: spans[0] stands at offset 5 of 9"]
    assert LAG.labels("live-store", "spans", 0)._value.get() == 4
    assert w.ends.overdue("spans", 0, 5, w.now_s, 5) == 9
    await w.look(20)
    assert (w.rebuilt, w.ended, w.watch.problems()) == (1, [], [])
    assert LAG.labels("live-store", "spans", 0)._value.get() == 0
    assert REBUILDS.labels("live-store", "behind")._value.get() == before + 1


@in_loop
async def test_lag_of_a_partition_that_went(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker shows it."""
    w = World(monkeypatch)
    w.kafka.end = 9
    await w.look(1)
    assert LAG.labels("live-store", "spans", 0)._value.get() == 4
    w.consumer.assignment = set
    await w.look(1)
    assert ("live-store", "spans", "0") not in LAG._metrics


@pytest.mark.parametrize("helps", [True, False])
@in_loop
async def test_process_ends(monkeypatch: pytest.MonkeyPatch, helps: bool) -> None:
    """Kafka does not have it in its group, and a new consumer changes nothing: within 30 s, with the reason."""
    w = World(monkeypatch)
    await w.look(1)
    w.kafka.group, w.helps = {"other": Member("other", None)}, helps
    await w.look(29)
    assert w.rebuilt == 1
    assert len(w.ended) == 1
    assert "live-store: it is not in its consumer group" in w.ended[0]


@in_loop
async def test_kafka_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known anew, nothing is done, nothing is said; and all is as before when it is back."""
    w = World(monkeypatch)
    await w.look(2)
    w.kafka.silent = True
    await w.look(300)
    w.kafka.silent = False
    await w.look(10)
    assert (w.rebuilt, w.ended, w.watch.problems()) == (0, [], [])


@in_loop
async def test_only_what_should_consume(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it has subscribed it is in no group, and that is right."""
    w = World(monkeypatch)
    w.consumer.subscribed, w.kafka.group = False, {}
    await w.look(100)
    assert (w.rebuilt, w.ended) == (0, [])


def test_exit_status(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Not 0: whoever started it starts it again. The reason is in the log."""
    statuses: list[int] = []
    monkeypatch.setattr(consumer_watch.os, "_exit", statuses.append)
    monkeypatch.setattr(consumer_watch.logging, "shutdown", lambda: None)
    consumer_watch._end_process("live-store: it stands")
    assert statuses == [70]
    assert "live-store: it stands" in caplog.text
