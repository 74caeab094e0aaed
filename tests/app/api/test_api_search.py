"""GET /api/search: its parameters, and the shape of its answer."""

import asyncio
import json
import math
import time

import aiohttp
import pytest

from app.api.tempo.search import search_json
from query.language.compile import compile_query
from query.results import Inspected, SearchResult, ServiceStats, SpanMatch, SpanSet, TraceMatch
from tests.helpers.querying.api import RESULT, SPAN, TRACE
from tests.helpers.tempo.frozen import strictly


def with_trace(**fields) -> dict:
    """The JSON of a trace like TRACE, but for these fields."""
    values = {name: getattr(TRACE, name) for name in TraceMatch.__annotations__} | fields
    body = json.loads(b"".join(search_json(SearchResult([TraceMatch(**values)], Inspected()), span_sets=True)))
    (trace,) = body["traces"]
    return trace


def with_attribute(value) -> dict:
    """The JSON of an attribute value."""
    span = SpanMatch(SPAN.span_id, "", 0, 0, [("key", value)])
    (attribute,) = with_trace(span_sets=[SpanSet([span], 1)])["spanSets"][0]["spans"][0]["attributes"]
    assert attribute["key"] == "key"
    return attribute["value"]


def test_answer(ask, backend):
    """The answer has Tempo's fields and forms: 64-bit numbers as strings, no zeros, the first set twice."""
    backend.result = RESULT
    answer = ask("/api/search", params={"q": "{ true }"})
    span_set = {
        "spans": [
            {
                "spanID": "0001020304050607",
                "name": "op",
                "startTimeUnixNano": "1000000001",
                "durationNanos": "5",
                "attributes": [{"key": "service.name", "value": {"stringValue": "a"}}],
            }
        ],
        "matched": 3,
        "attributes": [{"key": "count()", "value": {"intValue": "3"}}],
    }
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(answer.body) == {
        "traces": [
            {
                "traceID": "f2ba9cc8f6a098a30a7aec2cbeadb",
                "rootServiceName": "frontend",
                "rootTraceName": "GET /",
                "startTimeUnixNano": "1000000000",
                "durationMs": 50,
                "spanSet": span_set,
                "spanSets": [span_set, {"matched": 1}],
                "serviceStats": {"frontend": {"spanCount": 2, "errorCount": 1}, "cart": {"spanCount": 4}},
            }
        ],
        "metrics": {
            "inspectedTraces": 4,
            "inspectedSpans": "50",
            "inspectedBytes": "1099511627776",
            "completedJobs": 2,
            "totalJobs": 2,
        },
    }


def test_nothing_found(ask):
    """No traces: the list and the metrics are there, and empty."""
    assert json.loads(ask("/api/search", params={"q": "{ true }"}).body) == {"traces": [], "metrics": {}}


def test_no_root():
    """A trace whose root span is not here says so."""
    trace = with_trace(root_service=None, root_name=None)
    assert trace["rootServiceName"] == "<root span not yet received>"
    assert "rootTraceName" not in trace


def test_zero_values_and_unsigned_fields():
    """Zeros are left out, and negative durations too: clients read them as unsigned."""
    span = SpanMatch(bytes(8), "", 0, -5, ())
    trace = with_trace(trace_id=bytes(16), start_ns=0, duration_ns=-1, span_sets=[SpanSet([span], 0)], service_stats={})
    assert trace == {
        "traceID": "0",
        "rootServiceName": "frontend",
        "rootTraceName": "GET /",
        "spanSet": {"spans": [{"spanID": "0000000000000000"}]},
        "spanSets": [{"spans": [{"spanID": "0000000000000000"}]}],
    }


@pytest.mark.parametrize(
    ("value", "want"),
    [
        pytest.param("", {"stringValue": ""}, id="empty string"),
        pytest.param(0, {"intValue": "0"}, id="zero"),
        pytest.param(-(2**63), {"intValue": "-9223372036854775808"}, id="least int"),
        pytest.param(False, {"boolValue": False}, id="false"),
        pytest.param(0.0, {"doubleValue": 0.0}, id="zero double"),
        pytest.param(382.74, {"doubleValue": 382.74}, id="double"),
        pytest.param(math.nan, {"doubleValue": "NaN"}, id="not a number"),
        pytest.param(math.inf, {"doubleValue": "Infinity"}, id="infinity"),
        pytest.param(-math.inf, {"doubleValue": "-Infinity"}, id="minus infinity"),
        pytest.param(["a", 1], {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}]}}, id="array"),
        pytest.param([], {"arrayValue": {}}, id="empty array"),
    ],
)
def test_attribute_value(value, want):
    """Values have OTLP's JSON form."""
    assert with_attribute(value) == want


@pytest.mark.parametrize(
    ("params", "want"),
    [
        pytest.param({"q": "{ true }"}, {}, id="defaults"),
        pytest.param({"q": "{ true }", "limit": "1000", "spss": "7"}, {"limit": 1000, "spans_per_span_set": 7}),
        pytest.param(
            {"q": "{ true }", "start": "5", "end": "5"}, {"start_ns": 5 * 10**9, "end_ns": 5 * 10**9}, id="times"
        ),
        pytest.param({"q": "{ true }", "start": "5"}, {"start_ns": 5 * 10**9}, id="open end"),
        pytest.param(
            {"q": "{ true }", "start": "1795259580000000001", "end": "1795259590000000001"},
            {"start_ns": 1795259580 * 10**9, "end_ns": 1795259591 * 10**9},
            id="nanoseconds, outwards to seconds",
        ),
        pytest.param(
            {"q": "{ true }", "start": "2026-11-21T11:13:00Z", "end": "2026-11-21T12:13:09.5+01:00"},
            {"start_ns": 1795259580 * 10**9, "end_ns": 1795259590 * 10**9},
            id="RFC 3339",
        ),
        pytest.param(
            {"q": "{ true }", "since": "1m", "end": "100"}, {"start_ns": 40 * 10**9, "end_ns": 100 * 10**9}, id="since"
        ),
        pytest.param({"q": "{ true }", "start": "0", "end": "0", "limit": ""}, {}, id="zero and empty: not given"),
        pytest.param({"q": "{ true }", "spss": "0"}, {"spans_per_span_set": 0}, id="all spans"),
        pytest.param({"q": "{ true }", "tags": "a=b"}, {}, id="a query beats old parameters"),
        pytest.param({"q": ' { .a = "ä+%" }\n'}, {"query": '{ .a = "ä+%" }'}, id="any text"),
        pytest.param({}, {"query": "{ }", "spans_per_span_set": 1}, id="no query: all traces"),
        pytest.param({"q": " "}, {"query": "{ }", "spans_per_span_set": 1}, id="empty query: all traces"),
    ],
)
def test_asked(ask, backend, params, want):
    """What the backend is asked."""
    assert ask("/api/search", params=params).status == 200
    defaults = {
        "tenant": "single-tenant",
        "query": "{ true }",
        "start_ns": None,
        "end_ns": None,
        "limit": 20,
        "spans_per_span_set": 3,
        "order": "start",
        "total": False,
        "cursor": None,
    }
    assert backend.asked == [defaults | want]


def test_without_query_no_spans(ask, backend):
    """Without a query the traces come without span sets and services, as from Tempo."""
    backend.result = RESULT
    (trace,) = json.loads(ask("/api/search").body)["traces"]
    assert {"spanSet", "spanSets", "serviceStats"}.isdisjoint(trace)
    assert trace["rootTraceName"] == "GET /"


@pytest.mark.parametrize(
    ("params", "query"),
    [
        pytest.param({"tags": "service.name=checkout"}, '.service.name = "checkout"', id="a tag"),
        pytest.param({"tags": ' a=b   c="d \\"e\\" f" '}, '.a = "b" && .c = "d \\"e\\" f"', id="quoted"),
        pytest.param({"tags": 'name="GET /" root.name=x'}, 'name = "GET /" && rootName = "x"', id="intrinsics"),
        pytest.param({"tags": "a=5"}, '(.a = "5" || .a = 5)', id="text or number"),
        pytest.param({"tags": "a=true"}, '(.a = "true" || .a = true)', id="text or truth value"),
        pytest.param({"tags": "a= b=c"}, '.a = "" && .b = "c"', id="empty"),
        pytest.param({"tags": "error=true status.code=ok"}, "status = error && status = ok", id="status"),
        pytest.param({"tags": 'a="x\\ny\\\\z"'}, '.a = "x\\ny\\\\z"', id="escapes of JSON"),
        pytest.param({"tags": 'a="\\ud83d\\ude00\\u00e9\\/"'}, '.a = "😀é/"', id="characters by number"),
        pytest.param({"minDuration": "10000000000ns"}, "traceDuration >= 10000000000ns", id="many digits"),
        pytest.param({"maxDuration": ".5s"}, "traceDuration <= 500000000ns", id="nothing before the point"),
        pytest.param({"maxDuration": "0" * 5000 + "1m1s"}, "traceDuration <= 61000000000ns", id="very many digits"),
        pytest.param({"tags": "a&&b=c\\"}, '."a&&b" = "c\\\\"', id="odd characters"),
        pytest.param(
            {"minDuration": "100ms", "maxDuration": "1.5s"}, "traceDuration >= 100ms && traceDuration <= 1.5s"
        ),
    ],
)
def test_parameters_before_traceql(ask, backend, params, query):
    """`tags` and the durations become one filter; the answer shows no spans then, as without a query."""
    backend.result = RESULT
    answer = ask("/api/search", params=params)
    assert answer.status == 200
    assert backend.asked[0]["query"] == f"{{ {query} }}"
    compile_query(backend.asked[0]["query"])
    assert "spanSets" not in json.loads(answer.body)["traces"][0]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        pytest.param({"limit": "0"}, ["limit", "positive"], id="limit 0"),
        pytest.param({"limit": "-1"}, ["limit", "'-1'"], id="limit negative"),
        pytest.param({"limit": "1001"}, ["limit", "max_result_limit", "1000"], id="limit too high"),
        pytest.param({"limit": "1e3"}, ["limit", "'1e3'"], id="limit not a number"),
        pytest.param({"limit": "\N{ARABIC-INDIC DIGIT ONE}"}, ["limit"], id="limit in other digits"),
        pytest.param({"spss": "-1"}, ["spss", "'-1'"], id="spss negative"),
        pytest.param({"start": "x", "end": "9"}, ["start", "'x'"], id="start not a number"),
        pytest.param({"end": "9e5"}, ["end", "'9e5'"], id="end in another form"),
        pytest.param({"since": "1"}, ["since", "'1'"], id="since without a unit"),
        pytest.param({"start": "9", "end": "8"}, ["start=9", "end=8"], id="start after end"),
        pytest.param({"start": "1794481980", "end": "1795259640"}, ["max_duration_s", "604800"], id="range"),
        pytest.param({"q": "x" * 20_001}, ["q", "max_query_expression_size_bytes", "20000"], id="long query"),
        pytest.param({"q": "", "tags": "a"}, ["tags", "logfmt"], id="tags"),
        pytest.param({"q": "", "tags": "a=b " * 101}, ["tags", "100"], id="too many tags"),
        pytest.param({"q": "", "minDuration": "1"}, ["minDuration", "'1'"], id="minDuration"),
        pytest.param({"q": "", "tags": 'a="x\\y"'}, ["tags", "escape \\y;"], id="no such escape"),
        pytest.param({"q": "", "tags": 'a="\\u12"'}, ["tags", "escape \\u;"], id="half an escape"),
        pytest.param({"q": "", "minDuration": "9" * 5000 + "h"}, ["minDuration", "292 years"], id="far too long"),
        pytest.param({"q": "", "tags": "x" * 20_001}, ["tags", "max_query_expression_size_bytes"], id="long tags"),
    ],
)
def test_bad_parameters(ask, backend, params, words):
    """400 in plain text that names the parameter, what it was, and the setting where there is one."""
    answer = ask("/api/search", params={"q": "{ true }"} | params)
    assert answer.status == 400
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert [word for word in words if word not in answer.text] == []


def test_limits_switched_off(ask, backend):
    """0 switches the limits of traces and of the range off."""
    params = {"q": "{ }", "limit": "4000000000", "start": "1", "end": "4000000000"}
    assert ask("/api/search", params=params, max_result_limit=0, max_search_duration_s=0).status == 200


@pytest.mark.parametrize("spss", ["0", "101"])
def test_spans_per_span_set_limit(ask, spss):
    """With a limit neither more nor all can be asked for."""
    answer = ask("/api/search", params={"spss": spss}, max_spans_per_span_set=100)
    assert answer.status == 400
    assert "max_spans_per_span_set" in answer.text


def test_longest_query(ask, backend):
    """A query as long as the setting allows passes, even if each of its bytes takes three in the URL."""
    query = "{}" * 10_000
    assert ask("/api/search", params={"q": query}).status == 200
    assert backend.asked[0]["query"] == query


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"X-Scope-OrgID": "team-a"}, 200, id="named"),
        pytest.param({}, 401, id="missing"),
        pytest.param({"X-Scope-OrgID": "a/b"}, 400, id="invalid"),
    ],
)
def test_tenant(ask, backend, headers, status):
    """With multitenancy the header says whose traces are searched."""
    assert ask("/api/search", headers=headers, multitenancy=True).status == status
    assert [asked["tenant"] for asked in backend.asked] == (["team-a"] if status == 200 else [])


def test_client_goes_away(serve, backend):
    """A query stops when its client goes away."""

    async def use(base: str) -> None:
        backend.wait = asyncio.Event()
        async with aiohttp.ClientSession() as session:
            with pytest.raises(TimeoutError):
                await session.get(base + "/api/search", timeout=aiohttp.ClientTimeout(total=0.3))
        await asyncio.wait_for(backend.wait.wait(), 5)

    serve(use)


# ---- strict clients


def test_strict_parser():
    """Grafana's backend refuses answers with fields that it does not know: it knows all of ours."""
    values = [("s", "a"), ("i", -1), ("d", math.inf), ("b", True), ("a", ["x", 1, 0.5, False]), ("e", []), ("s", "b")]
    span = SpanMatch(SPAN.span_id, "op", 1, 2, values)
    odd = TraceMatch(bytes(16), None, None, 0, 2**62, [SpanSet([span], 1, values)], {"": ServiceStats(0, 0)})
    result = SearchResult([TRACE, odd], Inspected(2**33, 2**40, 2**50, 7))
    message = strictly(b"".join(search_json(result, span_sets=True)), "SearchResponse")
    assert message.traces[0].spanSets[0].matched == 3
    assert message.traces[0].serviceStats["frontend"].errorCount == 1
    assert message.traces[1].durationMs == 2**32 - 1
    assert message.traces[1].spanSets[0].spans[0].attributes[1].value.intValue == -1


def test_large_answer_in_reasonable_time():
    """8,656 traces, about 14 MB, become JSON in a fraction of a second (here 0.1 s)."""
    spans = [SpanMatch(SPAN.span_id, "", SPAN.start_ns, 5, [("service.name", "checkout")]) for _ in range(3)]
    stats = {f"service-{number}": ServiceStats(3, 1) for number in range(12)}
    traces = [TraceMatch(TRACE.trace_id, "frontend", "GET /", 1, 2, [SpanSet(spans, 9)], stats) for _ in range(8656)]
    started_s = time.perf_counter()
    body = b"".join(search_json(SearchResult(traces, Inspected()), span_sets=True))
    assert time.perf_counter() - started_s < 2
    assert len(body) > 10e6
