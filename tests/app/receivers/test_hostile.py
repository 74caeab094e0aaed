"""Requests made to hurt the decoder: refused alone, over HTTP and gRPC; their neighbours are acknowledged."""

import asyncio
from typing import Any

import grpc
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import REGISTRY

from agents.distributor import span_encoder
from app.net.access import Access
from app.receivers.grpc import GrpcReceiver
from app.receivers.http_body import BodyLimits
from app.receivers.otlp.export import EXPORT
from app.receivers.otlp.http import build_http_receiver
from app.receivers.request_batcher import IN_FLIGHT_BYTES, BatchLimits, RequestBatcher
from tables.wire.otlp.descriptor import RequestHandler
from tests.harness.ports import own_ports
from tests.helpers.live.whole_way import request, span
from tests.helpers.loops import in_loop
from tests.helpers.receiving.hostile import FRAMES, HUGE_LENGTHS, groups, spread_groups, writer
from tests.helpers.receiving.panics import PanicException

LIMITS = BatchLimits(window_s=0.02, batch_bytes=10_000_000, wait_s=1)
DEEP = {
    "groups": groups(400_000),
    "open groups": groups(400_000, closed=False),
    "spread groups": spread_groups(250_000),
}
HOSTILE = [pytest.param(body, id=name) for name, body in (HUGE_LENGTHS | FRAMES | DEEP).items()]


def undecodable(reason: str) -> float:
    return REGISTRY.get_sample_value("stretto_requests_undecodable_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize("body", HOSTILE)
@in_loop
async def test_over_http(body: bytes) -> None:
    """400 with the reason, 200 for the neighbours of two tenants, nothing stays in flight."""
    made, producer = writer()
    batcher = RequestBatcher(made, LIMITS)
    app = build_http_receiver(batcher, Access(multitenancy=True), BodyLimits(10_000_000, 10_000_000))
    async with TestClient(TestServer(app)) as client:

        async def post(tenant: str, data: bytes) -> tuple[int, bytes]:
            headers = {"Content-Type": "application/x-protobuf", "X-Scope-OrgID": tenant}
            reply = await client.post("/v1/traces", data=data, headers=headers)
            return reply.status, await reply.read()

        good = [("a", request([span(n)])) for n in range(1, 4)] + [("b", request([span(n)])) for n in range(4, 6)]
        before = undecodable("malformed")
        bad, *others = await asyncio.gather(post("a", body), *(post(*one) for one in good))
        assert bad[0] == 400
        assert b"not an OTLP ExportTraceServiceRequest" in bad[1]
        assert [status for status, _ in others] == [200] * 5
        assert undecodable("malformed") == before + 1
    assert producer.spans() == {"a": 3, "b": 2}
    assert IN_FLIGHT_BYTES._value.get() == 0


@pytest.mark.parametrize("body", [HUGE_LENGTHS["resource_spans"], HUGE_LENGTHS["value"], DEEP["groups"]])
@in_loop
async def test_over_grpc(body: bytes) -> None:
    """INVALID_ARGUMENT, which no client sends again; the neighbours are acknowledged."""
    made, producer = writer()
    (port,) = own_ports(1)
    access = Access(multitenancy=True)
    server = GrpcReceiver(RequestBatcher(made, LIMITS), f"127.0.0.1:{port}", access, EXPORT, message_bytes_max=1 << 24)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            export = channel.unary_unary(EXPORT.path)

            async def send(tenant: str, data: bytes) -> grpc.StatusCode:
                try:
                    await export(data, metadata=(("x-scope-orgid", tenant),))
                except grpc.aio.AioRpcError as err:
                    return err.code()
                return grpc.StatusCode.OK

            codes = await asyncio.gather(send("a", body), *(send("ab"[n % 2], request([span(n)])) for n in range(1, 5)))
    finally:
        await server.stop(None)
    assert codes == [grpc.StatusCode.INVALID_ARGUMENT] + [grpc.StatusCode.OK] * 4
    assert producer.spans() == {"a": 2, "b": 2}
    assert IN_FLIGHT_BYTES._value.get() == 0


@in_loop
async def test_a_panic_that_nobody_foresaw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever makes the decoder panic, the request alone is refused, counted as a panic."""
    real, made = RequestHandler._make, []

    class Handler:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def list_to_record_batch(self, bodies: list[bytes]) -> Any:
            if any(b"poison" in body for body in bodies):
                raise PanicException("index out of bounds")
            return self.inner.list_to_record_batch(bodies)

    def make(self: RequestHandler) -> None:
        real(self)
        made.append(self)
        self._handler = Handler(self._handler)

    monkeypatch.setattr(RequestHandler, "_make", make)
    monkeypatch.setattr(span_encoder, "BATCH_BYTES_MAX", 0)  # as in a large batch
    written, producer = writer()
    batcher = RequestBatcher(written, LIMITS)
    handlers, before = len(made), undecodable("panic")
    bodies = [request([span(n, name="poison" if n == 3 else "op")]) for n in range(1, 6)]
    outcomes = await asyncio.gather(*(batcher.add("ab"[n % 2], body) for n, body in enumerate(bodies)))
    assert [outcome.malformed is None for outcome in outcomes] == [True, True, False, True, True]
    assert "index out of bounds" in str(outcomes[2].malformed)
    assert producer.spans() == {"a": 2, "b": 2}
    assert undecodable("panic") == before + 1
    assert len(made) > handlers, "a decoder that panicked is made anew"
    assert IN_FLIGHT_BYTES._value.get() == 0


@pytest.mark.parametrize("error", [ZeroDivisionError("boom"), PanicException("boom"), IndexError("boom")])
@in_loop
async def test_a_fault_behind_the_decoder(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a request does to the code: it is refused alone."""
    real = span_encoder.split

    def split(spans: Any, *args: Any) -> Any:
        if "poison" in spans.column("name").dictionary.to_pylist():
            raise error
        return real(spans, *args)

    monkeypatch.setattr(span_encoder, "split", split)
    monkeypatch.setattr(span_encoder, "BATCH_BYTES_MAX", 0)
    written, producer = writer()
    batcher = RequestBatcher(written, LIMITS)
    bodies = [request([span(n, name="poison" if n == 3 else "op")]) for n in range(1, 6)]
    outcomes = await asyncio.gather(*(batcher.add("ab"[n % 2], body) for n, body in enumerate(bodies)))
    assert [outcome.malformed is None for outcome in outcomes] == [True, True, False, True, True]
    assert producer.spans() == {"a": 2, "b": 2}
    assert IN_FLIGHT_BYTES._value.get() == 0


@in_loop
async def test_a_writer_that_panics() -> None:
    """Every client gets an answer, and the bytes are given back."""

    class Broken:
        async def write(self, _: Any) -> Any:
            raise PanicException("boom")

    batcher = RequestBatcher(Broken(), LIMITS)  # type: ignore[arg-type]
    answers = await asyncio.gather(*(batcher.add("a", b"x" * n) for n in range(1, 4)), return_exceptions=True)
    assert all(isinstance(answer, Exception) and "boom" in str(answer) for answer in answers)
    assert IN_FLIGHT_BYTES._value.get() == 0
