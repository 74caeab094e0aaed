"""What auto-completion asks: which tags there are, and which values a tag has; in Tempo's older and newer form."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from app.api import params
from app.api.call import Call, call_of
from app.api.errors import ParameterError
from app.api.partial import reply_whole_or_partial, watch_of
from app.api.tempo import messages
from app.api.tempo.jsonpb import UINT32_MAX, Json
from query.language import ast
from query.results import Inspected
from query.scan.progress import Watch
from query.tags.tag_text import INTRINSIC, SCOPES, parse_old_tag, parse_tag
from query.tags.tags import TagNames, TagValues

routes = web.RouteTableDef()

_NO_SCOPE: Final = "none"
_TAG: Final = r"{tag:[\s\S]+}"  # a key may have a line break


@routes.get("/api/v2/search/tags")
async def tags_v2(request: web.Request) -> web.Response:
    """Names by scope: ?scope= &q= &start= &end= &limit= (of each scope)."""
    names, watch = await _names(request)
    return await reply_whole_or_partial(
        request, watch, lambda: names_v2_json(names), lambda: messages.names_v2_messages(names)
    )


@routes.get("/api/search/tags")
async def tags_v1(request: web.Request) -> web.Response:
    """Names without their scopes. Intrinsics only if they are asked for: ?scope=intrinsic."""
    names, watch = await _names(request)
    intrinsic = request.query.get("scope") == INTRINSIC
    return await reply_whole_or_partial(
        request,
        watch,
        lambda: names_v1_json(names, intrinsic=intrinsic),
        lambda: messages.names_messages(names, intrinsic=intrinsic),
    )


@routes.get(f"/api/v2/search/tag/{_TAG}/values")
async def values_v2(request: web.Request) -> web.Response:
    """Values of a tag as TraceQL writes it, with their types: ?q= &start= &end= &limit=."""
    values, watch = await _values(request, (parse_tag(request.match_info["tag"]),))
    return await reply_whole_or_partial(
        request, watch, lambda: values_v2_json(values), lambda: messages.values_v2_messages(values)
    )


@routes.get(f"/api/search/tag/{_TAG}/values")
async def values_v1(request: web.Request) -> web.Response:
    """Values of a tag without its scope, as text."""
    values, watch = await _values(request, parse_old_tag(request.match_info["tag"]))
    return await reply_whole_or_partial(
        request, watch, lambda: values_v1_json(values), lambda: messages.values_messages(values)
    )


async def _names(request: web.Request) -> tuple[TagNames, Watch]:
    call = call_of(request)
    watch = watch_of(call)
    return await ask_names(call, watch), watch


async def _values(request: web.Request, fields: Sequence[ast.Field]) -> tuple[TagValues, Watch]:
    call = call_of(request)
    watch = watch_of(call)
    return await ask_values(call, fields, watch), watch


async def ask_names(call: Call, watch: Watch | None = None) -> TagNames:
    """Raises: as Backend, ParameterError."""
    scope = call.params.get("scope") or _NO_SCOPE
    if scope not in {_NO_SCOPE, INTRINSIC, *SCOPES}:
        known = ", ".join([*SCOPES, INTRINSIC, _NO_SCOPE])
        raise ParameterError(f"invalid scope {scope[:40]!r}: must be one of {known}")
    return await call.backend.tag_names(
        call.tenant, scope=None if scope == _NO_SCOPE else scope, watch=watch, **_common(call)
    )


async def ask_values(call: Call, fields: Sequence[ast.Field], watch: Watch | None = None) -> TagValues:
    """Raises: as Backend, ParameterError."""
    return await call.backend.tag_values(call.tenant, fields, watch=watch, **_common(call))


def _common(call: Call) -> dict[str, Any]:
    """Parameters of all four. `maxStaleValues`, Tempo's way to stop early, changes no answer here."""
    start_s, end_s = params.time_range(call.params)
    params.whole_number(call.params, "maxStaleValues")
    return {
        "query": params.query_text(call.params, call.limits),
        "start_s": start_s,
        "end_s": end_s,
        "limit": params.whole_number(call.params, "limit") or 0,
    }


def names_v2_json(names: TagNames) -> bytes:
    """Tempo's SearchTagsV2Response."""
    scopes = [{"name": scope, "tags": tags} for scope, tags in names.scopes.items()]
    return orjson.dumps({"scopes": scopes, "metrics": _metrics(names.inspected)})


def names_v1_json(names: TagNames, *, intrinsic: bool) -> bytes:
    """Tempo's SearchTagsResponse."""
    tags = {tag for scope, tags in names.scopes.items() if intrinsic or scope != INTRINSIC for tag in tags}
    return orjson.dumps({"tagNames": sorted(tags), "metrics": _metrics(names.inspected)})


def values_v2_json(values: TagValues) -> bytes:
    """Tempo's SearchTagValuesV2Response."""
    found = [{"type": value.type, "value": value.text} for value in values.values]
    return orjson.dumps({"tagValues": found, "metrics": _metrics(values.inspected)})


def values_v1_json(values: TagValues) -> bytes:
    """Tempo's SearchTagValuesResponse. Values that differ in type only are one."""
    texts = sorted({value.text for value in values.values})
    return orjson.dumps({"tagValues": texts, "metrics": _metrics(values.inspected)})


def _metrics(inspected: Inspected) -> Json:
    """Tempo's MetadataMetrics, which counts no spans and traces."""
    jobs = min(inspected.sources, UINT32_MAX)
    fields: Json = {
        "inspectedBytes": str(inspected.bytes) if inspected.bytes else None,
        "totalJobs": jobs,
        "completedJobs": jobs,
    }
    return {name: value for name, value in fields.items() if value}
