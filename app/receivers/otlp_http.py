"""OTLP over HTTP: POST /v1/traces, protobuf or JSON, plain or compressed."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from prometheus_client import Counter

from agents.record_producer import KafkaUnavailable
from agents.span_writer import MALFORMED, Outcome
from app.receivers.gather import Gatherer, Overloaded
from app.receivers.inflate import Inflater, TooLarge, UnknownEncoding
from app.receivers.otlp_json import to_protobuf
from app.receivers.replies import partial_success, reply_bytes
from app.serving.access import AUTHORIZATION, CHALLENGE, Access, Forbidden, Unauthorized
from app.serving.http_guard import quiet_logger
from app.tenant import HEADER, InvalidTenant, NoTenant
from tables.errors import WireError

_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_RETRY_S: Final = "1"
_HTTP: Final = "distributor.receivers.otlp.protocols.http"

# google.rpc.Code
_INVALID_ARGUMENT, _RESOURCE_EXHAUSTED, _UNAVAILABLE, _UNAUTHENTICATED = 3, 8, 14, 16
_PERMISSION_DENIED, _DEADLINE_EXCEEDED = 7, 4

# A larger one in JSON is parsed on a thread.
_JSON_HERE_BYTES_MAX: Final = 32 << 10
_STOP_GRACE_S: Final = 1.0
# A client that still sends a body which nobody reads has so long to take its answer.
_LINGER_S: Final = 2.0

BODY_LIMITED: Final = Counter(
    "stretto_receiver_bodies_refused_total", "Request bodies over HTTP that were too large or too slow.", ["limit"]
)


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """After decompression. json_bytes_max: of a body in JSON. read_s: within which a body must be there."""

    bytes_max: int
    json_bytes_max: int
    read_s: float = 60.0


class TraceReceiver:
    """The handler, with what it needs."""

    def __init__(self, gatherer: Gatherer, access: Access, limits: BodyLimits) -> None:
        self._gatherer, self._access, self._limits = gatherer, access, limits
        self._thread = ThreadPoolExecutor(1, "body")

    async def close(self, _: web.Application) -> None:
        """Reads no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def export(self, request: web.Request) -> web.Response:
        """One ExportTraceServiceRequest."""
        json = request.content_type == _JSON
        if not json and request.content_type not in (_PROTOBUF, "application/octet-stream"):
            message = f"Content-Type {request.content_type!r} is not known; send {_PROTOBUF} or {_JSON}"
            return _fault(415, _INVALID_ARGUMENT, message, json=False)
        try:
            headers = request.headers
            tenant = self._access.tenant(headers.get(AUTHORIZATION), headers.get(HEADER))
            body = await self._body(request, json=json)
            outcome = await self._gatherer.add(tenant, body)
        except (NoTenant, Unauthorized) as err:
            return _fault(401, _UNAUTHENTICATED, str(err), json=json)
        except Forbidden as err:
            return _fault(403, _PERMISSION_DENIED, str(err), json=json)
        except TimeoutError:
            BODY_LIMITED.labels("time").inc()
            message = f"the body took longer than {self._limits.read_s:g} s ({_HTTP}.read_timeout_s)"
            return _fault(408, _DEADLINE_EXCEEDED, message, json=json)
        except InvalidTenant as err:
            return _fault(400, _INVALID_ARGUMENT, str(err), json=json)
        except WireError as err:
            MALFORMED.inc()
            return _fault(400, _INVALID_ARGUMENT, str(err), json=json)
        except UnknownEncoding as err:
            return _fault(415, _INVALID_ARGUMENT, str(err), json=json)
        except TooLarge:
            BODY_LIMITED.labels("bytes").inc()
            setting, most = (
                ("max_json_body_size", self._limits.json_bytes_max)
                if json
                else ("max_request_body_size", self._limits.bytes_max)
            )
            message = f"the body is larger than {most} bytes after decompression ({_HTTP}.{setting})"
            return _fault(413, _INVALID_ARGUMENT, message, json=json)
        except KafkaUnavailable as err:
            return _fault(503, _UNAVAILABLE, str(err), json=json)
        except Overloaded as err:
            return _fault(429, _RESOURCE_EXHAUSTED, str(err), json=json)
        if outcome.malformed is not None:
            return _fault(400, _INVALID_ARGUMENT, outcome.malformed, json=json)
        return _reply(outcome, json=json)

    async def _body(self, request: web.Request, *, json: bool) -> bytes:
        """As protobuf. Raises: as `_read`, UnknownEncoding, WireError for what is not what it should be"""
        bytes_max = self._limits.json_bytes_max if json else self._limits.bytes_max
        encoding = request.headers.get("Content-Encoding", "identity")
        inflating = encoding.lower() != "identity"
        body = await _read(request, self._limits.read_s, bytes_max)
        if inflating and body:
            body = await Inflater(body, encoding, bytes_max).all(self._thread)
        if not json:
            return body
        if len(body) <= _JSON_HERE_BYTES_MAX:
            return to_protobuf(body)
        return await asyncio.get_running_loop().run_in_executor(self._thread, to_protobuf, body)


async def _read(request: web.Request, read_s: float, bytes_max: int) -> bytes:
    """The body as it came. Raises: WireError if it ends too early, TooLarge, TimeoutError"""
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(read_s):
            while piece := await request.content.readany():
                pieces.append(piece)
                size += len(piece)
                if size > bytes_max:
                    raise TooLarge
    except (web.RequestPayloadError, PayloadEncodingError) as err:
        raise WireError(f"the body cannot be read: {err}") from err
    return b"".join(pieces)


def _reply(outcome: Outcome, *, json: bool) -> web.Response:
    if json:
        return web.Response(text=json_format.MessageToJson(partial_success(outcome)), content_type=_JSON)
    return web.Response(body=reply_bytes(outcome), content_type=_PROTOBUF)


def _fault(http_status: int, code: int, message: str, *, json: bool) -> web.Response:
    """OTLP's error body: a google.rpc.Status in the request's own format."""
    status = Status(code=code, message=message)
    headers = {"Retry-After": _RETRY_S} if http_status in (429, 503) else {}
    if http_status == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    if json:
        text = json_format.MessageToJson(status)
        return web.Response(status=http_status, text=text, content_type=_JSON, headers=headers)
    body = status.SerializeToString()
    return web.Response(status=http_status, body=body, content_type=_PROTOBUF, headers=headers)


def http_runner(app: web.Application, header_bytes_max: int) -> web.AppRunner:
    """How the application must be served. The head's own limit is the site's."""
    return web.AppRunner(
        app,
        access_log=None,
        logger=quiet_logger("otlp"),
        auto_decompress=False,
        max_field_size=header_bytes_max,
        lingering_time=_LINGER_S,
        shutdown_timeout=_STOP_GRACE_S,
    )


def build_http_receiver(gatherer: Gatherer, access: Access, limits: BodyLimits) -> web.Application:
    """An aiohttp application, not started. access: who may send"""
    app = web.Application()
    receiver = TraceReceiver(gatherer, access, limits)
    app.on_cleanup.append(receiver.close)
    app.router.add_post("/v1/traces", receiver.export)
    return app
