"""GET /api/traces/{id} and /api/v2/traces/{id}: one trace with all its spans, as JSON or protobuf."""

from typing import Final

import orjson
import pyarrow as pa
from aiohttp import web
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from app.api import params
from app.api.backend import BACKEND, TraceAnswer
from app.api.call import tenant_of_request
from app.api.errors import Unavailable, plain_text
from app.api.jsonpb import Json, resource_spans_json
from app.api.replies import JSON, reply
from tables.wire.otlp_write import to_resource_spans

routes = web.RouteTableDef()

PROTOBUF: Final = "application/protobuf"
STATUS_PARTIAL: Final = 1  # tempopb's PartialStatus


async def _ask(request: web.Request) -> TraceAnswer:
    """The trace that the request's path names."""
    trace_id = params.trace_id(request.match_info["trace_id"])
    start_s, end_s = params.time_range(request.query)
    return await request.app[BACKEND].trace(tenant_of_request(request), trace_id, start_s=start_s, end_s=end_s)


def _wants_protobuf(request: web.Request) -> bool:
    """Matched by substring, as in Tempo: clients send it with and without parameters and weights."""
    return PROTOBUF in request.headers.get("Accept", "")


@routes.get("/api/traces/{trace_id}")
async def trace_v1(request: web.Request) -> web.Response:
    """The trace alone; 404 where there is none. Incomplete: 206, since this form has no place to say so."""
    answer = await _ask(request)
    table = answer.table
    if table is None:
        if not answer.complete:
            # Not "not found": the part that did not answer may have it.
            raise Unavailable(answer.message or "a part of the spans could not be read")
        return plain_text(404, "trace not found")
    protobuf = _wants_protobuf(request)
    return await reply(
        request,
        lambda: trace_protobuf(table) if protobuf else _v1_json(table),
        content_type=PROTOBUF if protobuf else JSON,
        status=200 if answer.complete else 206,
    )


@routes.get("/api/v2/traces/{trace_id}")
async def trace_v2(request: web.Request) -> web.Response:
    """The trace, whether it is complete, and if not, why. An unknown trace is an empty one."""
    answer = await _ask(request)
    protobuf = _wants_protobuf(request)
    return await reply(
        request,
        lambda: _v2_protobuf(answer) if protobuf else _v2_json(answer),
        content_type=PROTOBUF if protobuf else JSON,
    )


def trace_protobuf(table: pa.Table) -> bytes:
    """Tempo's Trace message: one repeated field of ResourceSpans, number 1, as in OTLP's TracesData."""
    return bytes(TracesData(resource_spans=to_resource_spans(table)).SerializeToString())


def _v1_json(table: pa.Table) -> bytes:
    return orjson.dumps({"batches": [resource_spans_json(group) for group in to_resource_spans(table)]})


def _v2_json(answer: TraceAnswer) -> bytes:
    trace: Json = {}
    if answer.table is not None:
        trace["resourceSpans"] = [resource_spans_json(group) for group in to_resource_spans(answer.table)]
    out: Json = {"trace": trace, "metrics": {}}
    if not answer.complete:
        out["status"] = "PARTIAL"
        out["message"] = answer.message
    return orjson.dumps(out)


def _v2_protobuf(answer: TraceAnswer) -> bytes:
    """Tempo's TraceByIDResponse: trace = 1, metrics = 2, status = 3, message = 4.

    By hand, as four fields are less than a descriptor. `trace` and `metrics` are there even if empty:
    Grafana's plugin reads `trace` without asking whether it is there.
    """
    trace = b"" if answer.table is None else trace_protobuf(answer.table)
    out = _field(1, trace) + _field(2, b"")
    if not answer.complete:
        out += bytes([3 << 3, STATUS_PARTIAL]) + _field(4, answer.message.encode())
    return out


def _field(number: int, value: bytes) -> bytes:
    """A protobuf field with a length: tag, length, bytes. number: at most 15."""
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have the high bit set."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
