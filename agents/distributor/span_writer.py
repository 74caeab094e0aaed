"""OTLP requests → records of topic `spans`, acknowledged by Kafka. Receivers and the distributor agent share it."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import Counter

from agents.distributor.record_producer import KafkaUnavailable, RecordProducer
from agents.distributor.requests import Encoded
from agents.distributor.requests import Outcome as Outcome
from agents.distributor.requests import Request as Request
from agents.distributor.span_encoder import SpanEncoder, is_slow
from agents.distributor.span_inspector import INVALID_ID, SpanInspector
from agents.distributor.tenant_metrics import TenantMetrics
from tables.wall import walled
from tables.wire.record import with_partitions

RECEIVED = Counter("stretto_spans_received_total", "Spans in requests that decode.")
ACCEPTED = Counter("stretto_spans_accepted_total", "Spans that Kafka has acknowledged.")
DISCARDED = Counter("stretto_spans_discarded_total", "Spans left out of an accepted request.", ["reason"])
MALFORMED = Counter("stretto_requests_malformed_total", "Requests refused because they do not decode.")
UNDECODABLE = Counter(
    "stretto_requests_undecodable_total",
    "Requests and messages of topic otlp_spans that do not decode, by reason: malformed, panic (of the decoder), "
    "too_slow, unexpected.",
    ["reason"],
)
REFUSED = Counter(
    "stretto_requests_refused_total", "Requests refused with an error that the client may retry.", ["reason"]
)
ON_THREAD = Counter(
    "stretto_batches_on_thread_total",
    "Batches decoded on a thread instead of the event loop, because they are large, slow to decode or malformed.",
)


class NotAcknowledged(KafkaUnavailable):
    """As KafkaUnavailable. outcomes: the result of each request, valid if its spans are written after all"""

    def __init__(self, message: str, settled: "asyncio.Future[None] | None", outcomes: "list[Outcome]") -> None:
        super().__init__(message, settled)
        self.outcomes = outcomes


class SpanWriter:
    """Decodes requests, splits spans by tenant and partition, and produces records. One per process; belongs to its
    event loop.

    It decodes ordinary batches on the loop, in milliseconds. It decodes slow ones on a thread and in pieces, so that
    they delay nothing else.
    """

    def __init__(
        self,
        producer: RecordProducer,
        message_bytes_max: int,
        attribute_bytes_max: int = 65_536,
        decode_s_max: float = 10.0,
        inspector: SpanInspector | None = None,
        metrics: TenantMetrics | None = None,
    ) -> None:
        """decode_s_max: CPU seconds that decoding a request may take; inspector: None: tenants have no limits"""
        self._producer, self._inspector, self._metrics = producer, inspector, metrics or TenantMetrics()
        self._encoder, self._slow_encoder = (
            SpanEncoder(message_bytes_max, attribute_bytes_max, decode_s_max, inspector) for _ in ("loop", "thread")
        )
        self._thread = ThreadPoolExecutor(1, "decode")

    def on_acknowledged(self, tell: Callable[[str, int, int, float], None]) -> None:
        """Registers a callback; see `RecordProducer.acknowledged`."""
        self._producer.acknowledged = tell

    async def start(self) -> None:
        """Connects to Kafka. Raises: KafkaError."""
        await self._producer.start()

    async def stop(self, within_s: float) -> None:
        """Waits up to within_s until outstanding records are written, then disconnects."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        await self._producer.stop(within_s)

    async def write(self, requests: Sequence[Request]) -> list[Outcome]:
        """Writes whole requests. Returns when Kafka has acknowledged all of them.

        A malformed request fails alone. Raises: NotAcknowledged, for all requests
        """
        encoded = await self._encoded(requests)
        outcomes = encoded.outcomes
        RECEIVED.inc(sum(outcome.received for outcome in outcomes))
        for outcome in outcomes:
            if outcome.malformed is not None:
                MALFORMED.inc()
                UNDECODABLE.labels(outcome.reason).inc()
        self._count(requests, outcomes)
        try:
            await self._producer.write(encoded.records)
        except KafkaUnavailable as err:
            REFUSED.labels("kafka_unavailable").inc(len(requests))
            if err.settled is None:
                self._encoder.take_back(encoded.charges)
            raise NotAcknowledged(str(err), err.settled, outcomes) from err
        ACCEPTED.inc(encoded.spans)
        if encoded.usage and self._inspector is not None:
            self._inspector.attribute(encoded.usage)
        return outcomes

    def _count(self, requests: Sequence[Request], outcomes: Sequence[Outcome]) -> None:
        received: dict[str, tuple[int, int]] = {}
        for request, outcome in zip(requests, outcomes, strict=True):
            spans, size_bytes = received.get(request.tenant, (0, 0))
            received[request.tenant] = spans + outcome.received, size_bytes + len(request.body)
            if outcome.rejected or outcome.too_large or outcome.discarded:
                self._count_left_out(request.tenant, outcome)
        for tenant, counts in received.items():
            self._metrics.received(tenant, *counts)

    def _count_left_out(self, tenant: str, outcome: Outcome) -> None:
        reasons = [(INVALID_ID, outcome.rejected), ("too_large", outcome.too_large)]
        for reason, spans in [*reasons, *((one.reason, one.spans) for one in outcome.discarded)]:
            if spans:
                DISCARDED.labels(reason).inc(spans)
                self._metrics.discarded(tenant, reason, spans)

    async def _encoded(self, requests: Sequence[Request]) -> Encoded:
        partitions = self._producer.partitions
        encoded = await self._encode(requests, partitions)
        records = [one._replace(headers=with_partitions(one.headers, partitions)) for one in encoded.records]
        return encoded._replace(records=records)

    async def _encode(self, requests: Sequence[Request], partitions: int) -> Encoded:
        if not is_slow(requests):
            # Requests that cannot be decoded at once, for whatever reason, go to the thread.
            with contextlib.suppress(Exception):
                return self._encoder.encode(requests, partitions, fast_path_only=True)
        ON_THREAD.inc()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, walled, self._slow_encoder.encode_each, requests, partitions)
