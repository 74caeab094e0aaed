"""What is running here: /api/status/buildinfo and the pages under /status. None of them asks for a tenant."""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import orjson
from aiohttp import web

from app.api.backend import BACKEND
from app.api.health import public

routes = web.RouteTableDef()

# The version of Tempo whose API this is: Grafana asks for it to learn what it may use.
API_VERSION: Final = "3.1.0"


@dataclass(frozen=True, slots=True)
class Process:
    """target: what it runs. config: its settings as YAML, secrets masked"""

    target: str
    config: str


PROCESS: Final = web.AppKey("process", Process)


def own_version() -> str:
    """That of the installed package."""
    try:
        return version("stretto")
    except PackageNotFoundError:  # run from a folder without being installed
        return "unknown"


@routes.get("/api/status/buildinfo")
async def buildinfo(request: web.Request) -> web.Response:  # noqa: ARG001 (a handler's signature)
    """Tempo's fields; `version` is that of Tempo's API, `revision` says which program this is."""
    info = {
        "version": API_VERSION,
        "revision": f"stretto-{own_version()}",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }
    return web.Response(body=orjson.dumps(info), content_type="application/json")


@routes.get("/status/version")
async def status_version(request: web.Request) -> web.Response:  # noqa: ARG001
    """A line for people."""
    return web.Response(
        text=f"stretto, version {own_version()} (Tempo API {API_VERSION}, Python {platform.python_version()})\n"
    )


@routes.get("/status/services")
async def services(request: web.Request) -> web.Response:
    """What this process runs, and whether it serves."""
    reasons = request.app[BACKEND].not_ready()
    state = "Starting" if reasons else "Running"
    return web.Response(text=f"{request.app[PROCESS].target}: {state}\n{public(reasons)}")


@routes.get("/status/endpoints")
async def endpoints(request: web.Request) -> web.Response:
    """All endpoints of this server, a line each."""
    routes_ = request.app.router.routes()
    lines = sorted({f"{r.method} {r.resource.canonical}" for r in routes_ if r.resource and r.method != "HEAD"})
    return web.Response(text="".join(f"{line}\n" for line in lines))


@routes.get("/status/config")
async def config(request: web.Request) -> web.Response:
    """The settings as YAML, secrets masked."""
    return web.Response(text=request.app[PROCESS].config, content_type="application/yaml")
