"""The real query engine over a few sources as a backend of the API, without threads and limits."""

import asyncio
from collections.abc import Sequence

from app.api.backend import TraceAnswer
from query.metrics.metrics import metrics_instant, metrics_range
from query.requests import InstantRequest, RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest, TraceRequest
from query.results import MetricsResult, SearchResult
from query.scan.progress import QueryObserver
from query.scan.source import Source
from query.search.search import search
from query.tags.tags import TagNames, TagValues, tag_names, tag_values
from query.trace.by_id import trace_by_id

NS = 10**9


class Engine:
    """Asks its sources on the event loop, where a test can wait for it."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    async def search(self, _tenant: str, request: SearchRequest, observer: QueryObserver) -> SearchResult:
        return search(self._sources, request, observer=observer)

    async def metrics_range(self, _tenant: str, request: RangeRequest, observer: QueryObserver) -> MetricsResult:
        return metrics_range(self._sources, request, observer=observer)

    async def metrics_instant(self, _tenant: str, request: InstantRequest, observer: QueryObserver) -> MetricsResult:
        return metrics_instant(self._sources, request, observer=observer)

    async def tag_names(self, _tenant: str, request: TagNamesRequest, observer: QueryObserver) -> TagNames:
        return tag_names(self._sources, request, observer=observer)

    async def tag_values(self, _tenant: str, request: TagValuesRequest, observer: QueryObserver) -> TagValues:
        return tag_values(self._sources, request, observer=observer)

    async def trace(self, _tenant: str, request: TraceRequest) -> TraceAnswer:
        table, more = trace_by_id(self._sources, request)
        return TraceAnswer(table, complete=True, message="", more=more)

    async def run_in_thread(self, make):
        """What `make` gives, made on a thread."""
        return await asyncio.to_thread(make)

    def close(self) -> None:
        pass

    def not_ready(self) -> list[str]:
        return []

    def damage(self) -> list[str]:
        return []
