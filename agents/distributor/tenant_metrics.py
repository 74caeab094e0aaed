"""Metrics by tenant, with a bound on how many tenants have series of their own."""

from typing import Final, NamedTuple

from prometheus_client import Counter, Gauge

from tables.native_histogram import NativeHistogram
from tables.tenant_labels import TENANTS_MAX, TenantLabels

SPANS: Final = Counter(
    "tempo_distributor_spans_received_total", "Spans in requests that decode, within the rate limits.", ["tenant"]
)
BYTES: Final = Counter(
    "tempo_distributor_bytes_received_total",
    "Bytes of requests as OTLP, after decompression, within the rate limits.",
    ["tenant"],
)
INGRESS_BYTES: Final = Counter(
    "tempo_distributor_ingress_bytes_total",
    "Bytes of requests as OTLP, after decompression, before the rate limits.",
    ["tenant"],
)
DISCARDED: Final = Counter(
    "tempo_discarded_spans_total",
    "Spans that are not stored. Reasons: rate_limited, too_many_spans (in a request), trace_too_large, "
    "outside_past_slack, outside_future_slack, invalid_id, too_large (for Kafka).",
    ["reason", "tenant"],
)

PUSH_SECONDS: Final = NativeHistogram(
    "tempo_distributor_push_duration_seconds",
    "Time from a whole request until Kafka has acknowledged its spans.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

# Gauges that only grow: as Tempo's, their names do not end in _total.
ACCEPTED: Final = Gauge(
    "tempo_receiver_accepted_spans",
    "Spans that a receiver has taken, since the start.",
    ["receiver", "transport", "tenant"],
)
REFUSED: Final = Gauge(
    "tempo_receiver_refused_spans",
    "Spans that a receiver has refused, since the start, of requests that decode: for limits, and where Kafka did not "
    "take them.",
    ["receiver", "transport", "tenant"],
)


class TenantMetrics:
    """One per process. It keeps the series, since looking one up costs more than counting."""

    def __init__(self, tenants_max: int = TENANTS_MAX) -> None:
        self.labels = TenantLabels(tenants_max)
        self._received: dict[str, tuple[Counter, Counter]] = {}

    def received(self, tenant: str, spans: int, size_bytes: int) -> None:
        """Counts a request, or several."""
        label = self.labels.of(tenant)
        series = self._received.get(label)
        if series is None:
            series = self._received[label] = SPANS.labels(label), BYTES.labels(label)
        series[0].inc(spans)
        series[1].inc(size_bytes)

    def discarded(self, tenant: str, reason: str, spans: int) -> None:
        """Counts spans that are not stored."""
        DISCARDED.labels(reason, self.labels.of(tenant)).inc(spans)


class ReceiverSeries(NamedTuple):
    """The series of one receiver and one tenant."""

    ingress_bytes: Counter
    accepted: Gauge
    refused: Gauge


class ReceiverMetrics:
    """The series of one receiver, by tenant."""

    def __init__(self, receiver: str, transport: str, labels: TenantLabels) -> None:
        """receiver, transport: as otlp and grpc"""
        self._receiver, self._transport, self._labels = receiver, transport, labels
        self._series: dict[str, ReceiverSeries] = {}

    def of(self, tenant: str) -> ReceiverSeries:
        """A tenant's series; beyond the bound those of all others together."""
        label = self._labels.of(tenant)
        found = self._series.get(label)
        if found is None:
            names = (self._receiver, self._transport, label)
            found = self._series[label] = ReceiverSeries(
                INGRESS_BYTES.labels(label), ACCEPTED.labels(*names), REFUSED.labels(*names)
            )
        return found
