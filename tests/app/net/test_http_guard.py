"""Limits of connections of HTTP/1, on the query port and at the OTLP receiver, asked through raw sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from app.net.access import Access
from app.net.http_guard import BAD, LIMITED, OPEN, GuardedSite, HttpLimits, quiet_logger
from app.receivers.http_body import BodyLimits, http_runner
from app.receivers.otlp.http import build_http_receiver
from tests.helpers.querying.api import FakeBackend
from tests.helpers.querying.shared_port import address, shared
from tests.helpers.receiving.receivers import FakeBatcher

GET = b"GET /api/echo HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 2\r\n\r\n"
LIMITS = HttpLimits(head_s=0.3, head_bytes_max=40_000, idle_s=0.6, write_s=0.3, connections_max=3)


@contextlib.asynccontextmanager
async def receiver(limits: HttpLimits = LIMITS) -> AsyncIterator[GuardedSite]:
    app = build_http_receiver(FakeBatcher(), Access(multitenancy=False), BodyLimits(1000, 1000, 0.3))  # type: ignore[arg-type]
    runner = http_runner(app, limits.head_bytes_max)
    await runner.setup()
    site = GuardedSite(runner, "127.0.0.1", 0, name="otlp", limits=limits)
    await site.start()
    try:
        yield site
    finally:
        await runner.cleanup()


@pytest.fixture(params=["query", "otlp"])
def server(request) -> tuple[str, bytes, Callable[..., contextlib.AbstractAsyncContextManager[GuardedSite]]]:
    """Its name, a good request, and how to start it."""
    if request.param == "otlp":
        return "otlp", POST + b"\n\0", receiver
    return "query", GET, lambda limits=LIMITS: shared(FakeBackend(), limits=limits)


def count(name: str, limit: str) -> float:
    return LIMITED.labels(name, limit)._value.get()


def run(start, limits: HttpLimits, use: Callable[[str, str], Awaitable[None]]) -> None:
    async def main() -> None:
        async with start(limits) as site:
            async with asyncio.timeout(20):
                await use(*address(site).split(":"))

    asyncio.run(main())


async def rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.parametrize("pieces", [[], [b"GET /"], [GET[:-2], b"X-A: ", b"b"]], ids=["nothing", "a line", "a header"])
def test_no_head_in_time(server, pieces):
    """A client that sends nothing, or a byte now and then, is cut, however often it sends one."""
    name, _, start = server
    before = count(name, "head_time")

    async def use(host, port):
        reader, writer = await asyncio.open_connection(host, port)
        began_s = asyncio.get_running_loop().time()
        for piece in pieces:
            writer.write(piece)
        answer = asyncio.ensure_future(rest(reader))
        while not answer.done():
            if pieces:
                writer.write(b"a")
            await asyncio.sleep(0.05)
        assert asyncio.get_running_loop().time() - began_s < 2
        # What was sent to a closed connection may have swept the answer away.
        assert answer.result()[:12] in ((b"HTTP/1.1 408", b"") if pieces else (b"",))
        writer.close()

    run(start, LIMITS, use)
    assert count(name, "head_time") == before + 1


def test_kept_connections(server):
    """Between requests a connection may be quiet for a while, and no longer; a head that has begun must end in time."""
    name, good, start = server
    idle, slow = count(name, "idle"), count(name, "head_time")

    async def use(host, port):
        for more in (b"", good[:30]):
            reader, writer = await asyncio.open_connection(host, port)
            for _ in range(3):
                writer.write(good)
                assert b"HTTP/1.1 200" in await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(0.4)  # longer than a head may take
            writer.write(more)
            assert (await rest(reader)).endswith(b"" if not more else b"Content-Length: 0\r\n\r\n")
            writer.close()

    run(start, LIMITS, use)
    assert (count(name, "idle"), count(name, "head_time")) == (idle + 1, slow + 1)


@pytest.mark.parametrize("size", [500, 200_000], ids=["in pieces", "at once"])
@pytest.mark.parametrize("requests", [0, 1], ids=["first", "second"])
def test_large_head(server, size, requests):
    """Refused as soon as it is too large, whichever request of a connection it is."""
    name, good, start = server
    before = count(name, "head_bytes")
    head = good[: good.index(b"\n") + 1] + b"".join(b"X-%d: %s\r\n" % (number, b"a" * 5000) for number in range(30))

    async def use(host, port):
        reader, writer = await asyncio.open_connection(host, port)
        for _ in range(requests):
            writer.write(good)
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.05)
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(head), size):
                writer.write(head[at : at + size])
                await writer.drain()
        assert b"200 OK" not in await rest(reader)
        writer.close()

    run(start, LIMITS, use)
    assert count(name, "head_bytes") == before + 1


def test_too_many(server):
    """More connections than allowed are closed at once; when one goes there is room again."""
    name, good, start = server
    before = count(name, "connections")

    async def use(host, port):
        kept = [await asyncio.open_connection(host, port) for _ in range(3)]
        for reader, writer in kept:
            writer.write(good)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        reader, writer = await asyncio.open_connection(host, port)
        with contextlib.suppress(ConnectionError):
            writer.write(good)
        assert (await rest(reader)).startswith(b"HTTP/1.1 503 Service Unavailable")
        writer.close()
        kept[0][1].close()
        while OPEN.labels(name)._value.get() > 2:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(good)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        for _, other in [*kept, (reader, writer)]:
            other.close()

    run(start, HttpLimits(connections_max=3), use)
    assert count(name, "connections") == before + 1


def test_answer_that_nobody_takes():
    """A client that asks and does not read is cut, and its answer forgotten."""
    before = count("large", "write_time")

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=bytes(50_000_000))

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/", large)
        runner = web.AppRunner(app)
        await runner.setup()
        site = GuardedSite(runner, "127.0.0.1", 0, name="large", limits=LIMITS)
        await site.start()
        _, writer = await asyncio.open_connection(*address(site).split(":"), limit=1000)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while count("large", "write_time") == before:
            await asyncio.sleep(0.05)
        while OPEN.labels("large")._value.get():
            await asyncio.sleep(0.01)
        writer.close()
        await runner.cleanup()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_what_is_no_http(server, caplog):
    """Answered with 400, counted, and not worth a line in the log: anybody can send it."""
    name, _, start = server
    before = BAD.labels(name)._value.get()

    async def use(host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"HELO\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.0 400")
        writer.close()

    run(start, HttpLimits(), use)
    assert BAD.labels(name)._value.get() == before + 1
    assert not caplog.records


def test_a_body_that_does_not_come():
    """The client is told that it took too long."""

    async def use(host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(POST)
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()

    run(receiver, HttpLimits(), use)


def test_long_requests_are_not_cut():
    """The limits are about clients: a query may take as long as it takes."""
    backend = FakeBackend()

    async def slowly(*_, **__):
        await asyncio.sleep(1.5)
        return backend.result

    backend.search = slowly

    async def use(host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /api/search HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()

    run(lambda limits: shared(backend, limits=limits), LIMITS, use)


@pytest.mark.parametrize("error", [ConnectionResetError("Cannot write to closing transport"), RuntimeError("a fault")])
def test_clients_that_go_away_fill_no_log(error, caplog):
    """Faults of ours are told, those that a client can make at will are not."""
    quiet_logger("test").error("Error handling request", exc_info=error)
    assert ("Error handling request" in caplog.text) == isinstance(error, RuntimeError)
