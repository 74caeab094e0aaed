"""The receivers of Jaeger and Zipkin, listening: what they answer, and what reaches the batcher."""

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents.distributor.record_producer import KafkaUnavailable
from agents.distributor.span_writer import Outcome
from app.net.access import Access
from app.net.file_watch import FileWatch
from app.receivers.decompress import BodyCosts
from app.receivers.input_budget import InputBudget
from app.receivers.jaeger.grpc_server import POST_SPANS
from app.receivers.jaeger.udp import DATAGRAMS, DROPPED
from app.receivers.receiver import ReceiverContext
from app.receivers.table import RECEIVERS
from app.receivers.translating_http import REJECTED_HEADER
from app.settings import Settings
from tables.wire.jaeger import jaeger_pb2
from tables.wire.jaeger.thrift import datagram_to_otlp
from tables.wire.zipkin.json import version2_to_otlp
from tests.harness.ports import own_port
from tests.helpers.receiving.jaeger import batch, datagram, encoded, span, tag
from tests.helpers.receiving.receivers import FakeBatcher

ROWS = {row.name: row for row in RECEIVERS}
ZIPKIN = json.dumps([{"traceId": "1", "id": "2", "timestamp": 1, "localEndpoint": {"serviceName": "z"}}]).encode()


def serve(
    name: str, use: Callable[[FakeBatcher, str], Awaitable[Any]], *, multitenancy: bool = False,
    answer: Outcome | BaseException | None = None, budget: InputBudget | None = None, **options: Any,
) -> Any:  # fmt: skip
    """Runs `use(batcher, address)` while the receiver listens."""

    async def main() -> Any:
        address, batcher = f"127.0.0.1:{own_port()}", FakeBatcher(answer or Outcome(1))
        row = ROWS[name]
        section = row.section(Settings()).model_copy(update={"endpoint": address, **options})
        context = ReceiverContext(
            batcher=batcher,  # type: ignore[arg-type]
            budget=budget or InputBudget(1 << 24),
            access=Access(multitenancy=multitenancy),
            watch=FileWatch(60),
            costs=BodyCosts(),
            body_threads=1,
        )
        import importlib

        made = getattr(importlib.import_module(row.module), row.builder)(section, row.setting, context)
        if made is None:
            return None
        await made.start()
        try:
            return await use(batcher, address)
        finally:
            await made.stop(1)
            assert context.budget.used_bytes == 0

    return asyncio.run(main())


def services(batcher: FakeBatcher) -> list[str]:
    requests = [ExportTraceServiceRequest.FromString(body) for _, body in batcher.came]
    return [
        one.value.string_value
        for request in requests
        for found in request.resource_spans
        for one in found.resource.attributes
        if one.key == "service.name"
    ]


async def post(address: str, path: str, body: bytes, **headers: str) -> tuple[int, str, Any]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{address}{path}", data=body, headers=names) as answer,
    ):
        return answer.status, await answer.text(), answer.headers


@pytest.mark.parametrize(
    ("name", "path", "kind", "body", "service"),
    [
        ("jaeger_http", "/api/traces", "application/x-thrift", encoded(batch(span()), "binary"), "shop"),
        ("jaeger_http", "/api/traces?format=jaeger.thrift", "application/vnd.apache.thrift.binary",
         encoded(batch(span()), "binary"), "shop"),
        ("jaeger_http", "/api/traces", "application/vnd.apache.thrift.compact", encoded(batch(span()), "compact"),
         "shop"),
        ("zipkin", "/api/v2/spans", "application/json", ZIPKIN, "z"),
        ("zipkin", "/api/v1/spans", "application/json; charset=utf-8", b"[]", None),
    ],
)  # fmt: skip
def test_http(name: str, path: str, kind: str, body: bytes, service: str | None) -> None:
    async def use(batcher: FakeBatcher, address: str) -> None:
        for sent, encoding in ((body, {}), (gzip.compress(body), {"Content_Encoding": "gzip"})):
            status, text, _ = await post(address, path, sent, Content_Type=kind, **encoding)
            assert (status, text) == (202, "")
        assert services(batcher) == ([service] * 2 if service else [])
        status, text, _ = await post(address, path, b"\x07", Content_Type=kind)
        assert status == 400
        assert text.strip()
        status, text, _ = await post(address, path, body, Content_Type="text/html")
        assert status == 415
        assert "text/html" in text
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}") as answer:
            assert answer.status == 405

    serve(name, use)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Outcome(1, malformed="odd"), 400),
        (Outcome(3, rejected=2), 202),
        (KafkaUnavailable("away"), 503),
    ],
)
def test_http_outcomes(answer: Outcome | BaseException, status: int) -> None:
    async def use(_: FakeBatcher, address: str) -> Any:
        return await post(address, "/api/v2/spans", ZIPKIN, Content_Type="application/json")

    found, _, headers = serve("zipkin", use, answer=answer)
    assert found == status
    assert headers.get("Retry-After") == ("1" if status == 503 else None)
    assert headers.get(REJECTED_HEADER) == ("2" if status == 202 else None)


def test_http_tenants_and_limits() -> None:
    async def use(batcher: FakeBatcher, address: str) -> None:
        path = "/api/v2/spans"
        assert (await post(address, path, ZIPKIN))[0] == 401
        assert (await post(address, path, ZIPKIN, X_Scope_OrgID="a/b"))[0] == 400
        assert (await post(address, path, ZIPKIN, X_Scope_OrgID="one"))[0] == 415  # aiohttp's own type
        assert (await post(address, path, ZIPKIN, X_Scope_OrgID="one", Content_Type="application/json"))[0] == 202
        status, text, _ = await post(address, path, b"[" + b" " * 5000, X_Scope_OrgID="one")
        assert (status, "max_request_body_size" in text) in ((413, True), (415, False))
        assert [tenant for tenant, _ in batcher.came] == ["one"]

    serve("zipkin", use, multitenancy=True, max_request_body_size=1000)


def test_jaeger_grpc() -> None:
    request = jaeger_pb2.PostSpansRequest(
        batch=jaeger_pb2.Batch(
            spans=[jaeger_pb2.Span(trace_id=b"\1" * 16, span_id=b"\2" * 8).SerializeToString()],
            process=jaeger_pb2.Process(service_name=b"g"),
        )
    )

    async def use(batcher: FakeBatcher, address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.unary_unary(POST_SPANS.path)
            assert await call(request.SerializeToString()) == b""
            assert services(batcher) == ["g"]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"\xff")
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/other/Method")(b"")
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    serve("jaeger_grpc", use)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def dropped(receiver: str, reason: str) -> float:
    return float(DROPPED.labels(receiver, reason)._value.get())


@pytest.mark.parametrize("encoding", ["compact", "binary"])
def test_udp(encoding: Any) -> None:
    name = f"jaeger_udp_{encoding}"

    async def use(batcher: FakeBatcher, address: str) -> None:
        host, _, port = address.rpartition(":")
        before = {reason: dropped(name, reason) for reason in ("malformed", "size")}
        began = DATAGRAMS.labels(name)._value.get()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((host, int(port)))
            for number in range(20):
                client.send(datagram(batch(span(number + 1), service=f"s{number}"), encoding))
            client.send(b"garbage")
            client.send(datagram(batch(span(1, tags=[tag("k", "v" * 2000)])), encoding))
        await until(lambda: DATAGRAMS.labels(name)._value.get() == began + 22)
        await until(lambda: len(services(batcher)) == 20)
        assert sorted(services(batcher)) == sorted(f"s{number}" for number in range(20))
        await until(lambda: dropped(name, "malformed") == before["malformed"] + 1)
        assert dropped(name, "size") == before["size"] + 1
        assert {tenant for tenant, _ in batcher.came} == {"single-tenant"}

    serve(f"jaeger_{encoding}", use, max_packet_size=1000)


def test_udp_counts_what_kafka_does_not_take() -> None:
    async def use(_: FakeBatcher, address: str) -> None:
        host, _, port = address.rpartition(":")
        before = dropped("jaeger_udp_compact", "kafka")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(datagram(batch(span()), "compact"), (host, int(port)))
        await until(lambda: dropped("jaeger_udp_compact", "kafka") == before + 1)

    serve("jaeger_compact", use, answer=KafkaUnavailable("away"))


@pytest.mark.parametrize(("bytes_max", "requests"), [(1 << 30, 1), (1, 20)])
def test_udp_joins_datagrams(bytes_max: int, requests: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes in some time, or up to so many bytes, is one request; what still waits at the stop is not lost."""
    monkeypatch.setattr("app.receivers.jaeger.udp._COLLECT_S", 60.0)
    monkeypatch.setattr("app.receivers.jaeger.udp._COLLECT_BYTES", bytes_max)
    kept: list[FakeBatcher] = []
    name = "jaeger_udp_compact"

    async def use(batcher: FakeBatcher, address: str) -> None:
        kept.append(batcher)
        host, _, port = address.rpartition(":")
        began = DATAGRAMS.labels(name)._value.get()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for number in range(20):
                client.sendto(datagram(batch(span(number + 1), service=f"s{number}"), "compact"), (host, int(port)))
                await until(lambda number=number: DATAGRAMS.labels(name)._value.get() == began + number + 1)
                if requests > 1:
                    await until(lambda number=number: len(batcher.came) == number + 1)
        assert len(batcher.came) == (requests if requests > 1 else 0)

    serve("jaeger_compact", use)
    (batcher,) = kept
    assert len(batcher.came) == requests
    assert services(batcher) == [f"s{number}" for number in range(20)]


def test_udp_reads_on_while_it_translates(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes: what comes waits in our queue, and not in the socket, until the queue is full."""
    going_on = threading.Event()

    def slow(data: bytes, encoding: Any) -> bytes:
        assert going_on.wait(10)
        return datagram_to_otlp(data, encoding)

    monkeypatch.setattr("app.receivers.jaeger.udp_server.datagram_to_otlp", slow)
    name = "jaeger_udp_compact"
    data = datagram(batch(span(tags=[tag("k", "v" * 20_000)])), "compact")

    async def use(batcher: FakeBatcher, address: str) -> None:
        host, _, port = address.rpartition(":")
        began, before = DATAGRAMS.labels(name)._value.get(), dropped(name, "queue")
        kernel = dropped(name, "kernel")
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                for number in range(100):  # two megabytes
                    client.sendto(data, (host, int(port)))
                    await until(lambda number=number: DATAGRAMS.labels(name)._value.get() == began + number + 1)
            assert not batcher.came
            lost = dropped(name, "queue") - before
        finally:
            going_on.set()
        assert lost == 100 - (1 << 20) // len(data)
        await until(lambda: sum(body.count(b"vvvv" * 5000) for _, body in batcher.came) == 100 - lost)
        assert dropped(name, "kernel") == kernel

    serve("jaeger_compact", use, queue_bytes_max=1 << 20)


def test_udp_needs_a_tenant_where_tenants_count() -> None:
    async def use(batcher: FakeBatcher, address: str) -> list[str]:
        host, _, port = address.rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(datagram(batch(span()), "compact"), (host, int(port)))
        await until(lambda: bool(batcher.came))
        return [tenant for tenant, _ in batcher.came]

    assert serve("jaeger_compact", use, multitenancy=True) is None
    assert serve("jaeger_compact", use, multitenancy=True, tenant="edge") == ["edge"]


def test_sampling() -> None:
    async def use(_: FakeBatcher, address: str) -> None:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{address}/sampling?service=shop") as answer:
                assert await answer.json() == {
                    "strategyType": "PROBABILISTIC",
                    "probabilisticSampling": {"samplingRate": 0.25},
                }
            async with session.get(f"http://{address}/baggageRestrictions?service=shop") as answer:
                assert await answer.json() == []

    serve("jaeger_sampling", use, sampling_rate=0.25)


@pytest.mark.parametrize(
    ("spans", "more", "on_loop"), [(500, {}, True), (500, {"timestamp": 1.0}, False), (5000, {}, False)]
)
def test_where_zipkins_json_is_read(
    monkeypatch: pytest.MonkeyPatch, spans: int, more: dict[str, Any], on_loop: bool
) -> None:
    """What takes little stays on the loop, so that it comes to the batcher with others; the rest does not stop it."""
    loop_only: list[bool] = []

    def whole(*args: Any, **options: Any) -> bytes:
        loop_only.append(threading.current_thread() is threading.main_thread())
        return version2_to_otlp(*args, **options)

    monkeypatch.setattr("app.receivers.zipkin.http_server.version2_to_otlp", whole)
    one = {"traceId": "1" * 32, "id": "2" * 16, "timestamp": 1, "name": "n" * 60, **more}

    async def use(batcher: FakeBatcher, address: str) -> None:
        body = json.dumps([one] * spans).encode()
        status, text, _ = await post(address, "/api/v2/spans", body, Content_Type="application/json")
        assert (status, text) == (202, "")
        assert loop_only == ([] if on_loop else [False])
        request = ExportTraceServiceRequest.FromString(batcher.came[0][1])
        assert len(request.resource_spans[0].scope_spans[0].spans) == spans

    serve("zipkin", use)
