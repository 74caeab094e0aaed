"""Topic `spans` → the live store. Appends each record to its head, and seals and flushes when the partition decides
so.
"""

import asyncio
import functools
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeVar

from aiokafka.errors import KafkaError
from faust.types import TP

from agents.live_store.ages import show_ages
from agents.live_store.flush_queue import Flush, FlushQueue
from agents.live_store.incoming import incoming_of
from agents.live_store.limits import LiveLimits
from agents.live_store.own_metrics import (
    COMPLETION_RETRIES,
    COMPLETION_SECONDS,
    COMPLETIONS_FAILED,
    DISK_WAITS,
    EARLY_SEALS,
    FAILURES,
    GAPS,
    REDELIVERED,
    SEAL_WAITS,
    SEGMENT_BYTES,
    LiveMetrics,
    back_pressure,
)
from agents.live_store.partition_lag import PartitionLag
from agents.stream.consumer_report import ConsumerReport
from agents.stream.retry import log_failure, retried
from agents.stream.stream_app import StreamApp
from tables.errors import DamagedError, WireError
from tables.live.head import UNREADABLE
from tables.live.partition import LivePartition
from tables.live.partition_jobs import FlushJob, Job, MarkJob, SealJob
from tables.live.store import LiveStore
from tables.wall import walled

log = logging.getLogger(__name__)
T = TypeVar("T")

_OPEN_WAIT_S = 20.0
_DISK = "segments on disk"
_NOT_NEEDED = "compactor"  # spans come, and queries are answered, also before it runs


class PartitionManager:
    """Drives the partitions of a `LiveStore`: feeds them records, and runs their jobs on the seal thread and the
    flusher.
    """

    def __init__(  # noqa: PLR0913 (its collaborators)
        self,
        app: StreamApp,
        topic: str,
        executor: Executor,
        limits: LiveLimits,
        flushes: FlushQueue,
        consumers: ConsumerReport,
        zone: str = "",
    ) -> None:
        """flushes: takes the cuts that are to become blocks. consumers: what the watchdog of consumers says
        zone: in which this live store is, for metrics
        """
        self.app, self.topic = app, topic
        self._flushes, self._consumers = flushes, consumers
        self.store: LiveStore | None = None
        self.check_storage: Callable[[], None] = lambda: None  # raises StorageError; before a partition is opened
        self.problems: dict[str, str] = {}  # what does not work at the moment, for /ready
        self.damage: dict[str, str] = {}  # what somebody has to repair; the rest is served
        self._executor, self._limits, self._metrics = executor, limits, LiveMetrics(zone)
        self._chains: dict[int, asyncio.Task[None]] = {}
        self._work_done, self._room_on_disk = asyncio.Event(), asyncio.Event()
        self._room_on_disk.set()
        self._lag = PartitionLag(topic, consumers, limits.lag_s_max)
        self._mine: set[int] | None = None  # the assigned partitions, open or not; None: not assigned yet
        self._waits: dict[int, str] = {}  # why nothing is taken of a partition
        self._waits_of_all: list[str] = []
        self._late: dict[int, asyncio.Task[None]] = {}  # partitions whose storage did not answer in time
        self._opening: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)  # one after the other
        self.closing = asyncio.Event()  # the worker stops: the store will be closed

    # ---- assignment

    async def resume(self, assignment: Iterable[TP]) -> Mapping[TP, int]:
        """Opens assigned partitions and closes revoked ones. Returns the offset from which to read each."""
        with self._waiting("partitions are being opened"):
            return await self._resumed(assignment)

    async def emptied(self) -> None:
        """Others have all partitions: this live store is ready, and answers for none."""
        await self.resume(())

    async def _resumed(self, assignment: Iterable[TP]) -> Mapping[TP, int]:
        store = self._require_store()
        mine = {tp.partition: tp for tp in assignment if tp.topic == self.topic}
        for gone in set(store.partitions) - set(mine):
            store.release(gone)
        ends = await self.app.consumer.highwaters(*mine.values()) if mine else {}
        self._lag.assigned({tp.partition: end for tp, end in ends.items()})
        self._mine = set(mine)
        opening = {number: asyncio.ensure_future(self._open(number)) for number in mine}
        if opening:
            # Faust would continue without us after a while; other partitions need not wait for a storage that is away.
            await asyncio.wait(opening.values(), timeout=_OPEN_WAIT_S)
        for number, task in opening.items():
            if task.done():
                task.result()  # raises what went wrong
            else:
                self._late[number] = asyncio.ensure_future(self._seek_when_open(task, mine[number]))
        opened = {tp: store.partitions.get(number) for number, tp in mine.items() if opening[number].done()}
        return {tp: state.next_offset for tp, state in opened.items() if state is not None}  # or it has gone meanwhile

    async def _seek_when_open(self, opening: "asyncio.Task[None]", tp: TP) -> None:
        """Seeks to the right offset once the partition is open; until then its records were skipped."""
        self._waits[tp.partition] = "it is being opened"
        try:
            await opening
        finally:
            self._waits.pop(tp.partition, None)
        state = self._require_store().partitions.get(tp.partition)
        if state is not None:
            await self.app.consumer.seek(tp, state.next_offset)

    async def _open(self, number: int) -> None:
        """Opens a partition from storage and local disk. An open one stays as it is, unless another worker has cut
        it. One that this process has lost meanwhile is not opened: whoever asked for it would miss spans.
        """
        store = self._require_store()
        load = functools.partial(self._load, store, number)
        async with self._opening[number]:
            held = store.partitions.get(number)
            if held is not None:
                await self.retried(f"list cuts of partition {number}", functools.partial(store.blocks.poll, [number]))
                if store.blocks.flushed_offset(number) <= held.flushed_offset:
                    return
                self._lag.went_back(held)
                store.release(number)
            await self.drain(number)  # a seal of a former state must not write after the load
            await self._loaded(number, load)

    def _load(self, store: LiveStore, number: int) -> LivePartition:
        self.check_storage()
        return store.load(number)

    async def reopen(self, state: LivePartition) -> None:
        """Opens a partition again from storage, because another worker has cut it at a different offset. It reads again
        what comes behind the cut. One that this process has lost, or loses meanwhile, is not opened.
        """
        store, number = self._require_store(), state.partition
        async with self._opening[number]:
            if state.closed:
                return
            self._lag.went_back(state)
            store.release(number)
            await self.drain(number)  # a seal of the former state must not write after the reset
            await self.retried(f"reset partition {number}", functools.partial(store.reset, number))
            loaded = await self._loaded(number, functools.partial(store.load, number))
            if loaded is not None:
                await self.app.consumer.seek(TP(self.topic, number), loaded.next_offset)

    async def _loaded(self, number: int, load: Callable[[], LivePartition]) -> LivePartition | None:
        """Loads a partition and serves it; None where this process has lost it meanwhile."""
        loaded = await self.retried(f"open partition {number}", load)
        if self._mine is None or number not in self._mine:
            return None
        self._require_store().adopt(loaded)
        return loaded

    def not_ready(self) -> list[str]:
        """Reasons why queries here would miss spans."""
        if self.store is None or self._mine is None:
            return ["live store: waiting for partitions to be assigned", *self._consumers.problems(_NOT_NEEDED)]
        opening = [
            f"live store: partition {number} is being opened"
            for number in sorted(self._mine - self.store.partitions.keys())
        ]
        reasons = [
            f"live store: partition {number} is at offset {self.store.partitions[number].next_offset} of {end}"
            for number, end in self.behind().items()
        ]
        return (
            reasons
            + [f"live store: {problem}" for problem in self.problems.values()]
            + self._consumers.problems(_NOT_NEEDED)
            + opening
        )

    def behind(self) -> dict[int, int]:
        """Partitions that lag, with the end offset to reach; see `PartitionLag.behind`."""
        return {} if self.store is None else self._lag.behind(self.store.partitions.values())

    @property
    def partition_count(self) -> int:
        """How many partitions the topic has, as far as this process knows: it may get more while the process runs."""
        at_start = 0 if self.store is None else self.store.policy.partitions
        return max(at_start, self._consumers.ends.count(self.topic))

    def record_counts(self) -> set[int]:
        """Among how many partitions the writers of the live records have split the traces."""
        partitions = [] if self.store is None else self.store.partitions.values()
        return {count for state in partitions for count in state.record_counts()}

    def taken(self) -> dict[TP, int]:
        """The first offset of each open partition that is not appended yet."""
        store = self.store
        return {} if store is None else {TP(self.topic, n): one.next_offset for n, one in store.partitions.items()}

    def waits(self) -> dict[int | None, str]:
        """Why consumption pauses, by partition; key None: for all partitions."""
        waits: dict[int | None, str] = dict(self._waits.items())
        if self._waits_of_all:
            waits[None] = "; ".join(self._waits_of_all)
        return waits

    # ---- records

    async def take(self, message: Any) -> None:
        """Appends one record of the topic."""
        store = self._require_store()
        state = store.partitions.get(message.partition)
        if state is None or message.generation_id != self.app.consumer_generation_id:
            return  # of an assignment that is over; whoever has the partition now reads it again
        if message.offset < state.next_offset:
            REDELIVERED.inc()
            return
        if message.offset > self._lag.past_holes(state) and not await self._fill_gap(state, message):
            return
        try:
            incoming = walled(incoming_of, message)
        except Exception as err:  # noqa: BLE001  # whatever a producer wrote, the partition goes on
            reason = "headers" if isinstance(err, WireError) else "unexpected"
            self._skipped(message.partition, message.offset, str(err) or repr(err), reason)
            state.skip(message.offset)
            return
        self.run(state, state.append(incoming))
        self._metrics.took(incoming.parts)
        await self._bounded(store)

    async def _fill_gap(self, state: LivePartition, message: Any) -> bool:
        """Handles a record beyond the next offset. True: the records before it are gone from the topic. False: it will
        be read again after a seek.
        """
        tp = message.tp
        try:
            earliest = (await self.app.consumer.earliest_offsets(tp)).get(tp, 0)
        except (KafkaError, OSError, TimeoutError) as err:
            log.warning("partition %d: Kafka did not say where it begins: %r", state.partition, err)
            earliest = 0
        if earliest <= state.next_offset:
            await self.app.consumer.seek(tp, state.next_offset)
            return False
        lost = message.offset - state.next_offset
        GAPS.inc(lost)
        log.error(
            "partition %d: %d records from offset %d are gone from topic %s before they were read: raise its retention",
            state.partition,
            lost,
            state.next_offset,
            self.topic,
        )
        state.skip(message.offset - 1)
        return True

    async def _bounded(self, store: LiveStore) -> None:
        """Pauses while too many spans wait to be sealed, or segments use too much disk."""
        if sum(state.head_bytes for state in store.partitions.values()) > self._limits.head_bytes_max:
            EARLY_SEALS.inc()
            fullest = max(store.partitions.values(), key=lambda state: state.head_bytes)
            self.run(fullest, fullest.seal_all())
        if self._pending(store) > self._limits.pending_spans_max:
            SEAL_WAITS.inc()
            with self._waiting("heads wait to be sealed"), back_pressure("completion"):
                while self._pending(store) > self._limits.pending_spans_max:
                    self._work_done.clear()
                    await self._work_done.wait()
        if not self._room_on_disk.is_set():
            DISK_WAITS.inc()
            with self._waiting("segments wait to be in blocks"), back_pressure("disk"):
                await self._room_on_disk.wait()

    @contextmanager
    def _waiting(self, why: str) -> Iterator[None]:
        self._waits_of_all.append(why)
        try:
            yield
        finally:
            self._waits_of_all.remove(why)

    def _watch_disk(self, store: LiveStore) -> None:
        taken = sum(state.segment_bytes for state in store.partitions.values())
        SEGMENT_BYTES.set(taken)
        if taken > self._limits.segment_bytes_max:
            self._room_on_disk.clear()
            self.problems[_DISK] = (
                f"{taken} bytes of segments wait to be written as blocks, the limit is "
                f"{self._limits.segment_bytes_max} (live_store.segment_bytes_max): is the object storage away?"
            )
        else:
            self.problems.pop(_DISK, None)
            self._room_on_disk.set()

    def _pending(self, store: LiveStore) -> int:
        return sum(state.pending_spans for state in store.partitions.values())

    def tick(self) -> None:
        """Once per second: cuts windows that have ended without new records."""
        if self.store is None:
            return
        now_ms = int(time.time() * 1000)
        for state in self.store.partitions.values():
            self._lag.past_holes(state)
            self.run(state, state.tick(now_ms))
        self._watch_disk(self.store)
        self._metrics.show(self.store, ready=not self.not_ready())
        show_ages(self.store.partitions.values(), now_ms, self._limits.retention_s)

    # ---- jobs

    def run(self, state: LivePartition, jobs: list[Job]) -> None:
        """Queues jobs. The jobs of a partition run one after the other and do not block its records."""
        if jobs:
            before = self._chains.get(state.partition)
            self._chains[state.partition] = asyncio.ensure_future(self._run_after(before, state, jobs))

    async def drain(self, number: int) -> None:
        """Waits until the partition's queued jobs are done."""
        chain = self._chains.get(number)
        if chain is not None:
            await chain

    async def seal_all(self) -> None:
        """Seals all heads and waits for it, so that a restart has less to read."""
        self.closing.set()
        if self.store is not None:
            for state in self.store.partitions.values():
                self.run(state, state.seal_all())
            await asyncio.gather(*(self.drain(number) for number in list(self._chains)))

    async def _run_after(self, before: asyncio.Task[None] | None, state: LivePartition, jobs: list[Job]) -> None:
        if before is not None:
            await before
        for job in jobs:
            if state.closed:
                return
            match job:
                case SealJob():
                    await self._seal(state, job)
                case MarkJob(offset):
                    save = functools.partial(self._require_store().save_sealed_offset, state.partition, offset)
                    await self.retried(f"save the sealed offset of partition {state.partition}", save)
                case FlushJob():
                    self._flushes.put_nowait(Flush(state, job))

    async def _seal(self, state: LivePartition, job: SealJob) -> None:
        seal = functools.partial(self._require_store().seal, state.partition, job)
        with COMPLETION_SECONDS.time():
            info, bad = await self.retried(f"seal partition {state.partition}", seal, seals=True)
        self._metrics.sealed(info)
        for item in bad:
            self._skipped(state.partition, item.offset, item.problem, "value")
        state.sealed(job, info)
        self._work_done.set()

    def _skipped(self, partition: int, offset: int, problem: str, reason: str) -> None:
        UNREADABLE.labels(reason).inc()
        log.warning("skipped %s[%d]@%d: %s", self.topic, partition, offset, problem)

    async def retried(self, what: str, work: Callable[[], T], *, seals: bool = False) -> T:
        """Runs `work` on the executor until it succeeds. Meanwhile /ready shows the problem."""

        def on_failure(err: Exception, wait_s: float) -> None:
            FAILURES.inc()
            if seals:
                COMPLETIONS_FAILED.inc()
                COMPLETION_RETRIES.inc()
            problems = self.damage if isinstance(err, DamagedError) else self.problems
            problems[what] = f"cannot {what}: {err}"
            log_failure(log, f"cannot {what}", wait_s, err)

        result = await retried(self._executor, work, on_failure)
        self.problems.pop(what, None)
        self.damage.pop(what, None)
        return result

    def _require_store(self) -> LiveStore:
        if self.store is None:
            raise RuntimeError("the live store is not open yet")
        return self.store
