"""The overrides that tenants set themselves: /api/overrides, as Tempo has it; and /usage_metrics."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

import orjson
from aiohttp import hdrs, web

from app.api.body import body_of
from app.api.call import ACCESS
from app.api.errors import ParameterError, Unavailable, plain_text
from app.api.tenants import TENANTS
from app.net.access import Identity
from app.process.own_overrides import (
    Conflicting,
    NoOwnOverrides,
    OwnOverrides,
    UnreadableOverrides,
    Versioned,
    VersionMismatch,
    check_json,
)
from tables.errors import StorageError

routes = web.RouteTableDef()
T = TypeVar("T")

_ETAG: Final = "ETag"
_SCOPES: Final = ("api", "merged")
_SKIP: Final = "skip-conflicting-overrides-check"
_STATUSES: Final[dict[type[Exception], int]] = {
    NoOwnOverrides: 404,
    Conflicting: 409,
    UnreadableOverrides: 409,
    VersionMismatch: 412,
    ValueError: 400,
}


@routes.get("/api/overrides")
async def get_overrides(request: web.Request) -> web.Response:
    """What the tenant has set: ?scope=api (default); with ?scope=merged what counts for it, of what it may set."""
    tenant, scope = _tenant(request), request.query.get("scope", "api")
    if scope not in _SCOPES:
        raise ParameterError(f"scope: {scope[:40]!r} is neither api nor merged")
    own = _own(request)
    if scope == "api":
        return await _answer(lambda: own.get(tenant))

    return await _answer(lambda: Versioned(own.merged(tenant), own.version(tenant)))


@routes.post("/api/overrides")
async def post_overrides(request: web.Request) -> web.Response:
    """Replaces what the tenant has set. If-Match: the ETag of what it replaces, 0 for nothing."""
    tenant, own = _tenant(request), _own(request)
    version = request.headers.get(hdrs.IF_MATCH, "").strip().strip('"')
    if not version:
        return plain_text(428, "must specify If-Match header: the ETag of the overrides, or 0 where there are none")
    _check_skip(request)
    tree = await _json(request)
    return await _answer(lambda: Versioned(tree, own.set(tenant, tree, version)), body=False)


@routes.patch("/api/overrides")
async def patch_overrides(request: web.Request) -> web.Response:
    """Changes what the tenant has set by a JSON merge patch; answers what it is then."""
    tenant, own = _tenant(request), _own(request)
    _check_skip(request)
    tree = await _json(request)
    return await _answer(lambda: own.patch(tenant, tree))


@routes.delete("/api/overrides")
async def delete_overrides(request: web.Request) -> web.Response:
    """Removes what the tenant has set. If-Match: its ETag."""
    tenant, own = _tenant(request), _own(request)
    version = request.headers.get(hdrs.IF_MATCH, "").strip().strip('"')
    if not version:
        return plain_text(428, "must specify If-Match header: the ETag of the overrides")

    def delete() -> Versioned:
        own.delete(tenant, version)
        return Versioned({}, "")

    return await _answer(delete, body=False)


def _tenant(request: web.Request) -> str:
    """The one tenant whose overrides are meant: several at once, as queries may name, have none."""
    return request.app[ACCESS].tenant(*Identity.of_http(request.headers))


def _own(request: web.Request) -> OwnOverrides:
    found = request.app[TENANTS].own()
    if found is None:
        raise web.HTTPNotFound
    return found


async def _json(request: web.Request) -> Any:
    try:
        tree = json.loads(await body_of(request), parse_constant=_no_number)
        check_json(tree)
        return tree
    except (ValueError, RecursionError) as err:
        raise ParameterError(f"the body is not JSON: {err}") from err


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _check_skip(request: web.Request) -> None:
    """Tempo's parameter. Here overrides of tenants and of the operator never conflict: one is over the other."""
    if request.query.get(_SKIP, "false").lower() not in ("true", "false", "1", "0", "t", "f"):
        raise ParameterError(f"could not parse {_SKIP}, must be a boolean value")


async def _answer(work: Callable[[], Versioned], *, body: bool = True) -> web.Response:
    try:
        tree, version = await asyncio.to_thread(work)
    except tuple(_STATUSES) as err:
        status = next(found for kind, found in _STATUSES.items() if isinstance(err, kind))
        answer = plain_text(status, str(err))
        if isinstance(err, UnreadableOverrides):
            answer.headers[_ETAG] = err.version
        return answer
    except StorageError as err:
        raise Unavailable("the storage of overrides does not answer now; try again later") from err
    headers = {_ETAG: version} if version else {}
    if not body:
        return web.Response(headers=headers)
    return web.Response(body=orjson.dumps(tree), content_type="application/json", headers=headers)


@routes.get("/usage_metrics")
async def usage_metrics(request: web.Request) -> web.Response:
    """Bytes by tenant and the dimensions of its overrides, in Prometheus' text format; with a token that of its
    tenants.
    """
    usage = request.app[TENANTS].usage
    if usage is None:
        raise web.HTTPNotFound
    may_see = request.app[ACCESS].sees(Identity.of_http(request.headers).authorization)
    text = await asyncio.to_thread(usage.text, may_see)
    return web.Response(text=text, headers={hdrs.CONTENT_TYPE: "text/plain; version=0.0.4; charset=utf-8"})
