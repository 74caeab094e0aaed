"""Requests as JSON: the form in which one process sends them to another."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, Final

from query.language import ast
from query.requests import (
    InstantRequest,
    Page,
    RangeRequest,
    SearchRequest,
    SpanMatching,
    SpanSelection,
    TagNamesRequest,
    TagValuesRequest,
    TraceRequest,
)

Request = SearchRequest | RangeRequest | InstantRequest | TagNamesRequest | TagValuesRequest | TraceRequest

# The name of each kind is a part of what processes send to each other: it stays.
KINDS: Final[Mapping[str, type[Request]]] = {
    "search": SearchRequest,
    "metrics-range": RangeRequest,
    "metrics-instant": InstantRequest,
    "tag-names": TagNamesRequest,
    "tag-values": TagValuesRequest,
    "trace": TraceRequest,
}
_NAMES: Final[Mapping[type[Request], str]] = {kind: name for name, kind in KINDS.items()}


class BadRequest(ValueError):  # noqa: N818 (says what it is)
    """What came is not a request of this version: which part, and what is wrong with it."""


def to_json(request: Request) -> dict[str, Any]:
    """The request as what JSON can hold; bytes in hex."""
    values: dict[str, Any] = {one.name: getattr(request, one.name) for one in fields(request)}
    if isinstance(request, TagValuesRequest):
        values["fields"] = [_field_to_json(field) for field in request.fields]
    elif isinstance(request, TraceRequest):
        values["trace_id"] = request.trace_id.hex()
        values["page"] = None if request.page is None else _page_to_json(request.page)
        values["matching"] = None if request.matching is None else asdict(request.matching)
        # Processes of former versions do not know it, and are asked for all spans (`TracePart`).
        if request.filter is None:
            del values["filter"]
        else:
            values["filter"] = asdict(request.filter)
    return {"kind": _NAMES[type(request)], **values}


def from_json(values: Any) -> Request:
    """The request that `to_json` was given. Raises: BadRequest"""
    if not isinstance(values, dict) or values.get("kind") not in KINDS:
        raise BadRequest(f"expected a request of one of the kinds {', '.join(KINDS)}")
    kind = KINDS[values["kind"]]
    rest = {name: value for name, value in values.items() if name != "kind"}
    try:
        for name, convert in _CONVERTED.get(kind, {}).items():
            if name in rest or name not in _LATER:
                rest[name] = convert(rest[name])
        request = kind(**rest)
    except (LookupError, TypeError, ValueError, AttributeError) as err:
        raise BadRequest(f"a request of kind {values['kind']} is damaged: {err!r}") from err
    wrong = [name for name, value in rest.items() if not isinstance(value, _TYPES[kind][name])]
    if wrong:
        raise BadRequest(f"a request of kind {values['kind']} is damaged: {', '.join(wrong)} has a wrong type")
    return request


def _field_to_json(field: ast.Field) -> dict[str, Any]:
    values = {name: value for name, value in asdict(field).items() if name != "at"}
    return {"intrinsic" if isinstance(field, ast.Intrinsic) else "attribute": values}


def _fields_from_json(values: Any) -> tuple[ast.Field, ...]:
    return tuple(map(_field_from_json, values))


def _field_from_json(values: Mapping[str, Any]) -> ast.Field:
    if "intrinsic" in values:
        return ast.Intrinsic(str(values["intrinsic"]["name"]))
    scope = values["attribute"]["scope"]
    return ast.Attribute(None if scope is None else str(scope), str(values["attribute"]["key"]))


def _page_to_json(page: Page) -> dict[str, Any]:
    after = None if page.after is None else [page.after[0], page.after[1].hex()]
    return {"after": after, "spans_max": page.spans_max}


def _page_from_json(values: Any) -> Page | None:
    if values is None:
        return None
    after = values["after"]
    return Page(None if after is None else (int(after[0]), bytes.fromhex(after[1])), int(values["spans_max"]))


def _matching_from_json(values: Any) -> SpanMatching | None:
    return None if values is None else SpanMatching(query=str(values["query"]), text=str(values["text"]))


def _filter_from_json(values: Any) -> SpanSelection:
    return SpanSelection(query=str(values["query"]), below=int(values["below"]), above=int(values["above"]))


# Fields that are left out where they have their usual value.
_LATER: Final = frozenset({"filter"})
_CONVERTED: Final[Mapping[type[Request], Mapping[str, Callable[[Any], Any]]]] = {
    TagValuesRequest: {"fields": _fields_from_json},
    TraceRequest: {
        "trace_id": bytes.fromhex,
        "page": _page_from_json,
        "matching": _matching_from_json,
        "filter": _filter_from_json,
    },
}
_OPEN_TIME: Final = (int, type(None))
_TIMES: Final[Mapping[str, Any]] = {"start_ns": _OPEN_TIME, "end_ns": _OPEN_TIME}
_METRICS: Final[Mapping[str, Any]] = {"query": str, "start_ns": int, "end_ns": int, "exemplars": int}
_TAGS: Final[Mapping[str, Any]] = {**_TIMES, "query": str, "limit": int}
_TYPES: Final[Mapping[type[Request], Mapping[str, Any]]] = {
    SearchRequest: {
        **_TIMES,
        "query": str,
        "limit": int,
        "spans_per_span_set": int,
        "order": str,
        "total": bool,
        "cursor": (str, type(None)),
    },
    RangeRequest: {**_METRICS, "step_ns": int},
    InstantRequest: _METRICS,
    TagNamesRequest: {**_TAGS, "scope": (str, type(None))},
    TagValuesRequest: {**_TAGS, "fields": tuple, "bytes_max": int},
    TraceRequest: {
        **_TIMES,
        "trace_id": bytes,
        "bytes_max": int,
        "page": (Page, type(None)),
        "outline": bool,
        "matching": (SpanMatching, type(None)),
        "filter": SpanSelection,
    },
}
