"""The watchdog's service: what it asks Kafka, what it makes of it, what it does. Kafka and Faust are stand-ins."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from agents.stream.consumer_report import ConsumerReport
from app.targets import consumer_watch
from app.targets.consumer_watch import LAG, REBUILDS, ConsumerWatch, StallLimits
from app.targets.kafka_state import GroupMember, KafkaSilent
from tests.helpers.loops import in_loop

P0 = TP("spans", 0)


class Kafka:
    def __init__(self) -> None:
        self.partitions = 1
        self.end, self.silent, self.group = 5, False, {"me": GroupMember("me", frozenset({P0}))}

    async def ends(self, topics: list[str]) -> dict[TP, int]:
        if self.silent:
            raise KafkaSilent("away")
        return {TP(topic, number): self.end for topic in topics for number in range(self.partitions)}

    async def members(self, group: str) -> dict[str, GroupMember]:
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
            connected=True,
            subscribed=True,
            thread_loop=asyncio.get_running_loop(),
            member_id=lambda: "me",
            assignment=lambda: {P0},
            rebuild=self.rebuild,
        )
        self.app: Any = SimpleNamespace(
            consumer=self.consumer,
            conf=SimpleNamespace(id="stretto-live-store"),
            started=True,
            should_stop=False,
            leaving=False,
            partition_owner=SimpleNamespace(taken=lambda: {P0: self.taken}, waits=dict),
        )
        self.report = ConsumerReport()
        monkeypatch.setattr(consumer_watch.time, "monotonic", lambda: self.now_s)
        topics: Any = {"live-store": ["spans"], "distributor": ["otlp_spans"]}
        kafka: Any = self.kafka
        apps: Any = {"live-store": self.app}
        self.watch = ConsumerWatch(kafka, apps, topics, self.report, StallLimits(13.0, 40.0), self.ended.append)

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
    assert w.report.problems() == ["live-store: spans[0] stands at offset 5 of 9"]
    assert LAG.labels("live-store", "spans", 0)._value.get() == 4
    assert w.report.ends.overdue("spans", 0, 5, w.now_s, 5) == 9
    assert w.report.ends.overdue("spans", 0, 5, w.now_s, 6.9) == 9  # written after the look before it was known
    assert w.report.ends.overdue("spans", 0, 5, w.now_s, 7) is None
    await w.look(20)
    assert (w.rebuilt, w.ended, w.report.problems()) == (1, [], [])
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
    w.kafka.group, w.helps = {"other": GroupMember("other", None)}, helps
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
    assert (w.rebuilt, w.ended, w.report.problems()) == (0, [], [])


@in_loop
async def test_a_process_that_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where topics end is not known until Kafka has been asked after that; or is silent."""
    for silent in (False, True):
        w = World(monkeypatch)
        monkeypatch.setattr(consumer_watch, "_TICK_S", 0.0)
        await w.look(1)
        ticking = asyncio.ensure_future(w.watch._tick())
        await asyncio.sleep(0)
        assert not w.report.ends_outdated
        w.now_s += 12
        while not w.report.ends_outdated:
            await asyncio.sleep(0)
        w.kafka.end, w.kafka.silent = 9, silent
        asked_before = w.watch._told_ends()
        w.now_s += 1
        with suppress(KafkaSilent):
            await asked_before
        assert not w.report.ends_outdated
        # It may have been written as soon as it stood.
        assert w.report.ends.overdue("spans", 0, 5, w.now_s, 5) == (None if silent else 9)
        ticking.cancel()


@in_loop
async def test_only_what_should_consume(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it has subscribed it is in no group, and that is right, for a while."""
    w = World(monkeypatch)
    w.consumer.subscribed, w.kafka.group = False, {}
    await w.look(40)
    assert (w.rebuilt, w.ended) == (0, [])
    assert w.report.problems() == ["live-store: it has started, and has not subscribed to its topic"]
    w.consumer.subscribed, w.kafka.group = True, {"me": GroupMember("me", frozenset({P0}))}
    await w.look(100)
    assert (w.rebuilt, w.ended, w.report.problems()) == (0, [], [])


@pytest.mark.parametrize(
    ("started", "connected", "reason"),
    [
        (False, False, "live-store: its start has not begun"),
        (True, False, "live-store: its start has not ended"),
        (True, True, "live-store: it has started, and has not subscribed"),
    ],
)
@in_loop
async def test_start_that_hangs(monkeypatch: pytest.MonkeyPatch, started: bool, connected: bool, reason: str) -> None:
    """The process ends, and says where its start waits; /ready says so before. While Kafka is away it waits."""

    async def _actually_start() -> None:  # named as Faust names it
        await hanging.wait()

    hanging = asyncio.Event()
    starting = asyncio.ensure_future(_actually_start())
    w = World(monkeypatch)
    w.app.started, w.consumer.connected, w.consumer.subscribed = started, connected, False
    w.kafka.silent = True
    await w.look(200)
    assert (w.ended, w.report.problems()) == ([], [])
    w.kafka.silent = False
    await w.look(5)
    assert w.report.problems()[0].startswith(reason)
    await w.look(34)
    assert w.ended == []
    await w.look(1)
    assert w.ended[0].startswith(reason)
    assert "asyncio/locks.py" in w.ended[0]
    assert "_actually_start" in w.ended[0]
    hanging.set()
    await starting


@in_loop
async def test_watches_from_the_first_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own service has not started. A look that aiokafka cancels, or that fails, is not the last."""
    w = World(monkeypatch)
    monkeypatch.setattr(consumer_watch, "_LOOK_S", 0.0)
    looks: list[bool] = []

    async def look(*, with_groups: bool) -> None:
        looks.append(with_groups)
        raise asyncio.CancelledError if len(looks) == 1 else ValueError

    monkeypatch.setattr(w.watch, "_look", look)
    await w.watch.begin()
    while len(looks) < 7:
        await asyncio.sleep(0)
    await w.watch.on_stop()
    seen = len(looks)
    for _ in range(20):
        await asyncio.sleep(0)
    assert (len(looks), looks[:5]) == (seen, [True, False, False, True, False])


@in_loop
async def test_partition_that_the_group_leaves_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member with nothing is well, as long as others have it all; in the midst of a rebalance nobody knows."""
    w = World(monkeypatch)
    w.consumer.assignment = set
    for other in (frozenset({P0}), None):
        w.kafka.group = {"me": GroupMember("me", frozenset()), "other": GroupMember("other", other)}
        await w.look(100)
        assert (w.rebuilt, w.ended) == (0, [])
    w.kafka.group = {"me": GroupMember("me", frozenset()), "other": GroupMember("other", frozenset())}
    await w.look(8)
    assert w.report.problems() == ["live-store: its consumer group has given partition 0 to nobody"]
    await w.look(6)
    assert w.rebuilt == 1


@in_loop
async def test_partition_that_the_topic_gets_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its group learns of it later: no reason to end."""
    w = World(monkeypatch)
    await w.look(1)
    w.kafka.partitions = 2
    await w.look(100)
    assert (w.rebuilt, w.ended, w.report.problems()) == (0, [], [])


@in_loop
async def test_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the process stood its consumer has the whole time to join again."""
    w = World(monkeypatch)
    await w.look(1)
    w.kafka.group = {}
    await w.look(12)
    w.watch._stood = True
    await w.look(12)
    assert w.rebuilt == 0
    await w.look(2)
    assert w.rebuilt == 1


@in_loop
async def test_groups_are_asked_again_after_a_rebuild(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was in the group before says nothing of the new consumer."""
    w = World(monkeypatch)
    await w.look(1)
    w.kafka.group = {}
    await w.look(14)
    assert w.rebuilt == 1
    for _ in range(30):
        w.now_s += 1.0
        await w.watch._look(with_groups=False)
    assert (w.rebuilt, w.ended) == (1, [])


def test_exit_status(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Not 0: whoever started it starts it again. The reason is in the log."""
    statuses: list[int] = []
    monkeypatch.setattr(consumer_watch.os, "_exit", statuses.append)
    monkeypatch.setattr(consumer_watch.logging, "shutdown", lambda: None)
    consumer_watch._end_process("live-store: it stands")
    assert statuses == [70]
    assert "live-store: it stands" in caplog.text
