"""What the API asks of the rest of the process: the only way from an HTTP request to spans."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa
from aiohttp import web

from query.language import ast
from query.results import MetricsResult, SearchResult
from query.tags import TagNames, TagValues


@dataclass(frozen=True, slots=True, eq=False)
class TraceAnswer:
    """One trace, as far as it could be found.

    table: the trace's spans, columns as in tables.schema, in any order; None: no span of it was found
    complete: every place that may hold spans of it has answered
    message: what did not answer, where `complete` is false; else ""
    """

    table: pa.Table | None
    complete: bool
    message: str


class Backend(Protocol):
    """Answers queries. Calls run at the same time, and are cancelled when the client goes away.

    Every call may raise: TraceQLError (the query's text is wrong), errors.Unavailable,
    errors.TooManyRequests, TimeoutError (longer than the setting `query.timeout_s` allows).
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
    ) -> SearchResult:
        """The newest `limit` traces that match.

        start_s, end_s: unix seconds; None: open. spans_per_span_set: 0: all.
        """
        ...

    async def metrics_range(
        self, tenant: str, query: str, *, start_ns: int, end_ns: int, step_ns: int, exemplars: int
    ) -> MetricsResult:
        """A sample per step of each series; so many exemplars at most."""
        ...

    async def metrics_instant(self, tenant: str, query: str, *, start_ns: int, end_ns: int) -> MetricsResult:
        """One sample of each series, about the whole range."""
        ...

    async def tag_names(
        self, tenant: str, *, scope: str | None, query: str, start_s: int | None, end_s: int | None, limit: int
    ) -> TagNames:
        """The attributes and intrinsics by scope, as `query.tags.tag_names`. start_s, end_s: as for `search`."""
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
    ) -> TagValues:
        """The values of some fields, as `query.tags.tag_values`."""
        ...

    async def trace(self, tenant: str, trace_id: bytes, *, start_s: int | None, end_s: int | None) -> TraceAnswer:
        """All spans of a trace. trace_id: 16 bytes; the times say where to look, not which spans to return.

        Raises: errors.TraceTooLarge
        """
        ...

    def not_ready(self) -> Sequence[str]:
        """Why this process cannot serve yet, a line each; empty when it can."""
        ...


BACKEND: Final = web.AppKey("backend", Backend)
