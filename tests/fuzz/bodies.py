"""Targets: bodies and parameters of what only some clients ask for: overrides, trace diffs, MCP, the web page."""

import tempfile
from functools import cache, partial
from pathlib import Path
from urllib.parse import quote_from_bytes

from aiohttp import web

from app.api.limits import ApiLimits
from app.api.mcp.guides import GUIDES, URI
from app.api.mcp.server import McpServer
from app.api.server import api_runner, build_api
from app.api.tenants import TenantApi
from app.net.access import Access
from app.process.overrides import OverridesFile
from app.process.own_overrides import OwnOverrides
from app.settings import load
from benchmarks.hostile.examples import START_NS
from tables.storage.config import StorageConfig
from tables.storage.object_store import ObjectStore
from tests.fuzz.http import send
from tests.fuzz.local_backend import LocalBackend
from tests.fuzz.target import Target

_JSON_WORDS = (b"null", b'"\\ud83d"', b"1e400", b"NaN", b"[]", b"{}", b"-1", b'{"a":' * 400, b"[" * 900, b"9" * 5000)
_TRACE = "0" * 31 + "1"
_WINDOW = f"start={START_NS // 10**9 - 60}&end={START_NS // 10**9 + 60}"
_PATHS = ("/api/service-map", "/api/search/stream", *(f"/api/v2/traces/{_TRACE}/{of}" for of in ("outline", "matches")))
_END = "HTTP/1.1\r\nHost: a\r\nX-Scope-OrgID: team\r\nConnection: close"


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-overrides-"))


def _api() -> web.AppRunner:
    settings = load({}, _folder())
    own = OwnOverrides(ObjectStore(StorageConfig("local", str(_folder()))), OverridesFile(settings, {}))
    limits = ApiLimits(max_result_limit=1000, max_query_expression_size_bytes=4096)
    tenants = TenantApi(own=lambda: own, overrides_of=lambda _: "")
    access, mcp = Access(multitenancy=True), McpServer(64 << 10, "1")
    return api_runner(build_api(LocalBackend(), limits, access, tenants=tenants, mcp=mcp))


def _post(path: str, *headers: str, method: str = "POST") -> str:
    lines = [f"{method} {path} {_END}", "Content-Type: application/json"]
    return "\r\n".join([*lines, *headers, "Content-Length: "])


def _get(path: str) -> bytes:
    return f"GET {path} {_END}\r\n\r\n".encode()


def _answered(data: bytes) -> None:
    """A whole request has one answer, even if it takes long."""
    statuses = send(_api, data)
    assert len(statuses) == 1, (statuses, data[:200])


_OVERRIDES = (_post("/api/overrides", "If-Match: 0"), _post("/api/overrides", method="PATCH"))
_DIFF = _post("/api/v2/traces/diff")
_MCP = _post("/api/mcp", "Accept: application/json, text/event-stream")


def _body(head: str, data: bytes) -> None:
    _answered(f"{head}{len(data)}\r\n\r\n".encode() + data)


def _overrides(data: bytes) -> None:
    """Whatever a tenant has set, it can read it again, and remove it."""
    for head in _OVERRIDES:
        _body(head, data)
    for query in ("", "?scope=merged"):
        _answered(_get(f"/api/overrides{query}"))


def _page(data: bytes) -> None:
    if data:
        path = _PATHS[data[0] % len(_PATHS)]
        _answered(_get(f"{path}?{quote_from_bytes(data[1:], safe='=&+%')}"))


def _override_seeds() -> list[bytes]:
    return [
        b'{"metrics_generator": {"processors": ["span-metrics"], "collection_interval": "30s"}}',
        b'{"cost_attribution": {"dimensions": {"service.name": "service"}}}',
        b'{"metrics_generator": {"processor": {"service_graphs": {"dimensions": ["a"]}}}}',
    ]


def _diff_seeds() -> list[bytes]:
    sides = f'"base": {{"traceId": "{_TRACE}", "start": 1, "end": 2}}, "compare": {{"traceId": "2"}}'
    forms = ("", *(f', "format": "{name}"' for name in ("trace-summary-v0-native", "trace-summary-v0-composed")))
    return [f"{{{sides}{form}}}".encode() for form in forms]


def _mcp_seeds() -> list[bytes]:
    def message(method: str, params: str) -> bytes:
        return f'{{"jsonrpc": "2.0", "id": 1, "method": "{method}", "params": {params}}}'.encode()

    about = '{"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}'
    asked = '{"name": "traceql-search", "arguments": {"query": "{ }", "start": "1", "end": "2"}}'
    return [
        message("initialize", about),
        message("tools/list", "{}"),
        message("tools/call", asked),
        message("tools/call", f'{{"name": "get-trace", "arguments": {{"trace_id": "{_TRACE}"}}}}'),
        message("resources/read", f'{{"uri": "{URI}{next(iter(GUIDES))}"}}'),
    ]


def _page_seeds() -> list[bytes]:
    asked = f"q=%7B%20%7D&{_WINDOW}&limit=3&spss=2&around=service-1&select=name&cursor=&allow_partial=true"
    return [bytes([number]) + asked.encode() for number in range(len(_PATHS))]


TARGETS = [
    Target("own_overrides", _overrides, _override_seeds, _JSON_WORDS),
    Target("trace_diff", partial(_body, _DIFF), _diff_seeds, _JSON_WORDS),
    Target("mcp", partial(_body, _MCP), _mcp_seeds, _JSON_WORDS),
    Target("page_parameters", _page, _page_seeds, (b"&start=", b"&end=", b"%00", b"1e30", b"-1", b"&since=", b"\xff")),
]
