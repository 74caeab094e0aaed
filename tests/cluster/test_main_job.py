"""The way of a span, end to end: real clients in, found by search and by id, through flush and crash."""

import asyncio
import gzip
import json
import os
import signal

import grpc
import pytest
from aiokafka import AIOKafkaProducer
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode

from tests.harness.client import Client, eventually, request

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


def exporter(kind: str, client: Client) -> SpanExporter:
    if kind == "grpc":
        return GrpcExporter(endpoint=client.cluster.otlp_address, insecure=True)
    return HttpExporter(endpoint=f"{client.cluster.otlp_http_url}/v1/traces")


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_the_opentelemetry_sdk(client: Client, kind: str) -> None:
    """Spans of the Python SDK are found by their attributes, and the trace comes back whole."""
    service = f"sdk-{kind}"
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(exporter(kind, client)))
    tracer = provider.get_tracer("tests")
    with tracer.start_as_current_span("parent", kind=SpanKind.SERVER) as parent:
        parent.set_attribute("http.response.status_code", 500)
        parent.set_status(Status(StatusCode.ERROR, "it broke"))
        with tracer.start_as_current_span("child", attributes={"list": ["a", "b"]}) as child:
            child.add_event("happened", {"when": "now"})
    provider.shutdown()
    query = f'{{ resource.service.name = "{service}" && span.http.response.status_code = 500 && status = error }}'
    (trace,) = eventually(lambda: client.search(query), bool)
    assert (trace["rootServiceName"], trace["rootTraceName"]) == (service, "parent")
    spans = {span["name"]: span for span in client.trace_spans(trace["traceID"])}
    assert spans["child"]["parentSpanId"] == spans["parent"]["spanId"]
    assert spans["child"]["events"][0]["name"] == "happened"
    assert spans["parent"]["status"] == {"message": "it broke", "code": "STATUS_CODE_ERROR"}


def test_raw_requests_and_a_big_one(client: Client) -> None:
    """20,000 spans in one request, then one span."""
    client.send(request("raw", 1000, 20))
    client.send(request("raw", 1, 1, first_trace=5000))
    client.expect_spans("raw", 20_001)


def test_json(client: Client) -> None:
    """OTLP's JSON has hex ids."""
    body = {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "json"}}]},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": "5b8efff798038103d269b633813fc60c",
                                "spanId": "eee19b7ec3c1b174",
                                "name": "from json",
                                "kind": 2,
                                "startTimeUnixNano": "1790000000000000000",
                                "endTimeUnixNano": 1790000001000000000,
                                "attributes": [{"key": "n", "value": {"intValue": "7"}}],
                            }
                        ]
                    }
                ],
            }
        ]
    }
    status, _, reply = client.post(json.dumps(body).encode(), "application/json")
    assert (status, json.loads(reply)) == (200, {})
    eventually(lambda: client.search('{ resource.service.name = "json" && span.n = 7 }'), bool)
    (span,) = client.trace_spans("5b8efff798038103d269b633813fc60c")
    assert span["name"] == "from json"


def test_gzip_over_http(client: Client) -> None:
    """A compressed body is one, decompressed."""
    status, _, _ = client.post(gzip.compress(request("gzip", 3, 2)), Content_Encoding="gzip")
    assert status == 200
    client.expect_spans("gzip", 6)


def test_malformed_requests_are_refused_alone(client: Client) -> None:
    """The fault is named; requests in a batch with it are not touched."""
    with pytest.raises(grpc.RpcError) as refused:
        client.send(b"nonsense")
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "ExportTraceServiceRequest" in refused.value.details()
    status, _, body = client.post(b"nonsense")
    assert (status, b"ExportTraceServiceRequest" in body) == (400, True)
    bad_id = b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}'
    status, _, body = client.post(bad_id, "application/json")
    assert status == 400
    assert "spans[0].traceId" in json.loads(body)["message"]
    with grpc.insecure_channel(client.cluster.otlp_address) as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        bodies = [b"bad" if n % 3 == 0 else request("mixed", 1, 1, first_trace=n) for n in range(30)]
        calls = [export.future(body) for body in bodies]
        codes = [call.code() for call in calls]
    assert codes == [grpc.StatusCode.INVALID_ARGUMENT if n % 3 == 0 else grpc.StatusCode.OK for n in range(30)]
    client.expect_spans("mixed", 20)


def test_invalid_ids_are_reported(client: Client) -> None:
    """Partial success: the spans with valid ids are in, the reply counts the others."""
    body = request("ids", 2, 2).replace(b"ids_____" + (1).to_bytes(8, "big"), bytes(16))
    reply = client.send(body)
    assert reply.partial_success.rejected_spans == 2
    assert "trace id" in reply.partial_success.error_message
    client.expect_spans("ids", 2)


def test_kafka_producers(client: Client) -> None:
    """What others write to otlp_spans, as the Collector's Kafka exporter does; a bad message is passed over."""
    skipped = client.metric("stretto_otlp_messages_skipped_total")

    async def produce() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=client.cluster.kafka_address, max_request_size=4 << 20)
        await producer.start()
        try:
            await producer.send_and_wait("otlp_spans", request("producer", 10, 5))
            await producer.send_and_wait("otlp_spans", b"not a request", key=b"any")
            await producer.send_and_wait("otlp_spans", request("producer", 2000, 5, first_trace=100))
        finally:
            await producer.stop()

    asyncio.run(produce())
    client.expect_spans("producer", 50 + 10_000)
    assert client.metric("stretto_otlp_messages_skipped_total") == skipped + 1


def test_records_that_cannot_be_read_are_passed_over(client: Client) -> None:
    """In topic spans: of an unknown version, with a foreign key, with bytes that are no record; the next one counts."""
    name = "stretto_live_store_records_skipped_total"
    skipped = client.metric(name)
    good = [("v", b"1"), ("n", b"3"), ("t", b"1-2")]

    async def produce() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=client.cluster.kafka_address)
        await producer.start()
        try:
            for key, value, headers in (
                (b"single-tenant", b"x", [("v", b"99"), ("n", b"1"), ("t", b"1-2")]),
                (b"../evil", b"x", good),
                (b"single-tenant", b"\x10\0\0\0garbage", good),
                (b"single-tenant", b"x", []),
            ):
                for partition in range(4):
                    await producer.send_and_wait("spans", value, key, partition, headers=headers)
        finally:
            await producer.stop()

    asyncio.run(produce())
    client.send(request("after-bad", 20, 1))
    client.expect_spans("after-bad", 20)
    eventually(lambda: client.metric(name), lambda n: n == skipped + 16, what="skipped records")


def test_kill_9_before_and_after_a_flush(client: Client) -> None:
    """Every acknowledged span is found exactly once: from heads, segments, blocks, and after each crash."""
    sent = 0
    for round_ in range(2):
        client.send(request("killed", 300, 4, first_trace=1 + 1000 * round_))
        sent += 1200
        client.kill_worker()  # at once: all of it is in Kafka only
        client.expect_spans("killed", sent)
        flushed = client.metric("stretto_block_spans_flushed_total")
        eventually(
            lambda before=flushed: client.metric("stretto_block_spans_flushed_total") - before,
            lambda spans: spans >= 1200,
            what="no flush",
        )
        client.expect_spans("killed", sent)
        client.kill_worker()
        client.expect_spans("killed", sent)
    traces = client.search('{ resource.service.name = "killed" }')
    assert len(traces) == 600
    assert all(len(client.trace_spans(trace["traceID"])) == 4 for trace in traces[::40])


def test_kill_9_in_the_middle_of_a_load(client: Client) -> None:
    """What was acknowledged is there once; what was not may be sent again."""
    acknowledged = []
    with grpc.insecure_channel(client.cluster.otlp_address) as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        calls = []
        for n in range(200):
            calls.append(export.future(request("load", 20, 5, first_trace=1 + 20 * n), timeout=20))
            if n == 100:
                old = client.pid("worker")
                calls[50].result()  # something is in, something is on its way
                os.kill(old, signal.SIGKILL)
        for n, call in enumerate(calls):
            if call.code() == grpc.StatusCode.OK:
                acknowledged.append(n)
    assert acknowledged
    client.wait_for_next_worker(old)

    def matched() -> dict[str, int]:
        traces = client.search('{ resource.service.name = "load" }')
        return {trace["traceID"]: trace["spanSets"][0]["matched"] for trace in traces}

    found = eventually(matched, lambda traces: len(traces) >= 20 * len(acknowledged))
    assert set(found.values()) == {5}
    wanted = {f"{b'load____'.hex()}{20 * n + i + 1:016x}" for n in acknowledged for i in range(20)}
    assert wanted <= set(found)
