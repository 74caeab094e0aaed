"""Each query that a process answers: counted, in the log where it is slow, and in a trace where it is sampled."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from agents import tracing
from agents.log_line import log_context, log_line
from agents.tracing import OwnSpan
from app.api.backend import Backend, TraceAnswer
from app.querying.running.query_metrics import QueryMetrics
from app.querying.running.timed import timed
from query.requests import InstantRequest, RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest, TraceRequest
from query.results import Inspected, MetricsResult, SearchResult
from query.scan.progress import QueryObserver
from query.tags.tags import TagNames, TagValues
from tables.units import NS_PER_S

log = logging.getLogger("stretto.queries")
T = TypeVar("T")

_TRACES, _SEARCH, _METADATA, _METRICS = "traces", "search", "metadata", "metrics"
_NOTHING: Final = Inspected()


@dataclass(frozen=True, slots=True)
class QueryLogConfig:
    """slow_s: from there on a query is logged as slow; 0: never. all_queries: the others are, too
    query_chars_max: of the query's text; 0: without it
    """

    slow_s: float
    all_queries: bool
    query_chars_max: int


class ObservedQueries:
    """`app.api.backend.Backend`: asks another one, and notes what became of it."""

    def __init__(self, backend: Backend, metrics: QueryMetrics, config: QueryLogConfig) -> None:
        self._backend, self._metrics, self._config = backend, metrics, config

    async def search(self, tenant: str, request: SearchRequest, observer: QueryObserver) -> SearchResult:
        return await self._observed(_SEARCH, tenant, request, lambda: self._backend.search(tenant, request, observer))

    async def metrics_range(self, tenant: str, request: RangeRequest, observer: QueryObserver) -> MetricsResult:
        ask = self._backend.metrics_range
        return await self._observed(_METRICS, tenant, request, lambda: ask(tenant, request, observer))

    async def metrics_instant(self, tenant: str, request: InstantRequest, observer: QueryObserver) -> MetricsResult:
        ask = self._backend.metrics_instant
        return await self._observed(_METRICS, tenant, request, lambda: ask(tenant, request, observer))

    async def tag_names(self, tenant: str, request: TagNamesRequest, observer: QueryObserver) -> TagNames:
        ask = self._backend.tag_names
        return await self._observed(_METADATA, tenant, request, lambda: ask(tenant, request, observer))

    async def tag_values(self, tenant: str, request: TagValuesRequest, observer: QueryObserver) -> TagValues:
        ask = self._backend.tag_values
        return await self._observed(_METADATA, tenant, request, lambda: ask(tenant, request, observer))

    async def trace(self, tenant: str, request: TraceRequest) -> TraceAnswer:
        return await self._observed(_TRACES, tenant, request, lambda: self._backend.trace(tenant, request))

    async def run_in_thread(self, make: Callable[[], T]) -> T:
        return await self._backend.run_in_thread(make)

    def not_ready(self) -> Sequence[str]:
        return self._backend.not_ready()

    def damage(self) -> Sequence[str]:
        return self._backend.damage()

    def close(self) -> None:
        self._backend.close()

    async def _observed(self, op: str, tenant: str, request: Any, ask: Callable[[], Awaitable[T]]) -> T:
        inspected = _NOTHING
        about = {"tenant": tenant, "op": op}

        def ended(status: int, took_s: float) -> None:
            self._metrics.ended(tenant, op, status, inspected.bytes, took_s)
            self._note(span, about, request, status, inspected, took_s)

        with (
            tracing.span(f"query {op}", about, kind=tracing.SERVER) as span,
            log_context(tenant=tenant, **span.log_fields),
            timed(ended),
        ):
            answer = await ask()
            inspected = getattr(answer, "inspected", _NOTHING)
            return answer

    def _note(
        self, span: OwnSpan, asked: dict[str, str], request: Any, status: int, inspected: Inspected, took_s: float
    ) -> None:
        config = self._config
        is_slow = bool(config.slow_s) and took_s >= config.slow_s
        if not (is_slow or config.all_queries or span.is_recording):
            return
        fields: dict[str, Any] = {
            **asked,
            "status": status,
            "duration_s": round(took_s, 6),
            "inspected_bytes": inspected.bytes,
            "inspected_spans": inspected.spans,
            **_described(request, config.query_chars_max),
        }
        span.set({key: value for key, value in fields.items() if key not in asked})
        if is_slow or config.all_queries:
            level = logging.WARNING if is_slow else logging.INFO
            log_line(log, level, "slow query" if is_slow else "query", {**fields, **span.log_fields})


def _described(request: Any, query_chars_max: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if request.start_ns is not None and request.end_ns is not None:
        found["range_s"] = (request.end_ns - request.start_ns) / NS_PER_S
    if isinstance(request, TraceRequest):
        found["looked_up"] = request.trace_id.hex()
    elif query_chars_max and (query := request.query):
        found["query"] = query if len(query) <= query_chars_max else f"{query[:query_chars_max]}…"
    return found
