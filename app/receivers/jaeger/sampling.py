"""What Jaeger's clients ask before they start: how to sample, and which baggage is restricted.

Stretto keeps what it gets, so the answer is one probability for all services, and no restriction.

Source: jaeger-idl, thrift/sampling.thrift, as JSON over HTTP
"""

from functools import partial

from aiohttp import web

from app.net.http_errors import errors_as_responses
from app.net.listening import watched_context
from app.net.tls import TlsFiles
from app.receivers.http_server import HttpServer
from app.receivers.receiver import ReceiverContext
from app.settings.sections.receivers import RemoteSampling


def build_sampling(rate: float) -> web.Application:
    """An aiohttp application, not started. rate: share of traces to sample"""
    app = web.Application(middlewares=[errors_as_responses])
    for path in ("/", "/sampling", "/api/sampling"):
        app.router.add_get(path, partial(_strategy, rate))
    app.router.add_get("/baggageRestrictions", _no_restrictions)
    return app


async def _strategy(rate: float, _: web.Request) -> web.Response:
    return web.json_response({"strategyType": "PROBABILISTIC", "probabilisticSampling": {"samplingRate": rate}})


async def _no_restrictions(_: web.Request) -> web.Response:
    return web.json_response([])


def build(section: RemoteSampling, setting: str, context: ReceiverContext) -> HttpServer:
    """A server that does not listen yet. Raises: StrettoError if the files of TLS cannot be used"""
    tls = watched_context(context.watch, TlsFiles.of(section.tls, f"{setting}.tls"))
    return HttpServer(build_sampling(section.sampling_rate), section, tls, "jaeger_sampling")
