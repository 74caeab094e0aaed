"""Topic `spans` → series, pushed every some seconds; offsets are committed when the push that holds them was accepted.

Counters live in memory and only grow. A push says what they are, so one that did not work is made good by the next.
What a partition has added since the last push is kept apart until then: if the partition goes to another worker, it is
dropped, and the other counts it. After a crash the counters begin at 0 again: series say so with a sample of 0 at the
time of the start, and the records after the last commit are counted again. Halves of edges that waited then are read
again from the records before it: with each offset is committed until when halves had waited.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import pyarrow as pa
from faust.types import TP
from prometheus_client import Counter, Gauge

from agents.stream_app import StreamApp
from tables.errors import WireError
from tables.generator.config import GeneratorConfig
from tables.generator.tenant import Figures, TenantGenerator, encoded
from tables.tenant import valid_tenant
from tables.wire import record

log = logging.getLogger(__name__)

RECEIVED = Counter("tempo_metrics_generator_spans_received_total", "Spans that were counted.", ["tenant"])
DISCARDED = Counter(
    "tempo_metrics_generator_spans_discarded_total", "Spans and records that were not counted.", ["tenant", "reason"]
)
ACTIVE = Gauge("tempo_metrics_generator_registry_active_series", "Series that are pushed.", ["tenant"])
OVERFLOWED = Counter(
    "tempo_metrics_generator_registry_overflowed_total",
    "Spans and edges counted under the label metric_overflow, because max_active_series was reached.",
    ["tenant"],
)
WAITING = Gauge(
    "tempo_metrics_generator_processor_service_graphs_waiting_edges", "Halves of edges that wait.", ["tenant"]
)
EXPIRED = Counter(
    "tempo_metrics_generator_processor_service_graphs_expired_edges_total",
    "Halves of edges whose other half did not come in time; edges to virtual nodes among them.",
    ["tenant"],
)
UNPAIRED = Counter(
    "tempo_metrics_generator_processor_service_graphs_unpaired_edges_total",
    "Halves of edges that expired without becoming an edge.",
    ["tenant"],
)
DROPPED = Counter(
    "tempo_metrics_generator_processor_service_graphs_dropped_spans_total",
    "Halves of edges dropped because service_graphs.max_items waited.",
    ["tenant"],
)
PUSHES = Counter("tempo_metrics_generator_pushes_total", "Pushes that every target has dealt with.")
SKIPPED = Counter(
    "tempo_metrics_generator_collections_skipped_total",
    "Collections put off because earlier pushes fill the queue: series lack points, not increases.",
)
REDELIVERED = Counter("tempo_metrics_generator_records_redelivered_total", "Records passed over: counted already.")

# A tenant's remote-write requests, snappy-compressed. Returns when all targets have taken or refused them.
Send = Callable[[str, Sequence[bytes]], Awaitable[None]]

_SNAPPY: Final = pa.Codec("snappy")


@dataclass(eq=False, slots=True)
class _Push:
    """One collection of all tenants. offsets: what of each partition it holds."""

    bodies: list[tuple[str, list[bytes]]]
    offsets: dict[TP, "_Place"]

    @property
    def size_bytes(self) -> int:
        return sum(len(body) for _, bodies in self.bodies for body in bodies)


class _Place(NamedTuple):
    """How far a partition is counted. waited_ms: halves of edges have waited until then, by Kafka's clock."""

    ownership: int
    next_offset: int
    waited_ms: int


@dataclass(eq=False, slots=True)
class _Partition:
    """One that is ours.

    recall_offset: records from here to next_offset were counted before we began; their halves are read again
    clock_ms: when its youngest record came to Kafka; read_ms: when that was read, by our clock
    """

    ownership: int
    next_offset: int
    recall_offset: int
    waited_ms: int = 0
    clock_ms: int = 0
    read_ms: int = 0

    @property
    def recalling(self) -> bool:
        return self.recall_offset < self.next_offset


@dataclass(eq=False, slots=True)
class _Tenant:
    generator: TenantGenerator
    told: Figures = field(default_factory=lambda: Figures(0, 0.0, 0, 0, 0, 0, 0, 0))


class MetricsGenerator:
    """Counts the records of this worker's partitions and pushes what came of them."""

    def __init__(
        self, app: StreamApp, topic: str, config: GeneratorConfig, send: Send, queue_bytes_max: int = 64 << 20
    ) -> None:
        self.app, self.topic = app, topic
        self._config, self._send, self._queue_bytes_max = config, send, queue_bytes_max
        self._tenants: dict[str, _Tenant] = {}
        self._partitions: dict[TP, _Partition] = {}
        self._ownerships = 0
        self._queue: deque[_Push] = deque()
        self._queued = asyncio.Event()
        self._collecting = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._pushed_ms = _now_ms()

    # ---- assignment

    async def resume(self, assignment: Iterable[TP]) -> Mapping[TP, int]:
        """Forgets partitions that went; says where to read on in those that stayed, and to begin in new ones."""
        mine = {tp for tp in assignment if tp.topic == self.topic}
        for gone in set(self._partitions) - mine:
            del self._partitions[gone]
            for tenant in self._tenants.values():
                tenant.generator.forget(gone.partition)
        for tp, (offset, waited_ms, first) in (await self._begin(mine - set(self._partitions))).items():
            self._partitions[tp] = self._new_partition(offset, first, waited_ms)
        return {
            tp: state.recall_offset if state.recalling else state.next_offset for tp, state in self._partitions.items()
        }

    async def _begin(self, new: set[TP]) -> dict[TP, tuple[int, int, int]]:
        """Of partitions that were counted before: committed offset, time, and the first record whose halves wait."""
        if not new:
            return {}
        committed = await self.app.consumer.committed(new)
        noted = {tp: (offset, int(note)) for tp, (offset, note) in committed.items() if note.isdecimal()}
        wait_ms = round(self._config.service_graphs.wait_s * 1000)
        first = await self.app.consumer.offsets_at({tp: max(0, time - wait_ms) for tp, (_, time) in noted.items()})
        return {tp: (offset, time, min(offset, first.get(tp, offset))) for tp, (offset, time) in noted.items()}

    def _new_partition(self, next_offset: int, recall_offset: int, waited_ms: int) -> _Partition:
        self._ownerships += 1
        return _Partition(self._ownerships, next_offset, recall_offset, waited_ms)

    async def revoked(self, revoked: Iterable[TP]) -> None:
        """Partitions are about to go: what was counted of them is pushed and committed, if that is quick."""
        if any(tp in self._partitions for tp in revoked):
            await self.push_now(within_s=3.0)

    # ---- records

    def take(self, message: Any) -> None:
        """One record of the topic."""
        if message.generation_id != self.app.consumer_generation_id:
            return  # of an assignment that is over; whoever has the partition now reads it again
        state = self._partitions.get(message.tp)
        if state is None:
            state = self._partitions[message.tp] = self._new_partition(message.offset, message.offset, 0)
        if message.offset < state.next_offset:
            if message.offset >= state.recall_offset:
                self._recall(state, message)
            else:
                REDELIVERED.inc()
            return
        if state.recalling:  # the topic has a gap
            self._recalled(state, message.partition)
        state.next_offset = state.recall_offset = message.offset + 1
        state.clock_ms, state.read_ms = round(message.timestamp * 1000), _now_ms()
        try:
            parts = _parts(message)
        except WireError as err:
            DISCARDED.labels("", "unreadable_record").inc()
            log.warning("skipped %s[%d]@%d: %s", message.topic, message.partition, message.offset, err)
            return
        for tenant, spans in parts:
            self._tenant(tenant).generator.add(message.partition, spans, state.clock_ms, time.time())
            RECEIVED.labels(tenant).inc(len(spans))

    def _recall(self, state: _Partition, message: Any) -> None:
        """One record that was counted before we began."""
        state.recall_offset = message.offset + 1
        with suppress(WireError):  # counted when it was read first
            for tenant, spans in _parts(message):
                self._tenant(tenant).generator.recall(message.partition, spans, round(message.timestamp * 1000))
        if not state.recalling:
            self._recalled(state, message.partition)

    def _recalled(self, state: _Partition, partition: int) -> None:
        state.recall_offset = state.next_offset
        state.clock_ms, state.read_ms = state.waited_ms, _now_ms()
        for tenant in self._tenants.values():
            tenant.generator.recalled(partition, state.waited_ms)

    def _tenant(self, name: str) -> _Tenant:
        found = self._tenants.get(name)
        if found is None:
            found = self._tenants[name] = _Tenant(TenantGenerator(self._config))
        return found

    # ---- pushes

    async def collect(self) -> None:
        """Puts a push of everything counted so far into the queue; later, if the queue is full."""
        async with self._collecting:
            if sum(push.size_bytes for push in self._queue) > self._queue_bytes_max:
                SKIPPED.inc()
                return
            time_ms, created_ms = max(_now_ms(), self._pushed_ms + 2), self._pushed_ms + 1
            self._let_wait_go_on()
            offsets = {
                tp: _Place(state.ownership, state.next_offset, state.waited_ms)
                for tp, state in self._partitions.items()
            }
            collected = []
            for name, tenant in self._tenants.items():
                collected.append((name, tenant.generator.collect(time_ms / 1000)))
                _tell(name, tenant)
            self._pushed_ms = time_ms

            def encode() -> list[tuple[str, list[bytes]]]:
                return [
                    (name, [_compressed(body) for body in encoded(snapshots, time_ms, created_ms)])
                    for name, snapshots in collected
                ]

            # Snapshots share nothing with what is being counted: off the loop, where nothing waits for it.
            self._queue.append(_Push(await asyncio.to_thread(encode), offsets))
            self._queued.set()

    def _let_wait_go_on(self) -> None:
        now_ms = _now_ms()
        for tp, state in self._partitions.items():
            if state.recalling or not state.read_ms:
                continue
            # Never back, whatever our clock does: what has expired must not be read again after a restart.
            state.waited_ms = max(state.waited_ms, state.clock_ms + now_ms - state.read_ms)
            for tenant in self._tenants.values():
                tenant.generator.idle(tp.partition, state.waited_ms)

    async def send_queued(self) -> None:
        """Sends the queue, the oldest first, and commits what each push holds."""
        async with self._sending:
            while self._queue:
                push = self._queue[0]
                for tenant, bodies in push.bodies:
                    if bodies:
                        await self._send(tenant, bodies)
                self._queue.popleft()
                PUSHES.inc()
                # A partition that went and came back meanwhile was read again from what is committed.
                ours = {
                    tp: place
                    for tp, place in push.offsets.items()
                    if tp in self._partitions and self._partitions[tp].ownership == place.ownership
                }
                if ours:
                    await self.app.consumer.commit_through(
                        {tp: place.next_offset for tp, place in ours.items()},
                        {tp: str(place.waited_ms) for tp, place in ours.items()},
                    )

    async def send_forever(self) -> None:
        """Sends whatever is put into the queue."""
        while True:
            await self._queued.wait()
            self._queued.clear()
            await self.send_queued()

    async def push_now(self, within_s: float) -> None:
        """Collects and sends, unless that takes too long: then it is counted again from the last commit."""
        try:
            async with asyncio.timeout(within_s):
                await self.collect()
                await self.send_queued()
        except TimeoutError:
            log.warning("the last push was not accepted within %.0f s; its spans are counted again", within_s)


def _parts(message: Any) -> list[tuple[str, pa.RecordBatch]]:
    """Each tenant's spans in a record. Raises: WireError."""
    headers = message.headers or ()
    info = record.read_headers(headers.items() if hasattr(headers, "items") else headers)
    if not message.value:
        raise WireError("no value")
    spans = record.decode(message.value)
    if not info.runs:
        tenant = (message.key or b"").decode(errors="replace")
        if not valid_tenant(tenant):
            raise WireError(f"key {tenant[:50]!r} is not a tenant's name")
        return [(tenant, spans)]
    if len(spans) != info.spans:
        raise WireError(f"{len(spans)} spans, its headers say {info.spans}")
    parts, first = [], 0
    for tenant, count in info.runs:
        parts.append((tenant, spans.slice(first, count)))
        first += count
    return parts


def _compressed(body: bytes) -> bytes:
    return bytes(_SNAPPY.compress(body, asbytes=True))


def _tell(name: str, tenant: _Tenant) -> None:
    """The figures as metrics."""
    now, before = tenant.generator.figures(), tenant.told
    ACTIVE.labels(name).set(now.active_series)
    WAITING.labels(name).set(now.edges_waiting)
    OVERFLOWED.labels(name).inc(now.overflowed - before.overflowed)
    DISCARDED.labels(name, "filter_policy").inc(now.filtered - before.filtered)
    DISCARDED.labels(name, "failed").inc(now.failed - before.failed)
    EXPIRED.labels(name).inc(now.edges_expired - before.edges_expired)
    UNPAIRED.labels(name).inc(now.edges_unpaired - before.edges_unpaired)
    DROPPED.labels(name).inc(now.edges_dropped - before.edges_dropped)
    tenant.told = now


def _now_ms() -> int:
    return int(time.time() * 1000)


def register(app: StreamApp, generator: MetricsGenerator) -> None:
    """Adds the agent. Whoever runs the worker collects and sends: `collect`, `send_forever`, `push_now` at the end."""
    topic = app.topic(generator.topic, value_serializer="raw", value_type=bytes, key_serializer="raw", key_type=bytes)
    app.resume = generator.resume

    @app.agent(topic, name="metrics_generator")
    async def metrics_generator(stream: Any) -> None:
        async for event in stream.noack().events():
            generator.take(event.message)
            # Faust keeps the message until it is acknowledged, which here never happens.
            event.value = event.message.value = None

    @app.on_partitions_revoked.connect(weak=False)
    async def revoked(_: Any, partitions: Iterable[TP], **__: Any) -> None:
        await generator.revoked(partitions)
