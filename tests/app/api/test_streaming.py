"""tempopb.StreamingQuerier: what is asked, what is answered, and that it agrees with the HTTP API."""

import asyncio
import gc
import json
import threading
import time
import weakref
from functools import partial
from types import SimpleNamespace

import grpc
import pytest
from google.protobuf import json_format

from app.api import making
from app.api.call import ACCESS
from app.api.errors import TooManyRequests, Unavailable
from app.api.limits import LIMITS
from app.api.proto import tempo_pb2 as pb
from app.api.tempo import messages, streaming
from app.api.tempo.search import search_json
from app.api.tempo.streaming import METHODS, SERVICE, build_streaming
from app.querying import querier
from query.results import Inspected, MetricsResult, SearchResult, Series
from tests.helpers.live.live_store import world
from tests.helpers.loops import in_loop
from tests.helpers.querying.api import CREDENTIALS, RESULT, api_over
from tests.helpers.querying.engine import NS, Engine
from tests.helpers.querying.queriers import loaded
from tests.helpers.querying.streaming import NAMES, SERIES, VALUES, same
from tests.query.golden import START_NS, load_table
from tests.query.sources import LOAD, by_time


def many_series(count: int) -> MetricsResult:
    return MetricsResult([Series([("name", f"{n:020}")], [(1, 1.5)]) for n in range(count)], Inspected(sources=1))


def test_last_instant_message_is_the_whole_answer(stream, backend, monkeypatch):
    """Grafana keeps no other: however many series there are."""
    monkeypatch.setattr(streaming, "PROGRESS_S", 0.02)
    backend.series = many_series(60_000)  # 2.6 MB

    async def slow(*_, **__):
        await asyncio.sleep(0.2)
        return backend.series

    backend.metrics_instant = slow
    *early, last = stream("MetricsQueryInstant", pb.QueryInstantRequest(query="{ } | rate()", start=1, end=2))
    assert last.ByteSize() > 2 * messages.PART_BYTES
    assert len(last.series) == 60_000
    assert early
    assert not any(part.series for part in early)


def test_instant_answer_that_clients_refuse(stream, backend):
    """An error that says how large it is, what is allowed, and what to do; not a part of the answer."""
    backend.series = many_series(60_000)
    request_ = pb.QueryInstantRequest(query="{ } | rate()", start=1, end=2)
    with pytest.raises(grpc.RpcError) as reply:
        stream("MetricsQueryInstant", request_, max_send_msg_size_bytes=2 << 20)
    assert reply.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "grpc_server_max_send_msg_size allows 2097152" in reply.value.details()
    assert "topk" in reply.value.details()
    # Of a range the series come in several messages, which a client puts together.
    parts = stream(
        "MetricsQueryRange", pb.QueryRangeRequest(query="{ } | rate()", start=1, end=2), max_send_msg_size_bytes=2 << 20
    )
    assert len(parts) > 1
    assert sum(len(part.series) for part in parts) == 60_000


def test_an_answer_that_takes_too_long(stream, backend, monkeypatch):
    """DEADLINE_EXCEEDED, behind the messages that were made in time."""
    # As if nobody else had the CPUs.
    monkeypatch.setattr(making, "time", SimpleNamespace(monotonic=time.monotonic, thread_time=time.monotonic))

    class Endless(list):
        def __iter__(self):
            while True:
                yield Series([("name", "x" * 1000)], [(1, 1.5)])

    async def asked(*_, **__):
        return MetricsResult(Endless(), Inspected())

    backend.metrics_range = asked
    request_ = pb.QueryRangeRequest(query="{ } | rate()", start=1, end=2)
    with pytest.raises(grpc.RpcError) as reply:
        stream("MetricsQueryRange", request_, timeout_s=0.3)
    assert reply.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "query.timeout_s" in reply.value.details()


@pytest.mark.parametrize(
    ("method", "request_", "want"),
    [
        pytest.param(
            "Search",
            pb.SearchRequest(Query="{ name = `x` }", Limit=7, start=100, end=200, SpansPerSpanSet=5),
            {
                "query": "{ name = `x` }",
                "start_ns": 100 * 10**9,
                "end_ns": 200 * 10**9,
                "limit": 7,
                "spans_per_span_set": 5,
            },
            id="search",
        ),
        pytest.param(
            "Search",
            pb.SearchRequest(),
            {"query": "{ }", "start_ns": None, "end_ns": None, "limit": 20, "spans_per_span_set": 1},
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
            {"scope": "span", "query": "{ }", "start_ns": 1 * 10**9, "end_ns": 2 * 10**9, "limit": 9},
            id="tags",
        ),
        pytest.param(
            "SearchTagValuesV2",
            pb.SearchTagValuesRequest(tagName="span.a", query="{ }", start=1, end=2, maxTagValues=9),
            {"query": "{ }", "start_ns": 1 * 10**9, "end_ns": 2 * 10**9, "limit": 9},
            id="values",
        ),
        pytest.param("SearchTagValues", pb.SearchTagValuesRequest(tagName="a"), {"limit": 0}, id="old values"),
        pytest.param("SearchTags", pb.SearchTagsRequest(), {"scope": None, "limit": 0}, id="old tags"),
    ],
)
def test_what_the_backend_is_asked(stream, backend, method, request_, want):
    """The fields of a message are the parameters of a URL."""
    backend.result, backend.series, backend.names, backend.values = RESULT, SERIES, NAMES, VALUES
    assert len(stream(method, request_)) == 1
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
def test_errors(stream, backend, method, request_, error, code, words):
    """The same errors as over HTTP, with gRPC's codes."""
    if code == "INVALID_ARGUMENT" and method == "Search" and not words:
        from query.language.compile import compile_query

        async def search(_tenant, request, _observer):
            compile_query(request.query)

        backend.search = search
    backend.error = error
    with pytest.raises(grpc.RpcError) as reply:
        stream(method, request_)
    assert reply.value.code().name == code
    assert words in reply.value.details()


def test_our_fault(stream, backend, caplog):
    """INTERNAL tells nothing; the log has it under the same reference."""
    backend.error = RuntimeError("cannot read /secret/place")
    with pytest.raises(grpc.RpcError) as reply:
        stream("Search")
    assert reply.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in reply.value.details()
    assert reply.value.details().split()[-1] in caplog.text


@pytest.mark.parametrize("error", [TooManyRequests("many"), TimeoutError()], ids=["refused", "too long"])
def test_an_error_keeps_nothing(stream, backend, error):
    """Of what a query had, which its error knows: nobody counts that any more, and a full collection may never come."""
    held = Held()
    alive = weakref.ref(held)

    async def search(own, *_, **__):
        await asyncio.sleep(0)
        raise type(error)(*error.args)

    backend.search = partial(search, held)
    del held
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(grpc.RpcError):
            stream("Search")
        backend.search = None
        assert alive() is None
    finally:
        gc.enable()


class Held:
    """What a query has in its hands."""


def test_tenants_and_tokens(stream, backend):
    """Both come as metadata."""
    stream("Search", metadata=(("x-scope-orgid", "acme"),), multitenancy=True)
    assert backend.asked[0]["tenant"] == "acme"
    with pytest.raises(grpc.RpcError) as reply:
        stream("Search", multitenancy=True)
    assert (reply.value.code(), reply.value.details()) == (grpc.StatusCode.UNAUTHENTICATED, "no org id")
    token = (("authorization", "Bearer a1"),)
    stream("Search", metadata=token, multitenancy=True, credentials=CREDENTIALS)
    with pytest.raises(grpc.RpcError) as reply:
        stream("Search", metadata=(*token, ("x-scope-orgid", "beta")), multitenancy=True, credentials=CREDENTIALS)
    assert reply.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.RpcError) as reply:
        stream("SearchTags", multitenancy=True, credentials=CREDENTIALS)
    assert reply.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_progress(stream, backend, monkeypatch):
    """While a query runs, parts without rows come; they have metrics, which Grafana's plugin reads unasked."""
    monkeypatch.setattr(streaming, "PROGRESS_S", 0.05)

    async def search(*_, **__):
        await asyncio.sleep(0.3)
        return RESULT

    backend.search = search
    *progress, last = stream("Search", pb.SearchRequest(Query="{ }"))
    assert progress
    assert all(part.HasField("metrics") and not part.traces for part in progress)
    assert len(last.traces) == 1


def test_early_rows(stream, backend, monkeypatch):
    """Each trace once, then the whole answer; how far the query is; where nothing is new a message without rows."""
    monkeypatch.setattr(streaming, "PROGRESS_S", 0.05)
    traces = [RESULT.traces[0]._replace(trace_id=bytes(15) + bytes([n])) for n in range(1, 4)]
    whole = SearchResult(traces, Inspected(sources=9))

    async def search(_tenant, _request, observer):
        for count, left in ((1, 6), (2, 3)):
            # As from a worker's thread.
            await asyncio.to_thread(
                observer.progress.tell, SearchResult(traces[:count], Inspected(sources=3, left=left))
            )
            await asyncio.sleep(0.2)
        return whole

    backend.search = search
    *early, last = stream("Search", pb.SearchRequest(Query="{ true }"))
    assert [trace.traceID for part in early for trace in part.traces] == ["1", "2"]
    assert [part.metrics.totalJobs for part in early] == sorted((p.metrics.totalJobs for p in early), reverse=True)
    assert len(early) > 2
    assert all(part.metrics.completedJobs < part.metrics.totalJobs for part in early)
    same(b"".join(search_json(whole, span_sets=True)), [last])
    assert last.metrics.completedJobs == last.metrics.totalJobs == 9


@pytest.mark.parametrize(
    ("method", "path", "request_"),
    [
        pytest.param("Search", "/api/search?q={}&limit=12", pb.SearchRequest(Query="{}", Limit=12), id="search"),
        pytest.param(
            "MetricsQueryRange",
            f"/api/metrics/query_range?q={{}}|rate()&start={START_NS}&end={START_NS + 12 * NS}&step=1s",
            pb.QueryRangeRequest(query="{}|rate()", start=START_NS, end=START_NS + 12 * NS, step=NS),
            id="range",
        ),
        pytest.param(
            "MetricsQueryInstant",
            f"/api/metrics/query?q={{}}|rate()&start={START_NS}&end={START_NS + 12 * NS}",
            pb.QueryInstantRequest(query="{}|rate()", start=START_NS, end=START_NS + 12 * NS),
            id="instant",
        ),
    ],
)
def test_several_sources(stream, ask, monkeypatch, method, path, request_, backend):
    """Over four of them: several messages, of which the last is what HTTP answers, and the others are in it."""
    monkeypatch.setattr(streaming, "PARTIAL_S", 0)
    engine = Engine(by_time(load_table(LOAD), 4))
    for name in ("search", "metrics_range", "metrics_instant"):
        monkeypatch.setattr(backend, name, getattr(engine, name))
    body = json.loads(ask(path, headers={"Accept-Encoding": "identity"}).body)
    *early, last = stream(method, request_)
    assert early
    assert all(part.metrics.completedJobs < part.metrics.totalJobs == 4 for part in early)
    want = json_format.ParseDict(body, type(last)())
    rows = "traces" if method == "Search" else "series"
    assert getattr(last, rows) == getattr(want, rows)
    if method == "Search":
        reply = [trace for part in early for trace in part.traces]
        assert reply
        assert reply == list(last.traces)[: len(reply)]
    if method == "MetricsQueryRange":
        samples = [sample for part in early for one in part.series for sample in one.samples]
        assert samples
        assert all(sample in last.series[0].samples for sample in samples)


def test_cancelled_on_its_thread(tmp_path, monkeypatch):
    """A client that goes away ends the work between two sources, not only the wait for it."""
    started, stopped = threading.Event(), threading.Event()

    def slow(*_, cancelled, **__):
        started.set()
        while not cancelled():
            time.sleep(0.005)
        stopped.set()

    monkeypatch.setattr(querier, "search", slow)

    @in_loop
    async def main():
        with world(tmp_path) as w:
            asked = await loaded(w)
            api = api_over(asked)
            server = build_streaming(asked, api[LIMITS].now, api[ACCESS])
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                running = channel.unary_stream(f"/{SERVICE}/Search")(pb.SearchRequest(Query="{}").SerializeToString())
                assert await asyncio.to_thread(started.wait, 5)
                assert not stopped.is_set()
                running.cancel()
                assert await asyncio.to_thread(stopped.wait, 5)
            await server.stop(None)
            asked.close()

    main()


def test_a_client_that_goes_away(stream, backend):
    """Its query is cancelled."""
    backend.wait = asyncio.Event()
    with pytest.raises(grpc.RpcError):
        stream("Search", timeout=0.3)
    assert backend.wait.is_set()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["x-scope-orgid", "authorization"])
def test_repeated_metadata(stream, method, name):
    """Which of them counts nobody can know."""
    metadata = (("authorization", "Bearer a1"), ("x-scope-orgid", "acme"), (name, "acme"))
    with pytest.raises(grpc.aio.AioRpcError) as reply:
        stream(method, metadata=metadata, multitenancy=True, credentials=CREDENTIALS)
    assert reply.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "2 times" in reply.value.details()
