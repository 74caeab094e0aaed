"""Targets: raw bytes of HTTP connections, to the query API and to the OTLP receiver, over real sockets."""

import asyncio
import errno
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any

from aiohttp import web

from agents.distributor.span_encoder import Request, SpanEncoder
from app.api.limits import ApiLimits
from app.api.server import api_runner, build_api
from app.net.access import Access
from app.receivers.http_body import BodyLimits, http_runner
from app.receivers.otlp.http import build_http_receiver
from benchmarks.hostile.examples import NEIGHBOUR
from tests.fuzz.local_backend import LocalBackend
from tests.fuzz.target import Target

_ANSWER_S = 10.0
_PATIENCE_S = 0.05
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_HEADER_BYTES = 8190


class _Gatherer:
    """Decodes as the process does; there is no Kafka."""

    def __init__(self) -> None:
        self._encoder = SpanEncoder(1 << 20, 65_536, 10.0)

    async def add(self, tenant: str, body: bytes, held: Any = None) -> Any:
        return self._encoder.encode_each([Request(tenant, body)], 1).outcomes[0]


def _query_api() -> web.AppRunner:
    limits = ApiLimits(max_result_limit=1000, max_query_expression_size_bytes=4096)
    return api_runner(build_api(LocalBackend(), limits, Access(multitenancy=True)))


def _receiver() -> web.AppRunner:
    batcher: Any = _Gatherer()
    access = Access(multitenancy=True)
    return http_runner(build_http_receiver(batcher, access, BodyLimits(1 << 20, 1 << 20)), _HEADER_BYTES)


@cache
def address(make: Callable[[], web.AppRunner]) -> tuple[str, int]:
    """Where a server listens, on an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def start() -> tuple[str, int]:
        runner = make()
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        return host, port

    return asyncio.run_coroutine_threadsafe(start(), loop).result()


def send(make: Callable[[], web.AppRunner], data: bytes, wait_s: float = _ANSWER_S) -> list[int]:
    """The statuses of all answers. Every one is below 500, and the connection ends when the client has ended it.

    wait_s: how long the client waits for the server before it ends the connection, which would cancel what the server
    works on
    """
    answer = b""
    with socket.create_connection(address(make), timeout=wait_s) as client:
        try:
            client.sendall(data)
            with suppress(TimeoutError):
                while piece := client.recv(1 << 16):
                    answer += piece
            client.settimeout(_ANSWER_S)
            client.shutdown(socket.SHUT_WR)
            while piece := client.recv(1 << 16):
                answer += piece
        except (ConnectionResetError, BrokenPipeError):
            return []
        except OSError as err:
            if err.errno != errno.ENOTCONN:  # the server has ended it, too
                raise
    statuses = [int(status) for status in _STATUS.findall(answer)]
    assert all(status < 500 or status in (501, 505) for status in statuses), (statuses, answer[:500])
    return statuses


def _send(make: Callable[[], web.AppRunner], data: bytes) -> None:
    """Bytes that need not be a whole request: then the client waits in vain."""
    send(make, data, _PATIENCE_S)


def _get(path: str, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: a", "X-Scope-OrgID: team", *headers, "", ""]
    return "\r\n".join(lines).encode()


def _post(body: bytes, *headers: str) -> bytes:
    lines = ["POST /v1/traces HTTP/1.1", "Host: a", "X-Scope-OrgID: team", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _query_seeds() -> list[bytes]:
    paths = (
        "/api/search?q=%7B%7D&limit=3",
        "/api/traces/1",
        "/api/v2/traces/2?start=1&end=2",
        "/api/v2/search/tags",
        "/api/v2/search/tag/span.http.route/values",
        "/api/metrics/query_range?q=%7B%7D%7Crate()&since=1h",
        "/status/config",
    )
    return [_get(path) for path in paths] + [_get(paths[0], "Accept: application/protobuf")]


def _receiver_seeds() -> list[bytes]:
    chunked = "POST /v1/traces HTTP/1.1\r\nHost: a\r\nX-Scope-OrgID: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    return [
        _post(NEIGHBOUR, "Content-Type: application/x-protobuf"),
        _post(b'{"resourceSpans": []}', "Content-Type: application/json"),
        _post(NEIGHBOUR, "Content-Type: application/x-protobuf", "Content-Encoding: gzip"),
        chunked.encode(),
    ]


_WORDS = (b"\r\n", b"X-Scope-OrgID: b\r\n", b"Content-Length: 0\r\n", b"chunked", b"%ff", b"Expect: 100-continue\r\n")
TARGETS = [
    Target("http_query", partial(_send, _query_api), _query_seeds, _WORDS),
    Target("http_otlp", partial(_send, _receiver), _receiver_seeds, _WORDS),
]
