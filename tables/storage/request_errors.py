"""obstore's exceptions → how a request ended, in one word for metrics and in one sentence for people."""

import re
from typing import Final

from obstore import exceptions

# What obstore raises if a request fails. Missing objects are FileNotFoundError, which is an OSError.
FAILURES: Final = (exceptions.BaseError, OSError)

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_ATTEMPTS: Final = re.compile(r"after (\d+) retries")
# obstore tells what went wrong below HTTP in a dump of its own structures only.
_TIMED_OUT: Final = re.compile(r"TimedOut|kind: Timeout|operation timed out|deadline has elapsed")
_CUT: Final = re.compile(r"ConnectionReset|ConnectionAborted|BrokenPipe")
_UNREACHABLE: Final = re.compile(
    rf"kind: Connect\b|ConnectionRefused|{_CUT.pattern}|IncompleteMessage|dns error",
)
_DETAILS: Final = (
    (re.compile("InvalidCertificate|invalid peer certificate"), "the server's certificate is not trusted"),
    (re.compile("dns error"), "the host name is not known"),
    (re.compile("ConnectionRefused"), "the connection is refused"),
    (re.compile(f"{_CUT.pattern}|IncompleteMessage"), "the connection is lost"),
)
_NO_BUCKET: Final = re.compile("NoSuchBucket|ContainerNotFound|bucket does not exist")
_NOT_IMPLEMENTED: Final = 501
_TEXT_CHARS_MAX: Final = 400


def status_of(err: Exception) -> str:
    """missing, exists, denied, throttled, timeout, unreachable, refused (other 4xx) or error."""
    if isinstance(err, FileNotFoundError):
        return "missing"
    if isinstance(err, exceptions.AlreadyExistsError | exceptions.PreconditionError):
        return "exists"
    if isinstance(err, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError | PermissionError):
        return "denied"
    if isinstance(err, TimeoutError):
        return "timeout"
    text = str(err)
    if found := _STATUS.search(text):
        code = int(found[1])
        if code in (401, 403):
            return "denied"
        if code in (429, 503):
            return "throttled"
        return "refused" if code < 500 or code == _NOT_IMPLEMENTED else "error"
    if _TIMED_OUT.search(text):
        return "timeout"
    return "unreachable" if _UNREACHABLE.search(text) else "error"


def is_missing_place(err: Exception) -> bool:
    """Whether it is the bucket that does not exist, not the object. (Answers to HEAD do not say.)"""
    return isinstance(err, FileNotFoundError) and _NO_BUCKET.search(str(err)) is not None


def is_not_repeated(err: Exception) -> bool:
    """Whether the connection was lost where obstore gives up at once: in the middle of the answer's body, or by a reset
    while the request was on its way.
    """
    text = str(err)
    if _TIMED_OUT.search(text):
        return False
    return _CUT.search(text) is not None or ("body error" in text and _UNREACHABLE.search(text) is not None)


def retries_of(err: Exception) -> int:
    """How often obstore has repeated the request."""
    found = _ATTEMPTS.search(str(err))
    return int(found[1]) if found else 0


def is_final(err: Exception) -> bool:
    """Whether the storage has answered, and the same request will have the same answer: not for a storage that is
    away, slow or out of order.
    """
    return status_of(err) in {"missing", "exists", "denied", "refused"}


def explain(err: Exception, timeout_s: float) -> str:
    """What happened, in one line."""
    text = str(err)
    # obstore's text goes on for a page of its own structures; the first line says it, but for what is below HTTP.
    first = (text.splitlines() or [type(err).__name__])[0][:_TEXT_CHARS_MAX].rstrip()
    if code := _CODE.search(text):
        first = first if code[1] in first else f"{first} {code[1]}"
    match status_of(err):
        case "timeout":
            return f"no answer in time{_tries(text)} (the limit is {timeout_s:g} s): {first}"
        case "unreachable":
            why = next((words for pattern, words in _DETAILS if pattern.search(text)), "the connection failed")
            return f"{why}{_tries(text)}: {first}"
        case "throttled":
            return f"the storage asks to slow down{_tries(text)}: {first}"
        case _:
            return first


def _tries(text: str) -> str:
    found = _ATTEMPTS.search(text)
    return f" in {int(found[1]) + 1} attempts" if found else ""
