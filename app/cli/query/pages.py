"""Joins answers that come in pages."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from app.cli.query.client import QueryError

Json = dict[str, Any]


def pages(get: Callable[[str], Json]) -> Iterator[Json]:
    """Yields all pages. get: returns the page of a cursor; its `nextCursor`, if present, leads to the next page"""
    cursor = ""
    while True:
        page = get(cursor)
        yield page
        if not page.get("nextCursor"):
            return
        if page["nextCursor"] == cursor:
            raise QueryError(f"the server answers the page {cursor} again and again")
        cursor = page["nextCursor"]


def joined_traces(found: Iterator[Json]) -> Json:
    """Pages of a search as one answer. The total is the first page's."""
    whole = next(found)
    for page in found:
        whole["traces"] += page.get("traces", [])
    whole.pop("nextCursor", None)
    return whole


def joined_spans(found: Iterator[Json]) -> Json:
    """Pages of one trace as one answer: spans grouped by resource, then by scope."""
    whole = next(found)
    trace = whole.setdefault("trace", {})
    if "nextCursor" in whole:
        resources: dict[str, Json] = {}
        scopes: dict[tuple[str, str], Json] = {}
        _add(resources, scopes, trace.get("resourceSpans", []))
        for page in found:
            _add(resources, scopes, page.get("trace", {}).get("resourceSpans", []))
            # If a page is partial, the whole answer is.
            whole |= {name: page[name] for name in ("status", "message") if name in page}
        trace["resourceSpans"] = list(resources.values())
        del whole["nextCursor"]
    return whole


def _add(resources: dict[str, Json], scopes: dict[tuple[str, str], Json], groups: list[Json]) -> None:
    for group in groups:
        resource = _without(group, "scopeSpans")
        known = resources.setdefault(resource, {**group, "scopeSpans": []})
        for spans in group.get("scopeSpans", []):
            key = (resource, _without(spans, "spans"))
            if key not in scopes:
                scopes[key] = {**spans, "spans": []}
                known["scopeSpans"].append(scopes[key])
            scopes[key]["spans"] += spans.get("spans", [])


def _without(group: Json, name: str) -> str:
    """The part of a group that identifies it."""
    return json.dumps({key: value for key, value in group.items() if key != name}, sort_keys=True)
