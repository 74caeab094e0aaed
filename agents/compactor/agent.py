"""The agent of compactors: takes jobs from their topic, runs them on threads, commits the offsets of what is done.

Kafka gives each partition of the topic to one member of the consumer group, so jobs run in parallel over workers, and
each at least once. A job that keeps failing is given up, because jobs after it wait; the leader plans it again later.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final

from faust.types import TP

from agents.compactor.job import Job, decode_job
from agents.compactor.own_metrics import JOB_FAILURES, JOBS, JOBS_RUNNING, JOBS_SKIPPED
from agents.stream.stream_app import StreamApp
from agents.stream.stream_events import events
from tables.errors import WireError
from tables.wall import walled

log = logging.getLogger(__name__)

_ATTEMPTS_MAX: Final = 3
_RETRY_S: Final = 2.0


@dataclass(slots=True)
class _Taken:
    """A record that was taken. done: everything that it asks for"""

    offset: int
    generation: int
    done: bool = False


class JobRunner:
    """Runs jobs, at most `merges_max` at once, and commits offsets in the order of the records."""

    def __init__(self, app: StreamApp, executor: Executor, merges_max: int = 1, retry_s: float = _RETRY_S) -> None:
        self._app, self._executor, self._retry_s = app, executor, retry_s
        self._run: Callable[[Job], str] | None = None
        self._ready = asyncio.Event()
        self._ending = False
        self._slots = asyncio.Semaphore(merges_max)
        self._tasks: set[asyncio.Task[None]] = set()
        self._taken: dict[TP, deque[_Taken]] = {}
        self._next: dict[TP, int] = {}

    def begin(self, run: Callable[[Job], str]) -> None:
        """Jobs can be done from now on; until then they wait. run: does a job, on a thread of the executor, and returns
        its outcome, a metric label. Raises anything
        """
        self._run = run
        self._ready.set()

    def end(self) -> None:
        """The process ends: what runs is not done, and whoever has the partition next begins with it again."""
        self._ending = True

    # ---- partitions

    async def resume(self, assignment: Iterable[TP]) -> Mapping[TP, int]:
        """Kafka's committed offsets say where to continue; this only records the assignment."""
        mine, consumer = set(assignment), self._app.consumer
        self._taken = {tp: deque() for tp in mine}
        committed = {tp: offset for tp, (offset, _) in (await consumer.committed(mine)).items()} if mine else {}
        new = mine - set(committed)
        self._next = {**committed, **(await consumer.earliest_offsets(*new) if new else {})}
        return {}

    async def emptied(self) -> None:
        """As `resume`."""
        await self.resume(())

    def taken(self) -> Mapping[TP, int]:
        """The first offset of each partition that is not done yet."""
        return self._next

    def waits(self) -> Mapping[int | None, str]:
        """While a job runs, those after it wait."""
        if not self._ready.is_set():
            return {None: "the storage is not open yet"}
        return {None: "a merge of blocks runs"} if self._tasks else {}

    # ---- jobs

    async def take(self, message: Any) -> None:
        """Begins with a record; returns when the next one may be taken."""
        generation = self._app.consumer_generation_id
        if message.generation_id != generation:
            return  # somebody else has the partition now, or it is read again
        taken = _Taken(message.offset, generation)
        self._taken.setdefault(message.tp, deque()).append(taken)
        try:
            job = decode_job(message.value)
        except WireError as err:
            JOBS_SKIPPED.inc()
            log.warning("skipped %s[%s]@%s: %s", message.topic, message.partition, message.offset, err)
            await self._finish(message.tp, taken)
            return
        await self._ready.wait()
        await self._slots.acquire()
        task = asyncio.ensure_future(self._do(job, message.tp, taken))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (err := task.exception()) is not None:
            log.error("the end of a job failed: %r", err)

    async def _do(self, job: Job, tp: TP, taken: _Taken) -> None:
        if taken.generation == self._app.consumer_generation_id:  # it may have waited for long
            await self._attempt(job)
        if not self._ending:
            await self._finish(tp, taken)

    async def _attempt(self, job: Job) -> None:
        assert self._run is not None, "waited for in `take`"
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            JOBS_RUNNING.inc()
            try:
                loop = asyncio.get_running_loop()
                outcome = await loop.run_in_executor(self._executor, walled, self._run, job)
            except Exception as err:  # whatever it is, the jobs after it must not wait for ever
                if self._ending:
                    return
                JOB_FAILURES.inc()
                expected = isinstance(err, OSError)
                last = attempt == _ATTEMPTS_MAX
                log.error(
                    "%s of %d blocks of tenant %s failed%s: %s",
                    job.kind,
                    len(job.block_ids),
                    job.tenant,
                    ", it will be planned again later" if last else "",
                    err,
                    exc_info=None if expected else err,
                )
                if last:
                    JOBS.labels("given_up").inc()
                    return
                await asyncio.sleep(self._retry_s * 4 ** (attempt - 1))
            else:
                JOBS.labels(outcome).inc()
                return
            finally:
                JOBS_RUNNING.dec()

    async def _finish(self, tp: TP, taken: _Taken) -> None:
        """Commits up to the first record that is not done. One whose partition has gone is not ours to commit."""
        taken.done = True
        if taken.generation != self._app.consumer_generation_id:
            return
        queue = self._taken.get(tp, deque())
        end = None
        while queue and queue[0].done:
            end = queue.popleft().offset + 1
        if end is not None:
            self._next[tp] = max(end, self._next.get(tp, 0))
            await self._app.consumer.commit_through({tp: end})


def register(app: StreamApp, topic_name: str, runner: JobRunner) -> None:
    """Adds the agent that runs merge jobs to the Faust app."""
    topic = app.topic(topic_name, value_serializer="raw", value_type=bytes, key_serializer="raw", key_type=bytes)
    app.owned_by(runner)

    @app.agent(topic, name="compactor")
    async def compactor(stream: Any) -> None:
        async for event in events(stream):
            await runner.take(event.message)
