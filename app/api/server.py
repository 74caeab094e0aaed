"""Joins the endpoints to one aiohttp application."""

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from app.api.backend import BACKEND, Backend
from app.api.call import ACCESS
from app.api.errors import errors_as_text
from app.api.limits import LIMITS, ApiLimits, CurrentLimits
from app.api.mcp import endpoint as mcp_endpoint
from app.api.mcp.server import McpServer
from app.api.page import config as page_config
from app.api.page import search_stream, serve, service_map
from app.api.page.files import PageFiles
from app.api.page.serve import FILES
from app.api.status import debug, health, profile, reload, status
from app.api.status import rings as rings_
from app.api.status.process import PROCESS, Process
from app.api.status.profile import PROFILING
from app.api.status.reload import RELOAD, ReloadNow
from app.api.status.rings import RINGS, Rings, UnknownRings
from app.api.telemetry import request_duration
from app.api.tempo import metrics, overrides, search, tags, trace_diff, traces
from app.api.tenants import TENANTS, TenantApi
from app.api.trace_view import endpoints as trace_view
from app.net.access import Access, Identity
from app.net.http_guard import quiet_logger

# A new endpoint is a file with its `routes`, and a row here. The first that fits a path answers.
ROUTES: Final = (
    search.routes,
    trace_diff.routes,
    trace_view.routes,
    traces.routes,
    tags.routes,
    metrics.routes,
    overrides.routes,
    health.routes,
    status.routes,
    rings_.routes,
    profile.routes,
    debug.routes,
    reload.routes,
    page_config.routes,
    search_stream.routes,
    service_map.routes,
    mcp_endpoint.routes,
    serve.routes,
)
# As aiohttp writes the paths of routes.
OPEN: Final = frozenset({"/ready", "/metrics", *serve.OPEN})
_BODY_BYTES: Final = 64 << 10  # of overrides; no other endpoint reads one
_STOP_GRACE_S: Final = 1.0
# A client that still sends a body which nobody reads has so long to take its answer.
_LINGER_S: Final = 2.0
_REST_OF_URL_BYTES: Final = 8190  # aiohttp's own limit, for all but the query


def build_api(  # noqa: PLR0913  (two collaborators and the limits, options by their names)
    backend: Backend,
    limits: ApiLimits | CurrentLimits,
    access: Access,
    *,
    process: Process | None = None,
    rings: Rings | None = None,
    profiling: bool = False,
    tenants: TenantApi | None = None,
    mcp: McpServer | None = None,
    reload_now: ReloadNow | None = None,
) -> web.Application:
    """Tempo's query API over a backend. Opens nothing: serve it with `api_runner`.

    access: who may ask; OPEN needs no token
    process, rings: what /status, the web page and the pages of rings show
    profiling: whether /debug/pprof answers
    tenants: limits, overrides and usage of tenants; None: there are none
    mcp: what answers /api/mcp; None: nothing
    reload_now: what POST /-/reload does; None: it is not there
    """
    app = web.Application(middlewares=[request_duration, errors_as_text, only_with_token], client_max_size=_BODY_BYTES)
    app[BACKEND], app[ACCESS] = backend, access
    app[LIMITS] = limits if isinstance(limits, CurrentLimits) else CurrentLimits(limits)
    app[TENANTS] = tenants or TenantApi()
    app[PROCESS] = process or Process("all")
    app[RINGS] = rings or UnknownRings()
    app[PROFILING] = profiling
    if reload_now is not None:
        app[RELOAD] = reload_now
    app[FILES] = PageFiles()
    status.show_build()
    for routes in ROUTES:
        app.add_routes(routes)
    if mcp is not None:
        mcp_endpoint.add_mcp(app, mcp)
    return app


@web.middleware
async def only_with_token(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Nothing but OPEN without a token, where the server has them. Whose it is the endpoints ask themselves.

    Nothing at all where a header that decides who is asking is there twice.
    """
    identity = Identity.of_http(request.headers)
    resource = request.match_info.route.resource
    if resource is None or resource.canonical not in OPEN:
        request.app[ACCESS].check(identity.authorization)
    return await handler(request)


def url_bytes_max(app: web.Application) -> int:
    """Of the first line of a request: a byte of the query may be three in the URL: %7B."""
    return 3 * app[LIMITS].now.max_query_expression_size_bytes + _REST_OF_URL_BYTES


def api_runner(app: web.Application) -> web.AppRunner:
    """How the application must be served: queries as long as the setting allows, and a client that goes away
    stops its query.
    """
    return web.AppRunner(
        app,
        handler_cancellation=True,
        max_line_size=url_bytes_max(app),
        lingering_time=_LINGER_S,
        access_log=None,
        logger=quiet_logger("query"),
        shutdown_timeout=_STOP_GRACE_S,
    )
