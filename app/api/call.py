"""One question to the API, whichever way it came: the same parameters over HTTP and gRPC."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from app.api.backend import BACKEND, Backend
from app.api.limits import LIMITS, ApiLimits, LimitsOf, strictest
from app.api.tenants import TENANTS
from app.net.access import SEPARATOR, Access, Identity
from query import memory
from query.memory import ReadLimit, RequestLimit

_MEMORY_SETTING: Final = "read.max_query_memory_bytes of the tenant's overrides"
PARTIAL_HEADER: Final = "X-Stretto-Partial"
ACCESS: Final = web.AppKey("access", Access)


@dataclass(frozen=True, slots=True)
class Call:
    """params: as texts, under the names that they have in a URL. partial_header: the value of X-Stretto-Partial; None:
    not sent
    """

    backend: Backend
    limits: ApiLimits
    tenant: str
    params: Mapping[str, str]
    partial_header: str | None = None


def call_of(request: web.Request) -> Call:
    """What a request over HTTP asks. Raises: NoTenant, InvalidTenant, Unauthorized, Forbidden."""
    app, tenant = request.app, tenant_of_request(request)
    partial_header, limits = request.headers.get(PARTIAL_HEADER), app[TENANTS].limits_of or (lambda _: app[LIMITS].now)
    return Call(app[BACKEND], limits_of(tenant, limits), tenant, request.query, partial_header)


def limits_of(tenant: str, limits: LimitsOf) -> ApiLimits:
    """The limits of the tenant, or the strictest of several, whose request this task answers; that of memory holds from
    now on.
    """
    found = strictest([limits(name) for name in tenant.split(SEPARATOR)])
    if found.max_query_memory_bytes:
        memory.limit_request(RequestLimit(found.max_query_memory_bytes, _MEMORY_SETTING))
    if found.max_bytes_read_per_query:
        memory.limit_reading(ReadLimit(found.max_bytes_read_per_query, found.bytes_read_setting, tenant))
    return found


def tenant_of_request(request: web.Request) -> str:
    """The tenant whose spans a request asks for, or several (see `Access.tenants`). Raises: as `call_of`."""
    return request.app[ACCESS].tenants(*Identity.of_http(request.headers))
