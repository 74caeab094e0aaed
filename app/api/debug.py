"""The header X-Stretto-Debug: what a query is and what it cost, beside its answer."""

import json
from functools import partial
from typing import Any, Final

from aiohttp import web

from app.api.backend import BACKEND
from query.explain import explain
from query.scan.profile import Profile

HEADER: Final = "X-Stretto-Debug"
# Proxies often take 4 KB for the whole head of an answer.
HEADER_CHARS_MAX: Final = 3000
_OFF: Final = frozenset({"", "0", "false"})

Json = dict[str, Any]


def wants_debug(request: web.Request) -> bool:
    return request.headers.get(HEADER, "").strip().lower() not in _OFF


async def debug_headers(request: web.Request, query: str, profile: Profile) -> dict[str, str]:
    """The header of the answer, where the request has it. In: a query that was answered, and its profile, filled"""
    if not wants_debug(request):
        return {}
    return {HEADER: await request.app[BACKEND].run_in_thread(partial(debug_text, query, profile))}


def debug_text(query: str, profile: Profile) -> str:
    """One line of JSON in ASCII, at most HEADER_CHARS_MAX long. What does not fit is left out: "cut" says so."""
    debug_info: Json = {"profile": _profile(profile), "plan": [_part(part) for part in explain(query)]}
    text = json.dumps(debug_info, separators=(",", ":"))
    for shorten in (_without_columns_of_steps, _few_columns, _without_plan, _without_columns):
        if len(text) > HEADER_CHARS_MAX:
            shorten(debug_info)
            text = json.dumps({**debug_info, "cut": True}, separators=(",", ":"))
    return text


def _profile(profile: Profile) -> Json:
    return {
        "rowGroups": {
            "outside": profile.outside,
            "unneeded": profile.unneeded,
            "decided": profile.decided,
            "scanned": profile.scanned,
        },
        "stitched": profile.stitched,
        "rows": profile.rows,
        "bytes": profile.bytes,
        "storage": {
            "requests": dict(profile.storage.requests),
            "hedged": profile.storage.hedged,
            "bytes": profile.storage.bytes,
            "ms": round(profile.storage.seconds * 1e3, 3),
        },
        "stagesMs": {name: round(seconds * 1e3, 3) for name, seconds in profile.stages.items()},
        "columns": dict(profile.columns),
    }


def _part(part: Any) -> Json:
    return {
        "query": part.query,
        "wholeTraces": part.whole_traces,
        "steps": [
            {"what": step.what, "columns": list(step.columns), "prunedBy": list(step.pruned_by)} for step in part.steps
        ],
    }


def _without_columns_of_steps(debug_info: Json) -> None:
    for part in debug_info["plan"]:
        part["steps"] = [step["what"][:200] for step in part["steps"][:20]]


def _few_columns(debug_info: Json) -> None:
    columns = debug_info["profile"]["columns"]
    debug_info["profile"]["columns"] = {name[:100]: columns[name] for name in list(columns)[:10]}


def _without_plan(debug_info: Json) -> None:
    debug_info["plan"] = []


def _without_columns(debug_info: Json) -> None:
    debug_info["profile"]["columns"] = {}
