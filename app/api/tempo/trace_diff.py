"""POST /api/v2/traces/diff: two whole traces compared. Experimental in Tempo, and so here."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
from aiohttp import web

from app.api import params
from app.api.body import body_of
from app.api.call import call_of
from app.api.errors import ParameterError, plain_text
from app.api.replies import reply
from app.api.tempo.jsonpb import Json
from app.api.trace_diff import patch, summary
from app.api.trace_diff.spans import TooDeep, Tree, tree_of
from query import memory
from query.errors import TraceTooLarge
from query.requests import TraceRequest
from tables.units import NS_PER_S
from tables.wire.otlp.writer import to_resource_spans

routes = web.RouteTableDef()

# What a span takes as objects of Python, and how many times its bytes as protobuf.
_SPAN_BYTES: Final = 1000
_COPIES: Final = 16
_WHAT: Final = "the comparison of two traces"
_FORMATS: Final[Mapping[str, Callable[[Tree, Tree], Json]]] = {
    patch.VERSION: patch.patch,
    summary.NATIVE: lambda base, compare: summary.summary(base, compare, patch.patch(base, compare)),
    summary.COMPOSED: summary.composed,
}


@routes.post("/api/v2/traces/diff")
async def trace_diff(request: web.Request) -> web.Response:
    """The traces that the body names: {"base": {"traceId": …}, "compare": {"traceId": …}, "format": …}."""
    call = call_of(request)
    tenant, limits, backend = call.tenant, call.limits, call.backend
    body = await _body(request)
    form = body.get("format") or patch.VERSION
    if not isinstance(form, str) or form not in _FORMATS:
        raise ParameterError(f"invalid format {str(form)[:40]!r}: must be one of {', '.join(_FORMATS)}")
    wanted = {side: _side(side, body.get(side)) for side in ("base", "compare")}
    tables = {}
    for side, asked in wanted.items():
        answer = await backend.trace(tenant, replace(asked, bytes_max=limits.max_bytes_per_trace))
        if not answer.complete:
            return plain_text(422, f"{side} trace: partial traces cannot be compared: {answer.message}")
        if answer.table is None:
            return plain_text(404, f"{side} trace: not found")
        tables[side] = answer.table

    def make() -> bytes:
        memory.reserve(sum(table.num_rows for table in tables.values()) * _SPAN_BYTES, _WHAT)
        groups = {side: to_resource_spans(table) for side, table in tables.items()}
        size = sum(group.ByteSize() for of_side in groups.values() for group in of_side)
        if limits.max_bytes_per_trace and size > limits.max_bytes_per_trace:  # of both, as both are held
            spans = sum(table.num_rows for table in tables.values())
            raise TraceTooLarge(
                wanted["base"].trace_id, spans, f"{size} bytes with the one to compare", limits.max_bytes_per_trace
            )
        memory.reserve(_COPIES * size, _WHAT)
        trees = [tree_of(of_side, side) for side, of_side in groups.items()]
        return orjson.dumps(_FORMATS[form](*trees))

    try:
        return await reply(request, make)
    except TooDeep as err:
        return plain_text(422, str(err))


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await body_of(request))
    except orjson.JSONDecodeError as err:
        raise ParameterError(f"the body is not JSON: {err}") from err
    if not isinstance(body, dict):
        raise ParameterError('the body must be an object: {"base": {"traceId": "…"}, "compare": {"traceId": "…"}}')
    return body


def _side(name: str, asked: Any) -> TraceRequest:
    """One of the two traces, as the body names it. Raises: ParameterError"""
    trace_id = asked.get("traceId") if isinstance(asked, dict) else None
    if not isinstance(trace_id, str) or not trace_id:
        raise ParameterError(f"{name}.traceId is required: 1 to 32 hex digits")
    times = {}
    for which in ("start", "end"):
        time = asked.get(which)
        if time is not None and (
            not isinstance(time, int) or isinstance(time, bool) or not 0 <= time <= params.UINT32_MAX
        ):
            raise ParameterError(f"invalid {name}.{which} {str(time)[:40]!r}: must be unix seconds")
        times[which] = time
    if times["start"] is not None and times["end"] is not None and times["end"] <= times["start"]:
        raise ParameterError(f"{name}.start must be before {name}.end: got start={times['start']} end={times['end']}")
    start_ns, end_ns = (None if time is None else time * NS_PER_S for time in times.values())
    return TraceRequest(trace_id=params.trace_id(trace_id), start_ns=start_ns, end_ns=end_ns)
