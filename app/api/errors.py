"""Errors of the API, and the one place where errors become HTTP.

ParameterError, TraceQLError, InvalidTenant   400
NoTenant, Unauthorized                        401 (Unauthorized with WWW-Authenticate)
Forbidden                                     403
TraceTooLarge, QueryTooLarge                  422
MessageTooLarge                               413
TooManyRequests, other MemoryExceeded,
    MemoryError                               429 with Retry-After
anything else                                 500, logged with its traceback
Unavailable                                   503 with Retry-After
TimeoutError                                  504
"""

import logging
import math
import secrets
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from app.net.access import CHALLENGE, Forbidden, Unauthorized
from app.net.http_errors import as_response
from app.net.tenant import InvalidTenant, NoTenant
from query import memory
from query.errors import TraceQLError, TraceTooLarge
from query.memory import MemoryExceeded, QueryTooLarge
from tables.errors import as_value

log = logging.getLogger(__name__)

TIMEOUT_SETTING: Final = "query.timeout_s"


class ParameterError(ValueError):
    """A parameter of the request: which, what is wrong with it, what it may be."""


class MessageTooLarge(ValueError):  # noqa: N818 (says what it is)
    """A message of a streamed answer that clients would not take; the text names the setting, and what to do."""

    def __init__(self, size_bytes: int, bytes_max: int) -> None:
        super().__init__(
            f"the answer takes a message of {size_bytes} bytes; the setting server.grpc_server_max_send_msg_size "
            f"allows {bytes_max}, as most clients of gRPC do. Ask for fewer series (group by something with fewer "
            "values, or add | topk(100)), or ask over HTTP"
        )


class AnswerTooSlow(Exception):  # noqa: N818 (says what it is)
    """Making the text of an answer takes too long."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            f"the answer is so large that its text takes longer than the setting {TIMEOUT_SETTING} allows "
            f"({limit_s:g} s): ask for fewer series or traces (a longer step, topk(), fewer fields in by(), a lower "
            "limit), or raise the setting"
        )


class _TryLater(Exception):  # noqa: N818 (as above)
    def __init__(self, message: str, retry_after_s: float = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(_TryLater):
    """Something that the answer needs is away: what, and after how many seconds to ask again."""


class Stopping(Unavailable):
    """The process that should answer is about to end: another one, or the next, will answer."""

    def __init__(self) -> None:
        super().__init__("this process stops; ask again")


class TooManyRequests(_TryLater):
    """More requests than the limit allows; the message names the setting."""


STATUS: Final[dict[type[Exception], int]] = {
    ParameterError: 400,
    TraceQLError: 400,
    InvalidTenant: 400,
    NoTenant: 401,
    Unauthorized: 401,
    Forbidden: 403,
    MessageTooLarge: 413,
    TraceTooLarge: 422,
    QueryTooLarge: 422,
    AnswerTooSlow: 504,
    MemoryExceeded: 429,
    TooManyRequests: 429,
    Unavailable: 503,
}


def plain_text(status: int, text: str) -> web.Response:
    """Tempo's errors are plain text: Grafana shows the body as it is. It may repeat what the client sent, so
    no browser may take it for a page.
    """
    return web.Response(status=status, text=text, headers={"X-Content-Type-Options": "nosniff"})


def status_of(err: Exception) -> int:
    """The HTTP status of an error, as `explain` has it."""
    kinds = {**STATUS, TimeoutError: 504, MemoryError: 429}
    return next((status for kind, status in kinds.items() if isinstance(err, kind)), 500)


def explain(err: Exception, what: str) -> tuple[int, str]:
    """The HTTP status and the text for a client. what: the request, for the log where the fault is ours."""
    for kind, status in STATUS.items():
        if isinstance(err, kind):
            return status, str(err)
    if isinstance(err, TimeoutError):
        # Its own text is empty or tells of a socket: neither helps the one who asked.
        return 504, (
            f"the query took longer than the setting {TIMEOUT_SETTING} allows: "
            "ask for a shorter time range or fewer traces, or raise the setting"
        )
    if isinstance(err, MemoryError):  # Arrow's and numpy's are of this kind
        log.warning("%s needs more memory than the process may have: %s", what, err)
        return 429, "the process has no memory left for this; ask for less, or later"
    # The text of an unexpected error may hold paths or data of others: the client gets a word to search
    # the log for instead.
    reference = secrets.token_hex(4)
    log.error("%s failed (reference %s)", what, reference, exc_info=err)
    return 500, f"internal error; the server's log has the details under {reference}"


@web.middleware
async def errors_as_text(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The only place where errors become HTTP."""
    try:
        with memory.request():
            return await handler(request)
    except web.HTTPNotFound as err:
        as_value(err)
        return plain_text(404, "no such endpoint; docs/api.md lists them")
    except web.HTTPMethodNotAllowed as err:
        allowed = ", ".join(sorted(as_value(err).allowed_methods))
        answer = plain_text(405, f"{request.path} answers {allowed} only")
        answer.headers["Allow"] = allowed
        return answer
    except web.HTTPException as err:
        return as_response(err)
    except Exception as err:  # noqa: BLE001 (the one place, see above)
        answer = plain_text(*explain(err, f"{request.method} {request.path}"))
        if answer.status in {429, 503}:
            answer.headers["Retry-After"] = str(max(1, math.ceil(getattr(err, "retry_after_s", 1))))
        if isinstance(err, Unauthorized):
            answer.headers["WWW-Authenticate"] = CHALLENGE
        return answer
