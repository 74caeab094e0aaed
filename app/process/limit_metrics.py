"""The limits of tenants as metrics, under Tempo's names: what counts for all, and what overrides say."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import Gauge

from app.settings import Settings
from app.settings.tenants.overrides import TenantOverrides
from tables.tenant_labels import TENANTS_MAX

DEFAULTS: Final = Gauge("tempo_limits_defaults", "Limits of tenants without overrides; 0: no limit.", ["limit_name"])
OVERRIDES: Final = Gauge(
    "tempo_limits_overrides",
    "Limits of tenants with overrides; 0: no limit. Of the first 1000 tenants by name.",
    ["limit_name", "user"],
)


def show_limits(settings: Settings, default: TenantOverrides, tenants: Mapping[str, TenantOverrides]) -> None:
    """Sets them. default: what counts for all others. tenants: what counts for each tenant with overrides"""
    for name, value in _limits(settings, default).items():
        DEFAULTS.labels(name).set(value)
    OVERRIDES.clear()
    for tenant in sorted(tenants)[:TENANTS_MAX]:
        for name, value in _limits(settings, tenants[tenant]).items():
            OVERRIDES.labels(name, tenant).set(value)


def _limits(settings: Settings, entry: TenantOverrides) -> Mapping[str, float]:
    ingestion, generator = entry.ingestion, entry.metrics_generator.over(settings.metrics_generator)
    return {
        "ingestion_rate_limit_bytes": ingestion.rate_limit_bytes,
        "ingestion_burst_size_bytes": ingestion.burst_size_bytes,
        "max_bytes_per_trace": ingestion.max_bytes_per_trace,
        "block_retention": entry.compaction.block_retention or settings.compactor.compaction.block_retention,
        "metrics_generator_max_active_series": generator.registry.max_active_series,
    }
