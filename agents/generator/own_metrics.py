"""The metrics generator's own metrics."""

from typing import Final

from prometheus_client import Counter, Gauge

from agents.generator.processors.tenant import TenantStats

RECEIVED = Counter("tempo_metrics_generator_spans_received_total", "Spans that were counted.", ["tenant"])
DISCARDED = Counter(
    "tempo_metrics_generator_spans_discarded_total", "Spans and records that were not counted.", ["tenant", "reason"]
)
ACTIVE = Gauge("tempo_metrics_generator_registry_active_series", "Series that are pushed.", ["tenant"])
ENTITIES = Gauge("tempo_metrics_generator_registry_active_entities", "Label sets with their series.", ["tenant"])
OVERFLOWED = Counter(
    "tempo_metrics_generator_registry_overflowed_total",
    "Spans and edges counted under the label metric_overflow, because there were too many series or entities.",
    ["tenant"],
)
LABELS_OVERFLOWED = Counter(
    "tempo_metrics_generator_registry_label_values_overflowed_total",
    "Values counted as __cardinality_overflow__, because max_cardinality_per_label was reached.",
    ["tenant"],
)
WAITING = Gauge(
    "tempo_metrics_generator_processor_service_graphs_waiting_edges", "Unpaired spans that wait.", ["tenant"]
)
EXPIRED = Counter(
    "tempo_metrics_generator_processor_service_graphs_expired_edges_total",
    "Unpaired spans whose other side did not come in time; edges to virtual nodes among them.",
    ["tenant"],
)
UNPAIRED = Counter(
    "tempo_metrics_generator_processor_service_graphs_unpaired_edges_total",
    "Unpaired spans that expired without becoming an edge.",
    ["tenant"],
)
DROPPED = Counter(
    "tempo_metrics_generator_processor_service_graphs_dropped_spans_total",
    "Unpaired spans dropped because service_graphs.max_items waited.",
    ["tenant"],
)
COLLECTIONS_FAILED = Counter(
    "tempo_metrics_generator_collections_failed_total",
    "Collections that a fault of ours made impossible: the tenant's counters began at 0 again.",
    ["tenant"],
)
PUSHES = Counter("tempo_metrics_generator_pushes_total", "Pushes that every target has dealt with.")
REDELIVERED = Counter("tempo_metrics_generator_records_redelivered_total", "Records passed over: counted already.")

NO_STATS: Final = TenantStats(0, 0.0, 0, 0, 0, 0, 0, 0)


def tell(tenant: str, now: TenantStats, before: TenantStats) -> None:
    """A tenant's figures as metrics."""
    ACTIVE.labels(tenant).set(now.active_series)
    ENTITIES.labels(tenant).set(now.active_entities)
    WAITING.labels(tenant).set(now.edges_waiting)
    OVERFLOWED.labels(tenant).inc(now.overflowed - before.overflowed)
    LABELS_OVERFLOWED.labels(tenant).inc(now.label_overflowed - before.label_overflowed)
    DISCARDED.labels(tenant, "outside_metrics_ingestion_slack").inc(now.outside_slack - before.outside_slack)
    DISCARDED.labels(tenant, "filter_policy").inc(now.filtered - before.filtered)
    DISCARDED.labels(tenant, "failed").inc(now.failed - before.failed)
    EXPIRED.labels(tenant).inc(now.edges_expired - before.edges_expired)
    UNPAIRED.labels(tenant).inc(now.edges_unpaired - before.edges_unpaired)
    DROPPED.labels(tenant).inc(now.edges_dropped - before.edges_dropped)
