"""The limits that requests and answers of the API are held to, each under the name of its setting."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from aiohttp import web

from app.settings.sections.query_frontend import QueryFrontend
from app.settings.tenants.tenant_limits import ReadOverrides


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLimits:
    """Settings of `query_frontend`, and one of `server`. Where it says so, 0 switches a limit off."""

    default_result_limit: int = 20  # search.default_result_limit
    max_result_limit: int = 0  # search.max_result_limit; 0: none
    default_spans_per_span_set: int = 3  # search.default_spans_per_span_set
    max_spans_per_span_set: int = 0  # search.max_spans_per_span_set; 0: none
    max_search_duration_s: int = 0  # search.max_duration_s; 0: none
    max_metrics_duration_s: int = 0  # metrics.max_duration_s; 0: none
    max_query_expression_size_bytes: int = 128 << 10  # max_query_expression_size_bytes
    max_bytes_per_trace: int = 0  # trace_by_id.max_bytes_per_trace; 0: none
    max_spans_per_page: int = 10_000  # trace_by_id.max_spans_per_page
    allow_partial: bool = False  # allow_partial
    max_send_msg_size_bytes: int = 4 << 20  # server.grpc_server_max_send_msg_size
    timeout_s: float = 60.0  # query.timeout_s
    max_bytes_read_per_query: int = 0  # max_bytes_read_per_query; 0: none
    # Only of single tenants.
    max_bytes_per_tag_values_query: int = 0  # read.max_bytes_per_tag_values_query; 0: none
    max_query_memory_bytes: int = 0  # read.max_query_memory_bytes; 0: query.memory_bytes_max
    # Where they come from, for errors.
    bytes_read_setting: str = "query_frontend.max_bytes_read_per_query"
    search_duration_setting: str = "query_frontend.search.max_duration_s"
    metrics_duration_setting: str = "query_frontend.metrics.max_duration_s"

    @classmethod
    def of(cls, frontend: QueryFrontend, max_send_msg_size_bytes: int, timeout_s: float) -> Self:
        """The limits that the settings say."""
        search, trace = frontend.search, frontend.trace_by_id
        return cls(
            default_result_limit=search.default_result_limit,
            max_result_limit=search.max_result_limit,
            default_spans_per_span_set=search.default_spans_per_span_set,
            max_spans_per_span_set=search.max_spans_per_span_set,
            max_search_duration_s=round(search.max_duration_s),
            max_metrics_duration_s=round(frontend.metrics.max_duration_s),
            max_query_expression_size_bytes=frontend.max_query_expression_size_bytes,
            max_bytes_per_trace=trace.max_bytes_per_trace,
            max_spans_per_page=trace.max_spans_per_page,
            allow_partial=frontend.allow_partial,
            max_bytes_read_per_query=frontend.max_bytes_read_per_query,
            max_send_msg_size_bytes=max_send_msg_size_bytes,
            timeout_s=timeout_s,
        )

    def of_tenant(self, read: ReadOverrides) -> Self:
        """The limits with those of one tenant over them."""
        changes: dict[str, Any] = {
            "max_bytes_per_tag_values_query": read.max_bytes_per_tag_values_query,
            "max_query_memory_bytes": read.max_query_memory_bytes,
        }
        if read.max_bytes_read_per_query:
            changes["max_bytes_read_per_query"] = read.max_bytes_read_per_query
            changes["bytes_read_setting"] = "read.max_bytes_read_per_query of the tenant's overrides"
        for kind in ("search", "metrics"):
            if duration_s := getattr(read, f"max_{kind}_duration"):
                changes[f"max_{kind}_duration_s"] = max(1, round(duration_s))
                changes[f"{kind}_duration_setting"] = f"read.max_{kind}_duration of the tenant's overrides"
        return replace(self, **changes)


_WITH_SETTING: Final = (
    ("max_search_duration_s", "search_duration_setting"),
    ("max_metrics_duration_s", "metrics_duration_setting"),
    ("max_bytes_read_per_query", "bytes_read_setting"),
)


def strictest(found: Sequence[ApiLimits]) -> ApiLimits:
    """The limits of a query that asks for several tenants: of what tenants have of their own, the least."""
    first, *others = found
    for other in others:
        for name, setting in _WITH_SETTING:
            if _is_stricter(getattr(other, name), getattr(first, name)):
                first = replace(first, **{name: getattr(other, name), setting: getattr(other, setting)})
        for name in ("max_bytes_per_tag_values_query", "max_query_memory_bytes"):
            if _is_stricter(getattr(other, name), getattr(first, name)):
                first = replace(first, **{name: getattr(other, name)})
    return first


def _is_stricter(limit: int, than: int) -> bool:
    return limit > 0 and (than == 0 or limit < than)


# The limits of one tenant.
LimitsOf = Callable[[str], ApiLimits]


class CurrentLimits:
    """The limits of all, as they are now: `version` grows with each change."""

    def __init__(self, limits: ApiLimits) -> None:
        self.now, self.version = limits, 0

    def replace(self, limits: ApiLimits) -> None:
        """Sets the limits of all requests that come from now on."""
        self.now, self.version = limits, self.version + 1


LIMITS: Final = web.AppKey("limits", CurrentLimits)
