"""HTTP/1 and gRPC on one port, plain and over TLS, asked by real clients at the same time."""

import asyncio
import contextlib
import gc
import ssl
from collections.abc import Awaitable, Callable

import aiohttp
import grpc
import pytest
import uvloop

from app.api.proto import tempo_pb2 as pb
from app.api.server import api_runner
from app.errors import StrettoError
from app.net.http_guard import GRPC_CONNECTIONS, LIMITED, HttpLimits
from app.net.shared_port import PREFACE, SharedSite
from app.net.tls import HTTP_1_AND_GRPC, TlsFiles, tls_context
from query.results import Inspected, MetricsResult, SearchResult, Series
from tests.helpers.querying.api import api_over
from tests.helpers.querying.shared_port import address, ask_grpc, shared

TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
RANGE = "/tempopb.StreamingQuerier/MetricsQueryRange"


async def ask_http(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as reply:
        assert reply.status == 200
        assert reply.version == aiohttp.HttpVersion11
        return await reply.text()


async def ask_both(where: str, scheme: str, credentials: ssl.SSLContext | None, ca: bytes) -> None:
    channel = (
        grpc.aio.secure_channel(where, grpc.ssl_channel_credentials(ca)) if ca else grpc.aio.insecure_channel(where)
    )
    async with channel, aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=credentials or True)) as session:
        answers = await asyncio.gather(
            *(ask_grpc(channel) for _ in range(20)),
            *(ask_http(session, f"{scheme}://{where}/api/echo") for _ in range(20)),
        )
    assert answers[20:] == ["echo\n"] * 20
    assert all(len(parts) == 1 for parts in answers[:20])


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request) -> Callable[[Awaitable[object]], object]:
    """Runs a coroutine on each kind of loop."""
    factory = None if request.param == "asyncio" else uvloop.new_event_loop

    def run(main):
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)

    return run


def test_both_at_once(run, backend):
    """Twenty of each, over connections of their own."""

    async def main():
        async with shared(backend) as site:
            await ask_both(address(site), "http", None, b"")
            assert not site.undecided

    run(main())


def test_both_over_tls(run, backend, certificate):
    """The same inside TLS; a client that offers HTTP/2 and HTTP/1 gets HTTP/1."""

    async def main():
        cert, key = certificate
        client = ssl.create_default_context(cafile=str(cert))
        async with shared(
            backend, tls_context(TlsFiles(cert, key, None, "server.http_tls_config"), HTTP_1_AND_GRPC)
        ) as site:
            where = address(site)
            await ask_both(where, "https", client, certificate[0].read_bytes())
            client.set_alpn_protocols(["h2", "http/1.1"])
            _, writer = await asyncio.open_connection(*where.split(":"), ssl=client)
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            writer.close()

    run(main())


def test_large_answer_to_a_slow_reader(run, backend):
    """What is not read is not piled up on the way: the tunnel waits, and all arrives in the end."""
    samples = [(n * 10**9, float(n)) for n in range(10_000)]
    backend.series = MetricsResult([Series([("n", n)], samples) for n in range(200)], Inspected())

    async def main():
        async with shared(backend) as site, grpc.aio.insecure_channel(address(site)) as channel:
            call = channel.unary_stream(
                RANGE,
                request_serializer=pb.QueryRangeRequest.SerializeToString,
                response_deserializer=pb.QueryRangeResponse.FromString,
            )
            seen, parts, most = 0, 0, 0
            async for part in call(pb.QueryRangeRequest(query="{ } | rate()", start=1, end=3600, step=10**10)):
                await asyncio.sleep(0.01)
                seen += len(part.series)
                parts += 1
                most = max(most, part.ByteSize())
            assert seen == 200
            assert parts > 10
            assert most < 1_200_000

    run(main())


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("text", [b"PUT /api/echo HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_in_small_pieces(run, backend, text, size):
    """A head that begins as the preface does, and comes byte by byte, is HTTP/1."""

    async def main():
        async with shared(backend) as site:
            reader, writer = await asyncio.open_connection(*address(site).split(":"))
            for at in range(0, len(text), size):
                writer.write(text[at : at + size])
                await asyncio.sleep(0.001)
            assert (await reader.readline()).startswith((b"HTTP/1.1 404", b"HTTP/1.1 405"))
            writer.close()

    run(main())


@pytest.mark.parametrize("text", [b"", b"GET / HTTP/1.1\r\nHost:", PREFACE[:10]], ids=["nothing", "head", "preface"])
def test_nothing_follows(run, backend, text):
    """A client that does not finish is cut after a while; a stop does not wait for it."""

    async def main():
        async with shared(backend, limits=HttpLimits(head_s=0.2)) as site:
            reader, writer = await asyncio.open_connection(*address(site).split(":"))
            writer.write(text)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 5) in (b"", TOO_SLOW)
            assert not site.undecided
            writer.close()
            _, other = await asyncio.open_connection(*address(site).split(":"))
            other.write(text)
            await asyncio.sleep(0.05)
            other.close()

    run(main())


def test_gone_clients_leave_nothing(run, backend):
    """Neither a cut in the middle of a call nor many short connections leave tunnels behind."""
    backend.wait = asyncio.Event()

    async def main():
        async with shared(backend) as site:
            backend.wait = cancelled = asyncio.Event()
            channel = grpc.aio.insecure_channel(address(site))
            asking = asyncio.ensure_future(ask_grpc(channel))
            while not backend.asked:
                await asyncio.sleep(0.01)
            assert len(site.tunnels) == 2
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
            await channel.close()
            del asking, channel
            gc.collect()  # grpc keeps a connection as long as anything refers to it
            await asyncio.wait_for(cancelled.wait(), 5)
            for _ in range(20):
                _, writer = await asyncio.open_connection(*address(site).split(":"))
                writer.write(PREFACE)
                writer.close()
            for _ in range(200):
                if not site.tunnels and not site.undecided:
                    break
                await asyncio.sleep(0.02)
            assert not site.tunnels
            assert not site.undecided

    run(main())


def test_stop_while_asked(run, backend):
    """A stop ends running calls at once."""

    async def main():
        async with shared(backend) as site, grpc.aio.insecure_channel(address(site)) as channel:
            backend.wait = asyncio.Event()
            asking = asyncio.ensure_future(ask_grpc(channel))
            while not backend.asked:
                await asyncio.sleep(0.01)
        with pytest.raises((grpc.RpcError, asyncio.CancelledError)):
            await asking

    run(main())


def test_large_search_is_several_messages(run, backend, trace_of):
    """Each part is far below what clients accept; together they are the answer."""
    backend.result = SearchResult([trace_of(n) for n in range(300)], Inspected(traces=300))

    async def main():
        async with shared(backend) as site, grpc.aio.insecure_channel(address(site)) as channel:
            parts = await ask_grpc(channel, 300)
            assert len(parts) > 1
            assert [trace.traceID for part in parts for trace in part.traces] == [f"{n + 1:x}" for n in range(300)]

    run(main())


def test_wrong_certificate(tmp_path):
    """The error names the files and the setting."""
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("nothing")
    with pytest.raises(StrettoError, match=r"cert\.pem.*http_tls_config"):
        tls_context(TlsFiles(tmp_path / "cert.pem", tmp_path / "key.pem", None, "server.http_tls_config"))


@pytest.fixture
def trace_of():
    from query.results import SpanMatch, SpanSet, TraceMatch

    span = SpanMatch(bytes(8), "x" * 10_000, 1, 1, [])
    return lambda n: TraceMatch((n + 1).to_bytes(16, "big"), "a", "b", 1, 1, [SpanSet([span], 1)], {})


def test_tunnel_waits_and_half_closes(run, backend):
    """What the client does not read the server cannot send on and on; after the client's end the rest still comes."""
    size, chunk = 64 << 20, bytes(1 << 20)
    sent, ends = [], []

    async def answer(reader, writer):
        assert await reader.readexactly(len(PREFACE)) == PREFACE
        for _ in range(size // len(chunk)):
            writer.write(chunk)
            await writer.drain()
            sent.append(len(chunk))
        ends.append(await reader.read())
        writer.write(b"end")
        writer.close()

    async def main():
        runner = api_runner(api_over(backend))
        await runner.setup()
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        site = SharedSite(runner, "127.0.0.1", 0, server.sockets[0].getsockname()[1])
        await site.start()
        reader, writer = await asyncio.open_connection(*address(site).split(":"), limit=1 << 16)
        writer.write(PREFACE)
        await asyncio.sleep(0.5)
        assert sum(sent) < size // 2
        writer.write(b"more")
        writer.write_eof()
        got = 0
        while data := await asyncio.wait_for(reader.read(1 << 20), 10):
            got += len(data)
        assert got == size + 3
        assert ends == [b"more"]
        writer.close()
        for _ in range(100):
            if not site.tunnels:
                break
            await asyncio.sleep(0.02)
        assert not site.tunnels
        server.close()
        await runner.cleanup()

    run(main())


def test_grpc_away(run, backend, caplog):
    """Where the inner server does not listen the connection ends, and the log says why."""

    async def main():
        runner = api_runner(api_over(backend))
        await runner.setup()
        site = SharedSite(runner, "127.0.0.1", 0, 1)
        await site.start()
        reader, writer = await asyncio.open_connection(*address(site).split(":"))
        writer.write(PREFACE)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await asyncio.sleep(0.05)
        assert not site.tunnels
        assert not site.undecided
        await runner.cleanup()

    run(main())
    assert "does not take connections" in caplog.text


def test_connections_of_grpc_are_limited(run, backend):
    """One too many is told so, in HTTP/2; the others go on, and those of HTTP/1 are not counted."""

    async def main():
        refused = LIMITED.labels("query", "grpc_connections")
        before = refused._value.get()
        async with shared(backend, tunnels_max=1) as site, grpc.aio.insecure_channel(address(site)) as channel:
            assert len(await ask_grpc(channel)) == 1
            assert GRPC_CONNECTIONS.labels("query")._value.get() == 1
            reader, writer = await asyncio.open_connection(*address(site).split(":"))
            writer.write(PREFACE)
            async with asyncio.timeout(10):
                answered = await reader.read()
            writer.close()
            assert b"server.grpc_listen_conn_limit" in answered
            assert refused._value.get() == before + 1
            async with aiohttp.ClientSession() as session, session.get(f"http://{address(site)}/api/echo") as reply:
                assert reply.status == 200
            assert len(await ask_grpc(channel)) == 1

    run(main())
