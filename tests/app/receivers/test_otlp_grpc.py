"""OTLP over gRPC with real clients and with hand-made HTTP/2: what is answered, what is counted, who is cut."""

import asyncio
import contextlib
import gzip
import struct
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, Self

import grpc
import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from agents.distributor.record_producer import KafkaUnavailable
from agents.distributor.span_writer import Outcome
from app.net.access import Access
from app.net.http2_types import Http2Limits
from app.net.http_guard import GRPC_CONNECTIONS, LIMITED
from app.receivers.input_budget import InputBudget, InputBytes
from app.receivers.otlp.grpc import METHOD, SERVER, GrpcReceiver
from app.standalone.ports import free_port
from tests.app.receivers.test_decompress import framed, lz4, zstd

MIB = 1 << 20


class PanicException(BaseException):
    """As pyo3's: no Exception."""


class Gather:
    """In place of the batcher."""

    def __init__(self, answer: Outcome | BaseException) -> None:
        self.answer, self.came = answer, list[tuple[str, bytes]]()
        self.go = asyncio.Event()
        self.go.set()

    async def add(self, tenant: str, body: bytes, held: InputBytes) -> Outcome:
        try:
            self.came.append((tenant, body))
            await self.go.wait()
            if isinstance(self.answer, BaseException):
                raise self.answer
            return self.answer
        finally:
            held.release()


def serving(
    use: Callable[[GrpcReceiver, Gather, int], Awaitable[Any]],
    *,
    answer: Outcome | BaseException | None = None,
    multitenancy: bool = False,
    bytes_max: int = 4 * MIB,
    budget: InputBudget | None = None,
    limits: Http2Limits | None = None,
) -> Any:
    """Runs `use(server, gather, port)` while a server runs; afterwards nothing is held and nobody is connected."""

    async def main() -> Any:
        port, gather = free_port(), Gather(answer or Outcome(1))
        access = Access(multitenancy=multitenancy)
        server = GrpcReceiver(
            gather,  # type: ignore[arg-type]
            f"127.0.0.1:{port}",
            access,
            message_bytes_max=bytes_max,
            budget=budget,
            limits=limits,
        )
        await server.start()
        try:
            found = await use(server, gather, port)
        finally:
            await server.stop(1)
        async with asyncio.timeout(5):
            while server._connections or server.budget.used_bytes:
                await asyncio.sleep(0.005)
        assert GRPC_CONNECTIONS.labels(SERVER)._value.get() == 0
        return found

    return asyncio.run(main())


async def export(port: int, body: bytes, metadata: Any = (), **options: Any) -> grpc.aio.AioRpcError | None:
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{port}", options=(("grpc.use_local_subchannel_pool", 1),)
    ) as channel:
        try:
            await channel.unary_unary(METHOD)(body, metadata=metadata, timeout=10, **options)
        except grpc.aio.AioRpcError as err:
            return err
    return None


class Http2Client:
    """Speaks HTTP/2 by hand: what a client of grpc would never send."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.events: list[Any] = []

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.h2.initiate_connection()
        self.flush()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def begin(self, *extra: tuple[str, str], path: str = METHOD) -> int:
        stream = self.h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "x"),
            (":path", path),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *extra,
        ]
        self.h2.send_headers(stream, headers)
        self.flush()
        return stream

    async def more(self) -> bool:
        data = await self.reader.read(1 << 16)
        if data:
            self.events += self.h2.receive_data(data)
            self.flush()
        return bool(data)

    async def send(self, stream: int, data: bytes, *, end: bool = True) -> None:
        """As fast as the windows allow; gives up when the server has answered."""
        at = 0
        while at < len(data):
            size = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(data) - at)
            if size:
                self.h2.send_data(stream, data[at : at + size])
                at += size
                self.flush()
                await self.writer.drain()
            elif not await self.more() or self.status(stream):
                return
        if end:
            self.h2.end_stream(stream)
            self.flush()

    def status(self, stream: int) -> dict[str, str]:
        found: dict[str, str] = {}
        for event in self.events:
            if (
                isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived))
                and event.stream_id == stream
            ):
                found |= dict(event.headers)
        return found if "grpc-status" in found else {}

    async def answer(self, stream: int) -> dict[str, str]:
        async with asyncio.timeout(10):
            while not self.status(stream):
                assert await self.more(), "cut"
        return self.status(stream)


def message(body: bytes, *, compressed: int = 0) -> bytes:
    return struct.pack(">BL", compressed, len(body)) + body


@pytest.mark.parametrize("size", [0, 10, 100_000, 7 * MIB])
@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_what_arrives(size, compression):
    """Messages of any size, also what grpc compresses itself."""

    async def use(server, gather, port):
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        assert await export(port, body, compression=compression) is None
        assert gather.came == [("single-tenant", body)]

    serving(use, bytes_max=8 * MIB)


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd), ("snappy", framed), ("lz4", lz4)],
)
def test_compression(encoding, compress):
    """What the Collector's exporter can be set to, as it sends it; the same connection serves all."""

    async def use(server, gather, port):
        body = bytes(100_000) + b"end"
        async with Http2Client(port) as client:
            stream = client.begin(("grpc-encoding", encoding))
            await client.send(stream, message(compress(body), compressed=1))
            assert (await client.answer(stream))["grpc-status"] == "0"
            plain = client.begin(("grpc-encoding", encoding))
            await client.send(plain, message(b"not compressed all the same"))
            assert (await client.answer(plain))["grpc-status"] == "0"
        assert gather.came == [("single-tenant", body), ("single-tenant", b"not compressed all the same")]

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

    async def use(server, gather, port):
        async with Http2Client(port) as client:
            stream = client.begin(("x-scope-orgid", "a"), *headers)
            await client.send(stream, body)
            told = await client.answer(stream)
            assert (told["grpc-status"], text in told["grpc-message"]) == (str(code), True), told
            assert "grpc-status-details-bin" not in told, "final"
            assert gather.came == []
            good = client.begin(("x-scope-orgid", "a"))
            await client.send(good, message(b"good"))
            assert (await client.answer(good))["grpc-status"] == "0"
        assert gather.came == [("a", b"good")]

    serving(use, multitenancy=True)


def test_a_joined_tenant_is_none():
    """Two values that a proxy has joined with a comma are no tenant's name."""

    async def use(server, gather, port):
        told = await export(port, b"x", (("x-scope-orgid", "a,b"),))
        assert told is not None
        assert told.code() is grpc.StatusCode.INVALID_ARGUMENT
        twice = await export(port, b"x", (("x-scope-orgid", "a"), ("x-scope-orgid", "b")))
        assert twice is not None
        assert twice.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert gather.came == []

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

    async def use(server, gather, port):
        told = await export(port, b"x")
        assert told is not None
        assert told.code() is code
        assert ("boom" in told.details()) is False
        details = dict(told.trailing_metadata()).get("grpc-status-details-bin")
        if retry:
            assert told.details() == "Kafka is away: ü"
            (any_,) = Status.FromString(details).details
            info = RetryInfo()
            assert any_.Unpack(info)
            assert info.retry_delay.seconds == 1
        else:
            assert details is None

    serving(use, answer=answer)


def test_other_methods():
    """UNIMPLEMENTED, with what there is."""

    async def use(server, gather, port):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await channel.unary_unary("/x.Y/Z")(b"", timeout=5)
        assert told.value.code() is grpc.StatusCode.UNIMPLEMENTED

    serving(use)


def test_the_budget_is_shared():
    """What one connection holds the next is refused at once, before its bytes come; then the room is there again."""
    budget = InputBudget(6 * MIB)

    async def use(server, gather, port):
        async with Http2Client(port) as first, Http2Client(port) as second:
            stream = first.begin()
            await first.send(stream, message(bytes(4 * MIB))[: 3 * MIB], end=False)
            while budget.used_bytes < 3 * MIB - 70_000:
                await asyncio.sleep(0.005)
            other = second.begin()
            await second.send(other, message(bytes(4 * MIB))[:100], end=False)
            told = await second.answer(other)
            assert told["grpc-status"] == "8"
            assert "distributor.input.bytes_max" in told["grpc-message"]
            assert "grpc-status-details-bin" in told, "to be sent again"
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

    async def use(server, gather, port):
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
            gather.go.clear()
            waiting = client.begin()
            await client.send(waiting, message(b"waits"))
            while not gather.came:
                await asyncio.sleep(0.005)

    serving(use, budget=budget)


def test_connections_are_limited():
    """Those above the limit are cut, counted, and those that are in go on."""

    async def use(server, gather, port):
        refused = LIMITED.labels(SERVER, "connections")
        before = refused._value.get()
        async with Http2Client(port) as first, Http2Client(port) as second:
            streams = [(client, client.begin()) for client in (first, second)]
            for client, stream in streams:
                await client.send(stream, message(b"x"))
                assert (await client.answer(stream))["grpc-status"] == "0"
            assert GRPC_CONNECTIONS.labels(SERVER)._value.get() == 2
            async with Http2Client(port) as third:
                while await third.more():
                    pass
            (end,) = (event for event in third.events if isinstance(event, h2.events.ConnectionTerminated))
            assert (end.error_code, b"connections_max" in end.additional_data) == (11, True)
        assert refused._value.get() == before + 1

    serving(use, limits=Http2Limits(connections_max=2))


def test_slow_clients():
    """A connection that says nothing, one that is idle, and a message that does not come to its end."""
    limits = Http2Limits(head_s=0.2, request_s=0.3, idle_s=0.2)

    async def use(server, gather, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                while await reader.read(1000):  # the server's own settings
                    pass
        writer.close()
        async with Http2Client(port) as client:
            stream = client.begin()
            await client.send(stream, message(bytes(1000))[:500], end=False)
            told = await client.answer(stream)
            assert (told["grpc-status"], "read_timeout_s" in told["grpc-message"]) == ("4", True)
            async with asyncio.timeout(5):
                while await client.more():
                    pass
            assert any(isinstance(event, h2.events.ConnectionTerminated) for event in client.events)

    serving(use, limits=limits)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(lambda: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="HTTP/1"),
        pytest.param(lambda: struct.pack(">HBBBL", 0, 5, 0, 1, 9) + b"x" * 5, id="data of no stream"),
        pytest.param(lambda: struct.pack(">HBBBL", 0xFFFF, 255, 0, 1, 1), id="a huge frame"),
        pytest.param(lambda: struct.pack(">HBBBL", 0, 1, 0, 8, 1) + b"\xff", id="wrong padding"),
        pytest.param(lambda: struct.pack(">HBBBL", 0, 6, 8, 0, 0) + bytes(6), id="a wrong frame"),
        pytest.param(lambda: struct.pack(">HBBBL", 0, 8, 6, 0, 0) * 1 + bytes(8), id="a ping is fine"),
        pytest.param(lambda: (struct.pack(">HBBBL", 0, 8, 6, 0, 0) + bytes(8)) * 5000, id="pings"),
        pytest.param(lambda: struct.pack(">HBBBL", 0, 4, 1, 5, 1) + b"\xff" * 4, id="headers that are none"),
    ],
)
def test_hostile_frames(frames, request):
    """The connection is cut, the server and its other clients go on."""

    async def use(server, gather, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = frames()
        settings = struct.pack(">HBBBL", 0, 0, 4, 0, 0)
        writer.write(sent if sent.startswith(b"GET") else b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + sent)
        if "fine" not in request.node.name:
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionResetError):
                    while await reader.read(1 << 16):
                        pass
        assert await export(port, b"x") is None
        writer.close()

    serving(use)


def test_many_resets():
    """A client that opens and resets streams is told to calm down; the loop is never held for long."""

    async def use(server, gather, port):
        late = [0.0]

        async def watch() -> None:
            loop = asyncio.get_running_loop()
            while True:
                start_s = loop.time()
                await asyncio.sleep(0)
                late[0] = max(late[0], loop.time() - start_s)

        async with Http2Client(port) as client:
            for _ in range(1500):
                client.h2.reset_stream(client.begin())
            watching = asyncio.create_task(watch())
            client.flush()
            async with asyncio.timeout(20):
                while await client.more():
                    pass
            watching.cancel()
        (end,) = (event for event in client.events if isinstance(event, h2.events.ConnectionTerminated))
        assert end.error_code == 11
        assert late[0] < 0.5

    serving(use, limits=Http2Limits(streams_max=10_000))


def test_a_huge_table_of_headers():
    """A client that offers to remember any amount of our headers does not make us remember them."""

    async def use(server, gather, port):
        async with Http2Client(port) as client:
            client.h2.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: 1 << 30})
            for number in range(100):
                stream = client.begin(("grpc-encoding", f"unknown-{number}"))
                assert (await client.answer(stream))["grpc-status"] == "12"
            (connection,) = server._connections
            assert connection._h2.encoder.header_table_size == 4096
            assert connection._h2.encoder.header_table._current_size <= 4096

    serving(use)


def test_a_client_that_takes_no_answer():
    """Its window is 0 for good: it is cut, and nothing of its request is held meanwhile."""

    async def use(server, gather, port):
        cut = LIMITED.labels(SERVER, "write_time")
        before = cut._value.get()
        async with Http2Client(port) as client:
            client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
            stream = client.begin()
            await client.send(stream, message(b"x"))
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionError):
                    while await client.more():
                        pass
            assert client.status(stream) == {}
        assert (len(gather.came), cut._value.get()) == (1, before + 1)
        assert server.budget.used_bytes == 0

    serving(use, limits=Http2Limits(write_s=0.2))
