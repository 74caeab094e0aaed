"""What is running here: /api/status/buildinfo and the pages under /status. None of them asks for a tenant."""

import asyncio
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import orjson
import yaml
from aiohttp import web
from prometheus_client import Gauge

from agents.members.member import MemberState
from app.api.backend import BACKEND
from app.api.call import ACCESS
from app.api.errors import ParameterError
from app.api.proto import tempo_pb2
from app.api.status.health import public
from app.api.status.pages import json_or_page, wants_html, wants_json
from app.api.status.process import PROCESS
from app.api.status.rings import RINGS
from app.api.tenants import TENANTS
from app.net.access import Forbidden, Identity
from app.settings.tenants.tenant_file import ANY_TENANT

routes = web.RouteTableDef()

# The version of Tempo whose API this is: Grafana asks for it to learn what it may use.
API_VERSION: Final = "3.1.0"
_WIDTH: Final = 2**16  # no text of YAML is broken into lines
BUILD: Final = Gauge(
    "tempo_build_info", "1; version is Stretto's, and api_version that of Tempo's API.", ["version", "api_version"]
)


def show_build() -> None:
    """Sets the metric that names the version."""
    BUILD.labels(own_version(), API_VERSION).set(1)


def own_version() -> str:
    """The version of the installed package."""
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
    """The version, as a line of text."""
    return web.Response(
        text=f"stretto, version {own_version()} (Tempo API {API_VERSION}, Python {platform.python_version()})\n"
    )


@routes.get("/status/services")
async def services(request: web.Request) -> web.Response:
    """What this process runs, and whether it serves; then the same of the other processes. As Tempo's a line of text
    each; browsers get a table, and JSON who asks for it.
    """
    reasons, found = request.app[BACKEND].not_ready(), request.app[RINGS].membership()
    here = [one for one in found.members if one.member_id == found.own_id]
    own = here[0].services if here else {}
    own = own or {request.app[PROCESS].target: "Starting" if reasons else "Running"}
    others = [one for one in found.members if one.member_id != found.own_id]
    rows = [{"service": name, "state": state, "member": found.own_id} for name, state in own.items()]
    for one in others:
        unhealthy = one.state is MemberState.UNHEALTHY
        rows += [
            {"service": name, "state": one.state.value if unhealthy else state, "member": one.member_id}
            for name, state in one.services.items()
        ]
    message = "; ".join(public(reasons).splitlines())
    if wants_json(request) or wants_html(request):
        return json_or_page(request, "Services", "services", rows, message)
    lines = [f"{row['service']}: {row['state']}" for row in rows[: len(own)]]
    lines += public(reasons).splitlines()
    lines += [f"{row['member']} {row['service']}: {row['state']}" for row in rows[len(own) :]]
    return web.Response(text="".join(f"{line}\n" for line in lines))


@routes.get("/status/endpoints")
async def endpoints(request: web.Request) -> web.Response:
    """All endpoints of this server, a line each; gRPC's at the end."""
    routes_ = request.app.router.routes()
    lines = sorted({f"{r.method} {r.resource.canonical}" for r in routes_ if r.resource and r.method != "HEAD"})
    service = tempo_pb2.DESCRIPTOR.services_by_name["StreamingQuerier"]
    lines += [f"GRPC /{service.full_name}/{method.name}" for method in service.methods]
    return web.Response(text="".join(f"{line}\n" for line in lines))


@routes.get("/status/config")
async def config(request: web.Request) -> web.Response:
    """The settings as YAML, secrets masked; with ?mode=defaults what they would be, with ?mode=diff what differs."""
    configs = request.app[PROCESS].configs
    match request.query.get("mode", ""):
        case "":
            text = configs.effective
        case "defaults":
            text = configs.defaults
        case "diff":
            text = configs.changed
        case mode:
            raise ParameterError(f"mode: {mode[:40]!r} is neither diff nor defaults")
    return web.Response(text=text, content_type="application/yaml")


@routes.get("/status/runtime_config")
async def runtime_config(request: web.Request) -> web.Response:
    """What is set for single tenants, as it counts now; with a token that of its tenants."""
    configs, sees = request.app[PROCESS].configs, _sees(request)

    def make() -> str:
        tree = yaml.safe_load(configs.runtime())
        tree["overrides"] = {name: one for name, one in (tree["overrides"] or {}).items() if sees(name)}
        return str(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=_WIDTH))

    return web.Response(text=await asyncio.to_thread(make), content_type="application/yaml")


@routes.get("/status/overrides")
async def overrides(request: web.Request) -> web.Response:
    """The tenants that have settings of their own, a line each; with a token its tenants."""
    sees = _sees(request)
    return web.Response(text="".join(f"{tenant}\n" for tenant in await _overrides(request) if sees(tenant)))


@routes.get("/status/overrides/{tenant}")
async def overrides_of(request: web.Request) -> web.Response:
    """What counts for one tenant, as YAML: the defaults, over these its entry, or else that of all others, and over
    that what it has set itself. Only for a token of that tenant, or of all.
    """
    overrides_of, tenant = request.app[TENANTS].overrides_of, request.match_info["tenant"]
    if not _sees(request)(tenant):
        raise Forbidden("this token is not one of the tenant whose overrides are asked for")
    text = await asyncio.to_thread(overrides_of, tenant)
    return web.Response(text=text, content_type="application/yaml")


def _sees(request: web.Request) -> Callable[[str], bool]:
    """Whose settings the client may see. What counts for all that are not named everybody may."""
    sees = request.app[ACCESS].sees(Identity.of_http(request.headers).authorization)
    return lambda tenant: tenant == ANY_TENANT or sees(tenant)


async def _overrides(request: web.Request) -> dict[str, Any]:
    text = await asyncio.to_thread(request.app[PROCESS].configs.runtime)
    found: dict[str, Any] = yaml.safe_load(text)["overrides"] or {}
    return found


@routes.get("/status/usage-stats")
async def usage_stats(request: web.Request) -> web.Response:  # noqa: ARG001
    """Tempo shows here what it reports to its makers."""
    return web.Response(text="usage-stats is not enabled: Stretto reports nothing to anybody\n")
