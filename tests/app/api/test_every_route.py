"""Nobody sees another tenant's data, over any route: all that the servers have are in the tables here, and asked with a
token of one tenant, as whoever, for whatever.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from app.api.server import OPEN
from app.api.status.process import Configs
from app.api.tenants import TenantApi
from app.process.own_overrides import Versioned
from tests.helpers.querying.api import CREDENTIALS, TRACE_ID, FakeBackend, api_over, serving
from tests.helpers.querying.other_tenants import OTHERS, backend, raw

ID = TRACE_ID.hex()
TIMES = "start=1700000000&end=1700003600"
DIFF = json.dumps({"base": {"traceId": ID}, "compare": {"traceId": ID}})
# Routes that answer for a tenant: how to ask each, so that it would answer; then the body.
OF_A_TENANT = {
    "GET /api/search": (f"/api/search?q={{}}&{TIMES}", ""),
    "GET /api/search/stream": (f"/api/search/stream?q={{}}&{TIMES}", ""),
    "GET /api/metrics/query_range": (f"/api/metrics/query_range?q={{}}|rate()&{TIMES}", ""),
    "GET /api/metrics/query": (f"/api/metrics/query?q={{}}|rate()&{TIMES}", ""),
    "GET /api/service-map": (f"/api/service-map?{TIMES}", ""),
    "GET /api/traces/{trace_id}": (f"/api/traces/{ID}", ""),
    "GET /api/v2/traces/{trace_id}": (f"/api/v2/traces/{ID}", ""),
    "GET /api/v2/traces/{trace_id}/outline": (f"/api/v2/traces/{ID}/outline", ""),
    "GET /api/v2/traces/{trace_id}/matches": (f"/api/v2/traces/{ID}/matches?q={{}}", ""),
    "POST /api/v2/traces/diff": ("/api/v2/traces/diff", DIFF),
    "GET /api/search/tags": ("/api/search/tags", ""),
    "GET /api/v2/search/tags": ("/api/v2/search/tags", ""),
    "GET /api/search/tag/{tag}/values": ("/api/search/tag/name/values", ""),
    "GET /api/v2/search/tag/{tag}/values": ("/api/v2/search/tag/name/values", ""),
    "GET /api/overrides": ("/api/overrides", ""),
    "POST /api/overrides": ("/api/overrides", "{}"),
    "PATCH /api/overrides": ("/api/overrides", "{}"),
    "DELETE /api/overrides": ("/api/overrides", ""),
}
# Routes that answer the same to every token, or to nobody without the operator's leave; none has data of tenants.
OF_THE_PROCESS = {
    "GET /api/echo",
    "GET /api/page/config",
    "POST /api/page/demo",
    "GET /api/status/buildinfo",
    "GET /status/version",
    "GET /status/services",
    "GET /status/endpoints",
    "GET /status/config",
    "GET /status/usage-stats",
    "GET /distributor/ring",
    "GET /live-store/ring",
    "GET /ingester/ring",
    "GET /metrics-generator/ring",
    "GET /compactor/ring",
    "GET /memberlist",
    "GET /partition-ring",
    "POST /-/reload",
    "GET /debug/memory",
    "GET /debug/tasks",
    "GET /debug/threads",
    "GET /debug/pprof",
    "GET /debug/pprof/",
    "GET /debug/pprof/profile",
}
# Routes that show something of each tenant that the token is one of.
OF_ITS_TENANTS = {
    "GET /status/runtime_config": "/status/runtime_config",
    "GET /status/overrides": "/status/overrides",
    "GET /status/overrides/{tenant}": "/status/overrides/beta",
    "GET /usage_metrics": "/usage_metrics",
}


# Answers for a tenant, and speaks a protocol of its own: test_mcp.py asks it as others.
OF_MCP = {"POST /api/mcp"}


class OwnOf:
    """In place of what tenants set themselves: notes who is asked for."""

    def __init__(self, asked: list[dict[str, Any]]) -> None:
        self._asked = asked

    def _noted(self, tenant: str) -> None:
        self._asked.append({"tenant": tenant})

    def get(self, tenant: str) -> Versioned:
        self._noted(tenant)
        return Versioned({}, "1")

    def set(self, tenant: str, *_: object) -> str:
        self._noted(tenant)
        return "1"

    def patch(self, tenant: str, _: object) -> Versioned:
        return self.get(tenant)

    def delete(self, tenant: str, _: str) -> None:
        self._noted(tenant)


class Usage:
    def text(self, sees: Any) -> str:
        return "".join(f"usage of {tenant}\n" for tenant in ("acme", "beta") if sees(tenant))


def app_over(fake: FakeBackend) -> Any:
    runtime = "overrides: {acme: {forwarders: [of-acme]}, beta: {forwarders: [of-beta]}, '*': {forwarders: [of-all]}}"
    own: Any = OwnOf(fake.asked)
    usage: Any = Usage()
    tenants = TenantApi(overrides_of=lambda tenant: f"of-{tenant}", own=lambda: own, usage=usage)
    configs = Configs(runtime=lambda: runtime)
    return api_over(fake, multitenancy=True, credentials=CREDENTIALS, configs=configs, tenants=tenants)


def routes(app: Any) -> Iterator[str]:
    for route in app.router.routes():
        if route.method != "HEAD" and route.resource is not None and route.resource.canonical not in OPEN:
            canonical = route.resource.canonical
            yield f"{route.method} {canonical}"


def asked_all(fake: FakeBackend, questions: list[tuple[str, str, bytes | None, str]]) -> list[tuple[int, bytes]]:
    async def use(base: str) -> list[tuple[int, bytes]]:
        return [await raw(base, *one) for one in questions]

    found: Any = asyncio.run(serving(app_over(fake), use))
    return list(found)


def test_the_page_needs_no_token() -> None:
    """It holds no data, and asks for a token itself: also where a link leads to a trace."""

    async def use(base: str) -> list[tuple[int, bytes]]:
        return [await raw(base, "GET", path, None, token="") for path in ("/", "/search", f"/trace/{ID}", "/trace/a/b")]

    found: Any = asyncio.run(serving(app_over(backend()), use))
    assert all(status in (200, 404) for status, _ in found)  # 404: it is not built


def test_every_route_is_in_a_table() -> None:
    """A new one fails here until somebody says whose data it shows."""
    known = [*OF_A_TENANT, *OF_THE_PROCESS, *OF_ITS_TENANTS, *OF_MCP]
    assert sorted(set(routes(app_over(backend())))) == sorted(known)


@pytest.mark.parametrize("route", OF_A_TENANT)
def test_only_of_the_own_tenant(route: str) -> None:
    """Each question reaches the backend as the token's tenant. As anyone else none does, whatever it calls itself."""
    method, (path, body) = route.split(" ")[0], OF_A_TENANT[route]
    fake = backend()
    path = quote(path, safe="/?&=%{}|()")
    for status, _ in asked_all(fake, [(method, path, org, body) for org in (b"acme", None)]):
        assert status in (200, 404)
    assert fake.asked
    assert {one["tenant"] for one in fake.asked} == {"acme"}
    before = len(fake.asked)
    for org, (status, text) in zip(OTHERS, asked_all(fake, [(method, path, org, body) for org in OTHERS]), strict=True):
        assert org == b"" or 400 <= status < 500, (org, status)
        assert len(text) < 4096
    assert {one["tenant"] for one in fake.asked[before:]} <= {"acme"}  # an empty header is none


HOSTILE = (
    "..%2f..%2fbeta",
    "%00",
    "..",
    "%2e%2e",
    "beta",
    "%c3%a4",
    "a" * 6000,
    "'%22;--",
    "%ff%fe",
    "%0d%0aX-Scope-OrgID:beta",
)


@pytest.mark.parametrize("route", [one for one in OF_A_TENANT if "{" in one])
def test_whatever_the_path_says(route: str) -> None:
    """It is a question of the token's tenant, or refused; never the server's fault."""
    method, (_, body) = route.split(" ")[0], OF_A_TENANT[route]
    template = route.split(" ")[1]
    name = template[template.index("{") : template.index("}") + 1]
    fake = backend()
    for status, _ in asked_all(fake, [(method, template.replace(name, one), b"acme", body) for one in HOSTILE]):
        assert status < 500
    assert {one["tenant"] for one in fake.asked} <= {"acme"}


@pytest.mark.parametrize(("token", "sees", "not_sees"), [("a1", b"acme", b"beta"), ("b1", b"beta", b"acme")])
def test_what_each_token_sees_of_tenants(token: str, sees: bytes, not_sees: bytes) -> None:
    """Of overrides and usage: that of its tenants. What counts for all that are not named is no secret."""
    own, other = sees.decode(), not_sees.decode()
    paths = ["/status/runtime_config", "/status/overrides", "/usage_metrics", f"/status/overrides/{own}"]
    refused = [
        f"/status/overrides/{name}" for name in (other, f"{own}%2f..%2f{other}", "%00", "..%2f" + other, "x" * 200)
    ]

    async def use(base: str) -> list[tuple[int, bytes]]:
        return [await raw(base, "GET", path, None, token=token) for path in [*paths, *refused, "/status/overrides/*"]]

    found: Any = asyncio.run(serving(app_over(backend()), use))
    for path, (status, text) in zip(paths, found, strict=False):
        assert status == 200, path
        assert sees in text
        assert not_sees not in text, path
    for status, text in found[len(paths) : -1]:
        assert status in (403, 404)
        assert b"of-" not in text
    assert found[-1] == (200, b"of-*")
