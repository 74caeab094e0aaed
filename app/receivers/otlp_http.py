"""OTLP over HTTP: POST /v1/traces, protobuf or JSON, plain or compressed."""

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError
from google.protobuf import json_format
from google.rpc.status_pb2 import Status

from agents.record_producer import KafkaUnavailable
from agents.span_writer import MALFORMED, Outcome
from app.access import AUTHORIZATION, CHALLENGE, Access, Credentials, Forbidden, Unauthorized
from app.receivers.gather import Gatherer, Overloaded
from app.receivers.otlp_json import to_protobuf
from app.receivers.replies import partial_success, reply_bytes
from app.tenant import HEADER, InvalidTenant, NoTenant
from tables.errors import WireError

_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_RETRY_S: Final = "1"

# google.rpc.Code
_INVALID_ARGUMENT, _RESOURCE_EXHAUSTED, _UNAVAILABLE, _UNAUTHENTICATED = 3, 8, 14, 16
_PERMISSION_DENIED, _DEADLINE_EXCEEDED = 7, 4

_BODY_S: Final = 60.0  # a client that sends a body more slowly holds its memory too long


class TraceReceiver:
    """The handler, with what it needs."""

    def __init__(self, gatherer: Gatherer, access: Access, *, body_bytes_max: int) -> None:
        self._gatherer, self._access = gatherer, access
        self._body_bytes_max = body_bytes_max

    async def export(self, request: web.Request) -> web.Response:
        """One ExportTraceServiceRequest."""
        json = request.content_type == _JSON
        if not json and request.content_type not in (_PROTOBUF, "application/octet-stream"):
            message = f"Content-Type {request.content_type!r} is not known; send {_PROTOBUF} or {_JSON}"
            return _fault(415, _INVALID_ARGUMENT, message, json=False)
        try:
            headers = request.headers
            tenant = self._access.tenant(headers.get(AUTHORIZATION), headers.get(HEADER))
            body = await _body(request)
            outcome = await self._gatherer.add(tenant, to_protobuf(body) if json else body)
        except (NoTenant, Unauthorized) as err:
            return _fault(401, _UNAUTHENTICATED, str(err), json=json)
        except Forbidden as err:
            return _fault(403, _PERMISSION_DENIED, str(err), json=json)
        except TimeoutError:
            return _fault(408, _DEADLINE_EXCEEDED, f"the body took longer than {_BODY_S:g} s", json=json)
        except InvalidTenant as err:
            return _fault(400, _INVALID_ARGUMENT, str(err), json=json)
        except WireError as err:
            MALFORMED.inc()
            return _fault(400, _INVALID_ARGUMENT, str(err), json=json)
        except web.HTTPRequestEntityTooLarge:
            message = (
                f"the body is larger than {self._body_bytes_max} bytes after decompression "
                "(distributor.receivers.otlp.protocols.http.max_request_body_size)"
            )
            return _fault(413, _INVALID_ARGUMENT, message, json=json)
        except KafkaUnavailable as err:
            return _fault(503, _UNAVAILABLE, str(err), json=json)
        except Overloaded as err:
            return _fault(429, _RESOURCE_EXHAUSTED, str(err), json=json)
        if outcome.malformed is not None:
            return _fault(400, _INVALID_ARGUMENT, outcome.malformed, json=json)
        return _reply(outcome, json=json)


async def _body(request: web.Request) -> bytes:
    """The body, decompressed by aiohttp. Raises: WireError if it is not what Content-Encoding says."""
    try:
        async with asyncio.timeout(_BODY_S):
            return await request.read()
    except (web.RequestPayloadError, PayloadEncodingError) as err:
        encoding = request.headers.get("Content-Encoding", "")
        raise WireError(f"the body cannot be read (Content-Encoding {encoding!r}): {err}") from err


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


def build_http_receiver(
    gatherer: Gatherer, *, multitenancy: bool, body_bytes_max: int, credentials: Credentials | None = None
) -> web.Application:
    """An aiohttp application, not started. The limit holds for the decompressed body.

    credentials: who may send; None: everybody
    """
    app = web.Application(client_max_size=body_bytes_max)
    access = Access(multitenancy=multitenancy, credentials=credentials)
    receiver = TraceReceiver(gatherer, access, body_bytes_max=body_bytes_max)
    app.router.add_post("/v1/traces", receiver.export)
    return app
