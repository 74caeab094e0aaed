"""Tempo's metrics of queries, by tenant and by what is asked: op."""

from typing import Final, NamedTuple

from prometheus_client import Counter

from app.net.access import SEPARATOR
from app.settings.sections.query_frontend import QueryFrontend, Slo
from tables.tenant_labels import OTHERS, TenantLabels

_NAMES: Final = ["tenant", "op", "result"]
QUERIES: Final = Counter(
    "tempo_query_frontend_queries_total",
    "Queries by tenant, op (traces, search, metadata, metrics) and result: completed, canceled. A query for several "
    "tenants at once counts for __other__.",
    _NAMES,
)
WITHIN_SLO: Final = Counter(
    "tempo_query_frontend_queries_within_slo_total",
    "Those that did not fail for a fault of ours, and were quick enough, as the settings duration_slo and "
    "throughput_bytes_slo say.",
    _NAMES,
)
BYTES: Final = Counter(
    "tempo_query_frontend_bytes_inspected_total", "Bytes that queries have read, of columns.", ["tenant", "op"]
)

_CANCELED: Final = 499
_FAULTS: Final = 500  # statuses from here on


class _Series(NamedTuple):
    queries: Counter
    within_slo: Counter


class QueryMetrics:
    """One for a process. It keeps the series, since looking one up costs more than counting."""

    def __init__(self, settings: QueryFrontend, tenants_max: int) -> None:
        self._labels = TenantLabels(tenants_max)
        self._slos = {
            "traces": settings.trace_by_id,
            "search": settings.search,
            "metadata": settings.search.metadata_slo,
            "metrics": settings.metrics,
        }
        self._series: dict[tuple[str, str, str], _Series] = {}
        self._bytes: dict[tuple[str, str], Counter] = {}

    def ended(self, tenant: str, op: str, status: int, size_bytes: int, seconds: float) -> None:
        """Counts a query. status: of HTTP; size_bytes: what it has read"""
        label = OTHERS if SEPARATOR in tenant else self._labels.of(tenant)
        key = (label, op, "canceled" if status == _CANCELED else "completed")
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(QUERIES.labels(*key), WITHIN_SLO.labels(*key))
        series.queries.inc()
        if status < _FAULTS and (status >= 300 or _is_quick(self._slos[op], size_bytes, seconds)):
            series.within_slo.inc()
        if status < 300:
            read = self._bytes.get(key[:2])
            if read is None:
                read = self._bytes[key[:2]] = BYTES.labels(*key[:2])
            if size_bytes:
                read.inc(size_bytes)


def _is_quick(slo: Slo, size_bytes: int, seconds: float) -> bool:
    """Either suffices: a short time, or many bytes a second. Without an objective all are quick."""
    if not slo.duration_slo and not slo.throughput_bytes_slo:
        return True
    in_time = bool(slo.duration_slo) and seconds < slo.duration_slo
    return in_time or bool(slo.throughput_bytes_slo and seconds and size_bytes / seconds >= slo.throughput_bytes_slo)
