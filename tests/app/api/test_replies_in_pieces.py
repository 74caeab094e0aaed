"""Large answers go out in pieces, whatever they are made of."""

import asyncio
import gzip

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from app.api.backend import BACKEND
from app.api.limits import LIMITS, ApiLimits, CurrentLimits
from app.api.replies import Pieces, reply
from tests.helpers.querying.api import FakeBackend

MB = 1 << 20
PARTS = {
    "bytes": b"x" * 3 * MB,
    "nothing": b"",
    "no parts": [],
    "one part": [b"abc"],
    "empty parts": [b"", b"abc", b""],
    "many small parts": [b"%07d," % number for number in range(300_000)],
    "parts of a piece": [bytes([number]) * (256 << 10) for number in range(5)],
    "a large part among small ones": [b"a", b"b" * 2 * MB, b"c"],
}


def whole(made: bytes | list[bytes]) -> bytes:
    return made if isinstance(made, bytes) else b"".join(made)


@pytest.mark.parametrize("made", [pytest.param(made, id=name) for name, made in PARTS.items()])
@pytest.mark.parametrize("packed", [False, True])
def test_the_same_bytes(made: bytes | list[bytes], packed: bool) -> None:
    """With their length, so that a client sees where an answer was cut off."""
    got, body = asyncio.run(asked(made, packed))
    assert (got["Content-Type"], got["X-More"], int(got["Content-Length"])) == ("application/json", "1", len(body))
    is_packed = got.get("Content-Encoding") == "gzip"
    assert is_packed == (packed and len(whole(made)) >= 4096)
    assert (gzip.decompress(body) if is_packed else body) == whole(made)


async def asked(made: bytes | list[bytes], packed: bool) -> tuple[dict[str, str], bytes]:
    """Headers and body; asks for the head alone, too."""

    async def handler(request: web.Request) -> web.Response:
        return await reply(request, lambda: made if isinstance(made, bytes) else iter(made), headers={"X-More": "1"})

    app = web.Application()
    app[BACKEND], app[LIMITS] = FakeBackend(), CurrentLimits(ApiLimits())
    app.router.add_get("/", handler)
    async with TestClient(TestServer(app), auto_decompress=False) as client:
        headers = {"Accept-Encoding": "gzip" if packed else "identity"}
        async with client.get("/", headers=headers) as response:
            body = await response.read()
            got = dict(response.headers)
        async with client.head("/", headers=headers) as response:
            assert (response.status, await response.read()) == (200, b"")
    return got, body


def test_one_who_reads_slowly_gets_piece_by_piece() -> None:
    """What a client does not take yet is not copied to where it waits."""
    asyncio.run(read_slowly())


async def read_slowly() -> None:
    written, goes_on = [], asyncio.Event()

    class Writer:
        async def write(self, piece: bytes) -> None:
            written.append(piece)
            await goes_on.wait()

    body = Pieces([b"ab", b"cd"], "text/plain")
    assert (body.size, body.decode()) == (4, "abcd")
    writing = asyncio.create_task(body.write(Writer()))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert written == [b"ab"]
    goes_on.set()
    await writing
    assert written == [b"ab", b"cd"]
