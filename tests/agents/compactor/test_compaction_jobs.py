"""Jobs as records, what the leader knows of them, and the agent that runs them."""

import asyncio
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import orjson
import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from agents.compactor.agent import JobRunner
from agents.compactor.executor import run_job
from agents.compactor.job import MERGE, Job, decode_job
from agents.compactor.jobs_under_way import JobsUnderWay
from tables.errors import StorageError, WireError

IDS = tuple(str(uuid.UUID(int=n)) for n in range(1, 20))
JOB = Job(MERGE, "t", IDS[:3])


@given(st.lists(st.sampled_from(IDS), min_size=1, unique=True), st.sampled_from(["a", "tenant-1"]))
def test_round_trip(ids, tenant) -> None:
    job = Job(MERGE, tenant, tuple(ids))
    assert decode_job(job.encode()) == job
    assert job.id == decode_job(job.encode()).id


GOOD = orjson.loads(JOB.encode())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "not a job"),
        (b"", "not a job"),
        (b"\xff{", "not a job"),
        (b"[]", "not a job"),
        (orjson.dumps({**GOOD, "v": 2}), "a job of version 2; this build knows version 1"),
        (orjson.dumps({**GOOD, "tenant": "../x"}), "its kind or its tenant is no name"),
        (orjson.dumps({**GOOD, "tenant": 3}), "its kind or its tenant is no name"),
        (orjson.dumps({**GOOD, "kind": None}), "its kind or its tenant is no name"),
        (orjson.dumps({**GOOD, "block_ids": []}), "its blocks are not block ids"),
        (orjson.dumps({**GOOD, "block_ids": ["../../x"]}), "its blocks are not block ids"),
        (orjson.dumps({**GOOD, "block_ids": [3]}), "its blocks are not block ids"),
        (orjson.dumps({**GOOD, "block_ids": 3}), "not a job"),
        (orjson.dumps({**GOOD, "block_ids": [IDS[0], IDS[0]]}), "it names a block twice"),
    ],
)
def test_strange_records(data, text) -> None:
    """Whatever is in the topic, it is an error with a reason."""
    with pytest.raises(WireError) as caught:
        decode_job(data)
    assert text in str(caught.value)


def test_more_fields_are_allowed() -> None:
    """Of a later build."""
    assert decode_job(orjson.dumps({**GOOD, "priority": 3})) == JOB


# ---- what the leader knows


def test_done_when_an_input_is_gone() -> None:
    jobs = JobsUnderWay()
    jobs.sent(JOB, 0, 7, 100.0)
    assert (jobs.busy("t"), jobs.busy("u"), len(jobs)) == (set(IDS[:3]), set(), 1)
    assert jobs.look("t", IDS, {0: 7}, 101.0) == []
    assert len(jobs) == 1
    assert jobs.look("t", IDS[1:], {0: 7}, 102.0) == []
    assert (jobs.busy("t"), len(jobs)) == (set(), 0)


def test_failed_when_the_group_is_past_it() -> None:
    """And planned again later, each time after a longer wait."""
    jobs = JobsUnderWay()
    now_s = 0.0
    for wait_s in (60, 120, 240, 480, 960, 1920, 3600, 3600):
        jobs.sent(JOB, 0, 7, now_s)
        assert jobs.look("t", IDS, {0: 8}, now_s) == [JOB]
        assert jobs.look("t", IDS, {0: 8}, now_s + wait_s - 1) == []
        assert (jobs.busy("t"), len(jobs)) == (set(IDS[:3]), 0)  # it takes no room meanwhile
        now_s += wait_s
        assert jobs.look("t", IDS, {0: 8}, now_s) == []
        assert jobs.busy("t") == set()


def test_a_lost_job_is_forgotten() -> None:
    jobs = JobsUnderWay()
    jobs.sent(JOB, 0, 7, 0.0)
    jobs.look("t", IDS, {0: 3}, 6 * 3600.0)
    assert jobs.busy("t")
    jobs.look("t", IDS, {0: 3}, 6 * 3600.0 + 1)
    assert not jobs.busy("t")


def test_jobs_of_a_former_leader() -> None:
    """Which they are is not known: nothing is planned until they are done, or for a quarter of an hour."""
    jobs = JobsUnderWay({0: 5, 1: 0}, began_s=100.0)
    assert jobs.former_left({}, 100.0)
    assert jobs.former_left({0: 4}, 101.0)
    assert not jobs.former_left({0: 5}, 101.0)
    assert not jobs.former_left({0: 4}, 1001.0)


# ---- the agent


class Consumer:
    """Notes commits."""

    def __init__(self) -> None:
        self.commits: list[dict[TP, int]] = []

    async def committed(self, tps):
        return {tp: (5, "") for tp in tps if tp.partition == 0}

    async def earliest_offsets(self, *tps):
        return dict.fromkeys(tps, 0)

    async def commit_through(self, offsets) -> bool:
        self.commits.append(dict(offsets))
        return True


P0, P1 = TP("jobs", 0), TP("jobs", 1)


RECORD = JOB.encode()


def message(offset, value=RECORD, tp=P0, generation=1):
    return SimpleNamespace(
        tp=tp, topic=tp.topic, partition=tp.partition, offset=offset, value=value, generation_id=generation
    )


def run(work, merges_max=1):
    """`work(runner, app)` in a loop of its own."""

    async def main():
        app = SimpleNamespace(consumer=Consumer(), consumer_generation_id=1)
        with ThreadPoolExecutor(4) as executor:
            runner = JobRunner(app, executor, merges_max, retry_s=0.001)
            await work(runner, app)

    asyncio.run(main())


async def ended(runner) -> None:
    while runner._tasks:
        await asyncio.wait(set(runner._tasks))
        await asyncio.sleep(0)


def test_jobs_are_run_and_committed() -> None:
    async def work(runner, app):
        seen = []
        assert runner.waits() == {None: "the storage is not open yet"}
        runner.begin(lambda job: seen.append(job) or "done")
        await runner.resume([P0, P1])
        assert runner.taken() == {P0: 5, P1: 0}
        for offset in (5, 6):
            await runner.take(message(offset))
        await ended(runner)
        assert seen == [JOB, JOB]
        assert app.consumer.commits == [{P0: 6}, {P0: 7}]
        assert (runner.taken()[P0], runner.waits()) == (7, {})

    run(work)


def test_a_poison_job_is_given_up() -> None:
    """Three attempts; those after it go on."""

    async def work(runner, app):
        attempts = []

        def fail(job):
            attempts.append(job)
            if len(attempts) <= 3:
                raise StorageError("away")
            return "done"

        runner.begin(fail)
        await runner.resume([P0])
        await runner.take(message(5))
        await runner.take(message(6))
        await ended(runner)
        assert len(attempts) == 4
        assert app.consumer.commits == [{P0: 6}, {P0: 7}]

    run(work)


def test_records_that_are_no_jobs_are_passed() -> None:
    async def work(runner, app):
        runner.begin(lambda job: pytest.fail("there is none"))
        await runner.resume([P0])
        await runner.take(message(5, b"no job"))
        assert app.consumer.commits == [{P0: 6}]

    run(work)


def test_offsets_are_committed_in_order() -> None:
    """A second job that is done before the first is not committed before it: it would be lost with a crash."""

    async def work(runner, app):
        first = threading.Event()

        def slow(job):
            if job.tenant == "slow":
                first.wait(10)
            return "done"

        runner.begin(slow)
        await runner.resume([P0])
        await runner.take(message(5, Job(MERGE, "slow", IDS[:2]).encode()))
        await runner.take(message(6))
        while len(runner._tasks) > 1:
            await asyncio.wait(set(runner._tasks), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)
        assert app.consumer.commits == []
        assert runner.waits() == {None: "a merge of blocks runs"}
        first.set()
        await ended(runner)
        assert app.consumer.commits == [{P0: 7}]

    run(work, merges_max=2)


def test_jobs_of_a_former_assignment_are_left() -> None:
    """The new owner of the partition gets them; and what ran when it went is not committed."""

    async def work(runner, app):
        running, go = threading.Event(), threading.Event()

        def slow(job):
            running.set()
            go.wait(10)
            return "done"

        runner.begin(slow)
        await runner.resume([P0])
        await runner.take(message(5))
        await asyncio.to_thread(running.wait, 10)
        app.consumer_generation_id = 2
        await runner.resume([P1])
        await runner.take(message(6))  # of generation 1
        go.set()
        await ended(runner)
        assert app.consumer.commits == []

    run(work)


def test_unknown_kinds_are_skipped() -> None:
    assert run_job({MERGE: lambda job: "done"}, Job("rewrite", "t", IDS[:1])) == "unknown"
    assert run_job({MERGE: lambda job: "done"}, JOB) == "done"
