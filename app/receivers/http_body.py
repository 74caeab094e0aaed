"""Bodies of HTTP requests with spans: limits, how they are read, and the server that takes them."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError
from prometheus_client import Counter

from app.net.http_guard import quiet_logger
from app.receivers.codecs import ENCODINGS, UnknownEncoding
from app.receivers.decompress import BodyCosts, BodyTooLarge
from app.receivers.input_budget import InputBytes
from tables.errors import WireError

_STOP_GRACE_S: Final = 1.0
# A client that still sends an unread body has this long to read its answer.
_LINGER_S: Final = 2.0

BODY_LIMITED: Final = Counter(
    "stretto_receiver_bodies_refused_total",
    "Request bodies refused because of a limit: bytes, time; for compressed bodies also cpu, members, ratio.",
    ["limit"],
)


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Limits after decompression. json_bytes_max: of a JSON body; read_s: to send a body

    costs: limits of a compressed or JSON body; threads: that decompress
    """

    bytes_max: int
    json_bytes_max: int
    read_s: float = 60.0
    costs: BodyCosts = field(default_factory=BodyCosts)
    threads: int = 2


def content_encoding(request: web.Request) -> str:
    """The Content-Encoding in lower case; "" for none. Raises: UnknownEncoding"""
    names = [
        one.strip().lower() for value in request.headers.getall("Content-Encoding", []) for one in value.split(",")
    ]
    names = [name for name in names if name not in ("", "identity")]
    if len(names) > 1:
        raise UnknownEncoding(f"the body is compressed {len(names)} times ({', '.join(names)[:80]}); do it once")
    if names and names[0] not in ENCODINGS:
        raise UnknownEncoding(
            f"Content-Encoding {names[0][:40]!r} is not known; send one of {', '.join(ENCODINGS)}, or none"
        )
    return names[0] if names else ""


async def read_body(request: web.Request, read_s: float, bytes_max: int, held: InputBytes) -> bytes:
    """The body as received. Raises: WireError if it is incomplete, BodyTooLarge, TimeoutError, Overloaded"""
    # One array, not a list: a client that sends single bytes must not make an object of each.
    body, announced = bytearray(), request.content_length or 0
    if announced > bytes_max:
        raise BodyTooLarge
    held.expect(announced)
    content = request.content
    if content.is_eof() and content.exception() is None and announced:
        # All of a small body mostly comes with its headers: there is nothing to wait for.
        whole = content.read_nowait()
        if len(whole) > bytes_max:
            raise BodyTooLarge
        held.add("reading", len(whole))
        return whole
    try:
        async with asyncio.timeout(read_s):
            while piece := await content.readany():
                if len(body) + len(piece) > bytes_max:
                    raise BodyTooLarge
                held.add("reading", len(piece))
                body += piece
        return bytes(body)
    except (web.RequestPayloadError, PayloadEncodingError, ConnectionError) as err:
        raise WireError(f"the body cannot be read: {err}") from err
    finally:
        # The error of a client that disconnects refers to this function, and stays in a cycle; the body must not.
        body.clear()


def http_runner(app: web.Application, header_bytes_max: int, name: str = "otlp") -> web.AppRunner:
    """The runner for the application. The site itself limits the headers. name: in the log"""
    return web.AppRunner(
        app,
        access_log=None,
        logger=quiet_logger(name),
        auto_decompress=False,
        max_field_size=header_bytes_max,
        lingering_time=_LINGER_S,
        shutdown_timeout=_STOP_GRACE_S,
    )
