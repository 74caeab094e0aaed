"""GET /api/page/config: what the page must know of this server; POST /api/page/demo: the switch of the demo."""

import asyncio
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import web

from app.api.call import tenant_of_request
from app.api.errors import ParameterError, plain_text
from app.api.status.process import PROCESS
from app.api.status.status import API_VERSION, own_version

routes = web.RouteTableDef()

# A form of another site cannot send it without asking first, and is refused then.
DEMO_HEADER: Final = "X-Stretto-Page"


@routes.get("/api/page/config")
async def config(request: web.Request) -> web.Response:
    """Versions, receivers and their addresses, whether tenants and tokens are asked for, links, and the demo."""
    page = request.app[PROCESS].page
    out: dict[str, Any] = {
        "version": own_version(),
        "apiVersion": API_VERSION,
        "pythonVersion": platform.python_version(),
        "target": request.app[PROCESS].target,
        "receivers": [asdict(one) for one in page.receivers],
        "receivesHere": page.receives_here,
        "multitenancy": page.multitenancy,
        "tokens": page.tokens,
        "serviceGraph": bool(page.service_graph.prometheus_url),
        "links": [asdict(one) for one in page.links],
        "demo": await asyncio.to_thread(_demo, page.demo_switch),
    }
    return web.Response(body=orjson.dumps(out), content_type="application/json")


@routes.post("/api/page/demo")
async def demo(request: web.Request) -> web.Response:
    """Starts the demo of `stretto run`, or with ?running=false stops it. Only where `stretto run` allows it."""
    switch = request.app[PROCESS].page.demo_switch
    tenant_of_request(request)
    if switch is None:
        return plain_text(404, "the demo can be started here only where `make run` (stretto run) started the server")
    if DEMO_HEADER not in request.headers:
        raise ParameterError(f"the header {DEMO_HEADER} is missing: pages of other sites must not start anything here")
    match request.query.get("running", "true"):
        case "true":
            await asyncio.to_thread(switch.touch)
        case "false":
            await asyncio.to_thread(switch.unlink, missing_ok=True)
        case text:
            raise ParameterError(f"invalid running {text[:40]!r}: must be true or false")
    return web.Response(body=orjson.dumps(await asyncio.to_thread(_demo, switch)), content_type="application/json")


def _demo(switch: Path | None) -> dict[str, bool]:
    return {"allowed": switch is not None, "running": switch is not None and switch.exists()}
