"""Metrics of requests to the storage: Stretto's own, and those that Tempo's dashboards show."""

from typing import Final, NamedTuple

from prometheus_client import Counter, Gauge, Histogram

from tables.native_histogram import NativeHistogram

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

REQUESTS = Counter(
    "stretto_storage_requests_total",
    "Requests to the object storage, by operation and by how they ended; a retried request is one request.",
    ["backend", "operation", "status"],
)
BYTES = Counter(
    "stretto_storage_bytes_total", "Bytes read from and written to the object storage.", ["backend", "operation"]
)
SECONDS = Histogram(
    "stretto_storage_request_duration_seconds",
    "Time of an operation of the object storage, with its retries and hedged requests.",
    ["backend", "operation", "status"],
    buckets=_BUCKETS,
)
IN_FLIGHT = Gauge("stretto_storage_requests_in_flight", "Requests to the object storage that are running.", ["backend"])
WAITS = Counter(
    "stretto_storage_request_waits_total",
    "Requests that waited because storage.trace.concurrent_requests_max others were in flight.",
    ["backend"],
)
WAIT_SECONDS = Counter(
    "stretto_storage_request_wait_seconds_total", "Time that requests waited for others to end.", ["backend"]
)
HEDGED = Counter(
    "stretto_storage_hedged_requests_total",
    "Second requests for reads that took long, by whether they answered first (`won`) or not (`lost`).",
    ["backend", "result"],
)
TEMPO_SECONDS = NativeHistogram(
    "tempodb_backend_request_duration_seconds",
    "Time of an operation of the object storage, under the name that Tempo's dashboards use.",
    ["operation", "status_code"],
    buckets=_BUCKETS,
)
TEMPO_HEDGED = Counter(
    "tempodb_backend_hedged_roundtrips_total", "Hedged requests, under the name that Tempo's dashboards use."
)

# Tempo names an operation by its HTTP method.
_METHODS: Final = {"put": "PUT", "create": "PUT", "head": "HEAD", "delete": "DELETE"}
_STATUS_CODES: Final = {
    "ok": "200",
    "missing": "404",
    "exists": "412",
    "denied": "403",
    "throttled": "503",
    "timeout": "504",
    "unreachable": "502",
    "refused": "400",
    "error": "500",
}


class _Children(NamedTuple):
    requests: Counter
    seconds: Histogram
    tempo_seconds: Histogram | None
    bytes: Counter


class RequestMetrics:
    """The metrics of one backend; keeps the labelled children, because looking them up costs as much as counting."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._children: dict[tuple[str, str], _Children] = {}
        self.in_flight = IN_FLIGHT.labels(backend)
        self.waits, self.wait_seconds = WAITS.labels(backend), WAIT_SECONDS.labels(backend)

    def observe(self, operation: str, status: str, requests: int, size_bytes: int, seconds: float) -> None:
        """Counts one operation: how it ended, how many requests and bytes it took, its time."""
        children = self._children.get((operation, status))
        if children is None:
            children = self._children[operation, status] = self._new_children(operation, status)
        children.requests.inc(requests)
        children.seconds.observe(seconds)
        if children.tempo_seconds is not None:
            children.tempo_seconds.observe(seconds)
        if size_bytes:
            children.bytes.inc(size_bytes)

    def _new_children(self, operation: str, status: str) -> _Children:
        # Tempo's metric is of requests over HTTP.
        http = self._backend != "local"
        return _Children(
            REQUESTS.labels(self._backend, operation, status),
            SECONDS.labels(self._backend, operation, status),
            TEMPO_SECONDS.labels(_METHODS.get(operation, "GET"), _STATUS_CODES[status]) if http else None,
            BYTES.labels(self._backend, operation),
        )

    def hedged(self, result: str) -> None:
        """Counts a hedged request. result: `won` or `lost`"""
        HEDGED.labels(self._backend, result).inc()
        TEMPO_HEDGED.inc()
