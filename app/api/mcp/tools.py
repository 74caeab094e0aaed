"""The tools of the MCP server, by Tempo's names. Each asks the backend as the endpoint of the HTTP API does."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import orjson

from app.api import params
from app.api.call import Call
from app.api.errors import ParameterError, Unavailable
from app.api.llm import results
from app.api.llm.comparison import comparison, is_comparison
from app.api.llm.trace import short_trace
from app.api.mcp.guides import GUIDES, guide
from app.api.partial import observer_of
from app.api.tempo.traces import filtered, whole
from query.language import ast
from query.language.parse import parse
from query.scan.progress import QueryObserver

Json = dict[str, Any]
_SINCE: Final = "1h"


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """text: JSON or Markdown; kind, version: as Tempo names them, for clients"""

    text: str
    kind: str
    encoding: str = "json"
    version: str = "1"


@dataclass(frozen=True, slots=True)
class Argument:
    """choices: the values that it may have; (): any"""

    name: str
    description: str
    required: bool = False
    choices: tuple[str, ...] = ()


Run = Callable[[Call, Mapping[str, str], int], Awaitable[ToolAnswer]]


@dataclass(frozen=True, slots=True)
class Tool:
    """run: gets the caller's rights and limits, the arguments, and how large the answer may be"""

    name: str
    description: str
    arguments: tuple[Argument, ...]
    run: Run

    def checked(self, arguments: Mapping[str, Any]) -> dict[str, str]:
        """The arguments as texts. Raises: ParameterError"""
        known = {one.name: one for one in self.arguments}
        if unknown := sorted(arguments.keys() - known.keys()):
            raise ParameterError(f"unknown argument {unknown[0][:40]!r}: {self.name} takes {', '.join(known)}")
        checked = {}
        for name, one in known.items():
            value = arguments.get(name)
            if isinstance(value, bool) or not isinstance(value, str | int | None):
                raise ParameterError(f"invalid argument {name}: must be a string")
            text = "" if value is None else str(value).strip()
            if one.required and not text:
                raise ParameterError(f"argument {name} is missing: {one.description}")
            if text and one.choices and text not in one.choices:
                raise ParameterError(f"invalid {name} {text[:40]!r}: must be one of {', '.join(one.choices)}")
            if text:
                checked[name] = text
        return checked


_TIMES: Final = (
    Argument("start", "Start of the time range, RFC 3339 or unix seconds. Default: `since` before the end."),
    Argument("end", "End of the time range, RFC 3339 or unix seconds. Default: now."),
    Argument("since", "Length of the time range, as 15m or 6h, if there is no start. Default: 1h."),
)
_QUERY: Final = Argument("query", "A TraceQL query; docs-traceql explains the language.", required=True)
_METRICS_QUERY: Final = Argument(
    "query", "A TraceQL metrics query, as { status = error } | rate() by (resource.service.name).", required=True
)


async def _search(call: Call, arguments: Mapping[str, str], bytes_max: int) -> ToolAnswer:
    call = _asking(call, arguments)
    asked = params.search_request(call.params, call.limits)
    query = parse(asked.query)
    if isinstance(query.root, ast.Metrics):
        raise ParameterError("this is a metrics query: use traceql-metrics-instant or traceql-metrics-range")
    if not query.hints:  # behind which no stage may stand
        # On a line of its own: the query may end in a comment.
        asked = replace(asked, query=f"{asked.query}\n| select(name, resource.service.name)")
    observer = observer_of(call)
    result = await call.backend.search(call.tenant, asked, observer)
    return await _answer(
        call, observer, lambda: results.search_results(result, asked.limit, bytes_max), "search-results"
    )


async def _instant(call: Call, arguments: Mapping[str, str], bytes_max: int) -> ToolAnswer:
    call = _metrics(call, arguments)
    asked, observer = params.instant_request(call.params, call.limits), observer_of(call)
    result = await call.backend.metrics_instant(call.tenant, asked, observer)
    try:
        form = comparison if is_comparison(result) else results.instant_results
        make = partial(form, result, bytes_max)
        return await _answer(call, observer, make, "metrics-instant")
    finally:
        result.drop()


async def _range(call: Call, arguments: Mapping[str, str], bytes_max: int) -> ToolAnswer:
    call = _metrics(call, arguments)
    asked, observer = params.range_request(call.params, call.limits), observer_of(call)
    result = await call.backend.metrics_range(call.tenant, asked, observer)
    try:
        make = partial(results.range_results, result, bytes_max)
        return await _answer(call, observer, make, "metrics-range")
    finally:
        result.drop()


async def _trace(call: Call, arguments: Mapping[str, str], bytes_max: int) -> ToolAnswer:
    query = arguments.get("filter-query", "")
    times = {name: arguments[name] for name in ("start", "end") if name in arguments}
    wanted = params.trace_filter({"q": query}, call.limits)
    asked = replace(params.trace_request(arguments["trace_id"], times, call.limits), filter=wanted)
    found = await call.backend.trace(call.tenant, asked)
    if found.table is None and not found.more:
        if not found.complete:  # the part that did not answer may have it
            raise Unavailable(found.message or "a part of the spans could not be read")
        raise ParameterError(f"there is no trace {arguments['trace_id']}, or it is not stored any more")

    def make() -> Json:
        answer = found if wanted is None else filtered(found)
        if answer.table is None:
            raise ParameterError("no span of the trace matches filter-query")
        got = whole(answer, asked.trace_id, asked.bytes_max)
        return short_trace(got.groups, complete=got.complete, message=got.message, bytes_max=bytes_max)

    return await _answer(call, None, make, "trace", version="2")


async def _names(call: Call, arguments: Mapping[str, str], bytes_max: int) -> ToolAnswer:
    call = _asking(call, arguments)
    asked, observer = params.tag_names_request(call.params, call.limits), observer_of(call)
    found = await call.backend.tag_names(call.tenant, asked, observer)
    return await _answer(call, observer, lambda: results.tag_names(found, bytes_max), "attribute-names", version="2")


async def _values(call: Call, arguments: Mapping[str, str], bytes_max: int) -> ToolAnswer:
    call = _asking(call, {**arguments, "tag": arguments["name"]})
    asked, observer = params.tag_values_request(call.params, call.limits), observer_of(call)
    found = await call.backend.tag_values(call.tenant, asked, observer)
    return await _answer(call, observer, lambda: results.tag_values(found, bytes_max), "attribute-values", version="2")


async def _docs(_: Call, arguments: Mapping[str, str], __: int) -> ToolAnswer:
    return ToolAnswer(guide(arguments["name"]), "documentation", "markdown")


def _asking(call: Call, arguments: Mapping[str, str]) -> Call:
    """With the arguments as parameters of the HTTP API; without times for the last hour."""
    asked = {"q" if name in {"query", "filter-query"} else name: text for name, text in arguments.items()}
    if "start" not in asked:
        asked.setdefault("since", _SINCE)
    return replace(call, params=asked)


def _metrics(call: Call, arguments: Mapping[str, str]) -> Call:
    call = _asking(call, arguments)
    if not isinstance(parse(params.query_text(call.params, call.limits)).root, ast.Metrics):
        raise ParameterError("this is a search, not a metrics query: use traceql-search, or add | rate()")
    return call


async def _answer(
    call: Call, observer: QueryObserver | None, make: Callable[[], Json], kind: str, version: str = "1"
) -> ToolAnswer:
    def text() -> str:
        body = make()
        if observer is not None and observer.missing_data:
            body |= {"status": "PARTIAL", "message": "; ".join(observer.missing_data)}
        return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS).decode()

    return ToolAnswer(await call.backend.run_in_thread(text), kind, version=version)


TOOLS: Final = (
    Tool(
        "traceql-search",
        "Search for traces with a TraceQL query. Answers the newest traces with their root, duration, services, and "
        "the spans that match. Open one with get-trace.",
        (_QUERY, *_TIMES, Argument("limit", "How many traces at most. Default: 20.")),
        _search,
    ),
    Tool(
        "traceql-metrics-instant",
        "One number over the time range per series of a TraceQL metrics query. Enough for most questions.",
        (_METRICS_QUERY, *_TIMES),
        _instant,
    ),
    Tool(
        "traceql-metrics-range",
        "The course over time of each series of a TraceQL metrics query.",
        (_METRICS_QUERY, *_TIMES, Argument("step", "Time between values, as 1m. Default: by the range.")),
        _range,
    ),
    Tool(
        "get-trace",
        "One trace by its id: a summary and its spans. Of a large trace the failed and longest spans, with their "
        "ancestors; filter-query gets others.",
        (
            Argument("trace_id", "The id of the trace, in hex.", required=True),
            Argument("filter-query", "TraceQL: only the spans that match, as { span.db.system != nil }."),
            *_TIMES[:2],
        ),
        _trace,
    ),
    Tool(
        "get-attribute-names",
        "The names of attributes that queries can use, by scope.",
        (
            Argument("scope", "Only of this scope: span, resource, event, link, instrumentation or intrinsic."),
            Argument("filter-query", "TraceQL: only of spans that match."),
            *_TIMES,
        ),
        _names,
    ),
    Tool(
        "get-attribute-values",
        "The values of an attribute, as all services by resource.service.name.",
        (
            Argument("name", "The attribute with its scope, as span.http.route, or an intrinsic.", required=True),
            Argument("filter-query", 'TraceQL: only of spans that match, as { resource.service.name = "shop" }.'),
            *_TIMES,
        ),
        _values,
    ),
    Tool(
        "docs-traceql",
        "How to write TraceQL: " + "; ".join(f"{name}: {about}" for name, about in GUIDES.items()) + ".",
        (Argument("name", "Which document.", required=True, choices=tuple(GUIDES)),),
        _docs,
    ),
)
