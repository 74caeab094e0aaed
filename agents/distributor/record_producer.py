"""Records → Kafka, each once: idempotent and acknowledged, with a bounded wait.

aiokafka delivers an idempotent record until Kafka has it, however long that takes. So when the time for an
acknowledgement is over, the records are *unsettled*: Kafka will have them once it is back. A refused client may retry
the same request. The producer reports when records settle, so that nobody writes them twice. While records are
unsettled, the producer accepts nothing new: memory stays bounded, and refusals are quick.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from prometheus_client import Counter, Gauge, Histogram

from agents.stream.kafka_client import KafkaClient
from agents.stream.kafka_start import reached
from tables.native_histogram import NativeHistogram
from tables.wire.record import Headers

log = logging.getLogger(__name__)

RECORDS = Counter("stretto_records_produced_total", "Records written to topic spans.")
RECORD_BYTES = Counter(
    "stretto_record_bytes_produced_total", "Bytes of the values of the records written to topic spans."
)
UNSETTLED = Gauge(
    "stretto_records_unsettled", "Records that Kafka did not acknowledge in time; Kafka may still write them."
)
PRODUCE_SECONDS = Histogram(
    "stretto_produce_seconds",
    "Time from the first record of a batch until Kafka has acknowledged the last one.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)

_TEMPO_RECORDS = Counter("tempo_distributor_produce_records_total", "Records written to topic spans, or tried.")
_TEMPO_FAILURES = Counter(
    "tempo_distributor_produce_failures_total",
    "Records that Kafka did not take, by reason: timeout (it may still), error, unsettled (not tried, because earlier "
    "ones are not settled).",
    ["reason"],
)
_TEMPO_BYTES = Counter(
    "tempo_distributor_kafka_write_bytes_total", "Bytes of records that Kafka has acknowledged.", ["partition"]
)
_TEMPO_SECONDS = NativeHistogram(
    "tempo_distributor_kafka_write_latency_seconds",
    "Time until Kafka has acknowledged the records of a batch.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)

# A retry inside the producer; the time that a client waits is `write_timeout_s`.
_REQUEST_TIMEOUT_MS = 10_000
_CLOSE_S = 0.3


class KafkaUnavailable(Exception):  # noqa: N818  # a state, not a fault of the caller
    """Kafka did not acknowledge in time. Nothing is acknowledged, and the client may retry.

    settled: done when the records are written after all; None if Kafka's producer got nothing
    """

    def __init__(self, message: str, settled: "asyncio.Future[None] | None" = None) -> None:
        super().__init__(message)
        self.settled = settled


class Record(NamedTuple):
    """One Kafka record of topic `spans`."""

    partition: int
    key: bytes
    value: bytes
    headers: Headers


async def _closed(producer: Any) -> None:
    """One that has not started well."""
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await producer.stop()


def _nobody_asks(*_: object) -> None:
    pass


class RecordProducer:
    """Writes records to Kafka. One per process; belongs to its event loop."""

    def __init__(self, kafka: KafkaClient, topic: str, message_bytes_max: int, write_timeout_s: float) -> None:
        self._kafka, self._topic = kafka, topic
        self._message_bytes_max, self._timeout_s = message_bytes_max, write_timeout_s
        self._producer: Any = None
        self._unsettled: set[asyncio.Task[None]] = set()
        self._bytes: dict[int, Counter] = {}
        self.partitions = 0
        # How many partitions to use at the start, by how many there are.
        self.first_partitions: Callable[[int], int] = int
        # Called for each acknowledged record: topic, partition, offset after it, time.monotonic().
        self.acknowledged: Callable[[str, int, int, float], None] = _nobody_asks

    async def start(self) -> None:
        """Connects to Kafka. Raises: KafkaError, OSError, TimeoutError."""
        self._producer, there = await reached("open the producer", self._opened)
        self.partitions = self.first_partitions(there)

    async def raise_partitions(self, count: int) -> bool:
        """Uses more partitions from now on. False: Kafka does not show them to this producer yet.

        Raises: KafkaError, OSError, TimeoutError
        """
        async with asyncio.timeout(self._timeout_s):
            await self._producer.client.force_metadata_update()
            there = len(await self._producer.partitions_for(self._topic))
        if there < count or self.partitions >= count:
            return False
        self.partitions = count
        return True

    async def _opened(self) -> tuple[Any, int]:
        producer = AIOKafkaProducer(
            **self._kafka.arguments(),
            acks="all",
            # Without it, a retry after a lost reply writes a record twice.
            enable_idempotence=True,
            max_request_size=self._message_bytes_max,
            max_batch_size=1 << 20,
            linger_ms=0,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
        )
        try:
            await producer.start()
            return producer, len(await producer.partitions_for(self._topic))
        except BaseException:
            await _closed(producer)
            raise

    async def stop(self, within_s: float) -> None:
        """Waits up to within_s for outstanding records. Kafka may be away, so the wait is bounded."""
        if self._producer is None:
            return
        try:
            async with asyncio.timeout(within_s):
                await self._producer.stop()
        except TimeoutError:
            log.warning("Kafka did not take the last records in time; their clients were not acknowledged")

    async def write(self, records: Sequence[Record]) -> None:
        """Returns when Kafka has acknowledged all of the records. Raises: KafkaUnavailable."""
        if self._unsettled:
            _TEMPO_FAILURES.labels("unsettled").inc(len(records))
            raise KafkaUnavailable("Kafka has not acknowledged earlier spans yet; send again later")
        if not records:
            return
        task = asyncio.ensure_future(self._write_all(records))
        _TEMPO_RECORDS.inc(len(records))
        with PRODUCE_SECONDS.time(), _TEMPO_SECONDS.time():
            done, _ = await asyncio.wait({task}, timeout=self._timeout_s)
        if not done:
            _TEMPO_FAILURES.labels("timeout").inc(len(records))
            self._wait_on(task, len(records))
            message = f"Kafka has not acknowledged within {self._timeout_s:g} s; send again later"
            raise KafkaUnavailable(message, task)
        if (err := task.exception()) is not None:
            _TEMPO_FAILURES.labels("error").inc(len(records))
            raise KafkaUnavailable(f"Kafka does not take the spans: {err!r}; send again later") from err

    def _wait_on(self, task: "asyncio.Task[None]", records: int) -> None:
        self._unsettled.add(task)
        UNSETTLED.inc(records)

        def settled(_: object) -> None:
            self._unsettled.discard(task)
            UNSETTLED.dec(records)
            if task.exception() is not None:
                log.error("records were not written after all: %r", task.exception())

        task.add_done_callback(settled)

    async def _write_all(self, records: Sequence[Record]) -> None:
        placed = await asyncio.gather(*[await self._enqueue(r) for r in records])
        now_s = time.monotonic()
        for one in placed:
            if one.offset >= 0:  # not where a retry found it there
                self.acknowledged(one.topic, one.partition, one.offset + 1, now_s)
        RECORDS.inc(len(records))
        RECORD_BYTES.inc(sum(len(r.value) for r in records))
        for record in records:
            self._bytes_of(record.partition).inc(len(record.value))

    def _bytes_of(self, partition: int) -> Counter:
        series = self._bytes.get(partition)
        if series is None:
            series = self._bytes[partition] = _TEMPO_BYTES.labels(str(partition))
        return series

    async def _enqueue(self, r: Record) -> Any:
        while True:
            try:
                return await self._producer.send(self._topic, r.value, r.key, r.partition, headers=r.headers)
            except KafkaTimeoutError:
                # Not accepted: the partition's buffer is full, or its leader unknown. Other records of the batch are.
                log.warning("partition %d takes no records; trying again", r.partition)
