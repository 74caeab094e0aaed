"""GET /api/traces/{id} and /api/v2/traces/{id}: one trace, or a page of its spans, as JSON or protobuf."""

from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
import pyarrow as pa
from aiohttp import web
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from app.api import params
from app.api.backend import TraceAnswer
from app.api.call import call_of
from app.api.errors import Unavailable, plain_text
from app.api.limits import LIMITS
from app.api.llm.trace import whole_trace
from app.api.llm.values import LLM_JSON
from app.api.replies import JSON, PROTOBUF, reply, wants_llm, wants_protobuf
from app.api.tempo.jsonpb import Json, resource_spans_json
from app.api.tempo.messages import field_bytes
from query.errors import TraceTooLarge
from query.requests import SpanSelection, TraceRequest
from query.trace.pages import cursor_of
from tables.wire.otlp.writer import to_resource_spans

routes = web.RouteTableDef()

NEXT_CURSOR: Final = "X-Stretto-Next-Cursor"
FILTERED: Final = "Trace filtered, only a subset of spans matching the filter is returned"
STATUS_PARTIAL: Final = 1  # tempopb's PartialStatus
# Of a page, where a trace may have any size.
_PAGE_BYTES: Final = 32 << 20
# A page that was too large is made again a little smaller than its share: spans differ in size.
_MARGIN: Final = 0.8


@dataclass(frozen=True, slots=True)
class Found:
    """What an answer is made of. next_cursor: of a page that is not the last; else None"""

    groups: list[ResourceSpans]
    complete: bool
    message: str
    next_cursor: str | None = None


async def _ask(request: web.Request, wanted: SpanSelection | None = None) -> tuple[TraceAnswer, TraceRequest]:
    """The trace that the request's path names, or its spans that are wanted, and what was asked."""
    call = call_of(request)
    asked = replace(params.trace_request(request.match_info["trace_id"], call.params, call.limits), filter=wanted)
    return await call.backend.trace(call.tenant, asked), asked


async def _reply(request: web.Request, answer: TraceAnswer, asked: TraceRequest, *, v2: bool) -> web.Response:
    protobuf, bytes_max = wants_protobuf(request), asked.bytes_max
    llm = v2 and not protobuf and wants_llm(request)
    headers: dict[str, str] = {}

    def make() -> bytes:
        paged = asked.page is not None
        found = page_of(answer, bytes_max or _PAGE_BYTES) if paged else whole(answer, asked.trace_id, bytes_max)
        if found.next_cursor is not None:
            headers[NEXT_CURSOR] = found.next_cursor
        if llm:
            return _v2_llm(found)
        forms = (_v2_json, _v2_protobuf) if v2 else (_v1_json, _v1_protobuf)
        return forms[protobuf](found)

    response = await reply(
        request,
        make,
        content_type=PROTOBUF if protobuf else LLM_JSON if llm else JSON,
        status=200 if v2 or answer.complete else 206,
    )
    response.headers.update(headers)
    return response


@routes.get("/api/traces/{trace_id}")
async def trace_v1(request: web.Request) -> web.Response:
    """The trace alone; 404 where there is none. Incomplete: 206, since this form has no place to say so."""
    answer, asked = await _ask(request)
    if answer.table is None:
        if not answer.complete:
            # Not "not found": the part that did not answer may have it.
            raise Unavailable(answer.message or "a part of the spans could not be read")
        return plain_text(404, "trace not found")
    return await _reply(request, answer, asked, v2=False)


@routes.get("/api/v2/traces/{trace_id}")
async def trace_v2(request: web.Request) -> web.Response:
    """The trace, or with ?q= the spans of it that match, whether it is complete, and if not, why. An unknown trace is
    an empty one.
    """
    wanted = params.trace_filter(request.query, request.app[LIMITS].now)
    answer, asked = await _ask(request, wanted)
    return await _reply(request, filtered(answer) if wanted is not None else answer, asked, v2=True)


def filtered(answer: TraceAnswer) -> TraceAnswer:
    """The answer to a request with a filter, as Tempo says it: a trace without some of its spans is PARTIAL."""
    if not answer.more:
        return answer
    return TraceAnswer(answer.table, complete=False, message="; ".join(filter(None, [answer.message, FILTERED])))


def whole(answer: TraceAnswer, trace_id: bytes, bytes_max: int) -> Found:
    """The answer of a whole trace. Raises: TraceTooLarge"""
    if answer.table is None:
        return Found([], answer.complete, answer.message)
    groups = to_resource_spans(answer.table)
    size = _size(groups)
    if bytes_max and size > bytes_max:
        raise TraceTooLarge(trace_id, answer.table.num_rows, f"{size} bytes", bytes_max)
    return Found(groups, answer.complete, answer.message)


def page_of(answer: TraceAnswer, bytes_max: int) -> Found:
    """A page, which ends earlier where it would be larger; it has at least one span."""
    table = answer.table
    if table is None:
        return Found([], answer.complete, answer.message)
    rows, count = table.num_rows, table.num_rows
    while True:
        groups = to_resource_spans(table.slice(0, count))
        size = _size(groups)
        less = _end_of_span(table, max(1, int(count * _MARGIN * bytes_max / max(size, 1))))
        if size <= bytes_max or less >= count:
            break
        count = less
    cursor = None
    if answer.more or count < rows:
        cursor = cursor_of((table["start_ns"][count - 1].as_py(), table["span_id"][count - 1].as_py()))
    return Found(groups, answer.complete, answer.message, cursor)


def _end_of_span(table: pa.Table, count: int) -> int:
    """So many rows, and those that are like the last by start and id: a cursor cannot part them."""
    starts, ids = table["start_ns"], table["span_id"]
    while count < table.num_rows and (starts[count], ids[count]) == (starts[count - 1], ids[count - 1]):
        count += 1
    return count


def _size(groups: list[ResourceSpans]) -> int:
    return sum(group.ByteSize() for group in groups)


# ---- forms


def trace_protobuf(groups: list[ResourceSpans]) -> bytes:
    """Tempo's Trace message: one repeated field of ResourceSpans, number 1, as in OTLP's TracesData. Group by group: a
    message of all would copy them, and no other thread could run meanwhile.
    """
    return b"".join(field_bytes(1, group.SerializeToString()) for group in groups)


def _v1_protobuf(found: Found) -> bytes:
    return trace_protobuf(found.groups)


def _v1_json(found: Found) -> bytes:
    return orjson.dumps({"batches": _json(found), **_next(found)})


def _v2_json(found: Found) -> bytes:
    out: Json = {"trace": {"resourceSpans": _json(found)} if found.groups else {}, "metrics": {}, **_next(found)}
    if not found.complete:
        out["status"] = "PARTIAL"
        out["message"] = found.message
    return orjson.dumps(out)


def _v2_llm(found: Found) -> bytes:
    return orjson.dumps({**whole_trace(found.groups, complete=found.complete, message=found.message), **_next(found)})


def _json(found: Found) -> list[Any]:
    return [resource_spans_json(group) for group in found.groups]


def _next(found: Found) -> Json:
    return {} if found.next_cursor is None else {"nextCursor": found.next_cursor}


def _v2_protobuf(found: Found) -> bytes:
    """Tempo's TraceByIDResponse: trace = 1, metrics = 2, status = 3, message = 4.

    By hand, as four fields are less than a descriptor. `trace` and `metrics` are there even if empty:
    Grafana's plugin reads `trace` without asking whether it is there.
    """
    out = field_bytes(1, trace_protobuf(found.groups)) + field_bytes(2, b"")
    if not found.complete:
        out += bytes([3 << 3, STATUS_PARTIAL]) + field_bytes(4, found.message.encode())
    return out
