"""What auto-completion asks: which tags there are, and which values a tag has; in Tempo's older and newer form."""

from collections.abc import Callable, Iterable
from typing import Final

import orjson
from aiohttp import web

from app.api import params
from app.api.call import call_of
from app.api.limits import ApiLimits
from app.api.llm.results import values_by_type
from app.api.llm.values import LLM_JSON
from app.api.partial import observer_of, reply_whole_or_partial
from app.api.proto import tempo_pb2 as pb
from app.api.replies import reply, wants_llm, wants_protobuf
from app.api.tempo import messages
from app.api.tempo.jsonpb import UINT32_MAX, Json
from app.api.tempo.method import Method, Params, texts
from query.requests import TagValuesRequest
from query.results import Inspected
from query.scan.progress import QueryObserver
from query.tags.tag_text import INTRINSIC
from query.tags.tags import TagNames, TagValues

routes = web.RouteTableDef()

# A few hundred texts take some 10 µs as JSON, several times as much as protobuf.
_SMALL_CHARS: Final = 12_000
_CHARS_OF_ONE: Final = 40  # making one takes as long as writing so many characters
_TAG: Final = r"{tag:[\s\S]+}"  # a key may have a line break


@routes.get("/api/v2/search/tags")
async def tags_v2(request: web.Request) -> web.Response:
    """Names by scope: ?scope= &q= &start= &end= &limit= (of each scope)."""
    names, observer = await _names(request)
    return await reply_whole_or_partial(
        request,
        observer,
        lambda: names_v2_json(names),
        lambda: messages.names_v2_messages(names),
        small=_is_small(tag for tags in names.scopes.values() for tag in tags),
    )


@routes.get("/api/search/tags")
async def tags_v1(request: web.Request) -> web.Response:
    """Names without their scopes. Intrinsics only if they are asked for: ?scope=intrinsic."""
    names, observer = await _names(request)
    intrinsic = request.query.get("scope") == INTRINSIC
    return await reply_whole_or_partial(
        request,
        observer,
        lambda: names_v1_json(names, intrinsic=intrinsic),
        lambda: messages.names_messages(names, intrinsic=intrinsic),
        small=_is_small(tag for tags in names.scopes.values() for tag in tags),
    )


@routes.get(f"/api/v2/search/tag/{_TAG}/values")
async def values_v2(request: web.Request) -> web.Response:
    """Values of a tag as TraceQL writes it, with their types: ?q= &start= &end= &limit=."""
    values, observer = await _values(request, params.tag_values_request)
    if wants_llm(request) and not wants_protobuf(request) and not observer.missing_data:
        return await reply(request, lambda: _values_llm(values), content_type=LLM_JSON)
    return await reply_whole_or_partial(
        request,
        observer,
        lambda: values_v2_json(values),
        lambda: messages.values_v2_messages(values),
        small=_is_small(value.text for value in values.values),
    )


@routes.get(f"/api/search/tag/{_TAG}/values")
async def values_v1(request: web.Request) -> web.Response:
    """Values of a tag without its scope, as text."""
    values, observer = await _values(request, params.old_tag_values_request)
    return await reply_whole_or_partial(
        request,
        observer,
        lambda: values_v1_json(values),
        lambda: messages.values_messages(values),
        small=_is_small(value.text for value in values.values),
    )


def _is_small(texts: Iterable[str]) -> bool:
    """Whether an answer with these texts is made in less time than the way to a thread takes."""
    left = _SMALL_CHARS
    for text in texts:
        left -= len(text) + _CHARS_OF_ONE
        if left < 0:
            return False
    return True


async def _names(request: web.Request) -> tuple[TagNames, QueryObserver]:
    call = call_of(request)
    observer, asked = observer_of(call), params.tag_names_request(call.params, call.limits)
    return await call.backend.tag_names(call.tenant, asked, observer), observer


async def _values(
    request: web.Request, request_of: Callable[[Params, ApiLimits], TagValuesRequest]
) -> tuple[TagValues, QueryObserver]:
    call = call_of(request)
    asked = request_of({**call.params, "tag": request.match_info["tag"]}, call.limits)
    observer = observer_of(call)
    return await call.backend.tag_values(call.tenant, asked, observer), observer


def names_v2_json(names: TagNames) -> bytes:
    """Names by scope, as Tempo's SearchTagsV2Response in JSON."""
    scopes = [{"name": scope, "tags": tags} for scope, tags in names.scopes.items()]
    return orjson.dumps({"scopes": scopes, "metrics": _metrics(names.inspected)})


def names_v1_json(names: TagNames, *, intrinsic: bool) -> bytes:
    """Names without scopes, as Tempo's SearchTagsResponse in JSON."""
    tags = {tag for scope, tags in names.scopes.items() if intrinsic or scope != INTRINSIC for tag in tags}
    return orjson.dumps({"tagNames": sorted(tags), "metrics": _metrics(names.inspected)})


def values_v2_json(values: TagValues) -> bytes:
    """Values with their types, as Tempo's SearchTagValuesV2Response in JSON."""
    found = [{"type": value.type, "value": value.text} for value in values.values]
    return orjson.dumps({"tagValues": found, "metrics": _metrics(values.inspected)})


def _values_llm(values: TagValues) -> bytes:
    return orjson.dumps({"tagValues": values_by_type(values), "metrics": _metrics(values.inspected)})


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


# ---- gRPC


def _names_params(asked: pb.SearchTagsRequest) -> dict[str, str]:
    return texts(scope=asked.scope, q=asked.query, start=asked.start, end=asked.end, limit=asked.maxTagsPerScope)


def _values_params(asked: pb.SearchTagValuesRequest) -> dict[str, str]:
    # The name also where it is empty: no tag is called so, and the error says it.
    found = texts(q=asked.query, start=asked.start, end=asked.end, limit=asked.maxTagValues)
    return {"tag": asked.tagName, **found}


NAMES: Final = Method(
    message=pb.SearchTagsRequest,
    params=_names_params,
    request=params.tag_names_request,
    ask=lambda backend: backend.tag_names,
    messages=lambda asked, names: messages.names_messages(names, intrinsic=asked.get("scope") == INTRINSIC),
    progress=pb.SearchTagsResponse(metrics=pb.MetadataMetrics()),
)
NAMES_V2: Final = Method(
    message=pb.SearchTagsRequest,
    params=_names_params,
    request=params.tag_names_request,
    ask=lambda backend: backend.tag_names,
    messages=lambda _, names: messages.names_v2_messages(names),
    progress=pb.SearchTagsV2Response(metrics=pb.MetadataMetrics()),
)
VALUES: Final = Method(
    message=pb.SearchTagValuesRequest,
    params=_values_params,
    request=params.old_tag_values_request,
    ask=lambda backend: backend.tag_values,
    messages=lambda _, values: messages.values_messages(values),
    progress=pb.SearchTagValuesResponse(metrics=pb.MetadataMetrics()),
)
VALUES_V2: Final = Method(
    message=pb.SearchTagValuesRequest,
    params=_values_params,
    request=params.tag_values_request,
    ask=lambda backend: backend.tag_values,
    messages=lambda _, values: messages.values_v2_messages(values),
    progress=pb.SearchTagValuesV2Response(metrics=pb.MetadataMetrics()),
)
