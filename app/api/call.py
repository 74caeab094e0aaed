"""One question to the API, whichever way it came: the same parameters over HTTP and gRPC."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from app.api.backend import BACKEND, Backend
from app.api.limits import LIMITS, ApiLimits
from app.net.access import Access, Identity

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
    app = request.app
    partial_header = request.headers.get(PARTIAL_HEADER)
    return Call(app[BACKEND], app[LIMITS], tenant_of_request(request), request.query, partial_header)


def tenant_of_request(request: web.Request) -> str:
    """The tenant whose spans a request asks for, or several (see `Access.tenants`). Raises: as `call_of`."""
    return request.app[ACCESS].tenants(*Identity.of(request.headers.items()))
