"""GET /api/v2/traces/{id}/outline and /matches: a trace of any size as the web page draws it."""

from dataclasses import replace
from functools import partial
from typing import Final

from aiohttp import web

from app.api import params
from app.api.backend import TraceAnswer
from app.api.call import call_of
from app.api.errors import ParameterError
from app.api.replies import reply
from app.api.trace_view.outline import matching_parts, outline_parts
from app.api.trace_view.packed import MEDIA_TYPE
from query.errors import TraceTooLarge
from query.requests import SpanMatching, TraceRequest

routes = web.RouteTableDef()

_TEXT_CHARS_MAX: Final = 1000


@routes.get("/api/v2/traces/{trace_id}/outline")
async def trace_outline(request: web.Request) -> web.Response:
    """All spans, without attributes. An unknown trace has none."""
    call, asked = call_of(request), _asked(request, outline=True)
    answer = await call.backend.trace(call.tenant, asked)
    return await reply(
        request, partial(_outline, answer, asked, call.limits.max_bytes_per_trace), content_type=MEDIA_TYPE
    )


@routes.get("/api/v2/traces/{trace_id}/matches")
async def trace_matches(request: web.Request) -> web.Response:
    """The ids of the spans that match ?q= and have ?text= in them."""
    call = call_of(request)
    query = params.query_text(call.params, call.limits)
    text = request.query.get("text", "").strip()
    if len(text) > _TEXT_CHARS_MAX:
        raise ParameterError(f"invalid text: {len(text)} characters; at most {_TEXT_CHARS_MAX} can be looked for")
    if not query and not text:
        raise ParameterError("q or text is required: a span filter, as { status = error }, or a text to look for")
    if query:
        params.trace_filter({"q": query}, call.limits)  # a wrong query is refused before spans are read
    asked = replace(_asked(request), matching=SpanMatching(query, text))
    answer = await call.backend.trace(call.tenant, asked)
    return await reply(request, partial(matching_parts, answer), content_type=MEDIA_TYPE)


def _asked(request: web.Request, *, outline: bool = False) -> TraceRequest:
    start_ns, end_ns = params.time_range(request.query)
    trace_id = params.trace_id(request.match_info["trace_id"])
    return TraceRequest(trace_id=trace_id, start_ns=start_ns, end_ns=end_ns, outline=outline)


def _outline(answer: TraceAnswer, asked: TraceRequest, bytes_max: int) -> list[bytes]:
    parts = outline_parts(answer, asked.trace_id)
    size = sum(map(len, parts))
    if bytes_max and size > bytes_max:
        spans = 0 if answer.table is None else answer.table.num_rows
        raise TraceTooLarge(asked.trace_id, spans, f"{size} bytes in outline", bytes_max)
    return parts
