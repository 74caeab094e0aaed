"""The queue of jobs: who gets what, who waits, who is refused."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from app.api.errors import TooManyRequests, Unavailable
from app.querying.jobs.job_queue import Attempt, JobQueue, QueueLimits
from app.rpc.frames import RpcFrame
from tests.helpers.loops import in_loop

JOB = RpcFrame("job")


class Querier:
    """Takes jobs one after the other, and notes whose they are. It answers when it may."""

    def __init__(self, queue: JobQueue, name: str) -> None:
        self.queue, self.name = queue, name
        self.taken: list[Attempt] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        with self.queue.connected(self.name):
            while True:
                attempt = await self.queue.next(self.name)
                self.taken.append(attempt)
                await self.may_answer.wait()
                self.queue.finish(attempt, RpcFrame(self.name))

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def asked(queue: JobQueue, keys: Sequence[str], tenant: str = "t") -> list[str]:
    """Who has answered each."""
    return [reply.name for reply in await asyncio.gather(*(queue.run(tenant, key, JOB) for key in keys))]


@in_loop
async def test_the_same_querier_for_the_same_key() -> None:
    """Whatever else is asked; all have their share; when one leaves only its keys go to others."""
    queue = JobQueue(QueueLimits(steal_after_s=5))
    queriers = [Querier(queue, f"q{n}") for n in range(4)]
    await asyncio.sleep(0)
    keys = [f"block {n}" for n in range(200)]
    first = await asked(queue, keys)
    assert await asked(queue, keys[::-1]) == first[::-1]
    assert min(Counter(first).values()) > 20
    await queriers[0].leave()
    second = await asked(queue, keys)
    assert [now for now, before in zip(second, first, strict=True) if before != "q0"] == [
        name for name in first if name != "q0"
    ]
    assert "q0" not in second
    for one in queriers[1:]:
        await one.leave()


@in_loop
async def test_a_job_that_waits_goes_to_another() -> None:
    """If its own querier has no time for a while."""
    queue = JobQueue(QueueLimits(steal_after_s=0.05, hedge_at_s=0))
    queriers = {name: Querier(queue, name) for name in ("q1", "q2")}
    await asyncio.sleep(0)
    (busy,) = await asked(queue, ["key"])
    queriers[busy].may_answer.clear()
    blocked = asyncio.ensure_future(asked(queue, ["key"]))
    await asyncio.sleep(0)
    other = next(name for name in queriers if name != busy)
    assert await asked(queue, ["key"]) == [other]
    queriers[busy].may_answer.set()
    assert await blocked == [busy]
    for one in queriers.values():
        await one.leave()


@in_loop
async def test_fair_between_tenants() -> None:
    """One with hundreds of jobs holds up another with a few by one job at most."""
    queue = JobQueue(QueueLimits())
    many = [asyncio.ensure_future(queue.run("flood", f"f{n}", JOB)) for n in range(300)]
    few = [asyncio.ensure_future(queue.run("quiet", f"q{n}", JOB)) for n in range(3)]
    await asyncio.sleep(0)
    querier = Querier(queue, "q1")
    await asyncio.gather(*few)
    taken = [attempt.job.tenant for attempt in querier.taken]
    assert [n for n, tenant in enumerate(taken) if tenant == "quiet"][-1] < 6
    await asyncio.gather(*many)
    await querier.leave()


@in_loop
async def test_outstanding_per_tenant() -> None:
    """429 above it, for that tenant only; room again when jobs are done or given up."""
    queue = JobQueue(QueueLimits(outstanding_max=3))
    jobs = [asyncio.ensure_future(queue.run("t", "key", JOB)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests, match=r"query_frontend\.max_outstanding_per_tenant"):
        await queue.run("t", "key", JOB)
    other = asyncio.ensure_future(queue.run("u", "key", JOB))
    jobs[0].cancel()
    await asyncio.gather(jobs[0], return_exceptions=True)
    jobs.append(asyncio.ensure_future(queue.run("t", "key", JOB)))
    await asyncio.sleep(0)
    querier = Querier(queue, "q1")
    await asyncio.gather(other, *jobs[1:])
    assert len(querier.taken) == 4, "what was given up nobody works on"
    assert (queue._waiting, queue._outstanding) == ({}, {})
    await querier.leave()


@in_loop
async def test_tried_elsewhere() -> None:
    """So often as the limit says, first at those that have not failed; then the error comes."""
    queue = JobQueue(QueueLimits(retries_max=2, hedge_at_s=0, steal_after_s=0))
    failed: list[str] = []

    async def fail(name: str) -> None:
        with queue.connected(name):
            while True:
                attempt = await queue.next(name)
                failed.append(name)
                queue.fail(attempt, Unavailable(f"{name} is ill"))

    tasks = [asyncio.ensure_future(fail(name)) for name in ("q1", "q2")]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="is ill"):
        await queue.run("t", "key", JOB)
    assert len(failed) == 3
    assert set(failed[:2]) == {"q1", "q2"}
    failed.clear()

    async def refuse() -> None:
        attempt = await queue.next("q3")
        queue.fail(attempt, ValueError("the question is wrong"), elsewhere=False)

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with queue.connected("q3"):
        refusing = asyncio.ensure_future(refuse())
        with pytest.raises(ValueError, match="wrong"):
            await queue.run("t", "key", JOB)
        await refusing


@pytest.mark.parametrize(("up_to", "queriers", "have_it"), [(2, 4, 2), (3, 4, 3), (10, 4, 4), (3, 1, 1)])
@in_loop
async def test_hedged_up_to(up_to: int, queriers: int, have_it: int) -> None:
    """One more querier each time that a while has passed, each at most once; all are told when one has answered."""
    queue = JobQueue(QueueLimits(hedge_at_s=0.02, hedge_up_to=up_to, steal_after_s=0))
    some = [Querier(queue, f"q{n}") for n in range(queriers)]
    for one in some:
        one.may_answer.clear()
    await asyncio.sleep(0)
    asking = asyncio.ensure_future(queue.run("t", "key", JOB))
    async with asyncio.timeout(5):
        while sum(len(one.taken) for one in some) < have_it:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)  # nobody else gets it
    first, *others = [one for one in some if one.taken]
    assert [len(one.taken) for one in (first, *others)] == [1] * have_it
    assert queue._waiting == {}
    first.may_answer.set()
    await asking
    assert all(one.taken[0].abandoned.is_set() for one in others)
    for one in some:
        await one.leave()


@in_loop
async def test_given_up() -> None:
    """Whoever works on it is told."""
    queue = JobQueue(QueueLimits())
    querier = Querier(queue, "q1")
    querier.may_answer.clear()
    await asyncio.sleep(0)
    asking = asyncio.ensure_future(queue.run("t", "key", JOB))
    while not querier.taken:
        await asyncio.sleep(0)
    assert not querier.taken[0].abandoned.is_set()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert querier.taken[0].abandoned.is_set()
    await querier.leave()


@in_loop
async def test_nobody_there() -> None:
    """An error after a while; whoever comes before that gets the job."""
    queue = JobQueue(QueueLimits(querier_wait_s=0.1))
    with pytest.raises(Unavailable, match="no querier"):
        await queue.run("t", "key", JOB)
    asking = asyncio.ensure_future(queue.run("t", "key", JOB))
    await asyncio.sleep(0.02)
    querier = Querier(queue, "q1")
    assert (await asking).name == "q1"
    await querier.leave()


@in_loop
async def test_a_querier_that_was_just_cancelled() -> None:
    """Its slot is still listed, and gets no job: whoever asks next would have got an error."""
    queue = JobQueue(QueueLimits())
    with queue.connected("a"):
        waiting = asyncio.ensure_future(queue.next("a"))
        await asyncio.sleep(0)
        answer = asyncio.ensure_future(queue.run("t", "key", JOB))  # its turn comes before that of who waits
        waiting.cancel()
        await asyncio.sleep(0)
        attempt = await queue.next("a")
        queue.finish(attempt, RpcFrame("answer"))
        assert (await answer).name == "answer"
