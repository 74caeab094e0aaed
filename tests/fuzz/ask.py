"""Targets: what the query API reads. Whatever is asked is answered, or refused as the caller's fault."""

import asyncio
from functools import cache
from urllib.parse import parse_qsl, quote

from google.protobuf.message import DecodeError

from app.api.call import Call
from app.api.errors import explain
from app.api.limits import ApiLimits
from app.api.proto import tempo_pb2 as pb
from app.api.tempo.streaming import METHODS
from benchmarks.hostile.examples import START_NS
from query.errors import TraceQLError
from query.language.compile import compile_query
from query.metrics.metrics import compile_metrics
from query.scan.progress import QueryObserver
from tests.fuzz.http import TARGETS as HTTP_TARGETS
from tests.fuzz.local_backend import LocalBackend
from tests.fuzz.target import Target

_LIMITS = ApiLimits(
    default_result_limit=20,
    max_result_limit=0,
    default_spans_per_span_set=3,
    max_spans_per_span_set=0,
    max_search_duration_s=0,
    max_query_expression_size_bytes=1 << 16,
    max_metrics_duration_s=0,
    max_bytes_per_trace=0,
    max_spans_per_page=1000,
    max_send_msg_size_bytes=4 << 20,
)
_QUERIES = (
    "{ }",
    '{ resource.service.name = "service-1" && span.n < 0 } >> { status = error }',
    "{ .http.route =~ `/.*` } | count() > 1 | by(name) | select(span.d, event:name)",
    '{ event.d = 0 || link:traceID = "09" && !(span.list = "a") } &>> { kind = server }',
    "{ duration > 1ms } | rate() by (resource.service.name, span.b) with (exemplars=true)",
    "{ } | quantile_over_time(duration, .5, .99) by (name) | topk(3)",
    "{ } | compare({ status = error }, 5)",
    "({ } | count_over_time()) / ({ status = error } | count_over_time()) > 0.5",
    "{ span.n + 1 * 2 ^ 3 % 4 != -5.5e3 } ~ { instrumentation:name = nil } // x",
)
_TOKENS = """
&& || ! >> << !>> &>> ~ { } ( ) | = != =~ nil true error server 1h 1e400 .9 rootName span:childCount parent. by( avg(
event:timeSinceStart quantile_over_time( histogram_over_time( compare( max_over_time( nestedSetParent bottomk(2) \\xc3
""".split()  # noqa: SIM905  # a list would fill thirty lines
_WORDS = (*(word.encode() for word in _TOKENS), b" ", b"/* x */", b"// x\n", b'"\\u00e9"')


def _traceql(data: bytes) -> None:
    """A query that compiles is evaluated, too."""
    query = data.decode("utf-8", "replace")
    times = {"start": str(START_NS - 10**9), "end": str(START_NS + 10**9), "q": query}
    for compile_text, names in ((compile_query, ("Search", "SearchTagsV2")), (compile_metrics, _METRICS)):
        try:
            compile_text(query)
        except TraceQLError:
            continue
        for name in names:
            _ask(name, times)


_METRICS = ("MetricsQueryRange", "MetricsQueryInstant")


def _parameters(data: bytes) -> None:
    named = dict(parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True))
    for name in METHODS:
        _ask(name, {"tag": "name"} | named if "Values" in name else named)


def _grpc(data: bytes) -> None:
    if not data:
        return
    name = sorted(METHODS)[data[0] % len(METHODS)]
    try:
        request = METHODS[name].message.FromString(data[1:])
    except DecodeError:
        return
    _ask(name, METHODS[name].params(request))


def _ask(name: str, named: dict[str, str]) -> None:
    method = METHODS[name]
    call = Call(LocalBackend(), _LIMITS, "tenant", named)
    try:
        request = method.request(call.params, call.limits)
        result = asyncio.run(method.ask(call.backend)(call.tenant, request, QueryObserver()))
        for message in method.messages(call.params, result):
            message.SerializeToString()
    except Exception as err:  # noqa: BLE001  # the API's own place for errors does so
        status, text = explain(err, "fuzz")
        assert status < 500 or status == 503, (name, named, status, text)


@cache
def _parameter_seeds() -> tuple[bytes, ...]:
    window = f"start={START_NS // 10**9 - 60}&end={START_NS // 10**9 + 60}"
    asked = [f"q={quote(query)}&{window}&limit=5&spss=2&step=10s" for query in _QUERIES]
    others = ["tags=service.name%3Dservice-1&minDuration=1ms&limit=1", "tag=.http.route&scope=span", "since=1h&cursor="]
    return tuple(text.encode() for text in asked + others)


def _grpc_seeds() -> list[bytes]:
    end_s = START_NS // 10**9 + 60
    asked = {
        "Search": pb.SearchRequest(Query=_QUERIES[1], Limit=5, start=end_s - 120, end=end_s, Tags={"a": 'b"'}),
        "SearchTagsV2": pb.SearchTagsRequest(scope="span", query=_QUERIES[0], start=end_s - 120, end=end_s),
        "SearchTagValuesV2": pb.SearchTagValuesRequest(tagName="span.http.route", query=_QUERIES[0]),
        "MetricsQueryRange": pb.QueryRangeRequest(query=_QUERIES[4], start=START_NS - 10**9, end=START_NS + 10**9),
        "MetricsQueryInstant": pb.QueryInstantRequest(query=_QUERIES[5], start=START_NS - 10**9, end=START_NS + 10**9),
    }
    names = sorted(METHODS)
    return [bytes([names.index(name)]) + message.SerializeToString() for name, message in asked.items()]


TARGETS = [
    Target("traceql", _traceql, lambda: [query.encode() for query in _QUERIES], _WORDS),
    Target(
        "api_parameters", _parameters, lambda: list(_parameter_seeds()), (b"&start=", b"&end=", b"%00", b"1e30", b"-1")
    ),
    Target("grpc_query", _grpc, _grpc_seeds, _WORDS),
    *HTTP_TARGETS,
]
