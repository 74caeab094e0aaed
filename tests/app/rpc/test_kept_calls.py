"""Conversations that are kept for the next question: none is mixed up with another, none outlives its secrets."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.rpc.client import KEPT_MAX, InternalClient
from app.rpc.conversation import Conversation, PeerGone
from app.rpc.frames import RpcFrame
from app.rpc.security import InternalSecurity
from app.rpc.server import AskedAgain, InternalServer
from app.settings.sections.server import Server
from query.request_json import BadRequest
from tests.helpers.loops import in_loop


class Teller:
    """Answers a question with its own name; `fail` is an error, `hang` is never answered."""

    def __init__(self) -> None:
        self.conversations: list[Conversation] = []
        self.given_up = asyncio.Event()

    async def answer(self, conversation: Conversation) -> None:
        self.conversations.append(conversation)
        frame = await conversation.receive()
        if frame.name == "fail":
            raise BadRequest("as asked")
        if frame.name == "hang":
            try:
                await asyncio.sleep(60)
            finally:
                self.given_up.set()
        await conversation.send(frame)

    @property
    def calls(self) -> int:
        return len(set(map(id, self.conversations)))


@asynccontextmanager
async def there(settings: Server | None = None) -> AsyncIterator[tuple[Teller, InternalServer, InternalClient]]:
    settings, teller = settings or Server(), Teller()
    server = InternalServer(settings, InternalSecurity(settings), {"Tell": AskedAgain(teller.answer)}, port=0)
    client = InternalClient(InternalSecurity(settings), 1 << 20)
    await server.start()
    try:
        yield teller, server, client
    finally:
        await client.close()
        await server.stop()


async def told(client: InternalClient, address: str, name: str) -> str:
    with client.kept_call(address, "Tell") as conversation:
        await conversation.send(RpcFrame(name))
        reply = await conversation.receive()
        conversation.over()
        return reply.name


@in_loop
async def test_one_call_for_many_questions() -> None:
    """One after the other; as many calls as questions at once, of which some are kept."""
    async with there() as (teller, server, client):
        for n in range(20):
            assert await told(client, server.address, f"q{n}") == f"q{n}"
        assert teller.calls == 1
        names = [f"at once {n}" for n in range(2 * KEPT_MAX)]
        assert list(await asyncio.gather(*(told(client, server.address, name) for name in names))) == names
        (kept,) = client._kept.values()
        assert len(kept) <= KEPT_MAX


@in_loop
async def test_what_was_given_up_is_not_used_again() -> None:
    """The answer that may still come would be taken for that of the next question."""
    async with there() as (teller, server, client):
        with client.kept_call(server.address, "Tell") as conversation:
            await conversation.send(RpcFrame("hang"))
            await asyncio.sleep(0.05)
        await asyncio.wait_for(teller.given_up.wait(), 5)
        assert await told(client, server.address, "next") == "next"
        with pytest.raises(BadRequest):
            await told(client, server.address, "fail")
        assert await told(client, server.address, "after") == "after"
        assert teller.calls == 3  # "fail" came in that of "next"


@in_loop
async def test_a_server_that_stops_waits_for_no_question() -> None:
    """Kept calls end at once; whoever asks in one hears that nobody is there."""
    async with there() as (_, server, client):
        await told(client, server.address, "x")
        began_s = time.monotonic()
        await server.stop()
        assert time.monotonic() - began_s < 0.5
        await asyncio.sleep(0.05)
        with pytest.raises(PeerGone):
            await told(client, server.address, "y")


@in_loop
async def test_new_secrets_need_new_calls(tmp_path: Path) -> None:
    """What was kept with a token that is not sent any more is closed."""
    path = tmp_path / "token"
    path.write_text("a first token of the cluster\n")
    async with there(Server(internal_token_file=str(path))) as (teller, server, client):
        await told(client, server.address, "x")
        path.write_text("a second token of the cluster\na first token of the cluster\n")
        for security in (server._security, client._security):
            security.use(security.load())
        await told(client, server.address, "y")
        assert teller.calls == 2
        assert len(client._kept) == 1
