"""Parameters of requests: text → checked values. Each refusal names the parameter and what it may be."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from app.api.backend import Page
from app.api.errors import ParameterError
from app.api.tempo.old_search import OLD_PARAMETERS, old_query
from app.api.times import INT64_MAX, NS, length_ns, moment_ns
from query.search.top_traces import ORDERS, Order, Wanted
from query.trace.filter import ALL_LEVELS, TraceFilter, compile_filter
from query.trace.pages import place_of

UINT32_MAX: Final = 2**32 - 1
_DIGITS: Final = re.compile(r"[0-9]{1,20}")
_TRACE_ID: Final = re.compile(r"[0-9a-fA-F]{1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The settings that requests are checked against. Where it says so, 0 switches a limit off."""

    default_limit: int  # query_frontend.search.default_result_limit
    max_limit: int  # query_frontend.search.max_result_limit; 0: none
    default_spss: int  # query_frontend.search.default_spans_per_span_set
    max_spss: int  # query_frontend.search.max_spans_per_span_set; 0: none
    max_range_s: int  # query_frontend.search.max_duration_s; 0: none
    max_query_bytes: int  # query_frontend.max_query_expression_size_bytes
    max_metrics_range_s: int  # query_frontend.metrics.max_duration_s; 0: none
    max_trace_bytes: int  # query_frontend.trace_by_id.max_bytes_per_trace; 0: none
    max_page_spans: int  # query_frontend.trace_by_id.max_spans_per_page
    max_message_bytes: int  # server.grpc_server_max_send_msg_size


LIMITS: Final = web.AppKey("limits", Limits)


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What `/api/search` was asked for."""

    query: str  # "": all traces
    span_sets: bool  # whether the answer shows spans and services: not without a TraceQL query of the client's own
    start_s: int | None
    end_s: int | None
    limit: int
    spans_per_span_set: int  # 0: all
    order: Order
    total: bool
    cursor: str | None  # None: no pages


def whole_number(params: Mapping[str, str], name: str, *, most: int = UINT32_MAX) -> int | None:
    """A parameter that is a number from 0 to `most`; None where it is missing or empty."""
    text = params.get(name, "")
    if not text:
        return None
    if _DIGITS.fullmatch(text) is None or int(text) > most:
        raise ParameterError(f"invalid {name} {text[:40]!r}: must be a whole number from 0 to {most}")
    return int(text)


def time_range(params: Mapping[str, str]) -> tuple[int | None, int | None]:
    """`start` and `end` in unix seconds, both outwards. Missing, empty or 0 (as Tempo's clients send it): None, open.

    With `since` and no start: from so long before the end, or before now.
    """
    start_ns, end_ns, since_ns = moment_ns(params, "start"), moment_ns(params, "end"), length_ns(params, "since")
    if since_ns is not None and start_ns is None:
        start_ns = max(NS, (time.time_ns() if end_ns is None else end_ns) - since_ns)
    start_s = None if start_ns is None else start_ns // NS
    end_s = None if end_ns is None else min(-(-end_ns // NS), INT64_MAX // NS)
    if start_s is not None and end_s is not None and start_s > end_s:
        raise ParameterError(f"start must not be after end: got start={start_s} end={end_s}")
    return start_s, end_s


def trace_id(text: str) -> bytes:
    """A trace id of 1 to 32 hex digits, as 16 bytes: clients drop its left zeros."""
    if _TRACE_ID.fullmatch(text) is None:
        raise ParameterError(f"invalid trace id {text[:40]!r}: must be 1 to 32 hex digits")
    return bytes.fromhex(text.rjust(32, "0"))


def search_request(params: Mapping[str, str], limits: Limits) -> SearchRequest:
    """The parameters of `/api/search`. Raises: ParameterError."""
    start_s, end_s = time_range(params)
    if limits.max_range_s and start_s is not None and end_s is not None and end_s - start_s > limits.max_range_s:
        raise ParameterError(
            f"start={start_s} end={end_s} are {end_s - start_s} s apart; the setting "
            f"query_frontend.search.max_duration_s allows {limits.max_range_s} s"
        )
    query = query_text(params, limits)
    old = "" if query else old_query({name: query_text(params, limits, name) for name in OLD_PARAMETERS})
    return SearchRequest(
        query=query or old,
        span_sets=bool(query),
        start_s=start_s,
        end_s=end_s,
        limit=_limit(params, limits),
        spans_per_span_set=_spss(params, limits),
        order=_order(params),
        total=flag(params, "total"),
        cursor=_search_cursor(params),
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


def _search_cursor(params: Mapping[str, str]) -> str | None:
    cursor = params.get("cursor")
    try:
        Wanted(0, order=_order(params), cursor=cursor).check()
    except ValueError as err:
        raise ParameterError(f"invalid cursor: {err}") from err
    return cursor


def trace_page(params: Mapping[str, str], limits: Limits) -> Page | None:
    """`cursor` and `limit` of a trace by id; None where there is no cursor: all of it. Raises: ParameterError"""
    cursor, limit = params.get("cursor"), whole_number(params, "limit")
    if cursor is None:
        return None
    most = limits.max_page_spans
    if limit is not None and not 0 < limit <= most:
        raise ParameterError(
            f"invalid limit '{limit}': the setting query_frontend.trace_by_id.max_spans_per_page allows 1 to {most}"
        )
    try:
        return Page(place_of(cursor), most if limit is None else limit)
    except ValueError as err:
        raise ParameterError(f"invalid cursor: {err}") from err


def trace_filter(params: Mapping[str, str], limits: Limits) -> TraceFilter | None:
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
    return compile_filter(query, below, _depth(params, "ancestor_depth", ALL_LEVELS) if hierarchy else 0)


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


def query_text(params: Mapping[str, str], limits: Limits, name: str = "q") -> str:
    """A TraceQL text, or another that is as long, "" for none. Raises: ParameterError"""
    text = params.get(name, "").strip()
    size_bytes = len(text.encode("utf-8", "surrogatepass"))
    if size_bytes > limits.max_query_bytes:
        raise ParameterError(
            f"invalid {name}: {size_bytes} bytes; the setting query_frontend.max_query_expression_size_bytes "
            f"allows {limits.max_query_bytes}"
        )
    return text


def _limit(params: Mapping[str, str], limits: Limits) -> int:
    """How many traces, at least 1."""
    limit = whole_number(params, "limit")
    if limit is None:
        return limits.default_limit
    if limit == 0:
        raise ParameterError("invalid limit '0': must be a positive number")
    if limits.max_limit and limit > limits.max_limit:
        raise ParameterError(
            f"invalid limit '{limit}': the setting query_frontend.search.max_result_limit allows {limits.max_limit}"
        )
    return limit


def _spss(params: Mapping[str, str], limits: Limits) -> int:
    """How many spans per span set; 0, all, only where there is no limit."""
    spss = whole_number(params, "spss")
    if spss is None:
        return limits.default_spss
    if limits.max_spss and not 0 < spss <= limits.max_spss:
        raise ParameterError(
            f"invalid spss '{spss}': the setting query_frontend.search.max_spans_per_span_set "
            f"allows 1 to {limits.max_spss}"
        )
    return spss
