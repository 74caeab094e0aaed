"""One question to the API, whichever way it came: the same parameters over HTTP and gRPC."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from app.api.backend import BACKEND, Backend
from app.api.params import LIMITS, Limits
from app.net.access import Access, Identity

ACCESS: Final = web.AppKey("access", Access)


@dataclass(frozen=True, slots=True)
class Call:
    """params: as texts, under the names that they have in a URL"""

    backend: Backend
    limits: Limits
    tenant: str
    params: Mapping[str, str]


def call_of(request: web.Request) -> Call:
    """Raises: NoTenant, InvalidTenant, Unauthorized, Forbidden."""
    app = request.app
    return Call(app[BACKEND], app[LIMITS], tenant_of_request(request), request.query)


def tenant_of_request(request: web.Request) -> str:
    """Raises: as `call_of`."""
    return request.app[ACCESS].tenant(*Identity.of(request.headers.items()))
