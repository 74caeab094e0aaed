"""How long requests take: `stretto_request_duration_seconds`."""

import asyncio
import time
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import Histogram

REQUEST_DURATION: Final = Histogram(
    "stretto_request_duration_seconds",
    "Time from a request's headers to its answer.",
    ["method", "route", "status_code"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50),
)

CLIENT_GONE: Final = 499  # nginx's number for a client that went away
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@web.middleware
async def request_duration(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Observes every request. Labels come from closed sets, whatever a client sends."""
    resource = request.match_info.route.resource
    route = "unknown" if resource is None else resource.canonical
    method = request.method if request.method in _METHODS else "other"
    start_s = time.perf_counter()
    status = 500
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
        REQUEST_DURATION.labels(method, route, str(status)).observe(time.perf_counter() - start_s)
    return response
