"""Several processes on the same addresses: connections and datagrams go to all of them."""

import asyncio
import socket
from collections import Counter

import pytest
from aiohttp import web

from app.errors import StrettoError
from app.net.access import Access
from app.net.http_guard import GuardedSite, HttpLimits
from app.net.listening import start_listening
from app.receivers.grpc import GrpcReceiver
from app.receivers.http_body import http_runner
from app.receivers.input_budget import InputBudget
from app.receivers.jaeger.udp import UdpReceiver
from app.receivers.otlp.export import EXPORT
from tests.harness.ports import own_port
from tests.helpers.receiving.receivers import FakeBatcher

TRIES = 64


def udp(batcher: FakeBatcher, port: int) -> UdpReceiver:
    return UdpReceiver(
        "jaeger_udp_compact",
        f"127.0.0.1:{port}",
        "tenant",
        bytes,
        batcher,
        InputBudget(1 << 20),
        packet_bytes_max=1000,
        socket_bytes=1 << 16,
        queue_bytes_max=1 << 20,
    )


def test_datagrams():
    """By the sender's address: two receivers, each gets some, none is lost."""

    async def main() -> None:
        port, batchers = own_port(), [FakeBatcher(), FakeBatcher()]
        receivers = [udp(batcher, port) for batcher in batchers]
        for receiver in receivers:
            await start_listening(receiver, str(port), "setting", reuse_port=True)
        for _ in range(TRIES):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"x", ("127.0.0.1", port))
        async with asyncio.timeout(10):
            while sum(map(received, batchers)) < TRIES:
                await asyncio.sleep(0.01)
        assert min(map(received, batchers)) > TRIES // 10
        for receiver in receivers:
            await receiver.stop(0)

    asyncio.run(main())


def received(batcher: FakeBatcher) -> int:
    return sum(len(body) for _, body in batcher.came)


async def site(number: int, port: int) -> GuardedSite:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=str(number))

    app = web.Application()
    app.router.add_get("/", answer)
    runner = http_runner(app, 8192, "test")
    await runner.setup()
    return GuardedSite(runner, "127.0.0.1", port, name="test", limits=HttpLimits())


def test_connections():
    """Two HTTP servers on one port."""

    async def main() -> None:
        port = own_port()
        sites = []
        for number in range(2):
            sites.append(await site(number, port))
            await start_listening(sites[-1], str(port), "setting", reuse_port=True)
        answers: Counter[bytes] = Counter()
        for _ in range(TRIES):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answers[(await reader.read())[-1:]] += 1
            writer.close()
        assert set(answers) == {b"0", b"1"}
        assert min(answers.values()) > TRIES // 10
        for one in sites:
            await one._runner.cleanup()

    asyncio.run(main())


def test_grpc_and_strangers():
    """The gRPC receiver shares, too; a process that does not share is refused, as ever."""

    async def main() -> None:
        port = own_port()

        def receiver() -> GrpcReceiver:
            access = Access(multitenancy=False)
            return GrpcReceiver(FakeBatcher(), f"127.0.0.1:{port}", access, EXPORT, message_bytes_max=1000)

        sharing = [receiver(), receiver()]
        for one in sharing:
            await start_listening(one, str(port), "setting", reuse_port=True)
        stranger = receiver()
        with pytest.raises(StrettoError, match="cannot listen on"):
            await start_listening(stranger, str(port), "setting")
        for one in (*sharing, stranger):
            await one.stop(0)

    asyncio.run(main())
