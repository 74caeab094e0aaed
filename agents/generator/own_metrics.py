"""The metrics generator's own metrics."""

from typing import Final

from prometheus_client import Counter, Gauge

from agents.generator.config import SERVICE_GRAPHS, SPAN_METRICS, GeneratorConfig
from agents.generator.processors.tenant import TenantStats

RECEIVED = Counter(
    "tempo_metrics_generator_spans_received_total", "Spans that the metrics generator counted.", ["tenant"]
)
DISCARDED = Counter(
    "tempo_metrics_generator_spans_discarded_total",
    "Spans and records that the metrics generator did not count.",
    ["tenant", "reason"],
)
ACTIVE = Gauge("tempo_metrics_generator_registry_active_series", "Active series.", ["tenant"])
ENTITIES = Gauge(
    "tempo_metrics_generator_registry_active_entities",
    "Active entities: label sets, each with all of its series.",
    ["tenant"],
)
OVERFLOWED = Counter(
    "tempo_metrics_generator_registry_overflowed_total",
    "Spans and edges counted under the label metric_overflow, because a limit of series or entities was reached.",
    ["tenant"],
)
LABELS_OVERFLOWED = Counter(
    "tempo_metrics_generator_registry_label_values_overflowed_total",
    "Label values replaced by __cardinality_overflow__, because max_cardinality_per_label was reached.",
    ["tenant"],
)
WAITING = Gauge(
    "tempo_metrics_generator_processor_service_graphs_waiting_edges",
    "Unpaired spans that wait for the other span of their edge.",
    ["tenant"],
)
UNPAIRED = Counter(
    "tempo_metrics_generator_processor_service_graphs_unpaired_edges_total",
    "Unpaired spans that expired without becoming an edge.",
    ["tenant"],
)
COLLECTIONS_FAILED = Counter(
    "tempo_metrics_generator_collections_failed_total",
    "Collections that failed because of a bug. The tenant's counters start at 0 again.",
    ["tenant"],
)
COLLECTIONS = Counter("tempo_metrics_generator_registry_collections_total", "Collections of a tenant.", ["tenant"])
REGISTRY_FAILED = Counter(
    "tempo_metrics_generator_registry_collections_failed_total",
    "Collections that failed because of a bug; error_type is fault.",
    ["tenant", "error_type"],
)
PROCESSORS = Gauge(
    "tempo_metrics_generator_active_processors", "1 for each processor that a tenant has.", ["tenant", "processor"]
)
SERIES_MAX = Gauge(
    "tempo_metrics_generator_registry_max_active_series", "Limit of a tenant's series; 0: none.", ["tenant"]
)
# Gauges that only grow: as Tempo's, their names do not end in _total.
EDGES = Gauge("tempo_metrics_generator_processor_service_graphs_edges", "Edges counted, since the start.", ["tenant"])
EXPIRED = Gauge(
    "tempo_metrics_generator_processor_service_graphs_expired_edges",
    "Unpaired spans whose other span did not arrive in time, since the start, including edges to virtual nodes.",
    ["tenant"],
)
DROPPED = Gauge(
    "tempo_metrics_generator_processor_service_graphs_dropped_spans",
    "Unpaired spans dropped because service_graphs.max_items were already waiting, since the start.",
    ["tenant"],
)
PUSHES = Counter("tempo_metrics_generator_pushes_total", "Pushes that every target has accepted or rejected.")
REDELIVERED = Counter(
    "tempo_metrics_generator_records_redelivered_total",
    "Redelivered records that were skipped because they are already counted.",
)

NO_STATS: Final = TenantStats(0, 0.0, 0, 0, 0, 0, 0, 0)


def export_stats(tenant: str, now: TenantStats, before: TenantStats) -> None:
    """Updates the metrics from a tenant's stats. now, before: current and last exported stats"""
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
    EDGES.labels(tenant).inc(now.edges - before.edges)


def export_config(tenant: str, config: GeneratorConfig) -> None:
    """Updates the metrics of what a tenant's settings say."""
    for name in (SPAN_METRICS, SERVICE_GRAPHS):
        PROCESSORS.labels(tenant, name).set(name in config.processors)
    SERIES_MAX.labels(tenant).set(config.max_active_series)
