"""One port for HTTP/1 and gRPC: the first bytes of a connection decide which it is.

aiohttp gets an HTTP/1 connection as it is. grpc.aio cannot take over an open connection, so this module forwards the
bytes of an HTTP/2 connection to a gRPC server on the loopback. It does the same for decrypted bytes over TLS. A client
that offers both protocols gets HTTP/1, because HTTP/2 is only for gRPC here, and gRPC clients offer nothing else.
"""

import asyncio
import logging
import ssl
from typing import Final, cast

from aiohttp import web

from app.net.goaway import refusal
from app.net.http_guard import GRPC_CONNECTIONS, GuardedSite, HttpLimits

log = logging.getLogger(__name__)

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113, 3.4
TUNNELS_MAX: Final = 1000  # unless a setting says otherwise; each takes three of the process's file descriptors
_LOOPBACK: Final = "127.0.0.1"
_SERVER: Final = "query"
# A connection has two ends here, the client's and the one to the gRPC server.
TUNNEL_ENDS: Final = GRPC_CONNECTIONS.labels(_SERVER)


class SharedSite(GuardedSite):
    """Listens for an aiohttp runner and, on the same port, for a gRPC server of this process."""

    def __init__(  # noqa: PLR0913 (what a site of aiohttp takes, and options by their names)
        self,
        runner: web.AppRunner,
        host: str,
        port: int,
        grpc_port: int,
        *,
        tls: ssl.SSLContext | None = None,
        limits: HttpLimits | None = None,
        tunnels_max: int = TUNNELS_MAX,
    ) -> None:
        """grpc_port: loopback port of the gRPC server, without TLS; tunnels_max: limit of gRPC connections"""
        super().__init__(runner, host, port, name=_SERVER, limits=limits or HttpLimits(), tls=tls)
        self.grpc_port, self.tunnels_max = grpc_port, tunnels_max
        self.undecided: set[Sniffer] = set()
        self.tunnels: set[asyncio.Transport] = set()

    async def stop(self) -> None:
        """Accepts no new connections. aiohttp ends the HTTP/1 connections, the gRPC server its own; all others are
        closed.
        """
        await super().stop()
        for sniffer in list(self.undecided):
            sniffer.abort()
        for transport in list(self.tunnels):
            transport.abort()

    def protocol(self) -> asyncio.Protocol:
        """The protocol for a new connection."""
        return Sniffer(self)


class Sniffer(asyncio.Protocol):
    """A new connection whose protocol is not known yet."""

    def __init__(self, site: SharedSite) -> None:
        self._site = site
        self._got = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._outer: Pipe | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        guards = self._site.guards
        if len(self._site.undecided) >= guards.limits.connections_max:
            guards.limited("connections")
            self._transport.abort()
            return
        self._site.undecided.add(self)
        self._timer = asyncio.get_running_loop().call_later(guards.limits.head_s, self._too_late)

    def data_received(self, data: bytes) -> None:
        """Waits for the whole HTTP/2 preface, or for a byte that differs from it."""
        self._got += data
        if not PREFACE.startswith(self._got[: len(PREFACE)]):
            self._to_web()
        elif len(self._got) >= len(PREFACE):
            self._to_grpc()

    def connection_lost(self, exc: Exception | None) -> None:
        self._decided()
        if self._task is not None:
            self._task.cancel()
        if self._outer is not None:
            self._outer.connection_lost(exc)

    def abort(self) -> None:
        """Closes the connection, because the server stops."""
        if self._transport is not None:
            self._transport.abort()

    def _too_late(self) -> None:
        self._site.guards.limited("head_time")
        self.abort()

    def _decided(self) -> None:
        self._site.undecided.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def _to_web(self) -> None:
        self._decided()
        assert self._transport is not None
        guard = self._site.guards.guard()
        self._transport.set_protocol(guard)
        guard.connection_made(self._transport)
        guard.data_received(bytes(self._got))

    def _to_grpc(self) -> None:
        assert self._transport is not None
        if len(self._site.tunnels) >= 2 * self._site.tunnels_max:
            self._site.guards.limited("grpc_connections")
            log.warning("refused a gRPC connection: there are %d already", self._site.tunnels_max)
            self._transport.write(refusal("too many connections (server.grpc_listen_conn_limit); try again later"))
            self._transport.close()
            return
        self._transport.pause_reading()
        # Until the other end is connected, the timer runs, and nothing is read.
        self._task = asyncio.ensure_future(self._tunnel(self._transport))

    async def _tunnel(self, client: asyncio.Transport) -> None:
        # Joined before they are connected: the server may speak first.
        self._outer = outer = Pipe(self._site)
        inner = Pipe(self._site)
        outer.other, inner.other = inner, outer
        outer.connection_made(client)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: inner, _LOOPBACK, self._site.grpc_port)
        except OSError as err:
            log.warning("the gRPC server does not take connections: %s", err)
            client.abort()
            return
        if client.is_closing() or inner.transport is None:
            inner.close()
            client.abort()
            return
        self._decided()
        client.set_protocol(outer)
        self._outer = None
        inner.transport.write(bytes(self._got))
        client.resume_reading()


class Pipe(asyncio.Protocol):
    """One end of a tunnel: forwards what it receives to the other end, no faster than that end reads."""

    def __init__(self, site: SharedSite) -> None:
        self._site = site
        self.transport: asyncio.Transport | None = None
        self.other: Pipe | None = None
        self.ended = False  # nothing comes here any more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._site.tunnels.add(self.transport)
        TUNNEL_ENDS.inc(0.5)

    def data_received(self, data: bytes) -> None:
        if (out := self._out()) is not None:
            out.write(data)

    def eof_received(self) -> bool:
        """Half-closes the other end; the other direction goes on. TLS has no half-close."""
        self.ended = True
        out = self._out()
        if out is None or self.transport is None or not (out.can_write_eof() and self.transport.can_write_eof()):
            return False
        out.write_eof()
        return not (self.other is not None and self.other.ended)

    def pause_writing(self) -> None:
        """Stops reading at the other end, because the peer of this end does not read."""
        if (out := self._out()) is not None:
            out.pause_reading()

    def resume_writing(self) -> None:
        if (out := self._out()) is not None:
            out.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        if self.transport is not None:
            self._site.tunnels.discard(self.transport)
            TUNNEL_ENDS.dec(0.5)
        self.transport = None
        if self.other is not None:
            self.other.close()

    def close(self) -> None:
        """Closes after sending what is already written."""
        if self.transport is not None:
            self.transport.close()

    def _out(self) -> asyncio.Transport | None:
        """The other end, while it is open."""
        transport = None if self.other is None else self.other.transport
        return None if transport is None or transport.is_closing() else transport
