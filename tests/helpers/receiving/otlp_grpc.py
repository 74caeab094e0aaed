"""A receiver of OTLP over gRPC that runs, and clients: grpc's, and one that speaks HTTP/2 by hand."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Self

import grpc
import h2.config
import h2.connection
import h2.events
import h2.settings

from agents.distributor.span_writer import Outcome
from app.net.access import Access
from app.net.http2_types import Http2Limits
from app.net.http_guard import GRPC_CONNECTIONS
from app.receivers.grpc import GrpcReceiver
from app.receivers.input_budget import InputBudget
from app.receivers.otlp.export import EXPORT
from tests.harness.ports import own_port
from tests.helpers.receiving.receivers import FakeBatcher

MIB = 1 << 20


def serving(
    use: Callable[[GrpcReceiver, FakeBatcher, int], Awaitable[Any]],
    *,
    answer: Outcome | BaseException | None = None,
    multitenancy: bool = False,
    bytes_max: int = 4 * MIB,
    budget: InputBudget | None = None,
    limits: Http2Limits | None = None,
) -> Any:
    """Runs `use(server, batcher, port)` while a server runs; afterwards nothing is held and nobody is connected."""

    async def main() -> Any:
        port, batcher = own_port(), FakeBatcher(answer or Outcome(1))
        access = Access(multitenancy=multitenancy)
        server = GrpcReceiver(
            batcher,  # type: ignore[arg-type]
            f"127.0.0.1:{port}",
            access,
            EXPORT,
            message_bytes_max=bytes_max,
            budget=budget,
            limits=limits,
        )
        await server.start()
        try:
            found = await use(server, batcher, port)
        finally:
            await server.stop(1)
        async with asyncio.timeout(5):
            while server._connections or server.budget.used_bytes:
                await asyncio.sleep(0.005)
        assert GRPC_CONNECTIONS.labels(EXPORT.name)._value.get() == 0
        return found

    return asyncio.run(main())


async def export(port: int, body: bytes, metadata: Any = (), **options: Any) -> grpc.aio.AioRpcError | None:
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{port}", options=(("grpc.use_local_subchannel_pool", 1),)
    ) as channel:
        try:
            await channel.unary_unary(EXPORT.path)(body, metadata=metadata, timeout=10, **options)
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

    def begin(self, *extra: tuple[str, str], path: str = EXPORT.path) -> int:
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
