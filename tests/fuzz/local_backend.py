"""A backend that answers from one small head of this process: the query path without Kafka, threads and storage."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from app.api.backend import TraceAnswer
from benchmarks.hostile.examples import records
from query.metrics.metrics import metrics_instant, metrics_range
from query.search.search import search
from query.tags.tags import tag_names, tag_values
from query.trace.pages import trace_page
from query.trace.trace import find_trace
from tables.live.head import Head
from tests.fuzz.rest import head_record

T = TypeVar("T")
NS = 1_000_000_000


@cache
def head() -> Head:
    """The example requests, unsealed."""
    made = Head()
    for value in records():
        made.append(head_record(value))
    return made


def sources() -> list[Any]:
    return list(head().sources(len(head().records)))


def _ns(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * NS


class LocalBackend:
    """`app.api.backend.Backend` over `sources`."""

    async def search(self, tenant, query, *, start_s, end_s, spans_per_span_set, watch=None, **named):
        window = {"start_ns": _ns(start_s), "end_ns": _ns(end_s)}
        return search(sources(), query, spans_per_span_set=spans_per_span_set or 2**31, **window, **named)

    async def metrics_range(self, tenant, query, *, start_ns, end_ns, step_ns, exemplars, watch=None):
        times = {"start_ns": start_ns, "end_ns": end_ns, "step_ns": step_ns}
        return metrics_range(sources(), query, exemplars=exemplars, **times)

    async def metrics_instant(self, tenant, query, *, start_ns, end_ns, watch=None):
        return metrics_instant(sources(), query, start_ns=start_ns, end_ns=end_ns)

    async def tag_names(self, tenant, *, start_s, end_s, watch=None, **named):
        return tag_names(sources(), start_ns=_ns(start_s), end_ns=_ns(end_s), **named)

    async def tag_values(self, tenant, fields, *, start_s, end_s, watch=None, **named):
        return tag_values(sources(), fields=fields, start_ns=_ns(start_s), end_ns=_ns(end_s), **named)

    async def trace(self, tenant, trace_id, *, page=None, **_):
        if page is not None:
            table, more = trace_page(sources(), trace_id, page.after, page.spans_max)
            return TraceAnswer(table, complete=True, message="", more=more)
        return TraceAnswer(find_trace(sources(), trace_id), complete=True, message="")

    async def beside(self, make: Callable[[], T]) -> T:
        return make()

    def not_ready(self) -> Sequence[str]:
        return []

    def damage(self) -> Sequence[str]:
        return []
