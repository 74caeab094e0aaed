"""OTLP requests → records of topic `spans`, acknowledged by Kafka. Receivers and the distributor agent share it."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from prometheus_client import Counter, Histogram

from tables.errors import WireError
from tables.wire import record
from tables.wire.otlp import Decoded, OtlpDecoder
from tables.wire.split import Part, split

log = logging.getLogger(__name__)

RECEIVED = Counter("stretto_spans_received_total", "Spans in requests that could be decoded.")
ACCEPTED = Counter("stretto_spans_accepted_total", "Spans that Kafka has acknowledged.")
DISCARDED = Counter("stretto_spans_discarded_total", "Spans left out of an accepted request.", ["reason"])
MALFORMED = Counter("stretto_requests_malformed_total", "Requests refused because they do not decode.")
REFUSED = Counter("stretto_requests_refused_total", "Requests refused that a client may send again.", ["reason"])
RECORDS = Counter("stretto_records_produced_total", "Records written to topic spans.")
RECORD_BYTES = Counter("stretto_record_bytes_produced_total", "Bytes of the records' values.")
PRODUCE_SECONDS = Histogram(
    "stretto_produce_seconds",
    "From the first record of a batch handed to the producer until Kafka has acknowledged the last.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)

# Key, headers and framing of a Kafka message.
_OVERHEAD_BYTES = 4096


class KafkaUnavailable(Exception):  # noqa: N818  # a state, not a fault of the caller
    """Kafka did not acknowledge in time: nothing is acknowledged, the client may send again."""


class Request(NamedTuple):
    """One OTLP request of a tenant."""

    tenant: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request. malformed: why it was refused as a whole; then the counts are 0."""

    received: int = 0
    rejected: int = 0  # for an invalid trace id or span id
    too_large: int = 0  # for not fitting into a Kafka message
    malformed: str | None = None


@dataclass(frozen=True, slots=True)
class KafkaLimits:
    """write_timeout_s: how long Kafka may take to acknowledge. message_bytes_max: the largest record."""

    write_timeout_s: float
    message_bytes_max: int


class SpanWriter:
    """Decodes, splits by tenant and partition, and produces. One for a process; belongs to its event loop."""

    def __init__(self, broker: Sequence[str], topic: str, limits: KafkaLimits) -> None:
        self._broker, self._topic, self._limits = list(broker), topic, limits
        self._decoder = OtlpDecoder()
        self._producer: Any = None
        self._partitions = 0

    async def start(self) -> None:
        """Connects to Kafka. Raises: KafkaError."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._broker,
            acks="all",
            # Without it, a retry after a lost reply writes a record twice.
            enable_idempotence=True,
            max_request_size=self._limits.message_bytes_max,
            max_batch_size=1 << 20,
            linger_ms=0,
            request_timeout_ms=int(self._limits.write_timeout_s * 1000),
        )
        await self._producer.start()
        self._partitions = len(await self._producer.partitions_for(self._topic))

    async def stop(self) -> None:
        """Waits until what was handed over is written, then disconnects."""
        if self._producer is not None:
            await self._producer.stop()

    async def write(self, requests: Sequence[Request]) -> list[Outcome]:
        """Writes whole requests; returns when Kafka has acknowledged all of them.

        A malformed request is refused alone. Raises: KafkaUnavailable, then none of them is acknowledged.
        """
        outcomes: list[Outcome | None] = [None] * len(requests)
        good = list(range(len(requests)))
        try:
            decoded: Decoded | None = self._decoder.decode([r.body for r in requests])
        except WireError:
            good = []
            for number, request in enumerate(requests):
                fault = self._decoder.fault(request.body)
                if fault is None:
                    good.append(number)
                else:
                    MALFORMED.inc()
                    outcomes[number] = Outcome(malformed=fault)
            decoded = self._decoder.decode([requests[number].body for number in good]) if good else None
        if decoded is not None:
            too_large = await self._produce(decoded, [requests[number].tenant for number in good])
            for at, number in enumerate(good):
                rejected = int(decoded.rejected[at])
                outcomes[number] = Outcome(int(decoded.received[at]), rejected, int(too_large[at]))
        return [outcome or Outcome() for outcome in outcomes]

    async def _produce(self, decoded: Decoded, tenants: Sequence[str]) -> npt.NDArray[np.int64]:
        """Writes the spans; returns how many of each request were too large for a record."""
        RECEIVED.inc(int(decoded.received.sum()))
        if rejected := int(decoded.rejected.sum()):
            DISCARDED.labels("invalid_id").inc(rejected)
        names = list(dict.fromkeys(tenants))
        tenant_of = None
        if len(names) > 1:
            by_request = np.array([names.index(tenant) for tenant in tenants], np.int32)
            tenant_of = by_request[decoded.request_of]
        parts = split(decoded.spans, self._partitions, tenant_of)
        records: list[_Record] = []
        too_large: list[int] = []
        for part in parts:
            _encode(part, names[part.tenant].encode(), self._limits.message_bytes_max, records, too_large)
        with PRODUCE_SECONDS.time():
            await self._send_all(records)
        ACCEPTED.inc(len(decoded.spans) - len(too_large))
        DISCARDED.labels("too_large").inc(len(too_large))
        return np.bincount(decoded.request_of[too_large], minlength=len(tenants))

    async def _send_all(self, records: list["_Record"]) -> None:
        try:
            async with asyncio.timeout(self._limits.write_timeout_s):
                written = [
                    await self._producer.send(self._topic, r.value, r.key, r.partition, headers=r.headers)
                    for r in records
                ]
                await asyncio.gather(*written)
        except (TimeoutError, KafkaError) as err:
            REFUSED.labels("kafka_unavailable").inc()
            raise KafkaUnavailable(
                f"Kafka has not acknowledged within {self._limits.write_timeout_s:g} s: {err!r}; send again later"
            ) from err
        RECORDS.inc(len(records))
        RECORD_BYTES.inc(sum(len(r.value) for r in records))


class _Record(NamedTuple):
    partition: int
    key: bytes
    value: bytes
    headers: record.Headers


def _encode(part: Part, key: bytes, bytes_max: int, records: list[_Record], too_large: list[int]) -> None:
    """Adds the part as one record; halved until each fits. Rows of single spans that do not fit go to too_large."""
    value, headers = record.encode(part.spans)
    if len(value) + _OVERHEAD_BYTES <= bytes_max:
        records.append(_Record(part.partition, key, value, headers))
        return
    count = len(part.spans)
    if count == 1:
        too_large.append(int(part.rows[0]))
        return
    half = count // 2
    for first, end in ((0, half), (half, count)):
        piece = part.spans.slice(first, end - first)
        _encode(Part(part.tenant, part.partition, piece, part.rows[first:end]), key, bytes_max, records, too_large)
