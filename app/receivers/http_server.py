"""An HTTP server of a receiver, with limits for its connections."""

import ssl
from typing import Protocol

from aiohttp import web

from app.net.http_guard import GuardedSite, HttpLimits
from app.receivers.http_body import http_runner
from app.settings.values import split_host_port


class HttpConnections(Protocol):
    """What the settings of every HTTP receiver say of its connections."""

    endpoint: str
    read_header_timeout_s: float
    write_timeout_s: float
    idle_timeout_s: float
    header_bytes_max: int
    connections_max: int


class HttpServer:
    """Serves an aiohttp application on one address, with limits for connections."""

    def __init__(self, app: web.Application, section: HttpConnections, tls: ssl.SSLContext | None, name: str) -> None:
        """name: in the log and in metrics"""
        self._runner = http_runner(app, section.header_bytes_max, name)
        self._section, self._tls, self._name = section, tls, name
        self.reuse_port = False

    async def start(self) -> None:
        """Listens. Raises: OSError if the address cannot be used"""
        section = self._section
        host, port = split_host_port(section.endpoint)
        await self._runner.setup()
        limits = HttpLimits(
            head_s=section.read_header_timeout_s,
            head_bytes_max=section.header_bytes_max,
            idle_s=section.idle_timeout_s,
            write_s=section.write_timeout_s,
            connections_max=section.connections_max,
        )
        site = GuardedSite(self._runner, host, port, name=self._name, limits=limits, tls=self._tls)
        site.reuse_port = self.reuse_port
        await site.start()

    async def stop(self, _grace_s: float) -> None:
        """Ends the server. The runner has its own time of grace for requests that are in."""
        await self._runner.cleanup()
