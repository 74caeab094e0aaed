"""The leader: which jobs it hands out, in which order, and when it does not; and the loop that runs it."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaConnectionError

from agents.compactor.job import MERGE, Job
from agents.compactor.leader_loop import LeaderLoop
from agents.compactor.own_metrics import LAST_CYCLE, LEADER
from tests.helpers.blocks.compactors import WINDOW_S, Bucket, Compactor, Reader


@pytest.fixture
def bucket(tmp_path) -> Bucket:
    return Bucket(tmp_path)


def test_jobs_that_are_handed_out_are_not_planned_again(bucket) -> None:
    compactor = Compactor(bucket)
    for _ in range(4):
        bucket.flush(0, {"a": 5})
    (job,) = compactor.cycle({0: 0})
    compactor.leader.sent(job, 0, 0)
    assert compactor.cycle({0: 0}) == []
    # Given up: planned again after a while.
    assert compactor.cycle({0: 1}) == []
    bucket.now_s += 59
    assert compactor.cycle({0: 1}) == []
    bucket.now_s += 1
    assert compactor.cycle({0: 1}) == [job]


def test_a_new_leader_waits_for_the_jobs_of_the_former(bucket) -> None:
    """It deletes what is old meanwhile, and waits no longer than a quarter of an hour."""
    compactor = Compactor(bucket)
    for _ in range(4):
        bucket.flush(0, {"a": 5})
    compactor.leader.begin({0: 3, 1: 0})
    assert compactor.cycle({0: 2}) == []
    assert len(compactor.cycle({0: 3})) == 1
    assert compactor.cycle({}) == []
    bucket.now_s += 901
    assert len(compactor.cycle({})) == 1


def test_a_leader_in_the_process_of_a_live_store_plans_with_its_polls(bucket) -> None:
    """It polls itself only where nobody has done so for too long."""
    compactor = Compactor(bucket, poll_age_s=60.0)
    compactor.blocks.poll(range(bucket.partitions))
    for _ in range(4):
        bucket.flush(0, {"a": 5})
    assert compactor.cycle() == []  # not seen yet
    compactor.blocks.poll(range(bucket.partitions))
    assert len(compactor.cycle()) == 1


def test_what_another_process_has_merged_since_the_poll_has_not_failed(bucket, caplog) -> None:
    """Blocks that were polled before the job was done still show its inputs."""
    compactor, other = Compactor(bucket, poll_age_s=60.0), Compactor(bucket)
    for _ in range(4):
        bucket.flush(0, {"a": 5})
    compactor.blocks.poll(range(bucket.partitions))
    (job,) = compactor.cycle()
    compactor.leader.sent(job, 0, 0)
    assert other.run(job) == "done"
    assert compactor.cycle({0: 1}) == []
    compactor.blocks.poll(range(bucket.partitions))
    assert compactor.cycle({0: 1}) == []
    assert not caplog.records


def test_a_job_has_failed_where_a_later_poll_shows_its_inputs(bucket, caplog) -> None:
    compactor = Compactor(bucket, poll_age_s=60.0)
    for _ in range(4):
        bucket.flush(0, {"a": 5})
    compactor.blocks.poll(range(bucket.partitions))
    (job,) = compactor.cycle()
    compactor.leader.sent(job, 0, 0)
    for _ in range(3):
        compactor.cycle({0: 1})
    assert not caplog.records
    compactor.blocks.poll(range(bucket.partitions))
    compactor.cycle({0: 1})
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "a merge of 4 blocks of tenant a was given up"
    ]


def test_cheap_merges_come_first(bucket) -> None:
    """Those that leave fewest blocks for the bytes that they write, of any tenant."""
    compactor = Compactor(bucket)
    for count in (500, 500, 1, 1, 1, 1):
        bucket.flush(0, {"a": count} if count > 1 else {"b": 1})
    bucket.now_s += WINDOW_S + 60
    assert [job.tenant for job in compactor.cycle()] == ["b", "a"]


def test_a_dead_executor_is_replaced(bucket) -> None:
    """What it had begun is written again, to the same objects."""
    compactor, reader = Compactor(bucket), Reader(bucket)
    for _ in range(4):
        bucket.flush(0, {"a": 5})
    (job,) = compactor.cycle()
    dead = Compactor(bucket)
    dead.store.put(f"blocks/a/{'0' * 8}-0000-5000-8000-{'0' * 12}/data-0000.parquet", b"half")
    assert compactor.run(job) == "done"
    reader.poll()
    reader.check()


class Loop:
    """A loop over a leader that notes what is asked of it."""

    def __init__(self, leads=True) -> None:
        self.asked: list[str] = []
        self.leads = leads
        self.jobs = [Job(MERGE, "t", ("a",)), Job(MERGE, "t", ("b",))]
        self.fails: Exception | None = None

    async def committed(self, tps):
        return {tp: (7, "") for tp in tps if tp.partition == 1}

    async def highwaters(self, *tps):
        return dict.fromkeys(tps, 9)

    async def send(self, job):
        self.asked.append(f"send {job.block_ids[0]}")
        if self.fails:
            raise self.fails
        return 1, len(self.asked)

    def run(self, cycles: int = 1) -> list[str]:
        consumer = SimpleNamespace(committed=self.committed, highwaters=self.highwaters, connected=True)
        app = SimpleNamespace(started=True, consumer=consumer, is_leader=lambda: self.leads)
        leader = SimpleNamespace(
            begin=lambda ends: self.asked.append(f"begin {ends}"),
            end=lambda: self.asked.append("end"),
            cycle=lambda committed: self.asked.append(f"cycle {committed}") or self.jobs,
            sent=lambda job, partition, offset: self.asked.append(f"sent {job.block_ids[0]} {partition}"),
        )
        sender = SimpleNamespace(send=self.send, topic="jobs", partitions=2)

        async def main():
            with ThreadPoolExecutor(1) as executor:
                self.loop = LeaderLoop(app, leader, sender, executor, 1.0)
                for _ in range(cycles):
                    await self.loop._cycle()

        asyncio.run(main())
        return self.asked


def test_a_cycle_of_the_loop() -> None:
    """What is committed is asked for before the indexes are read; a job counts as sent once Kafka has it."""
    assert Loop().run(2) == [
        "begin {0: 9, 1: 9}",
        *(["cycle {1: 7}", "send a", "sent a 1", "send b", "sent b 1"] * 2),
    ]
    assert LEADER._value.get() == 1
    assert LAST_CYCLE._value.get() == pytest.approx(time.time(), abs=60)


def test_others_do_nothing() -> None:
    assert Loop(leads=False).run() == []
    assert LEADER._value.get() == 0


def test_kafka_away() -> None:
    """The job that Kafka does not take is not noted, and planned again."""
    loop = Loop()
    loop.fails = KafkaConnectionError("away")
    with pytest.raises(KafkaConnectionError):
        loop.run()
    assert loop.asked[-1] == "send a"


def test_it_ends_to_be_the_leader() -> None:
    loop = Loop()
    loop.run()
    loop.leads = False
    loop.asked.clear()
    loop.loop._leads = True
    asyncio.run(loop.loop._is_leader())
    assert loop.asked == ["end"]
