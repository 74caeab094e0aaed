"""Topic `spans` → the live store: append each record to its head, seal and flush when the partition says so."""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka.errors import KafkaError
from faust.types import TP
from prometheus_client import Counter, Gauge

from agents.stream.kafka_batches import HOLES
from agents.stream.span_record import parts_of
from agents.stream.stream_app import StreamApp
from agents.stream.stream_events import events
from agents.stream.topic_ends import TopicEnds
from tables.errors import DamagedError, WireError
from tables.live.head import UNREADABLE
from tables.live.partition import FlushJob, Incoming, Job, LivePartition, MarkJob, SealJob
from tables.live.shared_records import HeadRecord
from tables.live.store import LiveStore
from tables.wall import walled

log = logging.getLogger(__name__)
T = TypeVar("T")

APPENDED = Counter("stretto_live_store_spans_appended_total", "Spans appended to the live store: searchable.")
REDELIVERED = Counter("stretto_live_store_records_redelivered_total", "Records passed over: they were here already.")
SEAL_WAITS = Counter("stretto_live_store_seal_waits_total", "Times that consuming waited for heads to be sealed.")
DISK_WAITS = Counter("stretto_live_store_disk_waits_total", "Times that consuming waited for segments to be in blocks.")
EARLY_SEALS = Counter("stretto_live_store_early_seals_total", "Partitions sealed early because heads held too much.")
HEAD_BYTES = Gauge("stretto_live_store_head_bytes", "Bytes of the records in open heads.")
SEGMENT_BYTES = Gauge("stretto_live_store_segment_bytes", "Bytes of segments that are not in blocks yet.")
GAPS = Counter("stretto_live_store_offset_gaps_total", "Offsets that the topic did not hold any more.")
PENDING = Gauge("stretto_live_store_pending_spans", "Spans that wait to be sealed.")
HEAD_SPANS = Gauge("stretto_live_store_head_spans", "Spans in open heads.")
FAILURES = Counter("stretto_live_store_failures_total", "Seals, offsets and loads that failed and are tried again.")

_RETRY_S_MAX = 30.0
_OPEN_WAIT_S = 20.0
_DISK = "segments on disk"
_LAG_S_MAX = 5.0


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """pending_spans_max: when more spans wait to be sealed, consuming waits. head_bytes_max: when heads hold more
    bytes, the fullest partition is sealed early. segment_bytes_max: when segments that are not in blocks take more of
    the disk, consuming waits.
    """

    pending_spans_max: int
    head_bytes_max: int
    segment_bytes_max: int


FlushQueue = Callable[[LivePartition, FlushJob], Awaitable[None]]


async def _no_flusher(_: LivePartition, __: FlushJob) -> None:
    raise RuntimeError("the block flusher is not registered")


class PartitionManager:
    """Drives the partitions of a `LiveStore`: records in, jobs out to the seal thread and the flusher."""

    def __init__(
        self, app: StreamApp, topic: str, executor: Executor, limits: LiveLimits, lag_s_max: float = _LAG_S_MAX
    ) -> None:
        """lag_s_max: a partition misses spans for queries when so long ago Kafka had more than is here"""
        self.app, self.topic = app, topic
        self.ends, self._lag_s_max = TopicEnds(), lag_s_max
        self.stalls: Callable[[], list[str]] = list  # what the watchdog of consumers has to say
        self.store: LiveStore | None = None
        self.flush: FlushQueue = _no_flusher
        self.problems: dict[str, str] = {}  # what does not work at the moment, for /ready
        self.damage: dict[str, str] = {}  # what somebody has to repair; the rest is served
        self._executor, self._limits = executor, limits
        self._chains: dict[int, asyncio.Task[None]] = {}
        self._work_done, self._room_on_disk = asyncio.Event(), asyncio.Event()
        self._room_on_disk.set()
        self._caught_up_at: dict[int, int] = {}
        self._assigned = False
        self._waits: dict[int, str] = {}  # why nothing is taken of a partition
        self._waits_of_all: list[str] = []
        self._late: dict[int, asyncio.Task[None]] = {}  # partitions whose storage did not answer in time
        self.closing = asyncio.Event()  # the worker stops: the store will be closed

    # ---- assignment

    async def resume(self, assignment: Iterable[TP]) -> Mapping[TP, int]:
        """Opens the partitions that came, closes those that went; says where to read each from."""
        with self._waiting("partitions are being opened"):
            return await self._resumed(assignment)

    async def _resumed(self, assignment: Iterable[TP]) -> Mapping[TP, int]:
        store = self._require_store()
        mine = {tp.partition: tp for tp in assignment if tp.topic == self.topic}
        for gone in set(store.partitions) - set(mine):
            store.release(gone)
        ends = await self.app.consumer.highwaters(*mine.values()) if mine else {}
        self._caught_up_at = {tp.partition: end for tp, end in ends.items()}
        self._assigned = True
        opening = {number: asyncio.ensure_future(self._open(number)) for number in mine}
        if opening:
            # Faust would go on without us after a while; the others need not wait for a storage that is away.
            await asyncio.wait(opening.values(), timeout=_OPEN_WAIT_S)
        for number, task in opening.items():
            if not task.done():
                self._late[number] = asyncio.ensure_future(self._seek_when_open(task, mine[number]))
        return {tp: store.partitions[number].next_offset for number, tp in mine.items() if opening[number].done()}

    async def _seek_when_open(self, opening: "asyncio.Task[None]", tp: TP) -> None:
        """Its records have been passed over until now."""
        self._waits[tp.partition] = "it is being opened"
        try:
            await opening
        finally:
            self._waits.pop(tp.partition, None)
        state = self._require_store().partitions.get(tp.partition)
        if state is not None:
            await self.app.consumer.seek(tp, state.next_offset)

    async def _open(self, number: int) -> None:
        """Takes up a partition from what storage and disk hold. One that is open stays, unless others have cut it."""
        store = self._require_store()
        load = functools.partial(store.load, number)
        held = store.partitions.get(number)
        if held is not None:
            await self.retried(f"list cuts of partition {number}", functools.partial(store.blocks.poll, [number]))
            if store.blocks.flushed_offset(number) <= held.flushed_offset:
                return
            store.release(number)
        await self.drain(number)  # a seal of a former state must not write after the load
        store.adopt(await self.retried(f"open partition {number}", load))

    async def reopen(self, number: int) -> None:
        """Starts a partition over from what storage holds: another worker has cut it elsewhere."""
        store = self._require_store()
        store.release(number)
        await self.drain(number)  # a seal of the former state must not write after the reset
        await self.retried(f"reset partition {number}", functools.partial(store.reset, number))
        loaded = await self.retried(f"open partition {number}", functools.partial(store.load, number))
        store.adopt(loaded)
        await self.app.consumer.seek(TP(self.topic, number), loaded.next_offset)

    def not_ready(self) -> list[str]:
        """Why queries here would not see everything yet."""
        if self.store is None or not self._assigned:
            return ["live store: waiting for partitions to be assigned", *self.stalls()]
        reasons = [
            f"live store: partition {number} is at offset {self.store.partitions[number].next_offset} of {end}"
            for number, end in self.behind().items()
        ]
        return reasons + [f"live store: {problem}" for problem in self.problems.values()] + self.stalls()

    def behind(self) -> dict[int, int]:
        """Partitions that are still read up to where the topic ended when they came here, or that have not reached in
        time where it ended later; and that end.
        """
        if self.store is None:
            return {}
        behind, now_s = {}, time.monotonic()
        for number, state in sorted(self.store.partitions.items()):
            at = self._past_holes(state)
            late = self.ends.overdue(self.topic, number, at, now_s, self._lag_s_max)
            first = self._caught_up_at.get(number, 0)
            if late is not None or at < first:
                behind[number] = max(late or 0, first)
        return behind

    def taken(self) -> dict[TP, int]:
        """The first offset of each open partition that is not here yet."""
        store = self.store
        return {} if store is None else {TP(self.topic, n): one.next_offset for n, one in store.partitions.items()}

    def waits(self) -> dict[int | None, str]:
        """Why no records are taken now, by partition; None: of none."""
        waits: dict[int | None, str] = dict(self._waits.items())
        if self._waits_of_all:
            waits[None] = "; ".join(self._waits_of_all)
        return waits

    def _past_holes(self, state: LivePartition) -> int:
        """Where no record is that can be read, none is waited for."""
        after = HOLES.through((self.topic, state.partition), state.next_offset)
        if after > state.next_offset:
            state.skip(after - 1)
        return state.next_offset

    # ---- records

    async def take(self, message: Any) -> None:
        """One record of the topic."""
        store = self._require_store()
        state = store.partitions.get(message.partition)
        if state is None or message.generation_id != self.app.consumer_generation_id:
            return  # of an assignment that is over; whoever has the partition now reads it again
        if message.offset < state.next_offset:
            REDELIVERED.inc()
            return
        if message.offset > self._past_holes(state) and not await self._fill_gap(state, message):
            return
        try:
            incoming = walled(_incoming, message)
        except Exception as err:  # noqa: BLE001  # whatever a producer wrote, the partition goes on
            reason = "headers" if isinstance(err, WireError) else "unexpected"
            self._skipped(message.partition, message.offset, str(err) or repr(err), reason)
            state.skip(message.offset)
            return
        self.run(state, state.append(incoming))
        APPENDED.inc(sum(item.spans for _, item in incoming.parts))
        await self._bounded(store)

    async def _fill_gap(self, state: LivePartition, message: Any) -> bool:
        """A record came too early. True if those before it are gone from the topic, False if it will come again."""
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
        """Waits while too much is unsealed, or too much of the disk is taken."""
        if sum(state.head_bytes for state in store.partitions.values()) > self._limits.head_bytes_max:
            EARLY_SEALS.inc()
            fullest = max(store.partitions.values(), key=lambda state: state.head_bytes)
            self.run(fullest, fullest.seal_all())
        if self._pending(store) > self._limits.pending_spans_max:
            SEAL_WAITS.inc()
            with self._waiting("heads wait to be sealed"):
                while self._pending(store) > self._limits.pending_spans_max:
                    self._work_done.clear()
                    await self._work_done.wait()
        if not self._room_on_disk.is_set():
            DISK_WAITS.inc()
            with self._waiting("segments wait to be in blocks"):
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
        """Once a second: windows that are over are cut although nothing came."""
        if self.store is None:
            return
        now_ms = int(time.time() * 1000)
        for state in self.store.partitions.values():
            self._past_holes(state)
            self.run(state, state.tick(now_ms))
        self._watch_disk(self.store)
        HEAD_BYTES.set(sum(state.head_bytes for state in self.store.partitions.values()))
        PENDING.set(self._pending(self.store))
        HEAD_SPANS.set(sum(state.head_spans for state in self.store.partitions.values()))

    # ---- jobs

    def run(self, state: LivePartition, jobs: list[Job]) -> None:
        """Queues jobs: those of a partition are done one after the other, without holding up its records."""
        if jobs:
            before = self._chains.get(state.partition)
            self._chains[state.partition] = asyncio.ensure_future(self._run_after(before, state, jobs))

    async def drain(self, number: int) -> None:
        """Waits until the partition's queued jobs are done."""
        chain = self._chains.get(number)
        if chain is not None:
            await chain

    async def seal_all(self) -> None:
        """Seals what is in the heads and waits for it: after a stop, a restart reads less again."""
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
                    await self.flush(state, job)

    async def _seal(self, state: LivePartition, job: SealJob) -> None:
        seal = functools.partial(self._require_store().seal, state.partition, job)
        info, bad = await self.retried(f"seal partition {state.partition}", seal)
        for item in bad:
            self._skipped(state.partition, item.offset, item.problem, "value")
        state.sealed(job, info)
        self._work_done.set()

    def _skipped(self, partition: int, offset: int, problem: str, reason: str) -> None:
        UNREADABLE.labels(reason).inc()
        log.warning("skipped %s[%d]@%d: %s", self.topic, partition, offset, problem)

    async def retried(self, what: str, work: Callable[[], T]) -> T:
        """Runs it on the executor until it works; meanwhile the problem shows in /ready."""
        wait_s = 0.5
        while True:
            try:
                result = await asyncio.get_running_loop().run_in_executor(self._executor, walled, work)
            except Exception as err:  # noqa: BLE001  # a job that is lost would leave a hole in what is covered
                FAILURES.inc()
                told = self.damage if isinstance(err, DamagedError) else self.problems
                told[what] = f"cannot {what}: {err}"
                log_failure(log, f"cannot {what}", wait_s, err)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _RETRY_S_MAX)
            else:
                self.problems.pop(what, None)
                self.damage.pop(what, None)
                return result

    def _require_store(self) -> LiveStore:
        if self.store is None:
            raise RuntimeError("the live store is not open yet")
        return self.store


def log_failure(logger: logging.Logger, what: str, wait_s: float, err: Exception) -> None:
    """What is expected of disks and storage in a line; anything else with its traceback."""
    expected = isinstance(err, OSError)
    logger.error("%s, trying again in %.1f s: %s", what, wait_s, err, exc_info=None if expected else err)


def _incoming(message: Any) -> Incoming:
    """Raises: WireError."""
    info, parts = parts_of(message)
    whole = info.spans if info.runs else 0
    items = [
        (part.tenant, HeadRecord(message.offset, part.spans, message.value, part.first_row, whole)) for part in parts
    ]
    return Incoming(message.offset, round(message.timestamp * 1000), items)


def register(app: StreamApp, manager: PartitionManager) -> None:
    """Adds the agent and its timer."""
    topic = app.topic(manager.topic, value_serializer="raw", value_type=bytes, key_serializer="raw", key_type=bytes)
    app.resume, app.progress, app.waits = manager.resume, manager.taken, manager.waits

    @app.agent(topic, name="live_store")
    async def live_store(stream: Any) -> None:
        async for event in events(stream):
            await manager.take(event.message)
            # Faust keeps the message until it is acknowledged, which here never happens.
            event.value = event.message.value = None

    @app.timer(1.0, name="live_store_tick")
    async def tick() -> None:
        manager.tick()
