"""OTLP over HTTP: POST /v1/traces, protobuf or JSON, plain or compressed."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final

from aiohttp import web
from google.protobuf import json_format
from google.rpc.status_pb2 import Status

from agents.distributor.span_writer import DISCARDED, Outcome
from app.net.access import Access
from app.net.cors import Cors
from app.net.http_errors import errors_as_responses
from app.net.request_metrics import observed
from app.receivers.batcher import Batcher
from app.receivers.http_body import BodyLimits
from app.receivers.http_export import INVALID_ARGUMENT, REFUSED, HttpExport, Refusal, SizeLimit, UnknownContentType
from app.receivers.input_budget import InputBudget, InputBytes
from app.receivers.otlp.replies import partial_success, reply_bytes
from app.receivers.translation import USUAL_HERE_BYTES_MAX
from tables.wire.otlp.json import to_protobuf
from tables.wire.usual import Unusual

_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_HTTP: Final = "distributor.receivers.otlp.protocols.http"

# A larger one in JSON is parsed on a thread, and one that is larger still on another.
_JSON_HERE_BYTES_MAX: Final = 32 << 10
_JSON_SMALL_BYTES_MAX: Final = 256 << 10
# Approximate peak memory per byte of JSON while it is parsed: Python objects and protobuf messages.
_JSON_MEMORY: Final = 18


class TraceReceiver:
    """The handler of POST /v1/traces, with what it needs."""

    def __init__(self, taking: HttpExport) -> None:
        self._taking, limits = taking, taking.limits
        self._most = SizeLimit(limits.bytes_max, "max_request_body_size")
        self._most_json = SizeLimit(limits.json_bytes_max, "max_json_body_size")
        self._threads = ThreadPoolExecutor(limits.threads, "body")
        # JSON cannot be parsed in turns, so small bodies have their own thread.
        self._json = {large: ThreadPoolExecutor(1, "json") for large in (False, True)}
        self._json_turn = {large: asyncio.Lock() for large in (False, True)}

    async def close(self, _: web.Application) -> None:
        """Stops the threads that decompress."""
        for threads in (self._threads, *self._json.values()):
            threads.shutdown(wait=False, cancel_futures=True)

    async def export(self, request: web.Request) -> web.Response:
        """Handles one ExportTraceServiceRequest."""
        json = request.content_type == _JSON
        most = self._most_json if json else self._most
        unknown: dict[str, int] = {}

        async def to_otlp(body: bytes, held: InputBytes) -> bytes:
            if not json:
                return body
            body, left_out = await self._parsed(body, held)
            unknown.update(left_out)
            return body

        try:
            if not json and request.content_type not in (_PROTOBUF, "application/octet-stream"):
                raise UnknownContentType(
                    f"Content-Type {request.content_type!r} is not known; send {_PROTOBUF} or {_JSON}"
                )
            tenant = self._taking.tenant(request)
            outcome = await self._taking.write(request, tenant, most, to_otlp, self._threads)
        except REFUSED as err:
            return _fault(self._taking.refusal(err, most), json=json)
        if outcome.malformed is not None:
            return _fault(Refusal(400, INVALID_ARGUMENT, outcome.malformed), json=json)
        if unknown:
            DISCARDED.labels("unknown_field").inc(sum(unknown.values()))
        return _reply(outcome, unknown, json=json)

    async def _parsed(self, body: bytes, held: InputBytes) -> tuple[bytes, dict[str, int]]:
        """JSON as protobuf; also `otlp_json.Converted.unknown`. Raises: WireError, Overloaded"""
        cpu_s = self._taking.limits.costs.cpu_s
        if len(body) <= _JSON_HERE_BYTES_MAX:
            return to_protobuf(body, cpu_s)
        if len(body) <= USUAL_HERE_BYTES_MAX:
            with suppress(Unusual):
                return to_protobuf(body, cpu_s, usual_only=True)
        large = len(body) > _JSON_SMALL_BYTES_MAX
        async with self._json_turn[large]:
            held.add("json", len(body) * _JSON_MEMORY)
            parse = partial(to_protobuf, body, cpu_s)
            return await asyncio.get_running_loop().run_in_executor(self._json[large], parse)


def _reply(outcome: Outcome, unknown: dict[str, int], *, json: bool) -> web.Response:
    if json:
        return web.Response(text=json_format.MessageToJson(partial_success(outcome, unknown)), content_type=_JSON)
    return web.Response(body=reply_bytes(outcome), content_type=_PROTOBUF)


def _fault(refusal: Refusal, *, json: bool) -> web.Response:
    """OTLP's error body: a google.rpc.Status in the format of the request."""
    status = Status(code=refusal.code, message=refusal.text)
    if json:
        return refusal.response(json_format.MessageToJson(status), _JSON)
    return refusal.response(status.SerializeToString(), _PROTOBUF)


def build_http_receiver(
    batcher: Batcher,
    access: Access,
    limits: BodyLimits,
    budget: InputBudget | None = None,
    cors: Cors | None = None,
) -> web.Application:
    """An aiohttp application, not started.

    access: who may send; budget: None: an own one of four bodies; cors: None: browsers may not send from other origins
    """
    app = web.Application(middlewares=[errors_as_responses])
    receiver = TraceReceiver(HttpExport(batcher, access, budget or InputBudget(4 * limits.bytes_max), limits, _HTTP))
    app.on_cleanup.append(receiver.close)
    app.router.add_post("/v1/traces", observed(receiver.export, "otlp_v1_traces"))
    if cors is not None:
        app.router.add_route("OPTIONS", "/v1/traces", cors.preflight)
        app.on_response_prepare.append(cors.sign)
    return app
