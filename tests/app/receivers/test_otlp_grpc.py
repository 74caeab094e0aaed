"""OTLP over gRPC with real clients and with hand-made HTTP/2: what is answered, what is counted, who is cut."""

import asyncio
import gzip
import struct
import zlib

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from agents.distributor.record_producer import KafkaUnavailable
from agents.distributor.span_writer import Outcome
from app.receivers.input_budget import InputBudget
from tests.helpers.receiving.compression import framed, lz4, zstd
from tests.helpers.receiving.otlp_grpc import MIB, Http2Client, export, message, serving
from tests.helpers.receiving.panics import PanicException


@pytest.mark.parametrize("size", [0, 10, 100_000, 7 * MIB])
@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_what_arrives(size, compression):
    """Messages of any size, also what grpc compresses itself."""

    async def use(server, batcher, port):
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        assert await export(port, body, compression=compression) is None
        assert batcher.came == [("single-tenant", body)]

    serving(use, bytes_max=8 * MIB)


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd), ("snappy", framed), ("lz4", lz4)],
)
def test_compression(encoding, compress):
    """What the Collector's exporter can be set to, as it sends it; the same connection serves all."""

    async def use(server, batcher, port):
        body = bytes(100_000) + b"end"
        async with Http2Client(port) as client:
            stream = client.begin(("grpc-encoding", encoding))
            await client.send(stream, message(compress(body), compressed=1))
            assert (await client.answer(stream))["grpc-status"] == "0"
            plain = client.begin(("grpc-encoding", encoding))
            await client.send(plain, message(b"not compressed all the same"))
            assert (await client.answer(plain))["grpc-status"] == "0"
        assert batcher.came == [("single-tenant", body), ("single-tenant", b"not compressed all the same")]

    serving(use)


@pytest.mark.parametrize(
    ("headers", "body", "code", "text"),
    [
        pytest.param([("grpc-encoding", "br")], message(b"x", compressed=1), 12, "'br' is not known", id="encoding"),
        pytest.param([], message(b"x", compressed=1), 13, "does not say how", id="no encoding"),
        pytest.param([("grpc-encoding", "zstd")], message(b"junk", compressed=1), 3, "not zstd", id="not zstd"),
        pytest.param([], message(bytes(10))[:-1], 3, "end is missing", id="cut"),
        pytest.param([], b"", 3, "end is missing", id="nothing"),
        pytest.param([], message(b"a") + message(b"b"), 3, "something behind", id="two messages"),
        pytest.param([], struct.pack(">BL", 0, 2**32 - 1), 8, "max_recv_msg_size_mib", id="far too large"),
        pytest.param(
            [("grpc-encoding", "gzip")],
            message(gzip.compress(bytes(5 * MIB)), compressed=1),
            8,
            "max_recv_msg_size_mib",
            id="too large when decompressed",
        ),
        pytest.param([("x-scope-orgid", "b")], message(b"x"), 3, "X-Scope-OrgID is there 2 times", id="tenant twice"),
        pytest.param(
            [("authorization", "Bearer a")] * 2, message(b"x"), 3, "Authorization is there 2", id="token twice"
        ),
    ],
)
def test_refusals(headers, body, code, text):
    """Each says what is wrong, nothing is handed on, and the connection goes on."""

    async def use(server, batcher, port):
        async with Http2Client(port) as client:
            stream = client.begin(("x-scope-orgid", "a"), *headers)
            await client.send(stream, body)
            reply = await client.answer(stream)
            assert (reply["grpc-status"], text in reply["grpc-message"]) == (str(code), True), reply
            assert "grpc-status-details-bin" not in reply, "final"
            assert batcher.came == []
            good = client.begin(("x-scope-orgid", "a"))
            await client.send(good, message(b"good"))
            assert (await client.answer(good))["grpc-status"] == "0"
        assert batcher.came == [("a", b"good")]

    serving(use, multitenancy=True)


def test_a_joined_tenant_is_none():
    """Two values that a proxy has joined with a comma are no tenant's name."""

    async def use(server, batcher, port):
        reply = await export(port, b"x", (("x-scope-orgid", "a,b"),))
        assert reply is not None
        assert reply.code() is grpc.StatusCode.INVALID_ARGUMENT
        twice = await export(port, b"x", (("x-scope-orgid", "a"), ("x-scope-orgid", "b")))
        assert twice is not None
        assert twice.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert batcher.came == []

    serving(use, multitenancy=True)


@pytest.mark.parametrize(
    ("answer", "code", "retry"),
    [
        (KafkaUnavailable("Kafka is away: ü"), grpc.StatusCode.UNAVAILABLE, True),
        (Outcome(malformed="not OTLP"), grpc.StatusCode.INVALID_ARGUMENT, False),
        (RuntimeError("boom"), grpc.StatusCode.INTERNAL, False),
        (PanicException("boom"), grpc.StatusCode.INTERNAL, False),
    ],
)
def test_every_call_is_answered(answer, code, retry):
    """Whatever happens; what may be sent again says when."""

    async def use(server, batcher, port):
        reply = await export(port, b"x")
        assert reply is not None
        assert reply.code() is code
        assert ("boom" in reply.details()) is False
        details = dict(reply.trailing_metadata()).get("grpc-status-details-bin")
        if retry:
            assert reply.details() == "Kafka is away: ü"
            (any_,) = Status.FromString(details).details
            info = RetryInfo()
            assert any_.Unpack(info)
            assert info.retry_delay.seconds == 1
        else:
            assert details is None

    serving(use, answer=answer)


def test_other_methods():
    """UNIMPLEMENTED, with what there is."""

    async def use(server, batcher, port):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as reply:
                await channel.unary_unary("/x.Y/Z")(b"", timeout=5)
        assert reply.value.code() is grpc.StatusCode.UNIMPLEMENTED

    serving(use)


def test_the_budget_is_shared():
    """What one connection holds the next is refused at once, before its bytes come; then the room is there again."""
    budget = InputBudget(6 * MIB)

    async def use(server, batcher, port):
        async with Http2Client(port) as first, Http2Client(port) as second:
            stream = first.begin()
            await first.send(stream, message(bytes(4 * MIB))[: 3 * MIB], end=False)
            while budget.used_bytes < 3 * MIB - 70_000:
                await asyncio.sleep(0.005)
            other = second.begin()
            await second.send(other, message(bytes(4 * MIB))[:100], end=False)
            reply = await second.answer(other)
            assert reply["grpc-status"] == "8"
            assert "distributor.input.bytes_max" in reply["grpc-message"]
            assert "grpc-status-details-bin" in reply, "to be sent again"
            small = second.begin()
            await second.send(small, message(b"small"))
            assert (await second.answer(small))["grpc-status"] == "0"
        async with asyncio.timeout(5):
            while budget.used_bytes:
                await asyncio.sleep(0.005)
        assert await export(port, bytes(4 * MIB)) is None

    serving(use, budget=budget)


def test_a_client_that_goes_away_holds_nothing():
    """In the middle of its message, by resetting its stream, or while its answer is awaited."""
    budget = InputBudget(64 * MIB)

    async def use(server, batcher, port):
        async with Http2Client(port) as client:
            stream = client.begin()
            await client.send(stream, message(bytes(MIB))[: MIB // 2], end=False)
            while budget.used_bytes == 0:
                await asyncio.sleep(0.005)
            client.h2.reset_stream(stream)
            client.flush()
            async with asyncio.timeout(5):
                while budget.used_bytes:
                    await asyncio.sleep(0.005)
            batcher.go.clear()
            waiting = client.begin()
            await client.send(waiting, message(b"waits"))
            while not batcher.came:
                await asyncio.sleep(0.005)

    serving(use, budget=budget)
