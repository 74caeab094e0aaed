"""Is it there, is it ready, how is it: /api/echo, /ready, /metrics. None of them asks for a tenant."""

import re
from collections.abc import Iterable
from typing import Final

from aiohttp import web
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from app.api.backend import BACKEND
from app.api.errors import plain_text
from app.api.status import protobuf_metrics
from app.api.status.process import PROCESS
from app.api.status.worker_metrics import OWN, WORKER, of_workers, protobuf_of_workers

routes = web.RouteTableDef()

# A path in quotes, an address, a path: what errors of disks and storages name.
_PLACE: Final = re.compile(r"""(["'])/.*?\1|\b[a-z][a-z0-9+.-]*://[^\s,;)]+|(?<![\w.])/[\w.@+~=%:/-]*[\w/]""")


@routes.get("/api/echo")
async def echo(request: web.Request) -> web.Response:  # noqa: ARG001 (a handler's signature)
    """Grafana's health check of the data source."""
    return web.Response(text="echo\n")


@routes.get("/ready")
async def ready(request: web.Request) -> web.Response:
    """200 when queries and spans are served; else 503 and why not, a line each. Behind it what of the stored data is
    damaged: no reason to take the process out of service.
    """
    backend = request.app[BACKEND]
    if request.app[PROCESS].stopping():
        return plain_text(503, "stopping: it was told to\n")
    reasons, damage = backend.not_ready(), public(f"damaged: {line}" for line in backend.damage())
    if reasons:
        return plain_text(503, public(reasons) + damage)
    return web.Response(text=f"ready\n{damage}")


def public(reasons: Iterable[str]) -> str:
    """Reasons without the paths and addresses of this server, a line each: /ready asks for no token."""
    return "".join(f"{_PLACE.sub('…', reason)}\n" for reason in reasons)


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    """Metrics of the process, in the format that the scraper accepts: Prometheus text, OpenMetrics, or protobuf, which
    has native histograms. Where several worker processes share this port, of all of them.
    """
    accept = request.headers.get("Accept", "")
    workers, of_all = request.app[PROCESS].workers, request.query.get("worker") != OWN
    if protobuf_metrics.is_wanted(accept):
        if workers and of_all:
            body = await protobuf_of_workers(workers, accept)
        else:
            number = request.query.get(WORKER)
            body = protobuf_metrics.encode(REGISTRY, {"worker": number} if number else None)
        return web.Response(body=body, headers={"Content-Type": protobuf_metrics.CONTENT_TYPE})
    encode, content_type = choose_encoder(accept)
    body = (await of_workers(workers, accept)).encode() if workers and of_all else encode(REGISTRY)
    # As a header: `content_type=` refuses one with a charset.
    return web.Response(body=body, headers={"Content-Type": content_type})
