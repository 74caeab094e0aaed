"""What the API asks of the rest of the process: the only way from an HTTP request to spans."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import pyarrow as pa
from aiohttp import web

from query.requests import InstantRequest, RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest, TraceRequest
from query.results import MetricsResult, SearchResult
from query.scan.progress import QueryObserver
from query.tags.tags import TagNames, TagValues

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class TraceAnswer:
    """One trace, as far as it could be found.

    table: the trace's spans, columns as in tables.schema, in any order; None: no span of it was found
    complete: every place that may hold spans of it has answered
    message: what did not answer, where `complete` is false; else ""
    more: of a page: whether spans come after it; with a filter: whether it leaves spans out
    """

    table: pa.Table | None
    complete: bool
    message: str
    more: bool = False


class Backend(Protocol):
    """Answers queries. Calls run at the same time, and are cancelled when the client goes away.

    tenant: whose spans are asked for
    observer: a new one; the call fills it, and tells it on another thread what is known before the end
    Every call may raise TraceQLError (the query's text is wrong), errors.Unavailable, errors.TooManyRequests, and
    TimeoutError (longer than the setting `query.timeout_s` allows).
    """

    async def search(self, tenant: str, request: SearchRequest, observer: QueryObserver) -> SearchResult:
        """The traces that match, as `query.search.search.search`. Raises: also ValueError, for a bad cursor"""
        ...

    async def metrics_range(self, tenant: str, request: RangeRequest, observer: QueryObserver) -> MetricsResult:
        """A sample per step of each series, as `query.metrics.metrics.metrics_range`."""
        ...

    async def metrics_instant(self, tenant: str, request: InstantRequest, observer: QueryObserver) -> MetricsResult:
        """One sample of each series, as `query.metrics.metrics.metrics_instant`."""
        ...

    async def tag_names(self, tenant: str, request: TagNamesRequest, observer: QueryObserver) -> TagNames:
        """The attributes and intrinsics by scope, as `query.tags.tags.tag_names`."""
        ...

    async def tag_values(self, tenant: str, request: TagValuesRequest, observer: QueryObserver) -> TagValues:
        """The values of some fields, as `query.tags.tags.tag_values`."""
        ...

    async def trace(self, tenant: str, request: TraceRequest) -> TraceAnswer:
        """All spans of a trace, or a page of them, as `query.trace.by_id.trace_by_id`.

        Raises: also query.errors.TraceTooLarge
        """
        ...

    async def run_in_thread(self, make: Callable[[], T]) -> T:
        """What `make` returns, run on a thread, so that the event loop goes on: the bytes of an answer, for one.

        Raises: what `make` raises
        """
        ...

    def not_ready(self) -> Sequence[str]:
        """Why this process cannot serve yet, a line each; empty when it can."""
        ...

    def damage(self) -> Sequence[str]:
        """What of the stored data cannot be read, a line each; the rest is served."""
        ...

    def close(self) -> None:
        """Gives up the queries that run; called once, when the server has stopped."""
        ...


BACKEND: Final = web.AppKey("backend", Backend)
