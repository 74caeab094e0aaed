"""Tempo's metric of requests, whichever server took them, with Tempo's labels."""

import asyncio
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from tables.native_histogram import NativeHistogram

_DURATION: Final = NativeHistogram(
    "tempo_request_duration_seconds",
    "Time of a request, with the routes of Tempo's dashboards. Over gRPC, too, status_code is that of HTTP. It has "
    "native buckets besides.",
    ["method", "route", "status_code", "ws"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100),
)
CLIENT_GONE: Final = 499  # nginx's number for a client that went away
GRPC: Final = "gRPC"  # the method of calls over gRPC
_NOT_OF_A_ROUTE: Final = re.compile("[^a-z0-9]+")
# Looking up a series costs more than counting. There are as many as there are routes and statuses.
_SERIES: Final[dict[tuple[str, str, int], NativeHistogram]] = {}


@lru_cache(maxsize=1024)  # of the closed set of routes
def tempo_route(path: str) -> str:
    """A path as Tempo names its route: /api/traces/{id} is api_traces_id."""
    return _NOT_OF_A_ROUTE.sub("_", path.lower()).strip("_")


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Counts a request that is answered. method, route: of closed sets, whatever a client sends"""
    series = _SERIES.get((method, route, status))
    if series is None:
        series = _SERIES[method, route, status] = _DURATION.labels(method, route, str(status), "false")
    series.observe(seconds)


def observed(handler: Handler, route: str) -> Handler:
    """A handler of POST that counts its requests under this route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await timed(request, handler, lambda status, took_s: observe_request("POST", route, status, took_s))

    return handle


async def timed(request: web.Request, handler: Handler, ended: Callable[[int, float], None]) -> web.StreamResponse:
    """What the handler answers. ended: called with the status and the time in seconds, also where it raises"""
    start_s, status = time.perf_counter(), 500
    try:
        response = await handler(request)
        status = response.status
    except web.HTTPException as err:
        status = err.status
        raise
    except asyncio.CancelledError:
        status = CLIENT_GONE
        raise
    finally:
        ended(status, time.perf_counter() - start_s)
    return response
