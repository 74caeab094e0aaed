"""Unfinished uploads: 40 connections of 60 MB each, over HTTP and over gRPC, against a server of 256 MiB of input."""

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import h2.config
import h2.connection
import h2.events
import pytest

from app.receivers.otlp.export import EXPORT
from tests.helpers.files import ROOT

MIB = 1 << 20
BODY_BYTES = 60 * MIB
CONNECTIONS = 40


@pytest.fixture
def child() -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    command = [sys.executable, "-m", "tests.app.receivers.memory_child"]
    root = ROOT
    environment = os.environ | {"PYTHONPATH": str(root)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=root, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        grpc_port, http_port = map(int, process.stdout.readline().split())
        try:
            yield process, grpc_port, http_port
        finally:
            process.stdin.close()
            process.wait(20)


def memory(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(pid)


@contextlib.contextmanager
def aborting(writer: asyncio.StreamWriter) -> Iterator[None]:
    try:
        yield
    finally:
        writer.transport.abort()


async def upload_http(port: int) -> None:
    """Sends as much of a body as is taken, never its end, and stays as long as it may."""
    head = "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError), aborting(writer):
        writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n{BODY_BYTES + 1:x}\r\n".encode())
        sent = 0
        while sent < BODY_BYTES:
            writer.write(bytes(256 << 10))
            await writer.drain()
            sent += 256 << 10
        await reader.read()


async def upload_grpc(port: int) -> None:
    """The same over HTTP/2."""
    client = h2.connection.H2Connection(h2.config.H2Configuration())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client.initiate_connection()
    names = {
        ":method": "POST",
        ":scheme": "http",
        ":authority": "x",
        ":path": EXPORT.path,
        "content-type": "application/grpc",
    }
    client.send_headers(1, list(names.items()))
    left = BODY_BYTES - 5
    client.send_data(1, struct.pack(">BL", 0, BODY_BYTES))
    refused = False
    with contextlib.suppress(ConnectionError), aborting(writer):
        while True:
            while left and not refused and (size := min(client.local_flow_control_window(1), 16384, left)):
                client.send_data(1, bytes(size))
                left -= size
            writer.write(client.data_to_send())
            await writer.drain()
            data = await reader.read(65536)
            if not data:
                break
            refused |= any(isinstance(event, h2.events.StreamEnded) for event in client.receive_data(data))
            if refused:
                break
        await reader.read()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc; glibc's malloc_trim")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_unfinished_uploads(child, protocol):
    """Within the budget while they are there, served all the same, and back near the start afterwards."""
    process, grpc_port, http_port = child
    assert process.stderr is not None
    before = memory(process.pid)
    most = 0

    async def main() -> None:
        nonlocal most
        one = (upload_http, http_port) if protocol == "http" else (upload_grpc, grpc_port)
        uploads = [asyncio.create_task(one[0](one[1])) for _ in range(CONNECTIONS)]
        end_s = time.monotonic() + 6
        while time.monotonic() < end_s:
            most = max(most, memory(process.pid))
            await asyncio.sleep(0.02)
        # Those that could not get in are told so; what is small has its place or is told the same.
        async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await channel.unary_unary(EXPORT.path)(b"small", timeout=5)
        for upload in uploads:
            upload.cancel()
        await asyncio.gather(*uploads, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets are closed

    asyncio.run(main())
    assert most - before > 100 * MIB, "the uploads have come"
    assert most - before < 256 * MIB * 1.5, (most - before) / MIB
    end_s = time.monotonic() + 15
    while memory(process.pid) - before > 60 * MIB:
        assert time.monotonic() < end_s, (memory(process.pid) - before) / MIB
        time.sleep(0.05)
    with socket.create_connection(("127.0.0.1", http_port), 5) as still_serving:
        still_serving.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert still_serving.recv(100).startswith(b"HTTP/1.1 404")
    assert process.stdin is not None
    process.stdin.close()
    assert process.stderr.read() == "", "clients that go away must not fill the log"
