"""Spans of Jaeger's and Zipkin's clients, by every door, found by search and read back by id."""

import json
import socket
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from app.receivers.jaeger.grpc_server import POST_SPANS
from tables.wire.jaeger import jaeger_pb2
from tests.harness.client import Client, eventually
from tests.helpers.receiving.jaeger import batch, datagram, encoded, log, span, tag

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]
PARENT, CHILD = 0x0A0B, 0x0C0D


def post(address: str, path: str, body: bytes, kind: str) -> None:
    request = urllib.request.Request(f"http://{address}{path}", data=body, headers={"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 202


def jaeger_batch(trace: int, service: str) -> Any:
    now_us = time.time_ns() // 1000
    parent = span(PARENT, trace_id_low=trace, start_us=now_us, tags=[tag("span.kind", "server"), tag("error", True)])
    child = span(
        CHILD, trace_id_low=trace, parent_span_id=PARENT, start_us=now_us, name=b"child",
        tags=[tag("n", 42)], logs=[log(now_us, tag("event", "happened"))],
    )  # fmt: skip
    return batch(parent, child, service=service)


def jaeger_http(encoding: Any, kind: str) -> Callable[[Client, int, str], None]:
    def send(client: Client, trace: int, service: str) -> None:
        body = encoded(jaeger_batch(trace, service), encoding)
        post(client.cluster.receivers["jaeger_http"], "/api/traces", body, kind)

    return send


def jaeger_udp(encoding: Any) -> Callable[[Client, int, str], None]:
    def send(client: Client, trace: int, service: str) -> None:
        host, _, port = client.cluster.receivers[f"jaeger_{encoding}"].rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(datagram(jaeger_batch(trace, service), encoding), (host, int(port)))

    return send


def jaeger_grpc(client: Client, trace: int, service: str) -> None:
    now = Timestamp(seconds=int(time.time()))
    trace_id = trace.to_bytes(16, "big")
    parent, child = (number.to_bytes(8, "big") for number in (PARENT, CHILD))
    spans = [
        jaeger_pb2.Span(
            trace_id=trace_id, span_id=parent, operation_name=b"GET /", start_time=now,
            tags=[jaeger_pb2.KeyValue(key=b"span.kind", v_str=b"server"),
                  jaeger_pb2.KeyValue(key=b"error", v_type=1, v_bool=True)],
        ),
        jaeger_pb2.Span(
            trace_id=trace_id, span_id=child, operation_name=b"child", start_time=now,
            references=[jaeger_pb2.SpanRef(trace_id=trace_id, span_id=parent)],
            tags=[jaeger_pb2.KeyValue(key=b"n", v_type=2, v_int64=42)],
            logs=[jaeger_pb2.Log(timestamp=now, fields=[jaeger_pb2.KeyValue(key=b"event", v_str=b"happened")])],
        ),
    ]  # fmt: skip
    process = jaeger_pb2.Process(service_name=service.encode())
    batch = jaeger_pb2.Batch(spans=[one.SerializeToString() for one in spans], process=process)
    message = jaeger_pb2.PostSpansRequest(batch=batch)
    with grpc.insecure_channel(client.cluster.receivers["jaeger_grpc"]) as channel:
        channel.unary_unary(POST_SPANS.path)(message.SerializeToString(), timeout=10)


def zipkin_json(client: Client, trace: int, service: str) -> None:
    now_us = time.time_ns() // 1000
    common = {"traceId": f"{trace:032x}", "timestamp": now_us, "localEndpoint": {"serviceName": service}}
    parent = {**common, "id": f"{PARENT:016x}", "name": "GET /", "kind": "SERVER", "tags": {"error": "true"}}
    child = {
        **common, "id": f"{CHILD:016x}", "parentId": f"{PARENT:016x}", "name": "child", "tags": {"n": "42"},
        "annotations": [{"timestamp": now_us, "value": "happened"}],
    }  # fmt: skip
    body = json.dumps([parent, child]).encode()
    post(client.cluster.receivers["zipkin"], "/api/v2/spans", body, "application/json")


@pytest.mark.parametrize(
    ("name", "send", "number"),
    [
        ("jaeger-binary", jaeger_http("binary", "application/x-thrift"), "42"),
        ("jaeger-compact", jaeger_http("compact", "application/vnd.apache.thrift.compact"), "42"),
        ("jaeger-udp-compact", jaeger_udp("compact"), "42"),
        ("jaeger-udp-binary", jaeger_udp("binary"), "42"),
        ("jaeger-grpc", jaeger_grpc, "42"),
        ("zipkin-json", zipkin_json, '"42"'),
    ],
)
def test_every_door(client: Client, name: str, send: Callable[[Client, int, str], None], number: str) -> None:
    trace = 0x1000_0000_0000_0000 + abs(hash(name)) % (1 << 60)
    send(client, trace, name)
    query = f'{{ resource.service.name = "{name}" && span.n = {number} }} && {{ kind = server && status = error }}'
    (found,) = eventually(lambda: client.search(query), bool)
    assert int(found["traceID"], 16) == trace
    assert (found["rootServiceName"], found["rootTraceName"]) == (name, "GET /")
    spans = {one["name"]: one for one in client.trace_spans(found["traceID"])}
    assert spans["child"]["parentSpanId"] == spans["GET /"]["spanId"]
    assert spans["child"]["events"][0]["name"] == "happened"
    assert spans["GET /"]["kind"] == "SPAN_KIND_SERVER"
    assert spans["GET /"]["status"]["code"] == "STATUS_CODE_ERROR"


def test_sampling_is_answered(client: Client) -> None:
    address = client.cluster.receivers["jaeger_sampling"]
    with urllib.request.urlopen(f"http://{address}/sampling?service=x", timeout=10) as answer:
        assert json.load(answer)["probabilisticSampling"] == {"samplingRate": 1.0}
