"""The receiver of OTLP over HTTP, as its settings say."""

import ssl

from aiohttp import web

from app.net.cors import Cors
from app.net.http_guard import GuardedSite, HttpLimits
from app.net.listening import watched_context
from app.net.tls import TlsFiles
from app.receivers.otlp.http import BodyLimits, build_http_receiver, http_runner
from app.receivers.receiver import ReceiverContext
from app.settings.server import Http


class HttpServer:
    """Serves an aiohttp application on one address, with limits for connections."""

    def __init__(self, app: web.Application, section: Http, tls: ssl.SSLContext | None) -> None:
        self._runner = http_runner(app, section.header_bytes_max)
        self._section, self._tls = section, tls

    async def start(self) -> None:
        """Listens. Raises: OSError if the address cannot be used"""
        section = self._section
        host, _, port = section.endpoint.rpartition(":")
        await self._runner.setup()
        limits = HttpLimits(
            head_s=section.read_header_timeout_s,
            head_bytes_max=section.header_bytes_max,
            idle_s=section.idle_timeout_s,
            write_s=section.write_timeout_s,
            connections_max=section.connections_max,
        )
        site = GuardedSite(self._runner, host.strip("[]"), int(port), name="otlp", limits=limits, tls=self._tls)
        await site.start()

    async def stop(self, _grace_s: float) -> None:
        """Ends the server. The runner has its own time of grace for requests that are in."""
        await self._runner.cleanup()


def build(section: Http, setting: str, context: ReceiverContext) -> HttpServer:
    """A server that does not listen yet. Raises: StrettoError if the files of TLS cannot be used"""
    tls = watched_context(context.watch, TlsFiles.of(section.tls, f"{setting}.tls"))
    bodies = BodyLimits(
        section.max_request_body_size,
        section.max_json_body_size,
        section.read_timeout_s,
        context.costs,
        context.body_threads,
    )
    cors = section.cors
    allowed = Cors(cors.allowed_origins, cors.allowed_headers, cors.max_age) if cors.allowed_origins else None
    app = build_http_receiver(context.batcher, context.access, bodies, context.budget, allowed)
    return HttpServer(app, section, tls)
