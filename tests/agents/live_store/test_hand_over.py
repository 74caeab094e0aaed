"""What a live store does when it is told to stop: whom it waits for, and how long."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from agents.live_store import hand_over
from agents.live_store.hand_over import HAND_OVERS, HandOver
from agents.members.directory import MemberDirectory, MemberTimes
from agents.members.member import Member, MemberState
from agents.members.record import encode
from tests.helpers.loops import in_loop
from tests.helpers.querying.members import member

OWN = member("own", ends={0: 10, 1: 10})


class Cluster:
    """A live store with partitions 0 and 1, and the topic of members."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *others: Member, zone: str = "", timeout_s: float = 5) -> None:
        monkeypatch.setattr(hand_over, "_SPREAD_S", 0)
        monkeypatch.setattr(hand_over, "_LOOK_S", 0.001)
        self.directory = MemberDirectory(MemberTimes(10, 60), step_s=3)
        self.left = 0
        self.fails: Exception | None = None
        for one in (replace(OWN, zone=zone), *others):
            self.says(one)
        app: Any = SimpleNamespace(consumer=self)
        manager: Any = SimpleNamespace(store=SimpleNamespace(partitions={0: None, 1: None}))
        self.stop = HandOver(app, manager, self.directory, "own", zone, timeout_s)

    async def leave_group(self) -> None:
        self.left += 1
        if self.fails:
            raise self.fails

    def says(self, one: Member) -> None:
        self.directory.take(one.member_id.encode(), encode(one), 0)

    async def result(self, wait_s: float = 3) -> str:
        before = {result: HAND_OVERS.labels(result)._value.get() for result in ("taken", "replicas", "alone", "late")}
        await asyncio.wait_for(self.stop.run(), wait_s)
        return "".join(one for one, count in before.items() if HAND_OVERS.labels(one)._value.get() > count)


def running(name: str, *partitions: int, state: str = "Running", **more: Any) -> Member:
    return member(name, ends=dict.fromkeys(partitions, 10), services={"live-store": state}, **more)


@in_loop
async def test_waits_until_others_have_caught_up(monkeypatch) -> None:
    """With both partitions, and with all that is in them; then it may go."""
    cluster = Cluster(monkeypatch, running("b"), running("c"))
    cluster.says(replace(OWN, state=MemberState.LEAVING))
    stopping = asyncio.ensure_future(cluster.result())
    await asyncio.sleep(0.02)
    assert cluster.left == 1
    for said in (running("b", 0), running("c", 1, state="Starting")):
        cluster.says(said)
        await asyncio.sleep(0.02)
        assert not stopping.done()
    cluster.says(running("c", 1))
    assert await stopping == "taken"
    assert cluster.left == 1


@in_loop
async def test_leaves_the_group_once_it_has_said_so(monkeypatch) -> None:
    """Who stops at the same time is no successor: that must be known before."""
    cluster = Cluster(monkeypatch, running("b"))
    stopping = asyncio.ensure_future(cluster.result())
    await asyncio.sleep(0.02)
    assert cluster.left == 0
    cluster.says(replace(running("b"), state=MemberState.LEAVING))
    cluster.says(replace(OWN, state=MemberState.LEAVING))
    assert await stopping == "alone"
    assert cluster.left == 0


@pytest.mark.parametrize(
    ("others", "zone", "result", "left"),
    [
        ((), "", "alone", 0),
        ((member("querier", targets=frozenset({"querier"})),), "", "alone", 0),
        ((running("b", zone="b"),), "a", "alone", 0),
        ((running("b", 0, 1, zone="b"),), "a", "replicas", 0),
        ((running("b", 0, zone="b"), running("c", 1, zone="c")), "a", "replicas", 0),
    ],
)
@in_loop
async def test_stops_at_once(monkeypatch, others, zone, result, left) -> None:
    """Where nobody takes the partitions, or somebody has them already: then they come back here without a rebalance."""
    cluster = Cluster(monkeypatch, *others, zone=zone)
    cluster.says(replace(OWN, zone=zone, state=MemberState.LEAVING))
    assert await cluster.result() == result
    assert cluster.left == left


@in_loop
async def test_not_for_ever(monkeypatch) -> None:
    """Also where Kafka does not answer."""
    cluster = Cluster(monkeypatch, running("b"), timeout_s=0.05)
    cluster.fails = KafkaConnectionError("away")
    cluster.says(replace(OWN, state=MemberState.LEAVING))
    assert await cluster.result() == "late"


@in_loop
async def test_the_others_stop_too(monkeypatch) -> None:
    cluster = Cluster(monkeypatch, running("b"))
    cluster.says(replace(OWN, state=MemberState.LEAVING))
    stopping = asyncio.ensure_future(cluster.result())
    await asyncio.sleep(0.02)
    cluster.says(replace(running("b"), state=MemberState.LEAVING))
    assert await stopping == "alone"


@in_loop
async def test_switched_off(monkeypatch) -> None:
    cluster = Cluster(monkeypatch, running("b"), timeout_s=0)
    assert await cluster.result(0.5) == ""
