"""What the HTTP receivers of all protocols share: the way of a body to the batcher, and the statuses of refusals."""

import math
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from aiohttp import web

from agents.distributor.limits import LimitExceeded
from agents.distributor.record_producer import KafkaUnavailable
from agents.distributor.span_writer import MALFORMED, Outcome
from app.net.access import CHALLENGE, Access, Forbidden, Identity, Unauthorized
from app.net.tenant import InvalidTenant, NoTenant
from app.receivers.batcher import Batcher
from app.receivers.codecs import UnknownEncoding
from app.receivers.decompress import BodyTooLarge, TooCostly, decompressed
from app.receivers.http_body import BODY_LIMITED, BodyLimits, content_encoding, read_body
from app.receivers.input_budget import InputBudget, InputBytes, Overloaded
from tables.errors import WireError
from tables.wire.otlp.json import TooSlow

# google.rpc.Code
INVALID_ARGUMENT: Final = 3
_DEADLINE_EXCEEDED, _PERMISSION_DENIED, _RESOURCE_EXHAUSTED, _UNAVAILABLE, _UNAUTHENTICATED = 4, 7, 8, 14, 16

_RETRY_AFTER_S: Final = 1
_RETRIABLE: Final = (429, 503)
# The rest of the body is not read.
_CLOSES: Final = (408, 413, 429)


class UnknownContentType(Exception):  # noqa: N818  (says what it is)
    """The body has a type that the path does not take."""


# HTTP status and google.rpc.Code of each refusal; the first that fits counts.
_REFUSALS: Final[Mapping[type[Exception], tuple[int, int]]] = MappingProxyType(
    {
        NoTenant: (401, _UNAUTHENTICATED),
        Unauthorized: (401, _UNAUTHENTICATED),
        Forbidden: (403, _PERMISSION_DENIED),
        InvalidTenant: (400, INVALID_ARGUMENT),
        TimeoutError: (408, _DEADLINE_EXCEEDED),
        BodyTooLarge: (413, INVALID_ARGUMENT),
        UnknownContentType: (415, INVALID_ARGUMENT),
        UnknownEncoding: (415, INVALID_ARGUMENT),
        WireError: (400, INVALID_ARGUMENT),
        KafkaUnavailable: (503, _UNAVAILABLE),
        Overloaded: (429, _RESOURCE_EXHAUSTED),
        LimitExceeded: (429, _RESOURCE_EXHAUSTED),
    }
)
REFUSED: Final = tuple(_REFUSALS)


class Refusal(NamedTuple):
    """status: of HTTP; code: google.rpc.Code; text: what is wrong, and what to do
    retry_after_s: when to send again, where the status allows that; None: not told
    """

    status: int
    code: int
    text: str
    retry_after_s: int | None = _RETRY_AFTER_S

    def headers(self) -> dict[str, str]:
        """The headers that tell a client when, or with what, to come again."""
        told = self.status in _RETRIABLE and self.retry_after_s is not None
        headers = {"Retry-After": str(self.retry_after_s)} if told else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = CHALLENGE
        return headers

    def response(self, body: str | bytes, content_type: str = "text/plain") -> web.Response:
        """The response with this body, in the protocol's own format."""
        content = {"text": body} if isinstance(body, str) else {"body": body}
        response = web.Response(status=self.status, content_type=content_type, headers=self.headers(), **content)
        if self.status in _CLOSES:
            response.force_close()
        return response


class SizeLimit(NamedTuple):
    """The largest body after decompression, and the name of the setting that says so."""

    bytes_max: int
    setting: str


# A decompressed body, and its account → ExportTraceServiceRequest. Raises: WireError, Overloaded
ToOtlp = Callable[[bytes, InputBytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class HttpExport:
    """Takes the requests of one receiver. setting: the name of the receiver's section, in errors."""

    batcher: Batcher
    access: Access
    budget: InputBudget
    limits: BodyLimits
    setting: str

    def tenant(self, request: web.Request) -> str:
        """Whose spans a request sends. Raises: NoTenant, InvalidTenant, Unauthorized, Forbidden"""
        return self.access.tenant(*Identity.of_http(request.headers))

    async def write(
        self, request: web.Request, tenant: str, most: SizeLimit, to_otlp: ToOtlp, threads: ThreadPoolExecutor
    ) -> Outcome:
        """Reads, decompresses, translates and writes a body. threads: that decompress. Raises: all of REFUSED"""
        held = self.budget.open(tenant)
        try:
            encoding = content_encoding(request)
            body = await read_body(request, self.limits.read_s, most.bytes_max, held)
            if encoding and body:
                body = await decompressed(body, encoding, most.bytes_max, self.limits.costs, held, threads)
                held.become("decompressing", len(body))
            body = await to_otlp(body, held)
            held.become("waiting", len(body))
        except BaseException:
            held.release()
            raise
        return await self.batcher.add(tenant, body, held)

    def refusal(self, err: Exception, most: SizeLimit) -> Refusal:
        """What the client hears of one of REFUSED; counts it."""
        status, code = next(found for kind, found in _REFUSALS.items() if isinstance(err, kind))
        text = str(err)
        if isinstance(err, TimeoutError):
            BODY_LIMITED.labels("time").inc()
            text = f"the body took longer than {self.limits.read_s:g} s ({self.setting}.read_timeout_s)"
        elif isinstance(err, BodyTooLarge):
            BODY_LIMITED.labels("bytes").inc()
            allowed = f"{most.bytes_max} bytes after decompression ({self.setting}.{most.setting})"
            text = f"the body is larger than {allowed}"
        elif isinstance(err, (TooCostly, TooSlow)):
            BODY_LIMITED.labels(err.limit if isinstance(err, TooCostly) else "cpu").inc()
        elif isinstance(err, WireError):
            MALFORMED.inc()
        elif isinstance(err, LimitExceeded):
            after_s = err.retry_after_s
            return Refusal(413 if err.final else status, code, text, None if after_s is None else math.ceil(after_s))
        return Refusal(status, code, text)
