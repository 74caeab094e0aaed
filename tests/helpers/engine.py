"""The real query engine over a few sources as a backend of the API, without threads and limits."""

import asyncio
from collections.abc import Sequence
from typing import Any

from app.api.backend import TraceAnswer
from query.metrics.metrics import metrics_instant, metrics_range
from query.scan.source import Source
from query.search.search import search
from query.tags.tags import tag_names, tag_values
from query.trace.pages import trace_page
from query.trace.trace import find_trace

NS = 10**9


class Engine:
    """Asks its sources on the event loop, where a test can wait for it."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    async def search(self, _tenant, query, *, start_s, end_s, watch, **asked):
        return search(self._sources, query, **_times(start_s, end_s), **_watched(watch), **asked)

    async def metrics_range(self, _tenant, query, *, watch, **asked):
        return metrics_range(self._sources, query, **_watched(watch), **asked)

    async def metrics_instant(self, _tenant, query, *, watch, **asked):
        return metrics_instant(self._sources, query, **_watched(watch), **asked)

    async def tag_names(self, _tenant, *, start_s, end_s, watch=None, **asked):
        return tag_names(self._sources, **_times(start_s, end_s), **asked)

    async def tag_values(self, _tenant, fields, *, start_s, end_s, watch=None, **asked):
        return tag_values(self._sources, fields, **_times(start_s, end_s), **asked)

    async def trace(self, _tenant, trace_id, *, page=None, **_):
        if page is None:
            return TraceAnswer(find_trace(self._sources, trace_id), complete=True, message="")
        table, more = trace_page(self._sources, trace_id, page.after, page.spans_max)
        return TraceAnswer(table, complete=True, message="", more=more)

    async def beside(self, make):
        """On any thread."""
        return await asyncio.to_thread(make)

    def not_ready(self) -> list[str]:
        return []

    def damage(self) -> list[str]:
        return []


def _times(start_s: int | None, end_s: int | None) -> dict[str, Any]:
    return {"start_ns": start_s and start_s * NS, "end_ns": end_s and end_s * NS}


def _watched(watch: Any) -> dict[str, Any]:
    return {"profile": watch.profile, "progress": watch.progress}
