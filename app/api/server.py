"""Joins the endpoints to one aiohttp application."""

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from app.access import AUTHORIZATION, Access, Credentials
from app.api import health, metrics, search, status, tags, traces
from app.api.backend import BACKEND, Backend
from app.api.call import ACCESS
from app.api.errors import errors_as_text
from app.api.params import LIMITS, Limits
from app.api.status import PROCESS, Process
from app.api.telemetry import request_duration

WEEK_S: Final = 7 * 24 * 3600
OPEN: Final = frozenset({"/ready", "/metrics"})
_BODY_BYTES: Final = 64 << 10  # no endpoint reads one
_STOP_GRACE_S: Final = 1.0
_REST_OF_URL_BYTES: Final = 8190  # aiohttp's own limit, for all but the query


def build_api(
    backend: Backend,
    *,
    multitenancy: bool,
    default_limit: int,
    max_limit: int,
    default_spss: int,
    max_query_bytes: int,
    max_spss: int = 0,
    max_range_s: int = WEEK_S,
    target: str = "all",
    config: str = "",
    credentials: Credentials | None = None,
) -> web.Application:
    """Tempo's query API over a backend. Opens nothing: serve it with `api_runner`.

    The arguments are settings; see params.Limits. For max_limit, max_spss and max_range_s 0 means no limit.
    target, config: what /status shows; see status.Process
    credentials: who may ask; None: everybody. OPEN needs none
    """
    app = web.Application(middlewares=[request_duration, errors_as_text, only_with_token], client_max_size=_BODY_BYTES)
    app[BACKEND] = backend
    app[ACCESS] = Access(multitenancy=multitenancy, credentials=credentials)
    app[LIMITS] = Limits(
        default_limit=default_limit,
        max_limit=max_limit,
        default_spss=default_spss,
        max_spss=max_spss,
        max_range_s=max_range_s,
        max_query_bytes=max_query_bytes,
    )
    app[PROCESS] = Process(target, config)
    for module in (search, traces, tags, metrics, health, status):
        app.add_routes(module.routes)
    return app


@web.middleware
async def only_with_token(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Nothing but OPEN without a token, where the server has them. Whose it is the endpoints ask themselves."""
    if request.path not in OPEN:
        request.app[ACCESS].check(request.headers.get(AUTHORIZATION))
    return await handler(request)


def api_runner(app: web.Application) -> web.AppRunner:
    """How the application must be served: queries as long as the setting allows, and a client that goes away
    stops its query.
    """
    # A byte of the query may be three in the URL: %7B.
    line_bytes = 3 * app[LIMITS].max_query_bytes + _REST_OF_URL_BYTES
    return web.AppRunner(
        app,
        handler_cancellation=True,
        max_line_size=line_bytes,
        access_log=None,
        shutdown_timeout=_STOP_GRACE_S,
    )
