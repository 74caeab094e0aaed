"""New partitions are written to once all who read know of them, and have them. Kafka is a stand-in."""

import asyncio
from collections.abc import Callable

import pytest

from agents.distributor.partition_growth import PartitionGrowth
from agents.members.member import MemberState
from tests.helpers.querying.members import member


class Producer:
    def __init__(self, partitions: int = 4) -> None:
        self.partitions, self.there = partitions, 8
        self.first_partitions: Callable[[int], int] = int

    async def raise_partitions(self, count: int) -> bool:
        if self.there < count:
            return False
        self.partitions = count
        return True


class Known:
    def __init__(self, *members) -> None:
        self.members = list(members)

    def all(self):
        return self.members


def store(name: str, numbers, count: int, **changes):
    return member(name, ends=dict.fromkeys(numbers, 1), partition_count=count, **changes)


FRONTEND = {"targets": frozenset({"query-frontend"})}


@pytest.mark.parametrize(
    ("members", "announced"),
    [
        pytest.param([store("a", range(4), 8), store("b", range(4, 8), 8)], 8, id="all known and held"),
        pytest.param([store("a", range(4), 8), store("b", range(4, 8), 4)], 4, id="one does not know"),
        pytest.param([store("a", range(4), 8), store("b", range(4, 7), 8)], 4, id="nobody has the last one"),
        pytest.param([store("a", range(8), 8), store("f", [], 4, **FRONTEND)], 4, id="a frontend does not know"),
        pytest.param([store("a", range(8), 8), store("f", [], 8, **FRONTEND)], 8, id="a frontend knows"),
        pytest.param(
            [store("a", range(8), 8), store("b", [], 4, state=MemberState.UNHEALTHY)], 8, id="one that is gone"
        ),
        pytest.param([store("a", range(8), 8), store("b", [], 0)], 8, id="one that starts"),
        pytest.param(
            [store("a", range(8), 8), store("c", [], 4, targets=frozenset({"compactor"}))], 8, id="others do not count"
        ),
        pytest.param([], 4, id="nobody is there"),
        pytest.param([store("a", range(2), 2)], 4, id="never fewer"),
    ],
)
def test_when(members, announced):
    growth = PartitionGrowth(Producer(), Known(*members), around_s=4)
    asyncio.run(growth.look())
    assert growth.announced == announced


def test_it_is_said_before_it_is_done():
    """And what is said is done, whatever happens meanwhile: others already ask for the new partitions."""

    async def main() -> None:
        now_s = [0.0]
        producer, known = Producer(), Known(store("a", range(8), 8))
        growth = PartitionGrowth(producer, known, around_s=4, clock=lambda: now_s[0])
        await growth.look()
        assert (growth.announced, producer.partitions) == (8, 4)
        now_s[0] = 3.9
        await growth.look()
        assert producer.partitions == 4
        known.members = []
        producer.there, now_s[0] = 4, 4.0  # Kafka's metadata is old
        await growth.look()
        assert producer.partitions == 4
        producer.there = 8
        await growth.look()
        assert (growth.announced, producer.partitions) == (8, 8)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("members", "first"),
    [([], 8), ([store("a", range(4), 4)], 4), ([store("a", [], 16)], 8), ([store("a", [], 0)], 8)],
)
def test_at_the_start(members, first):
    """What those who read know of; without any, what there is."""
    producer = Producer(0)
    PartitionGrowth(producer, Known(*members), around_s=4)
    assert producer.first_partitions(8) == first


def test_before_the_producer_is_connected():
    """Nothing is raised, whoever knows what."""
    producer = Producer(0)
    growth = PartitionGrowth(producer, Known(store("a", range(8), 8)), around_s=0)
    asyncio.run(growth.look())
    assert (growth.announced, producer.partitions) == (0, 0)
