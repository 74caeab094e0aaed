"""Configuration of the metrics generator. Names and defaults are Tempo's; a comment explains each exception."""

import hashlib
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

import orjson

SPAN_METRICS: Final = "span-metrics"
SERVICE_GRAPHS: Final = "service-graphs"

# Labels that metrics themselves use: no other label has these names.
METRIC_LABELS: Final = frozenset({"__name__", "__type__", "__unit__", "le", "quantile"})
OVERFLOW_LABEL: Final = "metric_overflow"  # of the series that counts what is beyond a limit

# 2 ms to 16 s, 100 ms to 13 s, each bound twice the one before: Tempo's.
LATENCY_BUCKETS_S: Final = tuple(round(0.002 * 2**n, 3) for n in range(14))
GRAPH_BUCKETS_S: Final = tuple(round(0.1 * 2**n, 1) for n in range(8))


@dataclass(frozen=True, slots=True)
class AttributeMatch:
    """One condition. key: `kind`, `name`, `status`, `resource.<key>` or `span.<key>`; value: as labels show it, or a
    regex
    """

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class PolicyMatch:
    """Conditions of a policy. match_type regex: RE2, matches anywhere in the value"""

    attributes: tuple[AttributeMatch, ...]
    match_type: Literal["strict", "regex"] = "strict"


@dataclass(frozen=True, slots=True)
class FilterPolicy:
    """A span passes if all of `include` match, any of `include_any`, and not all of `exclude`."""

    include: PolicyMatch | None = None
    include_any: PolicyMatch | None = None
    exclude: PolicyMatch | None = None


@dataclass(frozen=True, slots=True)
class DimensionMapping:
    """A label `name` that joins the values of several attributes; absent ones are left out."""

    name: str
    source_labels: tuple[str, ...]
    join: str = ""


@dataclass(frozen=True, slots=True)
class SpanMetricsConfig:
    """Configuration of processor span-metrics."""

    histogram_buckets: tuple[float, ...] = LATENCY_BUCKETS_S
    intrinsic_dimensions: frozenset[str] = frozenset({"service", "span_name", "span_kind", "status_code"})
    dimensions: tuple[str, ...] = ()
    dimension_mappings: tuple[DimensionMapping, ...] = ()
    filter_policies: tuple[FilterPolicy, ...] = ()
    span_multiplier_key: str = ""
    enable_target_info: bool = False
    enable_instance_label: bool = True
    target_info_excluded_dimensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceGraphsConfig:
    """Configuration of processor service-graphs."""

    wait_s: float = 10.0
    # Tempo's 10,000 is passed at 1,000 requests a second whose client spans come 10 s late; one takes 67 bytes here.
    max_items: int = 100_000
    histogram_buckets: tuple[float, ...] = GRAPH_BUCKETS_S
    dimensions: tuple[str, ...] = ()
    enable_client_server_prefix: bool = False
    enable_messaging_system_latency_histogram: bool = False
    enable_virtual_node_label: bool = False
    peer_attributes: tuple[str, ...] = ("peer.service", "db.name", "db.system", "db.system.name")
    database_name_attributes: tuple[str, ...] = ("db.namespace", "db.name", "db.system", "db.system.name")
    span_multiplier_key: str = ""


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """Configuration of one tenant.

    max_active_series, max_active_entities, max_cardinality_per_label: 0 for no limit. Beyond a limit, spans count under
    a label that says so. An entity is a label set with all of its series; limiter_type selects which of the two limits
    applies.
    stale_duration_s: seconds without new data after which a series ends
    ingestion_time_range_slack_s: spans that ended more than this before or after Kafka received their record do not
    count; 0: all count
    """

    processors: frozenset[str] = frozenset({SPAN_METRICS, SERVICE_GRAPHS})
    span_metrics: SpanMetricsConfig = field(default_factory=SpanMetricsConfig)
    service_graphs: ServiceGraphsConfig = field(default_factory=ServiceGraphsConfig)
    external_labels: tuple[tuple[str, str], ...] = ()
    limiter_type: Literal["series", "entity"] = "series"
    max_active_series: int = 0
    max_active_entities: int = 0
    max_cardinality_per_label: int = 0
    stale_duration_s: float = 900.0
    exemplars: bool = True
    trace_id_label_name: str = "traceID"
    generate_native_histograms: Literal["classic", "native", "both"] = "classic"
    native_histogram_bucket_factor: float = 1.1
    native_histogram_max_bucket_number: int = 100
    ingestion_time_range_slack_s: float = 0.0


_VERSION: Final = 2  # of what is saved of a generator; another one whenever that changes


# Settings that may change while a generator runs, because counters keep their meaning.
_LIMITS: Final = frozenset({"limiter_type", "max_active_series", "max_active_entities", "stale_duration_s"})


@lru_cache(maxsize=1024)  # tenants with settings of their own are few
def fingerprint(config: GeneratorConfig) -> str:
    """A text that is equal for two configurations if one can continue with the counters of the other."""

    def plain(value: Any) -> Any:
        return sorted(value) if isinstance(value, frozenset) else value

    counted = {name: plain(value) for name, value in asdict(config).items() if name not in _LIMITS}
    raw = orjson.dumps([_VERSION, counted], default=plain, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(raw, digest_size=16).hexdigest()
