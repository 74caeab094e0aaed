"""Bodies made and compressed off the event loop: a large answer takes longer than other requests should wait."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from aiohttp import hdrs, web
from zlib_ng import zlib_ng

# Below it a packet is a packet.
GZIP_BYTES_MIN: Final = 4096
# Several hundred MB/s, and a tenth of the size: higher levels cost more time than most networks.
_LEVEL: Final = 1
_WBITS: Final = 31  # a gzip header around it

JSON: Final = "application/json"
PROTOBUF: Final = "application/protobuf"


def wants_protobuf(request: web.Request) -> bool:
    """Matched by substring, as in Tempo: clients send it with and without parameters and weights."""
    return PROTOBUF in request.headers.get(hdrs.ACCEPT, "")


async def reply_either(
    request: web.Request,
    make_json: Callable[[], bytes],
    make_messages: Callable[[], Iterable[Any]],
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """JSON, or protobuf where the client accepts it. In: messages that one after the other are one message"""
    if not wants_protobuf(request):
        return await reply(request, make_json, headers=headers)

    def make() -> bytes:
        return b"".join(message.SerializeToString() for message in make_messages())

    return await reply(request, make, content_type=PROTOBUF, headers=headers)


async def reply(
    request: web.Request,
    make: Callable[[], bytes],
    *,
    content_type: str = JSON,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """What `make` gives, on a thread; as gzip where the client takes it and the body is not small."""
    packs = accepts_gzip(request.headers.getall(hdrs.ACCEPT_ENCODING, []))
    body, packed = await asyncio.to_thread(_made, make, packs=packs)
    response = web.Response(body=body, status=status, content_type=content_type, headers=headers)
    response.headers[hdrs.VARY] = f"{hdrs.ACCEPT}, {hdrs.ACCEPT_ENCODING}"
    if packed:
        response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    return response


def _made(make: Callable[[], bytes], *, packs: bool) -> tuple[bytes, bool]:
    body = make()
    if not packs or len(body) < GZIP_BYTES_MIN:
        return body, False
    packer = zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, _WBITS)
    return packer.compress(body) + packer.flush(), True


def accepts_gzip(headers: list[str]) -> bool:
    """In: values of Accept-Encoding: `gzip, br`, `gzip;q=0.5`; with q=0 it is refused"""
    for part in ",".join(headers).lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "").rstrip("0.") != "q="
    return False
