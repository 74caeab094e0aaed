"""Partial answers of searches, metrics and tags: where they are allowed what can be read, and what is lacking.

They are allowed by ?allow_partial=true, by the header `X-Stretto-Partial: allow`, and by the setting
query_frontend.allow_partial. Otherwise an answer that would be silently less is 503. A trace by its id says PARTIAL by
itself, as Tempo does.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from app.api import params
from app.api.call import PARTIAL_HEADER, Call
from app.api.errors import ParameterError
from app.api.replies import reply_either
from query.scan.progress import Progress, QueryObserver

ALLOW: Final = "allow"
PARAMETER: Final = "allow_partial"
# Proxies often take 4 KB for the whole head of an answer.
_HEADER_CHARS_MAX: Final = 1000


def observer_of(call: Call, progress: Progress | None = None) -> QueryObserver:
    """A new one for a question. Raises: ParameterError"""
    asked = params.flag(call.params, PARAMETER) or allows(call.partial_header)
    return QueryObserver(progress=progress, missing_data=[] if asked or call.limits.allow_partial else None)


def allows(header: str | None) -> bool:
    """What the header of a request says. Raises: ParameterError"""
    if header not in {None, "", ALLOW}:
        raise ParameterError(f"{PARTIAL_HEADER}: {str(header)[:40]!r} is not {ALLOW}")
    return header == ALLOW


async def reply_whole_or_partial(  # noqa: PLR0913 (as reply_either, and what is partial)
    request: web.Request,
    observer: QueryObserver,
    make_json: Callable[[], bytes | Iterable[bytes]],
    make_messages: Callable[[], Iterable[Any]],
    headers: dict[str, str] | None = None,
    partial_message: Callable[..., Any] | None = None,
    *,
    small: bool = False,
) -> web.Response:
    """As `replies.reply_either`, of a question that is answered.

    partial_message: makes a last message of the fields `status` and `message`, where Tempo's has these
    """
    if not observer.missing_data:
        return await reply_either(request, make_json, make_messages, headers, small=small)
    partial_fields = {"status": "PARTIAL", "message": "; ".join(observer.missing_data)}

    def messages() -> Iterator[Any]:
        yield from make_messages()
        if partial_message is not None:
            yield partial_message(**partial_fields)

    more = {PARTIAL_HEADER: header_text(observer.missing_data), **(headers or {})}
    return await reply_either(request, lambda: _with_fields(make_json(), partial_fields), messages, more, small=small)


def header_text(missing_data: Sequence[str]) -> str:
    """What is lacking, as a header or metadata of gRPC can hold it."""
    return " ".join("; ".join(missing_data).encode("ascii", "replace").decode().split())[:_HEADER_CHARS_MAX]


def _with_fields(made: bytes | Iterable[bytes], partial_fields: dict[str, str]) -> Iterator[bytes]:
    """A JSON object that is not empty, in parts, with further fields at its end."""
    last = b""
    for part in [made] if isinstance(made, bytes) else made:
        yield last
        last = part
    yield last[:-1] + b"," + orjson.dumps(partial_fields)[1:]
