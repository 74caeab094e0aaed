"""GET /api/search: traces that match a TraceQL query."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import orjson
from aiohttp import web

from app.api import params
from app.api.call import call_of
from app.api.debug import debug_headers
from app.api.partial import observer_of, reply_whole_or_partial
from app.api.proto import tempo_pb2 as pb
from app.api.tempo import messages
from app.api.tempo.jsonpb import NO_ROOT, UINT32_MAX, Json, attributes_json, search_metrics
from app.api.tempo.method import Message, Method, Params, texts
from query import memory
from query.results import SearchResult, ServiceStats, SpanMatch, SpanSet, TraceMatch
from query.search.large_traces import LARGE_SPANS
from tables.turns import consumed, pieces
from tables.units import NS_PER_MS

# As text a few hundred kilobytes.
_SPANS_AT_ONCE: Final = 500
routes = web.RouteTableDef()


@routes.get("/api/search")
async def search(request: web.Request) -> web.Response:
    """The newest traces that match: ?q= &start= &end= &limit= &spss=, or the older tags, minDuration, maxDuration."""
    call = call_of(request)
    observer, asked = observer_of(call), params.search_request(call.params, call.limits)
    span_sets = params.shows_span_sets(call.params)
    result = await call.backend.search(call.tenant, asked, observer)
    return await reply_whole_or_partial(
        request,
        observer,
        lambda: search_json(result, span_sets=span_sets),
        lambda: messages.search_messages(result, span_sets=span_sets),
        await debug_headers(request, asked.query, observer.profile),
        small=not result.traces,
    )


def search_json(result: SearchResult, *, span_sets: bool) -> Iterator[bytes]:
    """Tempo's SearchResponse as JSON, in parts. Grafana refuses fields that it does not know: ours, `totalTraces` and
    `nextCursor`, are there only where they were asked for.

    span_sets: false leaves the matched spans and the services out, as Tempo does where there was no query.
    """
    yield b'{"traces":['
    between = b""
    for trace in result.traces:
        if span_sets and messages.is_large(trace):
            yield between
            yield from _large_trace(trace)
        else:
            yield between + orjson.dumps(_trace(trace, span_sets=span_sets))
        between = b","
    out: Json = {"metrics": search_metrics(result.inspected)}
    if result.total is not None:
        out["totalTraces"] = result.total
    if result.next_cursor is not None:
        out["nextCursor"] = result.next_cursor
    yield b"]," + orjson.dumps(out)[1:]


def _trace(trace: TraceMatch, *, span_sets: bool) -> Json:
    # Trimmed of left zeros, but never empty: as a number is written in hex.
    out: Json = {
        "traceID": trace.trace_id.hex().lstrip("0") or "0",
        "rootServiceName": NO_ROOT if trace.root_service is None else trace.root_service,
    }
    if trace.root_name:
        out["rootTraceName"] = trace.root_name
    if trace.start_ns:
        out["startTimeUnixNano"] = str(trace.start_ns)
    if trace.duration_ns >= NS_PER_MS:
        out["durationMs"] = min(trace.duration_ns // NS_PER_MS, UINT32_MAX)
    if span_sets and trace.span_sets:
        sets = [orjson.Fragment(orjson.dumps(_span_set(span_set))) for span_set in trace.span_sets]
        out["spanSet"] = sets[0]  # deprecated, but older clients read nothing else
        out["spanSets"] = sets
    if span_sets and trace.service_stats:
        out["serviceStats"] = {name: _stats(stats) for name, stats in trace.service_stats.items()}
    return out


def _large_trace(trace: TraceMatch) -> Iterator[bytes]:
    """As `_trace`, some spans at a time: there may be hundreds of thousands. What is left is the first spanset's text,
    which is there twice.
    """
    first = trace.span_sets[0]
    with memory.current().scratch(len(first.spans) * messages.SPAN_BYTES, "the text of one trace"):
        yield orjson.dumps(_trace(trace._replace(span_sets=()), span_sets=True))[:-1] + b',"spanSet":'
        text = list(_span_set_parts(first))
        yield from text
        yield b',"spanSets":['
        yield from consumed(text)
    for span_set in trace.span_sets[1:]:
        yield b","
        yield from _span_set_parts(span_set)
    yield b"]}"


def _span_set_parts(span_set: SpanSet) -> Iterator[bytes]:
    if len(span_set.spans) <= LARGE_SPANS:
        yield orjson.dumps(_span_set(span_set))
        return
    before = b'{"spans":['
    for spans in pieces(span_set.spans, _SPANS_AT_ONCE):
        yield before + b",".join(orjson.dumps(_span(span)) for span in spans)
        before = b","
    rest = orjson.dumps(_span_set(span_set._replace(spans=())))
    yield b"]}" if rest == b"{}" else b"]," + rest[1:]


def _span_set(span_set: SpanSet) -> Json:
    out: Json = {}
    if span_set.spans:
        out["spans"] = [_span(span) for span in span_set.spans]
    if span_set.matched:
        out["matched"] = span_set.matched
    if span_set.attributes:
        out["attributes"] = attributes_json(span_set.attributes)
    return out


def _span(span: SpanMatch) -> Json:
    out: Json = {"spanID": span.span_id.hex()}
    if span.name:
        out["name"] = span.name
    if span.start_ns:
        out["startTimeUnixNano"] = str(span.start_ns)
    # The field is unsigned: one negative duration (a client's clock that went back) would make Grafana refuse
    # the whole answer.
    if span.duration_ns > 0:
        out["durationNanos"] = str(span.duration_ns)
    if span.attributes:
        out["attributes"] = attributes_json(span.attributes)
    return out


def _stats(stats: ServiceStats) -> Json:
    out: Json = {}
    if stats.span_count:
        out["spanCount"] = stats.span_count
    if stats.error_count:
        out["errorCount"] = stats.error_count
    return out


# ---- gRPC


def _params(asked: pb.SearchRequest) -> dict[str, str]:
    escaped = {key: value.replace("\\", "\\\\").replace('"', '\\"') for key, value in asked.Tags.items()}
    return texts(
        q=asked.Query,
        tags=" ".join(f'{key}="{value}"' for key, value in escaped.items()),
        minDuration=asked.MinDurationMs and f"{asked.MinDurationMs}ms",
        maxDuration=asked.MaxDurationMs and f"{asked.MaxDurationMs}ms",
        limit=asked.Limit,
        start=asked.start,
        end=asked.end,
        spss=asked.SpansPerSpanSet,
    )


def _messages(asked: Params, result: SearchResult) -> Iterator[Message]:
    return messages.search_messages(result, span_sets=params.shows_span_sets(asked))


def _new_traces(result: SearchResult, known: SearchResult) -> SearchResult:
    return replace(result, traces=result.traces[len(known.traces) :])


SEARCH: Final = Method(
    message=pb.SearchRequest,
    params=_params,
    request=params.search_request,
    ask=lambda backend: backend.search,
    messages=_messages,
    progress=pb.SearchResponse(metrics=pb.SearchMetrics()),
    since=_new_traces,
)
