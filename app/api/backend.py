"""What the API asks of the rest of the process: the only way from an HTTP request to spans."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import pyarrow as pa
from aiohttp import web

from query.language import ast
from query.results import MetricsResult, SearchResult
from query.scan.progress import Watch
from query.search.top_traces import Order
from query.tags.tags import TagNames, TagValues
from query.trace.pages import Place

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class TraceAnswer:
    """One trace, as far as it could be found.

    table: the trace's spans, columns as in tables.schema, in any order; None: no span of it was found
    complete: every place that may hold spans of it has answered
    message: what did not answer, where `complete` is false; else ""
    more: of a page: whether spans come after it
    """

    table: pa.Table | None
    complete: bool
    message: str
    more: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a trace, by start and span id: so many spans, or a few more, after the last one of the page before."""

    after: Place | None
    spans_max: int


class Backend(Protocol):
    """Answers queries. Calls run at the same time, and are cancelled when the client goes away.

    Every call may raise: TraceQLError (the query's text is wrong), errors.Unavailable,
    errors.TooManyRequests, TimeoutError (longer than the setting `query.timeout_s` allows).
    watch: is filled, and told what is known before the end, on another thread
    """

    async def search(
        self,
        tenant: str,
        query: str,
        *,
        start_s: int | None,
        end_s: int | None,
        limit: int,
        spans_per_span_set: int,
        order: Order = "start",
        total: bool = False,
        cursor: str | None = None,
        watch: Watch | None = None,
    ) -> SearchResult:
        """The newest `limit` traces that match.

        start_s, end_s: unix seconds; None: open. spans_per_span_set: 0: all. order, total, cursor: as
        `query.search.search.search`, which takes the cursor
        """
        ...

    async def metrics_range(
        self,
        tenant: str,
        query: str,
        *,
        start_ns: int,
        end_ns: int,
        step_ns: int,
        exemplars: int,
        watch: Watch | None = None,
    ) -> MetricsResult:
        """A sample per step of each series; so many exemplars at most."""
        ...

    async def metrics_instant(
        self, tenant: str, query: str, *, start_ns: int, end_ns: int, watch: Watch | None = None
    ) -> MetricsResult:
        """One sample of each series, about the whole range."""
        ...

    async def tag_names(
        self,
        tenant: str,
        *,
        scope: str | None,
        query: str,
        start_s: int | None,
        end_s: int | None,
        limit: int,
        watch: Watch | None = None,
    ) -> TagNames:
        """The attributes and intrinsics by scope, as `query.tags.tags.tag_names`. start_s, end_s: as for `search`."""
        ...

    async def tag_values(
        self,
        tenant: str,
        fields: Sequence[ast.Field],
        *,
        query: str,
        start_s: int | None,
        end_s: int | None,
        limit: int,
        watch: Watch | None = None,
    ) -> TagValues:
        """The values of some fields, as `query.tags.tags.tag_values`."""
        ...

    async def trace(
        self,
        tenant: str,
        trace_id: bytes,
        *,
        start_s: int | None,
        end_s: int | None,
        bytes_max: int = 0,
        page: Page | None = None,
    ) -> TraceAnswer:
        """All spans of a trace, or a page of them. trace_id: 16 bytes; the times say where to look, not which spans
        to return.

        bytes_max: of the whole trace as OTLP; 0: any
        Raises: errors.TraceTooLarge where it is certain before reading; what is near the limit comes
        """
        ...

    async def beside(self, make: Callable[[], T]) -> T:
        """What `make` gives, made beside the event loop: the bytes of an answer, for one. Raises what it raises."""
        ...

    def not_ready(self) -> Sequence[str]:
        """Why this process cannot serve yet, a line each; empty when it can."""
        ...

    def damage(self) -> Sequence[str]:
        """What of the stored data cannot be read, a line each; the rest is served."""
        ...


BACKEND: Final = web.AppKey("backend", Backend)
