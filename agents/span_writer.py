"""OTLP requests → records of topic `spans`, acknowledged by Kafka. Receivers and the distributor agent share it."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter

from agents.record_producer import KafkaUnavailable, Record, RecordProducer
from tables.errors import WireError
from tables.wire import record
from tables.wire.otlp import Decoded, OtlpDecoder
from tables.wire.split import Part, Run, split, without_unused_values

log = logging.getLogger(__name__)

RECEIVED = Counter("stretto_spans_received_total", "Spans in requests that could be decoded.")
ACCEPTED = Counter("stretto_spans_accepted_total", "Spans that Kafka has acknowledged.")
DISCARDED = Counter("stretto_spans_discarded_total", "Spans left out of an accepted request.", ["reason"])
MALFORMED = Counter("stretto_requests_malformed_total", "Requests refused because they do not decode.")
REFUSED = Counter("stretto_requests_refused_total", "Requests refused that a client may send again.", ["reason"])

# Key, headers and framing of a Kafka message.
_OVERHEAD_BYTES = 4096


class NotAcknowledged(KafkaUnavailable):
    """As KafkaUnavailable; outcomes: what each request is to be told if its spans are written after all."""

    def __init__(self, message: str, settled: "asyncio.Future[None] | None", outcomes: "list[Outcome]") -> None:
        super().__init__(message, settled)
        self.outcomes = outcomes


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


class SpanWriter:
    """Decodes, splits by tenant and partition, and produces. One for a process; belongs to its event loop."""

    def __init__(self, producer: RecordProducer, message_bytes_max: int, attribute_bytes_max: int = 65_536) -> None:
        self._producer, self._message_bytes_max = producer, message_bytes_max
        self._decoder = OtlpDecoder(attribute_bytes_max)

    async def start(self) -> None:
        """Connects to Kafka. Raises: KafkaError."""
        await self._producer.start()

    async def stop(self, within_s: float) -> None:
        """Waits until what was handed over is written, then disconnects."""
        await self._producer.stop(within_s)

    async def write(self, requests: Sequence[Request]) -> list[Outcome]:
        """Writes whole requests; returns when Kafka has acknowledged all of them.

        A malformed request is refused alone. Raises: NotAcknowledged, for all of them.
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
        records: list[Record] = []
        spans = 0
        if decoded is not None:
            too_large = self._encode(decoded, [requests[number].tenant for number in good], records)
            spans = len(decoded.spans) - int(too_large.sum())
            for at, number in enumerate(good):
                rejected = int(decoded.rejected[at])
                outcomes[number] = Outcome(int(decoded.received[at]), rejected, int(too_large[at]))
            del decoded
        known = [outcome or Outcome() for outcome in outcomes]
        try:
            await self._producer.write(records)
        except KafkaUnavailable as err:
            REFUSED.labels("kafka_unavailable").inc(len(requests))
            raise NotAcknowledged(str(err), err.settled, known) from err
        ACCEPTED.inc(spans)
        return known

    def _encode(self, decoded: Decoded, tenants: Sequence[str], records: list[Record]) -> npt.NDArray[np.int64]:
        """Adds the records of the spans; returns how many of each request are too large for one."""
        RECEIVED.inc(int(decoded.received.sum()))
        if rejected := int(decoded.rejected.sum()):
            DISCARDED.labels("invalid_id").inc(rejected)
        names = list(dict.fromkeys(tenants))
        tenant_of = None
        if len(names) > 1:
            by_request = np.array([names.index(tenant) for tenant in tenants], np.int32)
            tenant_of = by_request[decoded.request_of]
        too_large: list[int] = []
        for part in split(decoded.spans, self._producer.partitions, tenant_of):
            _encode(part, names, self._message_bytes_max, records, too_large)
        DISCARDED.labels("too_large").inc(len(too_large))
        return np.bincount(decoded.request_of[too_large], minlength=len(tenants))


def _encode(part: Part, names: Sequence[str], bytes_max: int, records: list[Record], too_large: list[int]) -> None:
    """Adds the part as one record; halved until each fits. Rows of single spans that do not fit go to too_large."""
    runs = [(names[run.tenant], run.spans) for run in part.runs]
    shared = len(runs) > 1
    value, headers = record.encode(part.spans, runs if shared else ())
    size = len(value) + sum(len(header) for _, header in headers)
    if size + _OVERHEAD_BYTES <= bytes_max:
        key = b"" if shared else runs[0][0].encode()
        records.append(Record(part.partition, key, value, headers))
        return
    count = len(part.spans)
    if count == 1:
        too_large.append(int(part.rows[0]))
        return
    half = count // 2
    for first, end in ((0, half), (half, count)):
        # Each half has only its own resources and names: one span's huge ones must not weigh on its neighbours.
        piece = without_unused_values(part.spans.slice(first, end - first))
        halved = Part(_cut(part.runs, first, end), part.partition, piece, part.rows[first:end])
        _encode(halved, names, bytes_max, records, too_large)


def _cut(runs: Sequence[Run], first: int, end: int) -> tuple[Run, ...]:
    """The runs of rows first … end."""
    kept: list[Run] = []
    start = 0
    for run in runs:
        spans = min(start + run.spans, end) - max(start, first)
        if spans > 0:
            kept.append(Run(run.tenant, spans))
        start += run.spans
    return tuple(kept)
