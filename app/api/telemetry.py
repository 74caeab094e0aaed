"""How long requests take: `stretto_request_duration_seconds`, and the same under Tempo's name and routes."""

from functools import lru_cache
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import Histogram

from agents import tracing
from app.net.request_metrics import GRPC, observe_request, tempo_route, timed

REQUEST_DURATION: Final = Histogram(
    "stretto_request_duration_seconds",
    "Time from a request's headers to its answer.",
    ["method", "route", "status_code"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50),
)

# Paths whose parameters have other names in Tempo; what Tempo does not know keeps our path.
_AS_TEMPO: Final = {
    "/api/traces/{trace_id}": "/api/traces/{traceID}",
    "/api/v2/traces/{trace_id}": "/api/v2/traces/{traceID}",
    "/api/search/tag/{tag}/values": "/api/search/tag/{tagName}/values",
    "/api/v2/search/tag/{tag}/values": "/api/v2/search/tag/{tagName}/values",
    "unknown": "other",
}
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@web.middleware
async def request_duration(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Observes every request. Labels come from closed sets, whatever a client sends."""
    resource = request.match_info.route.resource
    route = "unknown" if resource is None else resource.canonical
    method = request.method if request.method in _METHODS else "other"
    tracing.take_incoming(request.headers.get(tracing.TRACEPARENT))
    tempos = tempo_route(_AS_TEMPO.get(route, route))
    return await timed(request, handler, lambda status, took_s: _observe(method, route, tempos, status, took_s))


@lru_cache(maxsize=1024)  # looking one up among the labels costs more than observing
def _series(method: str, route: str, status: int) -> Histogram:
    return REQUEST_DURATION.labels(method, route, str(status))


def observe_call(path: str, status: int, seconds: float) -> None:
    """Counts a call over gRPC. path: of one of our methods; status: of HTTP"""
    _observe(GRPC, path, path, status, seconds)


def _observe(method: str, route: str, tempos: str, status: int, seconds: float) -> None:
    _series(method, route, status).observe(seconds)
    observe_request(method, tempos, status, seconds)
