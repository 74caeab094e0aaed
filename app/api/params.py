"""Parameters of requests: text → checked values. Each refusal names the parameter and what it may be."""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Final

from app.api import times
from app.api.errors import ParameterError
from app.api.limits import ApiLimits
from app.api.tempo.old_search import OLD_PARAMETERS, old_query
from app.api.times import INT64_MAX, length_ns, moment_ns
from query.language import ast
from query.requests import (
    ORDERS,
    InstantRequest,
    Order,
    Page,
    RangeRequest,
    SearchRequest,
    SpanSelection,
    TagNamesRequest,
    TagValuesRequest,
    TraceRequest,
)
from query.search.top_traces import page_start
from query.tags.tag_text import INTRINSIC, SCOPES, parse_old_tag, parse_tag
from query.trace.filter import ALL_LEVELS, compile_filter
from query.trace.pages import place_of
from tables.units import NS_PER_S

ALL_TRACES: Final = "{ }"
EXEMPLARS_MAX: Final = 100
UINT32_MAX: Final = 2**32 - 1
_NO_SCOPE: Final = "none"
_DIGITS: Final = re.compile(r"[0-9]{1,20}")
_TRACE_ID: Final = re.compile(r"[0-9a-fA-F]{1,32}")


def whole_number(params: Mapping[str, str], name: str, *, most: int = UINT32_MAX) -> int | None:
    """A parameter that is a number from 0 to `most`; None where it is missing or empty."""
    text = params.get(name, "")
    if not text:
        return None
    if _DIGITS.fullmatch(text) is None or int(text) > most:
        raise ParameterError(f"invalid {name} {text[:40]!r}: must be a whole number from 0 to {most}")
    return int(text)


def time_range(params: Mapping[str, str]) -> tuple[int | None, int | None]:
    """`start` and `end` in ns, both moved outwards to whole seconds. Missing, empty or 0 (as Tempo's clients send it):
    None, open.

    With `since` and no start: from so long before the end, or before now.
    """
    start_ns, end_ns, since_ns = moment_ns(params, "start"), moment_ns(params, "end"), length_ns(params, "since")
    if since_ns is not None and start_ns is None:
        start_ns = max(NS_PER_S, (time.time_ns() if end_ns is None else end_ns) - since_ns)
    if start_ns is not None:
        start_ns = start_ns // NS_PER_S * NS_PER_S
    if end_ns is not None:
        end_ns = min(-(-end_ns // NS_PER_S), INT64_MAX // NS_PER_S) * NS_PER_S
    if start_ns is not None and end_ns is not None and start_ns > end_ns:
        raise ParameterError(f"start must not be after end: got start={start_ns // NS_PER_S} end={end_ns // NS_PER_S}")
    return start_ns, end_ns


def trace_id(text: str) -> bytes:
    """A trace id of 1 to 32 hex digits, as 16 bytes: clients drop its left zeros."""
    if _TRACE_ID.fullmatch(text) is None:
        raise ParameterError(f"invalid trace id {text[:40]!r}: must be 1 to 32 hex digits")
    return bytes.fromhex(text.rjust(32, "0"))


def search_request(params: Mapping[str, str], limits: ApiLimits) -> SearchRequest:
    """The parameters of `/api/search`. Raises: ParameterError."""
    start_ns, end_ns = time_range(params)
    if limits.max_search_duration_s and start_ns is not None and end_ns is not None:
        range_s = (end_ns - start_ns) // NS_PER_S
        if range_s > limits.max_search_duration_s:
            raise ParameterError(
                f"start={start_ns // NS_PER_S} end={end_ns // NS_PER_S} are {range_s} s apart; the setting "
                f"{limits.search_duration_setting} allows {limits.max_search_duration_s} s"
            )
    query = query_text(params, limits)
    old = "" if query else old_query({name: query_text(params, limits, name) for name in OLD_PARAMETERS})
    spans_per_span_set = _spss(params, limits)
    request = SearchRequest(
        query=query or old or ALL_TRACES,
        start_ns=start_ns,
        end_ns=end_ns,
        limit=_limit(params, limits),
        # Where no span is shown one is enough.
        spans_per_span_set=spans_per_span_set if query else 1,
        order=_order(params),
        total=flag(params, "total"),
        cursor=params.get("cursor"),
    )
    try:
        page_start(request)
    except ValueError as err:
        raise ParameterError(f"invalid cursor: {err}") from err
    return request


def shows_span_sets(params: Mapping[str, str]) -> bool:
    """Whether the answer to a search shows spans and services: not without a TraceQL query of the client's own."""
    return bool(params.get("q", "").strip())


def range_request(params: Mapping[str, str], limits: ApiLimits) -> RangeRequest:
    """The parameters of `/api/metrics/query_range`. Raises: ParameterError"""
    query, asked = _metrics_query(params, limits), _metrics_range(params, limits)
    return RangeRequest(
        query=query,
        start_ns=asked.start_ns,
        end_ns=asked.end_ns,
        step_ns=times.step_ns(params, asked),
        exemplars=_exemplars(params),
    )


def instant_request(params: Mapping[str, str], limits: ApiLimits) -> InstantRequest:
    """The parameters of `/api/metrics/query`. Raises: ParameterError"""
    query, asked = _metrics_query(params, limits), _metrics_range(params, limits)
    return InstantRequest(query=query, start_ns=asked.start_ns, end_ns=asked.end_ns)


def _metrics_range(params: Mapping[str, str], limits: ApiLimits) -> times.TimeRange:
    return times.time_range(params, limits.max_metrics_duration_s, limits.metrics_duration_setting)


def _metrics_query(params: Mapping[str, str], limits: ApiLimits) -> str:
    """`q`, or `query` as Prometheus calls it."""
    query = query_text(params, limits) or query_text(params, limits, "query")
    if not query:
        raise ParameterError("q is missing: write a TraceQL metrics query, as { } | rate()")
    return query


def _exemplars(params: Mapping[str, str]) -> int:
    number = whole_number(params, "exemplars")
    return EXEMPLARS_MAX if number is None else min(number, EXEMPLARS_MAX)


def tag_names_request(params: Mapping[str, str], limits: ApiLimits) -> TagNamesRequest:
    """The parameters of both lists of tags. Raises: ParameterError"""
    scope = params.get("scope") or _NO_SCOPE
    if scope not in {_NO_SCOPE, INTRINSIC, *SCOPES}:
        known = ", ".join([*SCOPES, INTRINSIC, _NO_SCOPE])
        raise ParameterError(f"invalid scope {scope[:40]!r}: must be one of {known}")
    start_ns, end_ns = time_range(params)
    return TagNamesRequest(
        scope=None if scope == _NO_SCOPE else scope,
        query=query_text(params, limits),
        start_ns=start_ns,
        end_ns=end_ns,
        limit=_tag_limit(params),
    )


def tag_values_request(params: Mapping[str, str], limits: ApiLimits) -> TagValuesRequest:
    """The parameters of a tag's values, and `tag`: the tag as TraceQL writes it.

    Raises: ParameterError, TraceQLError
    """
    return _tag_values_request((parse_tag(params["tag"]),), params, limits)


def old_tag_values_request(params: Mapping[str, str], limits: ApiLimits) -> TagValuesRequest:
    """As `tag_values_request`, of a tag without its scope, as in Tempo's older API."""
    return _tag_values_request(parse_old_tag(params["tag"]), params, limits)


def _tag_values_request(fields: Sequence[ast.Field], params: Mapping[str, str], limits: ApiLimits) -> TagValuesRequest:
    start_ns, end_ns = time_range(params)
    return TagValuesRequest(
        fields=tuple(fields),
        query=query_text(params, limits),
        start_ns=start_ns,
        end_ns=end_ns,
        limit=_tag_limit(params),
        bytes_max=limits.max_bytes_per_tag_values_query,
    )


def _tag_limit(params: Mapping[str, str]) -> int:
    """`limit`; 0: none. `maxStaleValues`, Tempo's way to stop early, is checked, but changes no answer here."""
    whole_number(params, "maxStaleValues")
    return whole_number(params, "limit") or 0


def trace_request(id_text: str, params: Mapping[str, str], limits: ApiLimits) -> TraceRequest:
    """The parameters of a trace by its id. id_text: the id, as in the path. Raises: ParameterError"""
    id_bytes, (start_ns, end_ns) = trace_id(id_text), time_range(params)
    return TraceRequest(
        trace_id=id_bytes,
        start_ns=start_ns,
        end_ns=end_ns,
        bytes_max=limits.max_bytes_per_trace,
        page=_trace_page(params, limits),
    )


def _order(params: Mapping[str, str]) -> Order:
    order: Order
    for order in ORDERS:
        if params.get("order", "") in (order, ""):
            return order
    raise ParameterError(f"invalid order {params['order'][:40]!r}: must be {' or '.join(ORDERS)}")


def flag(params: Mapping[str, str], name: str) -> bool:
    """Whether it is `true`; "" and what is missing is `false`. Raises: ParameterError"""
    text = params.get(name, "")
    if text not in {"", "true", "false"}:
        raise ParameterError(f"invalid {name} {text[:40]!r}: must be true or false")
    return text == "true"


def _trace_page(params: Mapping[str, str], limits: ApiLimits) -> Page | None:
    """`cursor` and `limit` of a trace by id; None where there is no cursor: all of it. Raises: ParameterError"""
    cursor, limit = params.get("cursor"), whole_number(params, "limit")
    if cursor is None:
        return None
    most = limits.max_spans_per_page
    if limit is not None and not 0 < limit <= most:
        raise ParameterError(
            f"invalid limit '{limit}': the setting query_frontend.trace_by_id.max_spans_per_page allows 1 to {most}"
        )
    try:
        return Page(place_of(cursor), most if limit is None else limit)
    except ValueError as err:
        raise ParameterError(f"invalid cursor: {err}") from err


def trace_filter(params: Mapping[str, str], limits: ApiLimits) -> SpanSelection | None:
    """`q` of a trace by id, with `keep_hierarchy`, `match_depth`, `ancestor_depth`; None: all of it. Without `q` the
    others do not count, nor does the last without the first. Raises: ParameterError, TraceQLError
    """
    query = query_text(params, limits)
    if not query:
        return None
    if params.get("cursor") is not None:
        raise ParameterError("q and cursor do not go together: pages are of the whole trace")
    hierarchy = _go_bool(params, "keep_hierarchy")
    below = _depth(params, "match_depth", 0)
    above = _depth(params, "ancestor_depth", ALL_LEVELS) if hierarchy else 0
    compile_filter(query, below, above)  # a wrong query is refused before spans are read
    return SpanSelection(query, below, above)


def _go_bool(params: Mapping[str, str], name: str) -> bool:
    text = params.get(name, "")
    if text in {"1", "t", "T", "true", "TRUE", "True"}:
        return True
    if text in {"", "0", "f", "F", "false", "FALSE", "False"}:
        return False
    raise ParameterError(f"invalid {name} {text[:40]!r}: must be true or false")


def _depth(params: Mapping[str, str], name: str, default: int) -> int:
    text = params.get(name, "")
    if text in {"", "-1"}:
        return ALL_LEVELS if text else default
    if _DIGITS.fullmatch(text) is None:
        raise ParameterError(f"invalid {name} {text[:40]!r}: must be a whole number, or -1 for all levels")
    return int(text)


def query_text(params: Mapping[str, str], limits: ApiLimits, name: str = "q") -> str:
    """A TraceQL text, or another that is as long, "" for none. Raises: ParameterError"""
    text = params.get(name, "").strip()
    size_bytes = len(text.encode("utf-8", "surrogatepass"))
    if size_bytes > limits.max_query_expression_size_bytes:
        raise ParameterError(
            f"invalid {name}: {size_bytes} bytes; the setting query_frontend.max_query_expression_size_bytes "
            f"allows {limits.max_query_expression_size_bytes}"
        )
    return text


def _limit(params: Mapping[str, str], limits: ApiLimits) -> int:
    """How many traces, at least 1."""
    limit = whole_number(params, "limit")
    if limit is None:
        return limits.default_result_limit
    if limit == 0:
        raise ParameterError("invalid limit '0': must be a positive number")
    if limits.max_result_limit and limit > limits.max_result_limit:
        raise ParameterError(
            f"invalid limit '{limit}': the setting query_frontend.search.max_result_limit "
            f"allows {limits.max_result_limit}"
        )
    return limit


def _spss(params: Mapping[str, str], limits: ApiLimits) -> int:
    """How many spans per span set; 0, all, only where there is no limit."""
    spss = whole_number(params, "spss")
    if spss is None:
        return limits.default_spans_per_span_set
    if limits.max_spans_per_span_set and not 0 < spss <= limits.max_spans_per_span_set:
        raise ParameterError(
            f"invalid spss '{spss}': the setting query_frontend.search.max_spans_per_span_set "
            f"allows 1 to {limits.max_spans_per_span_set}"
        )
    return spss
