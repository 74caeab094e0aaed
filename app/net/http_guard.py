"""Time and size limits for HTTP/1 that aiohttp does not have, against clients that hold connections open with little
traffic.

A guard sits between a connection and aiohttp's handler. It passes everything on, and watches where headers begin and
end.
"""

import asyncio
import logging
import ssl
from dataclasses import dataclass
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import Counter, Gauge

LIMITED: Final = Counter(
    "stretto_http_connections_limited_total",
    "Connections closed because of a limit: head_time, head_bytes, idle, write_time, connections, "
    "grpc_connections. The OTLP gRPC receiver also has idle_frames, protocol, fault.",
    ["server", "limit"],
)
OPEN: Final = Gauge("stretto_http_connections", "Open HTTP/1 connections.", ["server"])
GRPC_CONNECTIONS: Final = Gauge("stretto_grpc_connections", "Open gRPC connections.", ["server"])

BAD: Final = Counter(
    "stretto_http_bad_requests_total",
    "Requests that are not valid HTTP/1, or have lines that are too long.",
    ["server"],
)

_LOOKS_PER_LIMIT: Final = 10  # a limit of time is kept to a tenth
_LAST_WORDS_S: Final = 1.0
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_MANY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 43\r\n\r\nthere are too many connections; come again\n"
)
_HANDSHAKE_S: Final = 10.0
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """head_s: for the headers, from their first byte, or from the start of the connection; head_bytes_max: of the
    headers; idle_s: between requests; write_s: without reading any of the answer
    """

    head_s: float = 10.0
    head_bytes_max: int = 64 << 10
    idle_s: float = 120.0
    write_s: float = 30.0
    connections_max: int = 2000


class _WithoutBadRequests(logging.Filter):
    """A log filter. aiohttp logs every invalid request with all of its bytes: any client could fill a disk with
    that.
    """

    def __init__(self, server: str) -> None:
        super().__init__()
        self._bad = BAD.labels(server)

    def filter(self, record: logging.LogRecord) -> bool:
        """Drops the log record of an invalid request and counts it instead."""
        err = record.exc_info[1] if record.exc_info else None
        if isinstance(err, HttpProcessingError):
            self._bad.inc()
            return False
        # A client that went away before its answer began is no fault of anybody.
        return not isinstance(err, ConnectionError)


def quiet_logger(server: str) -> logging.Logger:
    """The logger for an AppRunner, without invalid requests."""
    logger = logging.getLogger(f"{__name__}.{server}")
    if not logger.filters:
        logger.addFilter(_WithoutBadRequests(server))
        logger.setLevel(logging.DEBUG)  # some of them it takes for less important
    return logger


class Guards:
    """The guards of one server's connections. Belongs to its event loop."""

    def __init__(self, server: str, limits: HttpLimits, handlers: web.Server) -> None:
        """server: its name in metrics; handlers: makes aiohttp's protocol for a connection"""
        self.limits, self._server, self._handlers = limits, server, handlers
        self._open: set[Guard] = set()
        self._timer: asyncio.TimerHandle | None = None

    def guard(self) -> "Guard":
        """The protocol of a new connection."""
        return Guard(self, self._handlers())

    def limited(self, limit: str) -> None:
        """Counts a connection that is closed because of this limit."""
        LIMITED.labels(self._server, limit).inc()

    def has_room_for(self, guard: "Guard") -> bool:
        """Whether the connection may stay; if so, the time limits apply to it."""
        if len(self._open) >= self.limits.connections_max:
            self.limited("connections")
            return False
        self._open.add(guard)
        OPEN.labels(self._server).inc()
        if self._timer is None:
            self._look_later()
        return True

    def closed(self, guard: "Guard") -> None:
        """Removes the guard of a connection that has ended."""
        self._open.discard(guard)
        OPEN.labels(self._server).dec()

    def _look_later(self) -> None:
        limits = self.limits
        every_s = min(limits.head_s, limits.idle_s, limits.write_s) / _LOOKS_PER_LIMIT
        self._timer = asyncio.get_running_loop().call_later(every_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s = asyncio.get_running_loop().time()
        for guard in list(self._open):
            guard.look(now_s)
        if self._open:
            self._look_later()


class Guard(asyncio.Protocol):
    """Watches one connection."""

    def __init__(self, guards: Guards, handler: Any) -> None:
        self._guards, self._limits, self._handler = guards, guards.limits, handler
        self._transport: asyncio.Transport | None = None
        self._refused = self._ended = False
        self._first = True  # no request has come yet
        self._idle_since_s: float | None = None
        self._stuck_since_s: float | None = None
        # Incomplete headers: start time, size, last bytes.
        self._head_since_s: float | None = None
        self._head_bytes = 0
        self._head_end = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepts the connection, or refuses it if there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._guards.has_room_for(self):
            self._refused = self._ended = True
            self._last_words(_TOO_MANY)
            return
        self._idle_since_s = asyncio.get_running_loop().time()
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Passes data on, unless the headers are too large."""
        if self._ended:
            return
        if self._waits_for_head() and self._is_head_too_large(data):
            self._end("head_bytes", _TOO_LARGE)
            return
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._ended else cast("bool | None", self._handler.eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._refused:
            self._guards.closed(self)
            self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        self._stuck_since_s = asyncio.get_running_loop().time()
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._stuck_since_s = None
        self._handler.resume_writing()

    def look(self, now_s: float) -> None:
        """Closes the connection if a time limit is exceeded. Called periodically."""
        limits = self._limits
        if self._ended:
            return
        if self._stuck_since_s is not None and now_s - self._stuck_since_s > limits.write_s:
            self._end("write_time")
        elif not self._waits_for_head():
            self._idle_since_s = None
        elif self._head_since_s is not None:
            if now_s - self._head_since_s > limits.head_s:
                self._end("head_time", _TOO_SLOW)
        elif self._idle_since_s is None:
            self._idle_since_s = now_s
        elif self._first and now_s - self._idle_since_s > limits.head_s:
            self._end("head_time")
        elif now_s - self._idle_since_s > limits.idle_s:
            self._end("idle")

    def _waits_for_head(self) -> bool:
        """Whether no request is in progress."""
        waiter = self._handler._waiter  # noqa: SLF001  # nothing public tells it
        return self._first or (waiter is not None and not waiter.done())

    def _is_head_too_large(self, data: bytes) -> bool:
        if self._head_since_s is None:
            self._head_since_s, self._head_bytes, self._head_end = asyncio.get_running_loop().time(), 0, b""
        end = _end_of_head(self._head_end + data)
        if end is None:
            self._head_bytes += len(data)
            self._head_end = (self._head_end + data)[-2:]
        else:
            self._head_bytes += end - len(self._head_end)
            self._head_since_s, self._idle_since_s, self._first = None, None, False
        return self._head_bytes > self._limits.head_bytes_max

    def _end(self, limit: str, last_words: bytes = b"") -> None:
        self._ended = True
        self._guards.limited(limit)
        assert self._transport is not None
        if not last_words:
            self._transport.abort()
            return
        self._last_words(last_words)

    def _last_words(self, text: bytes) -> None:
        assert self._transport is not None
        self._transport.write(text)
        self._transport.close()
        # A client that does not read them must not stay.
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._transport.abort)


def _end_of_head(data: bytes) -> int | None:
    """Position of the empty line that ends the headers."""
    found = [at for at in (data.find(b"\n\r\n"), data.find(b"\n\n")) if at >= 0]
    return min(found, default=None)


class GuardedSite(web.BaseSite):
    """Listens for an aiohttp runner, with limits."""

    def __init__(
        self,
        runner: web.AppRunner,
        host: str,
        port: int,
        *,
        name: str,
        limits: HttpLimits,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """name: of the server in metrics; tls: None: plaintext"""
        super().__init__(runner, ssl_context=tls, backlog=_BACKLOG)
        self._host, self._port = host, port
        self.reuse_port = False
        self.guards = Guards(name, limits, cast("web.Server", runner.server))

    @property
    def name(self) -> str:
        """The address as aiohttp shows it."""
        return f"{'https' if self._ssl_context else 'http'}://{self._host}:{self._port}"

    async def start(self) -> None:
        """Starts to listen. Raises: OSError if the port is taken"""
        await super().start()
        self._server = await asyncio.get_running_loop().create_server(
            self.protocol,
            self._host,
            self._port,
            ssl=self._ssl_context,
            backlog=self._backlog,
            reuse_port=self.reuse_port,
            ssl_handshake_timeout=_HANDSHAKE_S if self._ssl_context else None,
        )

    def protocol(self) -> asyncio.Protocol:
        """The protocol for a new connection."""
        return self.guards.guard()
