"""How somebody with a token of tenant acme may try to be another one."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

from app.api.backend import TraceAnswer
from tests.helpers.querying.api import FakeBackend, spans

LONG = "beta" * 2560
OTHERS: list[bytes] = [
    *(name.encode() for name in ("beta", "ACME", "Acme", "acme/", "acme/../beta", "../beta", "..", ".", "*", "", "ä")),
    *(
        name.encode()
        for name in ("acme|beta", "beta|acme", "|", "acme,beta", "acme beta", "%62eta", LONG, "acme\u202ebeta")
    ),
    b"acme\0beta",
    b"\xff\xfe",
]


def backend() -> FakeBackend:
    return FakeBackend(answer=TraceAnswer(spans(), complete=True, message=""))


async def raw(
    base: str, method: str, path: str, org: bytes | None, body: str = "", token: str = "a1"
) -> tuple[int, bytes]:
    """Status and body; whatever bytes the header has."""
    where = urlsplit(base)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    head = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}"]
    head += [f"Authorization: Bearer {token}", "If-Match: 1"]
    lines = [line.encode() for line in head] + ([] if org is None else [b"X-Scope-OrgID: " + org])
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body.encode())
    found = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    top, _, rest = found.partition(b"\r\n\r\n")
    return int(top.split(b" ", 2)[1]), rest
