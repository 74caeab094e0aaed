"""tempopb.StreamingQuerier: what is asked, what is answered, and that it agrees with the HTTP API."""

import asyncio
import json
import re
from pathlib import Path

import grpc
import pytest
from google.protobuf import json_format

from app.api import messages, streaming
from app.api.call import ACCESS
from app.api.errors import TooManyRequests, Unavailable
from app.api.metrics import instant_json, range_json
from app.api.params import LIMITS
from app.api.proto import tempo_pb2 as pb
from app.api.search import search_json
from app.api.server import build_api
from app.api.streaming import METHODS, SERVICE, build_streaming
from app.api.tags import names_v1_json, names_v2_json, values_v1_json, values_v2_json
from query.engine.distinct import TagValue
from query.results import Exemplar, Inspected, MetricsResult, SearchResult, Series, SpanMatch, SpanSet, TraceMatch
from query.tags import TagNames, TagValues
from tests.app.api.conftest import SETTINGS
from tests.app.api.test_api_access import CREDENTIALS
from tests.app.api.test_api_search import RESULT

INSPECTED = Inspected(traces=3, spans=9, bytes=2**40, sources=2)
NAMES = TagNames({"intrinsic": ("kind", "name"), "resource": ("b", "x"), "span": ("a", "b")}, INSPECTED)
VALUES = TagValues((TagValue("int", "5"), TagValue("string", "5"), TagValue("string", "a")), INSPECTED)
VALUE_KINDS = [("s", "x"), ("i", -(2**63)), ("d", 1.5), ("b", False), ("l", ["a", "b"]), ("e", []), ("n", float("nan"))]
SERIES = MetricsResult(
    [
        Series(VALUE_KINDS, [(10**9, 0.0), (2 * 10**9, 2.5)], [Exemplar(bytes(15) + b"\x05", 3 * 10**9, 7.0)]),
        Series([], [(10**9, float("inf"))]),
    ],
    INSPECTED,
)
ODD = SearchResult(
    [TraceMatch(bytes(16), None, None, 0, -5, [SpanSet([SpanMatch(bytes(8), "", 0, -1, VALUE_KINDS)], 0)], {})],
    INSPECTED,
)
RESPONSES = {
    "Search": pb.SearchResponse,
    "SearchTags": pb.SearchTagsResponse,
    "SearchTagsV2": pb.SearchTagsV2Response,
    "SearchTagValues": pb.SearchTagValuesResponse,
    "SearchTagValuesV2": pb.SearchTagValuesV2Response,
    "MetricsQueryRange": pb.QueryRangeResponse,
    "MetricsQueryInstant": pb.QueryInstantResponse,
}


@pytest.fixture
def call(backend):
    """call(method, request, metadata=(), timeout=None, **settings) -> the parts. Raises grpc.RpcError"""

    def call(method, request=None, metadata=(), timeout=10, **settings):
        async def main():
            api = build_api(backend, **SETTINGS | settings)
            server = build_streaming(backend, api[LIMITS], api[ACCESS])
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            try:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                    ask = channel.unary_stream(
                        f"/{SERVICE}/{method}",
                        request_serializer=lambda message: message.SerializeToString(),
                        response_deserializer=RESPONSES.get(method, pb.SearchResponse).FromString,
                    )
                    message = METHODS[method].request() if request is None else request
                    return [part async for part in ask(message, metadata=metadata, timeout=timeout)]
            finally:
                await server.stop(None)

        return asyncio.run(main())

    return call


def same(body: bytes, parts) -> None:
    """The JSON says what the messages say."""
    (part,) = parts
    want = json_format.ParseDict(json.loads(body), type(part)())
    # As text: not a number is not equal to itself.
    assert str(part) == str(want)


@pytest.mark.parametrize("span_sets", [True, False])
@pytest.mark.parametrize("result", [RESULT, ODD, SearchResult([], Inspected())], ids=["usual", "odd", "none"])
def test_search_agrees(result, span_sets):
    """Both forms of a search's answer say the same."""
    same(search_json(result, span_sets=span_sets), messages.search_messages(result, span_sets=span_sets))


@pytest.mark.parametrize("result", [SERIES, MetricsResult([], Inspected())], ids=["some", "none"])
def test_metrics_agree(result):
    """Both forms of a metrics answer say the same."""
    same(range_json(result), messages.range_messages(result))
    same(instant_json(result), messages.instant_messages(result))


@pytest.mark.parametrize("names", [NAMES, TagNames({}, Inspected())], ids=["some", "none"])
def test_tags_agree(names):
    """Both forms of tags and values say the same."""
    for intrinsic in (False, True):
        same(names_v1_json(names, intrinsic=intrinsic), messages.names_messages(names, intrinsic=intrinsic))
    same(names_v2_json(names), messages.names_v2_messages(names))
    same(values_v1_json(VALUES), messages.values_messages(VALUES))
    same(values_v2_json(VALUES), messages.values_v2_messages(VALUES))


def test_many_names_are_several_messages():
    """Together they are all names."""
    names = TagNames({"span": tuple(f"{n:0100}" for n in range(30_000))}, Inspected())
    parts = list(messages.names_v2_messages(names))
    assert len(parts) > 1
    assert [tag for part in parts for scope in part.scopes for tag in scope.tags] == list(names.scopes["span"])


@pytest.mark.parametrize(
    ("method", "request_", "want"),
    [
        pytest.param(
            "Search",
            pb.SearchRequest(Query="{ name = `x` }", Limit=7, start=100, end=200, SpansPerSpanSet=5),
            {"query": "{ name = `x` }", "start_s": 100, "end_s": 200, "limit": 7, "spans_per_span_set": 5},
            id="search",
        ),
        pytest.param(
            "Search",
            pb.SearchRequest(),
            {"query": "{ }", "start_s": None, "end_s": None, "limit": 20, "spans_per_span_set": 1},
            id="Grafana's health check",
        ),
        pytest.param(
            "Search",
            pb.SearchRequest(Tags={"service.name": 'a "b\\'}, MinDurationMs=5, MaxDurationMs=10),
            {"query": '{ .service.name = "a \\"b\\\\" && traceDuration >= 5ms && traceDuration <= 10ms }'},
            id="older parameters",
        ),
        pytest.param(
            "MetricsQueryRange",
            pb.QueryRangeRequest(
                query="{ } | rate()", start=1_795_259_580 * 10**9, end=1_795_259_640 * 10**9, step=10**10
            ),
            {
                "query": "{ } | rate()",
                "start_ns": 1_795_259_580 * 10**9,
                "end_ns": 1_795_259_640 * 10**9,
                "step_ns": 10**10,
                "exemplars": 100,
            },
            id="range",
        ),
        pytest.param(
            "MetricsQueryInstant",
            pb.QueryInstantRequest(query="{ } | rate()", start=100, end=200),
            {"query": "{ } | rate()", "start_ns": 100 * 10**9, "end_ns": 200 * 10**9},
            id="instant",
        ),
        pytest.param(
            "SearchTagsV2",
            pb.SearchTagsRequest(scope="span", query="{ }", start=1, end=2, maxTagsPerScope=9),
            {"scope": "span", "query": "{ }", "start_s": 1, "end_s": 2, "limit": 9},
            id="tags",
        ),
        pytest.param(
            "SearchTagValuesV2",
            pb.SearchTagValuesRequest(tagName="span.a", query="{ }", start=1, end=2, maxTagValues=9),
            {"query": "{ }", "start_s": 1, "end_s": 2, "limit": 9},
            id="values",
        ),
        pytest.param("SearchTagValues", pb.SearchTagValuesRequest(tagName="a"), {"limit": 0}, id="old values"),
        pytest.param("SearchTags", pb.SearchTagsRequest(), {"scope": None, "limit": 0}, id="old tags"),
    ],
)
def test_what_the_backend_is_asked(call, backend, method, request_, want):
    """The fields of a message are the parameters of a URL."""
    backend.result, backend.series, backend.names, backend.values = RESULT, SERIES, NAMES, VALUES
    assert len(call(method, request_)) == 1
    (asked,) = backend.asked
    assert {name: asked[name] for name in want} == want


@pytest.mark.parametrize(
    ("method", "request_", "error", "code", "words"),
    [
        pytest.param("Search", pb.SearchRequest(Query="{ "), None, "INVALID_ARGUMENT", "", id="query"),
        pytest.param("Search", pb.SearchRequest(Limit=5000), None, "INVALID_ARGUMENT", "max_result_limit", id="limit"),
        pytest.param("MetricsQueryRange", None, None, "INVALID_ARGUMENT", "q is missing", id="no query"),
        pytest.param("SearchTagValuesV2", None, None, "INVALID_ARGUMENT", "", id="no tag"),
        pytest.param("SearchTags", pb.SearchTagsRequest(scope="x"), None, "INVALID_ARGUMENT", "scope", id="scope"),
        pytest.param("Search", None, Unavailable("away"), "UNAVAILABLE", "away", id="away"),
        pytest.param("Search", None, TooManyRequests("many"), "RESOURCE_EXHAUSTED", "many", id="many"),
        pytest.param("Search", None, TimeoutError(), "DEADLINE_EXCEEDED", "query.timeout_s", id="too long"),
        pytest.param("Nothing", pb.SearchRequest(), None, "UNIMPLEMENTED", "", id="method"),
    ],
)
def test_errors(call, backend, method, request_, error, code, words):
    """The same errors as over HTTP, with gRPC's codes."""
    if code == "INVALID_ARGUMENT" and method == "Search" and not words:
        from query.search import compile_query

        async def search(_tenant, query, **_):
            compile_query(query)

        backend.search = search
    backend.error = error
    with pytest.raises(grpc.RpcError) as told:
        call(method, request_)
    assert told.value.code().name == code
    assert words in told.value.details()


def test_our_fault(call, backend, caplog):
    """INTERNAL tells nothing; the log has it under the same reference."""
    backend.error = RuntimeError("cannot read /secret/place")
    with pytest.raises(grpc.RpcError) as told:
        call("Search")
    assert told.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in told.value.details()
    assert told.value.details().split()[-1] in caplog.text


def test_tenants_and_tokens(call, backend):
    """Both come as metadata."""
    call("Search", metadata=(("x-scope-orgid", "acme"),), multitenancy=True)
    assert backend.asked[0]["tenant"] == "acme"
    with pytest.raises(grpc.RpcError) as told:
        call("Search", multitenancy=True)
    assert (told.value.code(), told.value.details()) == (grpc.StatusCode.UNAUTHENTICATED, "no org id")
    token = (("authorization", "Bearer a1"),)
    call("Search", metadata=token, multitenancy=True, credentials=CREDENTIALS)
    with pytest.raises(grpc.RpcError) as told:
        call("Search", metadata=(*token, ("x-scope-orgid", "beta")), multitenancy=True, credentials=CREDENTIALS)
    assert told.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.RpcError) as told:
        call("SearchTags", multitenancy=True, credentials=CREDENTIALS)
    assert told.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_progress(call, backend, monkeypatch):
    """While a query runs, parts without rows come; they have metrics, which Grafana's plugin reads unasked."""
    monkeypatch.setattr(streaming, "PROGRESS_S", 0.05)

    async def search(*_, **__):
        await asyncio.sleep(0.3)
        return RESULT

    backend.search = search
    *progress, last = call("Search", pb.SearchRequest(Query="{ }"))
    assert progress
    assert all(part.HasField("metrics") and not part.traces for part in progress)
    assert len(last.traces) == 1


def test_a_client_that_goes_away(call, backend):
    """Its query is cancelled."""
    backend.wait = asyncio.Event()
    with pytest.raises(grpc.RpcError):
        call("Search", timeout=0.3)
    assert backend.wait.is_set()


def test_methods_are_documented():
    """docs/api.md has a row for each method, with the endpoint that asks the same."""
    text = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    assert all(f"| `{name}` | `GET /api/" in text for name in METHODS)
    assert all(f"`{code.name}`" in text for code in streaming.CODES.values())


def test_proto_is_what_the_classes_were_made_of():
    """Each message, field and number of tempo.proto is in the classes, and the other way round."""
    text = re.sub(r"//.*", "", (Path(streaming.__file__).parent / "proto" / "tempo.proto").read_text())
    written = {
        (name, field, int(number))
        for name, body in re.findall(r"message (\w+) \{(.*?)\n\}", text, re.DOTALL)
        for field, number in re.findall(r"(\w+) = (\d+);", body)
    }
    made = {
        (message.name, field.name, field.number)
        for message in pb.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
    }
    assert written == made
    assert set(re.findall(r"rpc (\w+)\(", text)) == set(METHODS)
