"""OTLP over gRPC from clients that hold connections up: what is limited, and who is cut."""

import asyncio
import contextlib
import struct

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from app.net.http2_types import Http2Limits
from app.net.http_guard import GRPC_CONNECTIONS, LIMITED
from app.receivers.otlp.export import EXPORT
from tests.helpers.receiving.otlp_grpc import Http2Client, export, message, serving


def test_connections_are_limited():
    """Those above the limit are cut, counted, and those that are in go on."""

    async def use(server, batcher, port):
        refused = LIMITED.labels(EXPORT.name, "connections")
        before = refused._value.get()
        async with Http2Client(port) as first, Http2Client(port) as second:
            streams = [(client, client.begin()) for client in (first, second)]
            for client, stream in streams:
                await client.send(stream, message(b"x"))
                assert (await client.answer(stream))["grpc-status"] == "0"
            assert GRPC_CONNECTIONS.labels(EXPORT.name)._value.get() == 2
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

    async def use(server, batcher, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                while await reader.read(1000):  # the server's own settings
                    pass
        writer.close()
        async with Http2Client(port) as client:
            stream = client.begin()
            await client.send(stream, message(bytes(1000))[:500], end=False)
            reply = await client.answer(stream)
            assert (reply["grpc-status"], "read_timeout_s" in reply["grpc-message"]) == ("4", True)
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

    async def use(server, batcher, port):
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

    async def use(server, batcher, port):
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

    async def use(server, batcher, port):
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

    async def use(server, batcher, port):
        cut = LIMITED.labels(EXPORT.name, "write_time")
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
        assert (len(batcher.came), cut._value.get()) == (1, before + 1)
        assert server.budget.used_bytes == 0

    serving(use, limits=Http2Limits(write_s=0.2))
