"""HTTP receivers of other protocols than OTLP: body in, translated to an OTLP request, then OTLP's way.

Clients get 202 once Kafka has acknowledged the spans, and a text that says what is wrong otherwise. Spans that are
rejected one by one, for lack of a valid id, are counted and named in a header, since these protocols have no partial
success.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from aiohttp import web

from agents.distributor.record_producer import KafkaUnavailable
from agents.distributor.span_writer import MALFORMED, Outcome
from app.net.access import CHALLENGE, Access, Forbidden, Identity, Unauthorized
from app.net.tenant import InvalidTenant, NoTenant
from app.receivers.codecs import UnknownEncoding
from app.receivers.decompress import BodyTooLarge, TooCostly, decompressed
from app.receivers.http_body import (
    BODY_LIMITED,
    TRANSLATED_HERE_BYTES_MAX,
    TRANSLATION_MEMORY,
    BodyLimits,
    content_encoding,
    read_body,
)
from app.receivers.input_budget import InputBudget, InputBytes, Overloaded
from app.receivers.receiver import ReceiverContext
from app.receivers.request_batcher import RequestBatcher
from app.settings.receivers import HttpReceiver
from tables.errors import WireError
from tables.wall import walled

_RETRY_AFTER_S: Final = "1"
REJECTED_HEADER: Final = "X-Stretto-Rejected-Spans"

# Body → ExportTraceServiceRequest. Raises: WireError
Translate = Callable[[bytes], bytes]

_STATUSES: Final[Mapping[type[Exception], int]] = {
    NoTenant: 401,
    Unauthorized: 401,
    Forbidden: 403,
    InvalidTenant: 400,
    TimeoutError: 408,
    BodyTooLarge: 413,
    UnknownEncoding: 415,
    WireError: 400,
    KafkaUnavailable: 503,
    Overloaded: 429,
}


class UnknownContentType(Exception):  # noqa: N818  (says what it is)
    """The body has a type that the path does not take."""


class SpanPath(NamedTuple):
    """A path. types: what translates a body, by its Content-Type; the first also takes bodies without one"""

    path: str
    types: Mapping[str, Translate]


@dataclass(frozen=True, slots=True)
class HttpContext:
    """What the receivers of a process share, and the limits of one section, whose name is `setting`."""

    batcher: RequestBatcher
    access: Access
    budget: InputBudget
    limits: BodyLimits
    setting: str

    @classmethod
    def of(cls, section: HttpReceiver, setting: str, shared: ReceiverContext) -> Self:
        """As a section of the settings says."""
        size = section.max_request_body_size
        limits = BodyLimits(size, size, section.read_timeout_s, shared.costs, shared.body_threads)
        return cls(shared.batcher, shared.access, shared.budget, limits, setting)


class _Threads:
    """Threads of one receiver: some decompress, one translates, since that holds the GIL anyway."""

    def __init__(self, count: int) -> None:
        self.bodies, self.translation = ThreadPoolExecutor(count, "body"), ThreadPoolExecutor(1, "translate")

    async def close(self, _: web.Application) -> None:
        for threads in (self.bodies, self.translation):
            threads.shutdown(wait=False, cancel_futures=True)


def build_translating_http(endpoints: Sequence[SpanPath], context: HttpContext) -> web.Application:
    """An aiohttp application that takes POST requests at the endpoints, not started."""
    app, threads = web.Application(), _Threads(context.limits.threads)
    app.on_cleanup.append(threads.close)
    for endpoint in endpoints:
        app.router.add_post(endpoint.path, _Handler(endpoint, context, threads).export)
    return app


class _Handler:
    """Takes the requests of one endpoint."""

    def __init__(self, endpoint: SpanPath, context: HttpContext, threads: _Threads) -> None:
        self._endpoint, self._context, self._threads = endpoint, context, threads

    async def export(self, request: web.Request) -> web.Response:
        """Handles one request with spans."""
        try:
            tenant = self._context.access.tenant(*Identity.of(request.headers.items()))
            translate = self._translate_of(request)
            return _reply(await self._export(request, tenant, translate))
        except UnknownContentType as err:
            return _fault(415, str(err))
        except tuple(_STATUSES) as err:
            return self._refusal(err)

    async def _export(self, request: web.Request, tenant: str, translate: Translate) -> Outcome:
        held = self._context.budget.open(tenant)
        try:
            body = await self._translated(request, held, translate)
            held.become("waiting", len(body))
        except BaseException:
            held.release()
            raise
        return await self._context.batcher.add(tenant, body, held)

    async def _translated(self, request: web.Request, held: InputBytes, translate: Translate) -> bytes:
        limits = self._context.limits
        encoding = content_encoding(request)
        body = await read_body(request, limits.read_s, limits.bytes_max, held)
        if encoding and body:
            body = await decompressed(body, encoding, limits.bytes_max, limits.costs, held, self._threads.bodies)
            held.become("decompressing", len(body))
        held.add("translating", len(body) * TRANSLATION_MEMORY)
        if len(body) <= TRANSLATED_HERE_BYTES_MAX:
            return walled(translate, body)
        return await asyncio.get_running_loop().run_in_executor(self._threads.translation, walled, translate, body)

    def _translate_of(self, request: web.Request) -> Translate:
        types = self._endpoint.types
        if "Content-Type" not in request.headers:
            return next(iter(types.values()))
        found = types.get(request.content_type)
        if found is None:
            known = ", ".join(types)
            raise UnknownContentType(f"Content-Type {request.content_type[:80]!r} is not known; send one of {known}")
        return found

    def _refusal(self, err: Exception) -> web.Response:
        status = next(found for kind, found in _STATUSES.items() if isinstance(err, kind))
        limits, setting, text = self._context.limits, self._context.setting, str(err)
        if isinstance(err, TimeoutError):
            BODY_LIMITED.labels("time").inc()
            text = f"the body took longer than {limits.read_s:g} s ({setting}.read_timeout_s)"
        elif isinstance(err, BodyTooLarge):
            BODY_LIMITED.labels("bytes").inc()
            most = f"{limits.bytes_max} bytes after decompression ({setting}.max_request_body_size)"
            text = f"the body is larger than {most}"
        elif isinstance(err, TooCostly):
            BODY_LIMITED.labels(err.limit).inc()
        elif isinstance(err, WireError):
            MALFORMED.inc()
        return _fault(status, text)


def _reply(outcome: Outcome) -> web.Response:
    if outcome.malformed is not None:
        return _fault(400, outcome.malformed)
    headers = {REJECTED_HEADER: str(outcome.rejected)} if outcome.rejected else {}
    return web.Response(status=202, headers=headers)


def _fault(status: int, text: str) -> web.Response:
    headers = {"Retry-After": _RETRY_AFTER_S} if status in (429, 503) else {}
    if status == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    response = web.Response(status=status, text=text + "\n", headers=headers)
    if status in (408, 413, 429):
        response.force_close()  # the rest of the body is not read
    return response
