"""Errors on their way from one process to another: each comes out as what it went in, as far as a client cares.

An error of a kind that is not in the table stays where it is: its text may hold what concerns others. The caller gets
InternalError with a word to search the log for.
"""

import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from app.api.errors import Stopping, TooManyRequests, Unavailable
from app.rpc.frames import BadFrame, RpcFrame
from query.errors import TraceQLError, TraceTooLarge
from query.memory import MemoryExceeded, QueriesTooLarge, QueryTooLarge
from query.request_json import BadRequest
from tables.errors import DamagedError, OutdatedError

log = logging.getLogger(__name__)

ERROR: Final = "error"  # name of the frame


class InternalError(RuntimeError):
    """Another process failed in a way that it has no word for; the text has the word to search its log for."""


class RemoteTraceQLError(TraceQLError):
    """A TraceQLError of another process: its text as it was made there, with the place in it."""

    def __init__(self, text: str) -> None:
        ValueError.__init__(self, text)
        self.problem, self.hint, self.line, self.column = text, "", 1, 1


class RemoteTraceTooLarge(TraceTooLarge):
    """A TraceTooLarge of another process: its text as it was made there."""

    def __init__(self, text: str) -> None:
        ValueError.__init__(self, text)


# The first kind that fits counts. The names stay: they are a part of what processes send to each other.
_KINDS: Final[tuple[tuple[str, type[BaseException]], ...]] = (
    ("traceql", TraceQLError),
    ("trace-too-large", TraceTooLarge),
    ("query-too-large", QueryTooLarge),
    ("queries-too-large", QueriesTooLarge),
    ("memory", MemoryExceeded),
    ("too-many-requests", TooManyRequests),
    ("stopping", Stopping),
    ("unavailable", Unavailable),
    ("damaged", DamagedError),
    ("outdated", OutdatedError),
    ("timeout", TimeoutError),
    ("bad-request", BadRequest),
    ("bad-request", BadFrame),
)
_MAKE: Final[Mapping[str, Callable[[Mapping[str, Any]], Exception]]] = {
    "traceql": lambda fields: RemoteTraceQLError(fields["text"]),
    "trace-too-large": lambda fields: RemoteTraceTooLarge(fields["text"]),
    "query-too-large": lambda fields: QueryTooLarge(fields["text"]),
    "queries-too-large": lambda fields: QueriesTooLarge(fields["text"]),
    "memory": lambda fields: MemoryExceeded(fields["text"]),
    "too-many-requests": lambda fields: TooManyRequests(fields["text"]),
    "stopping": lambda _: Stopping(),
    "unavailable": lambda fields: Unavailable(fields["text"], float(fields.get("retry_after_s", 1))),
    "damaged": lambda fields: DamagedError(fields["path"], fields["problem"]),
    "outdated": lambda fields: OutdatedError(fields["text"]),
    "timeout": lambda fields: TimeoutError(fields["text"]),
    "bad-request": lambda fields: BadRequest(fields["text"]),
}


def to_frame(err: Exception, what: str) -> RpcFrame:
    """The error as a frame. what: was done, for the log where the fault is ours"""
    for name, kind in _KINDS:
        if isinstance(err, kind):
            fields: dict[str, Any] = {"kind": name, "text": str(err)}
            if isinstance(err, DamagedError):
                fields |= {"path": err.path, "problem": err.problem}
            elif isinstance(err, Unavailable):
                fields["retry_after_s"] = err.retry_after_s
            return RpcFrame(ERROR, fields)
    reference = secrets.token_hex(4)
    log.error("%s for another process failed (reference %s)", what, reference, exc_info=err)
    return RpcFrame(
        ERROR, {"kind": "internal", "text": f"{what} failed; the log of that process says why: {reference}"}
    )


def from_frame(frame: RpcFrame) -> Exception:
    """The error of a frame of the name ERROR."""
    make = _MAKE.get(str(frame.fields.get("kind")))
    try:
        return InternalError(str(frame.fields.get("text"))) if make is None else make(frame.fields)
    except (KeyError, TypeError, ValueError) as err:
        return InternalError(f"an error of another process is damaged: {err!r}")
