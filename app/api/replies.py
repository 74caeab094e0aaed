"""Bodies made and compressed off the event loop: a large answer takes longer than other requests should wait."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from aiohttp import hdrs, payload, web
from aiohttp.abc import AbstractStreamWriter
from zlib_ng import zlib_ng

from app.api.backend import BACKEND, Backend
from app.api.limits import LIMITS
from app.api.llm.values import LLM
from app.api.making import Making
from query import memory
from query.memory import BudgetUser, MemoryBudget

# Below it a packet is a packet.
GZIP_BYTES_MIN: Final = 4096
# Several hundred MB/s, and a tenth of the size: higher levels cost more time than most networks.
_LEVEL: Final = 1
_CHEAPER: Final = "a lower limit, fewer fields, a longer step, or to accept gzip"
_WBITS: Final = 31  # a gzip header around it

# No body is ever in one piece of more than that, or of more than what makes it gives at once: copying a hundred
# megabytes holds up everything else for 50 ms.
_PIECE_BYTES: Final = 256 << 10

JSON: Final = "application/json"
PROTOBUF: Final = "application/protobuf"


def wants_protobuf(request: web.Request) -> bool:
    """Matched by substring, as in Tempo: clients send it with and without parameters and weights."""
    return PROTOBUF in request.headers.get(hdrs.ACCEPT, "")


def wants_llm(request: web.Request) -> bool:
    """Tempo's form for language models; by substring, too."""
    return LLM in request.headers.get(hdrs.ACCEPT, "")


async def reply_either(
    request: web.Request,
    make_json: Callable[[], bytes | Iterable[bytes]],
    make_messages: Callable[[], Iterable[Any]],
    headers: Mapping[str, str] | None = None,
    *,
    small: bool = False,
) -> web.Response:
    """JSON, or protobuf where the client accepts it. In: messages that one after the other are one message; small: as
    for `reply`
    """
    if not wants_protobuf(request):
        return await reply(request, make_json, headers=headers, small=small)

    def make() -> Iterator[bytes]:
        return (message.SerializeToString() for message in make_messages())

    return await reply(request, make, content_type=PROTOBUF, headers=headers, small=small)


async def reply(
    request: web.Request,
    make: Callable[[], bytes | Iterable[bytes]],
    *,
    content_type: str = JSON,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    small: bool = False,
) -> web.Response:
    """What `make` gives, all at once or in parts, on a thread; as gzip where the client takes it and it is large.

    small: it takes less time to make than the way to a thread and back, about 100 µs: then it is made at once
    """
    limit_s, packs = request.app[LIMITS].now.timeout_s, accepts_gzip(request.headers.getall(hdrs.ACCEPT_ENCODING, []))
    if small:
        body, packed, holder = made(make, packs=packs, making=Making(limit_s))
    else:
        body, packed, holder = await made_on_thread(request.app[BACKEND], make, limit_s, packs=packs)
    whole = body[0] if len(body) == 1 else Pieces(body, content_type, holder)
    response = web.Response(body=whole, status=status, content_type=content_type, headers=headers)
    response.headers[hdrs.VARY] = f"{hdrs.ACCEPT}, {hdrs.ACCEPT_ENCODING}"
    if packed:
        response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    return response


class Pieces(payload.Payload):
    """A body that is sent piece by piece and never joined: clients that read slowly hold up nothing."""

    def __init__(self, pieces: Sequence[bytes], content_type: str, holder: BudgetUser | None = None) -> None:
        """holder: of the memory of the pieces, for as long as they are here"""
        super().__init__(pieces, content_type=content_type)
        self._size = sum(map(len, pieces))
        self._holder = holder

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Piece by piece, each when the one before has gone."""
        for piece in self._value:
            await writer.write(piece)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The whole body as text."""
        return b"".join(self._value).decode(encoding, errors)


async def made_on_thread(
    backend: Backend, make: Callable[[], bytes | Iterable[bytes]], limit_s: float, *, packs: bool
) -> tuple[list[bytes], bool, BudgetUser | None]:
    """As `made`, on a thread, and only as long as somebody waits for it here. limit_s: as of `Making`"""
    making = Making(limit_s)
    try:
        return await backend.run_in_thread(partial(made, make, packs=packs, making=making))
    finally:
        making.stop()


def made(
    make: Callable[[], bytes | Iterable[bytes]], *, packs: bool, making: Making
) -> tuple[list[bytes], bool, BudgetUser | None]:
    """The body in pieces, whether it is packed, and who holds the memory of the pieces.

    Raises: MemoryExceeded; as `Making.go_on`
    """
    with making:
        return _made(make, packs=packs, making=making)


def _made(
    make: Callable[[], bytes | Iterable[bytes]], *, packs: bool, making: Making
) -> tuple[list[bytes], bool, BudgetUser | None]:
    budget: MemoryBudget | None = None
    holder: BudgetUser | None = None
    body = make()
    parts = _gathered([body] if isinstance(body, bytes) else body, making)
    first = next(parts, b"")
    # What is as large as a piece has more behind it, or may as well be packed.
    packed = packs and len(first) >= GZIP_BYTES_MIN
    parts = itertools.chain([first], parts)
    pieces: list[bytes] = []
    for piece in _gathered(_packed(parts), making) if packed else parts:
        if pieces:  # of small answers, which are one piece, nothing is counted: they always find room
            if budget is None:
                budget = memory.current().sibling()
                holder = BudgetUser(budget)
            budget.reserve(len(piece), "the text of the answer", _CHEAPER)
        pieces.append(piece)
    return pieces, packed, holder


def _packed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """As gzip, each part when it is there: what is packed already need not be kept as it was."""
    packer = zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, _WBITS)
    yield from map(packer.compress, parts)
    yield packer.flush()


def _gathered(parts: Iterable[bytes], making: Making) -> Iterator[bytes]:
    """The same bytes in pieces that are not small. Raises: as `Making.go_on`"""
    piece, size = [], 0
    for part in parts:
        piece.append(part)
        size += len(part)
        if size >= _PIECE_BYTES:
            making.go_on()
            yield b"".join(piece)
            piece, size = [], 0
    if size:
        yield b"".join(piece)


def accepts_gzip(headers: list[str]) -> bool:
    """In: values of Accept-Encoding: `gzip, br`, `gzip;q=0.5`; with q=0 it is refused"""
    for part in ",".join(headers).lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "").rstrip("0.") != "q="
    return False
