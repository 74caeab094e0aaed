"""Own traces: who is traced, what belongs together, and what never is."""

import asyncio
from unittest.mock import patch

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agents import tracing
from agents.distributor.forwarders.forwarder import Forwarding
from agents.distributor.rate_limits import RateLimits
from agents.distributor.record_producer import KafkaUnavailable
from agents.distributor.requests import Outcome
from agents.distributor.tenant_metrics import TenantMetrics
from app.errors import SettingsError
from app.process import own_traces
from app.querying.running.executor import QueryExecutor, QueryLimits
from app.receivers.ingress import Ingress, Tenancy
from app.rpc.frames import RpcFrame, with_traceparent
from app.settings import Settings
from tables.wire.otlp.raw_spans import RawSpans
from tests.helpers.receiving.limits import FixedLimits
from tests.helpers.receiving.otlp_grpc import export, serving
from tests.helpers.receiving.receivers import FakeBatcher

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture
def spans(monkeypatch):
    """A function that switches own traces on, and gives the spans when called again."""
    exporter, made = InMemorySpanExporter(), []
    monkeypatch.setattr(own_traces, "_exporter", lambda _: exporter)

    def on(**section):
        settings = Settings.model_validate(
            {"multitenancy_enabled": section.pop("multitenancy", True), "tracing": {"enabled": True, **section}}
        )
        made.append(own_traces.SdkTracer(settings, "me", "1"))
        tracing.use(made[-1])
        return finished

    def finished():
        made[-1]._processor.force_flush()
        return {span.name: span for span in exporter.get_finished_spans()}

    yield on
    tracing.use(None)
    for tracer in made:
        tracer.stop()


def test_off_is_nothing():
    with tracing.span("a", {}) as span, tracing.ingest({}, b""), tracing.background("b", {}, {"t": 1}):
        assert (span.is_recording, span.traceparent, dict(span.log_fields)) == (False, "", {})
    assert with_traceparent(RpcFrame("ask", {"a": 1}), span).fields == {"a": 1}


def test_spans_nest_across_tasks_and_processes(spans):
    finished = spans(query_ratio=1)

    async def part():
        with tracing.span("job", {"files": 2}, kind=tracing.CLIENT) as span:
            return with_traceparent(RpcFrame("job", {}), span)

    async def run():
        with tracing.span("query search", {"tenant": "t"}, kind=tracing.SERVER):
            return await asyncio.ensure_future(part())

    frame = asyncio.run(run())

    async def other_process():
        with tracing.span("querier job", {}, parent=tracing.parent_of(frame.fields)):
            await QueryExecutor(QueryLimits(1, 1, 5)).run(lambda _: 1)

    asyncio.run(other_process())
    found = finished()
    names = ["query search", "job", "querier job", "execute"]
    assert {found[name].context.trace_id for name in names} == {found["job"].context.trace_id}
    parents = [found[name].parent and found[name].parent.span_id for name in names]
    assert parents == [None, *(found[name].context.span_id for name in names[:3])]
    assert found["execute"].attributes["storage.bytes"] == 0
    assert found["job"].resource.attributes["service.name"] == "stretto"


@pytest.mark.parametrize(
    ("header", "ratio", "traced"),
    [(SAMPLED, 0, True), (UNSAMPLED, 1, False), ("", 1, True), ("", 0, False), ("nonsense", 1, True), (None, 0, False)],
)
def test_incoming_traceparent(spans, header, ratio, traced):
    finished = spans(query_ratio=ratio)

    async def run():
        tracing.take_incoming(header)
        with tracing.span("query", {}) as span:
            return span.log_fields

    fields = asyncio.run(run())
    found = finished()
    assert ("query" in found) is traced
    assert bool(fields) is traced
    if header == SAMPLED:
        assert fields == {"trace_id": SAMPLED.split("-")[1]}
        assert f"{found['query'].parent.span_id:016x}" == SAMPLED.split("-")[2]


def test_requests_with_own_spans_are_not_traced(spans):
    """Whatever way they have come: the mark is in the resource of own spans."""
    finished = spans(ingest_ratio=1)
    with tracing.ingest({"tenant": "a"}, b"...stretto.own_traces\x12\x02\x10\x01..."):
        pass
    assert finished() == {}
    with tracing.ingest({"tenant": "a"}, b"spans"):
        pass
    assert finished()["ingest"].attributes["size_bytes"] == 5


def traced_request(ingress, answer, *, gone=False):
    """Hands a request over without a task of its own, and waits for the answer. Out: what the receiver hears"""

    async def main():
        heard = asyncio.get_running_loop().create_future()
        writing = ingress(answer).submit("a", b"spans", None, heard.set_result)
        assert not trace.get_current_span().get_span_context().is_valid  # it is nobody's current span
        if gone:
            writing.gone()
            return None
        return await heard

    return asyncio.run(main())


def ingress(answer):
    limits = FixedLimits({})
    tenancy = Tenancy(limits, RateLimits(limits), TenantMetrics(10), Forwarding({}), RawSpans())
    return Ingress(FakeBatcher(answer), tenancy, "otlp", "grpc")


@pytest.mark.parametrize(
    ("answer", "gone", "error"),
    [(Outcome(1), False, ""), (KafkaUnavailable("away"), False, "KafkaUnavailable"), (Outcome(1), True, "Cancelled")],
)
def test_a_request_without_a_task_is_traced(spans, answer, gone, error):
    """Its span begins and ends in callbacks of different contexts; also if it fails, or its client goes away."""
    finished = spans(ingest_ratio=1)
    assert traced_request(ingress, answer, gone=gone) is (None if gone else answer)
    one = finished()["ingest"]
    assert dict(one.attributes) == {"tenant": "a", "receiver": "otlp", "size_bytes": 5}
    assert one.parent is None
    assert one.status.is_ok is not (bool(error) and not gone)
    assert error in one.events[0].attributes["exception.type"] if error and not gone else not one.events


def test_a_request_over_grpc_has_no_task_though_it_is_traced(spans):
    finished = spans(ingest_ratio=1)

    async def use(server, _batcher, port):
        server.batcher = ingress(Outcome(1))
        with patch.object(server, "run", side_effect=AssertionError("a task")):
            assert await export(port, b"spans") is None

    serving(use)
    assert finished()["ingest"].attributes["size_bytes"] == 5


def test_what_is_exported_has_the_mark(spans):
    """As the receiver of the request sees it."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    finished = spans(query_ratio=1)
    with tracing.span("a", {}):
        pass
    assert own_traces._MARK in encode_spans(list(finished().values())).SerializeToString()


@pytest.mark.parametrize(
    ("tenants", "traced"), [({"stretto": 9}, False), ({"stretto": 9, "a": 1}, True), ({"a": 1}, True)]
)
def test_blocks_of_own_spans_are_not_traced(spans, tenants, traced):
    finished = spans()
    with tracing.background("flush blocks", {}, tenants):
        pass
    assert bool(finished()) is traced


def test_flushes_of_own_spans_where_all_have_one_tenant(spans):
    """As many spans as were exported, or fewer, are own ones: such a flush ends the chain."""
    finished = spans(multitenancy=False)
    for flushed in ({"single-tenant": 10}, {"single-tenant": 1}):
        with tracing.background(f"flush {flushed['single-tenant']}", {}, flushed):
            pass
        finished()
    assert list(finished()) == ["flush 10"]


@pytest.mark.parametrize(
    ("section", "text"),
    [
        pytest.param({"target": "querier"}, "tracing.endpoint must say where", id="no receiver"),
        pytest.param(
            {"distributor": {"receivers": {"otlp": {"protocols": {"grpc": {"endpoint": ""}}}}}},
            "tracing.endpoint must say where",
            id="receiver off",
        ),
    ],
)
def test_nowhere_to_go(section, text):
    settings = Settings.model_validate({**section, "tracing": {"enabled": True}})
    with pytest.raises(SettingsError, match=text):
        own_traces.check(settings)


def test_missing_sdk(monkeypatch):
    monkeypatch.setattr(own_traces, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="extra `tracing`"):
        own_traces.check(Settings.model_validate({"tracing": {"enabled": True}}))
