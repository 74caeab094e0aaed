"""OTLP over HTTP: POST /v1/traces, protobuf or JSON, plain or compressed."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from aiohttp import web
from google.protobuf import json_format
from google.rpc.status_pb2 import Status

from agents.distributor.record_producer import KafkaUnavailable
from agents.distributor.span_writer import DISCARDED, MALFORMED, Outcome
from app.net.access import CHALLENGE, Access, Forbidden, Identity, Unauthorized
from app.net.cors import Cors
from app.net.tenant import InvalidTenant, NoTenant
from app.receivers.codecs import UnknownEncoding
from app.receivers.decompress import BodyTooLarge, TooCostly, decompressed
from app.receivers.http_body import BODY_LIMITED, BodyLimits, content_encoding, read_body
from app.receivers.input_budget import InputBudget, InputBytes, Overloaded
from app.receivers.otlp.replies import partial_success, reply_bytes
from app.receivers.request_batcher import RequestBatcher
from tables.errors import WireError
from tables.wire.otlp.json import TooSlow, to_protobuf

_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_RETRY_S: Final = "1"
_HTTP: Final = "distributor.receivers.otlp.protocols.http"

# google.rpc.Code
_INVALID_ARGUMENT, _RESOURCE_EXHAUSTED, _UNAVAILABLE, _UNAUTHENTICATED = 3, 8, 14, 16
_PERMISSION_DENIED, _DEADLINE_EXCEEDED = 7, 4

# A larger one in JSON is parsed on a thread, and one that is larger still on another.
_JSON_HERE_BYTES_MAX: Final = 32 << 10
_JSON_SMALL_BYTES_MAX: Final = 256 << 10
# Approximate peak memory per byte of JSON while it is parsed: Python objects and protobuf messages.
_JSON_MEMORY: Final = 18

# HTTP status and google.rpc.Code of each refusal; the first that fits counts.
_REFUSALS: Final[dict[type[Exception], tuple[int, int]]] = {
    NoTenant: (401, _UNAUTHENTICATED),
    Unauthorized: (401, _UNAUTHENTICATED),
    Forbidden: (403, _PERMISSION_DENIED),
    InvalidTenant: (400, _INVALID_ARGUMENT),
    TimeoutError: (408, _DEADLINE_EXCEEDED),
    BodyTooLarge: (413, _INVALID_ARGUMENT),
    UnknownEncoding: (415, _INVALID_ARGUMENT),
    WireError: (400, _INVALID_ARGUMENT),
    KafkaUnavailable: (503, _UNAVAILABLE),
    Overloaded: (429, _RESOURCE_EXHAUSTED),
}


class TraceReceiver:
    """The handler of POST /v1/traces, with what it needs."""

    def __init__(self, batcher: RequestBatcher, access: Access, limits: BodyLimits, budget: InputBudget) -> None:
        self._batcher, self._access, self._limits, self._budget = batcher, access, limits, budget
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
        try:
            identity = Identity.of(request.headers.items())
            if not json and request.content_type not in (_PROTOBUF, "application/octet-stream"):
                message = f"Content-Type {request.content_type!r} is not known; send {_PROTOBUF} or {_JSON}"
                return _fault(415, _INVALID_ARGUMENT, message, json=False)
            tenant = self._access.tenant(*identity)
            return await self._export(request, tenant, json=json)
        except tuple(_REFUSALS) as err:
            return self._refusal(err, json=json)

    async def _export(self, request: web.Request, tenant: str, *, json: bool) -> web.Response:
        """The answer to a valid request. Raises: all of _REFUSALS"""
        held = self._budget.open(tenant)
        try:
            body, unknown = await self._body(request, held, json=json)
            held.become("waiting", len(body))
        except BaseException:
            held.release()
            raise
        outcome = await self._batcher.add(tenant, body, held)
        if outcome.malformed is not None:
            return _fault(400, _INVALID_ARGUMENT, outcome.malformed, json=json)
        if unknown:
            DISCARDED.labels("unknown_field").inc(sum(unknown.values()))
        return _reply(outcome, unknown, json=json)

    def _refusal(self, err: Exception, *, json: bool) -> web.Response:
        status, code = next(found for kind, found in _REFUSALS.items() if isinstance(err, kind))
        message = str(err)
        if isinstance(err, TimeoutError):
            BODY_LIMITED.labels("time").inc()
            message = f"the body took longer than {self._limits.read_s:g} s ({_HTTP}.read_timeout_s)"
        elif isinstance(err, BodyTooLarge):
            BODY_LIMITED.labels("bytes").inc()
            setting, most = (
                ("max_json_body_size", self._limits.json_bytes_max)
                if json
                else ("max_request_body_size", self._limits.bytes_max)
            )
            message = f"the body is larger than {most} bytes after decompression ({_HTTP}.{setting})"
        elif isinstance(err, (TooCostly, TooSlow)):
            BODY_LIMITED.labels(err.limit if isinstance(err, TooCostly) else "cpu").inc()
        elif isinstance(err, WireError):
            MALFORMED.inc()
        return _fault(status, code, message, json=json)

    async def _body(self, request: web.Request, held: InputBytes, *, json: bool) -> tuple[bytes, dict[str, int]]:
        """The body as protobuf; also `otlp_json.Converted.unknown`. Raises: all of _REFUSALS"""
        limits = self._limits
        bytes_max = limits.json_bytes_max if json else limits.bytes_max
        encoding = content_encoding(request)
        body = await read_body(request, limits.read_s, bytes_max, held)
        if encoding and body:
            body = await decompressed(body, encoding, bytes_max, limits.costs, held, self._threads)
            held.become("decompressing", len(body))
        if not json:
            return body, {}
        cpu_s = limits.costs.cpu_s
        if len(body) <= _JSON_HERE_BYTES_MAX:
            return to_protobuf(body, cpu_s)
        large = len(body) > _JSON_SMALL_BYTES_MAX
        async with self._json_turn[large]:
            held.add("json", len(body) * _JSON_MEMORY)
            parse = partial(to_protobuf, body, cpu_s)
            return await asyncio.get_running_loop().run_in_executor(self._json[large], parse)


def _reply(outcome: Outcome, unknown: dict[str, int], *, json: bool) -> web.Response:
    if json:
        return web.Response(text=json_format.MessageToJson(partial_success(outcome, unknown)), content_type=_JSON)
    return web.Response(body=reply_bytes(outcome), content_type=_PROTOBUF)


def _fault(http_status: int, code: int, message: str, *, json: bool) -> web.Response:
    """OTLP's error body: a google.rpc.Status in the format of the request."""
    status = Status(code=code, message=message)
    headers = {"Retry-After": _RETRY_S} if http_status in (429, 503) else {}
    if http_status == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    if json:
        text = json_format.MessageToJson(status)
        response = web.Response(status=http_status, text=text, content_type=_JSON, headers=headers)
    else:
        body = status.SerializeToString()
        response = web.Response(status=http_status, body=body, content_type=_PROTOBUF, headers=headers)
    if http_status in (408, 413, 429):
        response.force_close()  # the rest of the body is not read
    return response


def build_http_receiver(
    batcher: RequestBatcher,
    access: Access,
    limits: BodyLimits,
    budget: InputBudget | None = None,
    cors: Cors | None = None,
) -> web.Application:
    """An aiohttp application, not started.

    access: who may send; budget: None: an own one of four bodies; cors: None: browsers may not send from other origins
    """
    app = web.Application()
    receiver = TraceReceiver(batcher, access, limits, budget or InputBudget(4 * limits.bytes_max))
    app.on_cleanup.append(receiver.close)
    app.router.add_post("/v1/traces", receiver.export)
    if cors is not None:
        app.router.add_route("OPTIONS", "/v1/traces", cors.preflight)
        app.on_response_prepare.append(cors.sign)
    return app
