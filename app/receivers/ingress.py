"""The door of each receiver to the batcher: rates and sizes of tenants, what is accepted and refused, copies."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from agents import tracing
from agents.distributor.forwarders.forwarder import Forwarding
from agents.distributor.limits import LimitExceeded, LimitsOfTenants
from agents.distributor.rate_limits import RateLimits
from agents.distributor.requests import Outcome, Request
from agents.distributor.span_writer import REFUSED as REFUSED_REQUESTS
from agents.distributor.tenant_metrics import PUSH_SECONDS, ReceiverMetrics, ReceiverSeries, TenantMetrics
from app.receivers.batcher import Batcher, Settled, Writing
from app.receivers.input_budget import InputBytes
from tables.wire.otlp.raw_spans import RawSpans

EndSpan = Callable[[BaseException | None], None]

TOO_MANY_SPANS: Final = "too_many_spans"


@dataclass(frozen=True, slots=True)
class Tenancy:
    """What all doors of a process share."""

    limits: LimitsOfTenants
    rates: RateLimits
    metrics: TenantMetrics
    forwarding: Forwarding
    counter: RawSpans


class Intake:
    """Counts what one receiver has taken, and gives copies away."""

    def __init__(self, tenancy: Tenancy, receiver: str, transport: str) -> None:
        """receiver, transport: labels of metrics, such as jaeger and grpc"""
        self.tenancy, self.name = tenancy, receiver
        self.metrics = ReceiverMetrics(receiver, transport, tenancy.metrics.labels)

    def took(self, request: Request, outcome: Outcome) -> None:
        """A message from Kafka is written. There are no rates for messages: refusing one would lose it."""
        series = self.metrics.of(request.tenant)
        series.ingress_bytes.inc(len(request.body))
        self.count(series, request, outcome)

    def count(self, series: ReceiverSeries, request: Request, outcome: Outcome) -> None:
        """Kafka has the request's spans, those that are left out excepted."""
        left_out, tenancy = outcome.left_out, self.tenancy
        series.accepted.inc(outcome.received - left_out)
        if left_out:
            series.refused.inc(left_out)
        if tenancy.limits.none() or outcome.malformed is not None:
            return
        if names := tenancy.limits.of(request.tenant).forwarders:
            tenancy.forwarding.offer(names, request)


class _TracedWriting:
    """A request that has an own span."""

    __slots__ = ("_end_span", "_writing")

    def __init__(self, writing: Writing, end_span: EndSpan) -> None:
        self._writing, self._end_span = writing, end_span

    def gone(self) -> None:
        self._end_span(asyncio.CancelledError())
        self._writing.gone()


class Ingress:
    """The door of one receiver; belongs to the event loop."""

    def __init__(self, batcher: Batcher, tenancy: Tenancy, receiver: str, transport: str) -> None:
        """receiver, transport: see `Intake`"""
        self._batcher, self._tenancy = batcher, tenancy
        self._intake = Intake(tenancy, receiver, transport)

    async def add(self, tenant: str, body: bytes, held: InputBytes | None = None) -> Outcome:
        """See `RequestBatcher.add`. Raises: also LimitExceeded"""
        series, start_s = self._admitted(tenant, body, held), time.perf_counter()
        try:
            with tracing.ingest({"tenant": tenant, "receiver": self._intake.name}, body):
                outcome = await self._batcher.add(tenant, body, held)
        except Exception:
            series.refused.inc(self._tenancy.counter.count(body))
            raise
        finally:
            PUSH_SECONDS.observe(time.perf_counter() - start_s)
        self._intake.count(series, Request(tenant, body), outcome)
        return outcome

    def submit(self, tenant: str, body: bytes, held: InputBytes | None, settled: Settled) -> Writing:
        """See `Batcher.submit`. Raises: LimitExceeded"""
        series, start_s = self._admitted(tenant, body, held), time.perf_counter()
        end_span = tracing.begin_ingest({"tenant": tenant, "receiver": self._intake.name}, body)
        if end_span is not None:
            return self._submit_traced(end_span, series, start_s, Request(tenant, body), held, settled)
        return self._batcher.submit(tenant, body, held, partial(self._settled, series, start_s, tenant, body, settled))

    def _submit_traced(
        self,
        end_span: EndSpan,
        series: ReceiverSeries,
        start_s: float,
        request: Request,
        held: InputBytes | None,
        settled: Settled,
    ) -> Writing:
        def traced(result: Outcome | BaseException) -> None:
            end_span(result if isinstance(result, BaseException) else None)
            self._settled(series, start_s, request.tenant, request.body, settled, result)

        try:
            return _TracedWriting(self._batcher.submit(request.tenant, request.body, held, traced), end_span)
        except BaseException as err:
            end_span(err)
            raise

    def _settled(
        self,
        series: ReceiverSeries,
        start_s: float,
        tenant: str,
        body: bytes,
        settled: Settled,
        result: Outcome | BaseException,
    ) -> None:
        PUSH_SECONDS.observe(time.perf_counter() - start_s)
        if isinstance(result, Outcome):
            self._intake.count(series, Request(tenant, body), result)
        else:
            series.refused.inc(self._tenancy.counter.count(body))
        settled(result)

    def _admitted(self, tenant: str, body: bytes, held: InputBytes | None) -> ReceiverSeries:
        """Counts a request, and checks its tenant's limits. Raises: LimitExceeded"""
        tenancy = self._tenancy
        series = self._intake.metrics.of(tenant)
        series.ingress_bytes.inc(len(body))
        try:
            if not tenancy.limits.none():
                self._check(tenant, body)
        except LimitExceeded as err:
            if held is not None:
                held.release()
            spans = tenancy.counter.count(body)
            series.refused.inc(spans)
            tenancy.metrics.discarded(tenant, err.reason, spans)
            REFUSED_REQUESTS.labels(err.reason).inc()
            raise
        return series

    def _check(self, tenant: str, body: bytes) -> None:
        """Raises: LimitExceeded"""
        spans_max = self._tenancy.limits.of(tenant).request_spans_max
        # A span takes two bytes at least.
        if spans_max and len(body) > 2 * spans_max and (spans := self._tenancy.counter.count(body)) > spans_max:
            raise LimitExceeded(
                f"tenant {tenant} may send {spans_max} spans in a request, and this one has {spans}: send smaller ones "
                "(overrides: ingestion.max_spans_per_request)",
                TOO_MANY_SPANS,
                final=True,
            )
        self._tenancy.rates.take(tenant, len(body))
