"""The internal server: who is let in, what is limited, and what ends with what."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from app.errors import SettingsError, StrettoError
from app.rpc.client import InternalClient
from app.rpc.conversation import Conversation, PeerGone
from app.rpc.frames import BadFrame, RpcFrame
from app.rpc.security import InternalSecurity, new_token
from app.rpc.server import InternalServer, path_of
from app.settings.sections.server import Server, Tls
from query.request_json import BadRequest
from tests.helpers.loops import in_loop
from tests.helpers.tls import Authority

TOKEN = "a-token-of-the-cluster"


async def echo(conversation: Conversation) -> None:
    """Says everything twice; `fail` is an error."""
    while True:
        frame = await conversation.receive()
        if frame.name == "fail":
            raise BadRequest("as asked")
        for _ in range(2):
            await conversation.send(frame)


@asynccontextmanager
async def served(settings: Server, handler: Any = echo) -> AsyncIterator[InternalServer]:
    server = InternalServer(settings, InternalSecurity(settings), {"Echo": handler}, port=0)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def client_of(settings: Server, bytes_max: int = 1 << 20) -> AsyncIterator[InternalClient]:
    client = InternalClient(InternalSecurity(settings), bytes_max)
    try:
        yield client
    finally:
        await client.close()


async def said_twice(client: InternalClient, address: str, frame: RpcFrame) -> None:
    with client.call(address, "Echo") as conversation:
        await conversation.send(frame)
        assert [await conversation.receive(), await conversation.receive()] == [frame, frame]


def token_file(folder: Path, *tokens: str, name: str = "token") -> Server:
    (folder / name).write_text("\n".join(tokens) + "\n")
    return Server(internal_token_file=str(folder / name))


@in_loop
async def test_conversation() -> None:
    """Frames of any size in both directions; errors end it; what is too large is refused."""
    async with served(Server()) as server, client_of(Server()) as client:
        for size in (0, 100, 900_000):
            await said_twice(client, server.address, RpcFrame("x", {"a": [1, None]}, bytes(size)))
        with client.call(server.address, "Echo") as conversation:
            await conversation.send(RpcFrame("fail"))
            with pytest.raises(BadRequest, match="as asked"):
                await conversation.receive()
            with pytest.raises(PeerGone):
                await conversation.receive()
        with pytest.raises(BadFrame, match="internal_message_bytes_max"):
            await said_twice(client, server.address, RpcFrame("x", {}, bytes(2 << 20)))
        with client.call(server.address, "Other") as conversation, pytest.raises(PeerGone, match="UNIMPLEMENTED"):
            await conversation.receive()
    async with client_of(Server()) as client:
        with pytest.raises(PeerGone, match="UNAVAILABLE"):
            await said_twice(client, server.address, RpcFrame("x"))


@pytest.mark.parametrize(
    ("here", "there", "lets_in"),
    [
        ([TOKEN], [TOKEN], True),
        ([TOKEN, "another-token-of-ours"], ["another-token-of-ours", TOKEN], True),
        ([TOKEN], [TOKEN + "x"], False),
        ([TOKEN], [], False),
        ([], [TOKEN], True),
    ],
)
@in_loop
async def test_token(
    tmp_path: Path, here: list[str], there: list[str], lets_in: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Only who shows one of the tokens; the first of a file is shown, all are taken. The log names who does not."""
    server_settings = token_file(tmp_path, *here, name="here") if here else Server()
    client_settings = token_file(tmp_path, *there, name="there") if there else Server()
    async with served(server_settings) as server, client_of(client_settings) as client:
        if lets_in:
            await said_twice(client, server.address, RpcFrame("x"))
        else:
            with pytest.raises(PeerGone, match="UNAUTHENTICATED"):
                await said_twice(client, server.address, RpcFrame("x"))
    refusals = [one.getMessage() for one in caplog.records if one.name == "app.rpc.server"]
    assert [one.startswith("a call from ipv4:127.0.0.1:") for one in refusals] == ([] if lets_in else [True])


@in_loop
async def test_token_is_changed(tmp_path: Path) -> None:
    """While processes run: read again, it counts at once."""
    settings = token_file(tmp_path, TOKEN)
    security = InternalSecurity(settings)
    server = InternalServer(settings, security, {"Echo": echo}, port=0)
    await server.start()
    async with client_of(settings) as client:
        await said_twice(client, server.address, RpcFrame("x"))
        token_file(tmp_path, "the-new-token-of-ours")
        security.use(security.load())
        with pytest.raises(PeerGone, match="UNAUTHENTICATED"):
            await said_twice(client, server.address, RpcFrame("x"))
    await server.stop()


@in_loop
async def test_mutual_tls(tmp_path: Path) -> None:
    """Only with a certificate of the cluster's authority, on both sides."""
    ours, others = Authority(tmp_path / "ours", "ours"), Authority(tmp_path / "others", "others")
    own = with_tls(ours, "node")
    async with served(own) as server:
        async with client_of(own) as client:
            await said_twice(client, server.address, RpcFrame("x"))
        for stranger in (Server(), with_tls(others, "node")):
            async with client_of(stranger) as client:
                with pytest.raises(PeerGone):
                    await said_twice(client, server.address, RpcFrame("x"))


def with_tls(authority: Authority, name: str) -> Server:
    cert, key = authority.issue(name)
    tls = Tls(cert_file=str(cert), key_file=str(key), client_ca_file=str(authority.cert))
    return Server(internal_tls_config=tls)


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "::", "node-1"])
def test_nobody_listens_to_all_unless_told(tmp_path: Path, address: str) -> None:
    """Beyond the loopback only with a token or certificates."""
    with pytest.raises(SettingsError, match=r"grpc_listen_address.*internal_token_file"):
        InternalSecurity(Server(grpc_listen_address=address))
    settings = token_file(tmp_path, TOKEN)
    InternalSecurity(settings.model_copy(update={"grpc_listen_address": address}))
    for loopback in ("127.0.0.1", "::1", "localhost"):
        InternalSecurity(Server(grpc_listen_address=loopback))


@pytest.mark.parametrize("text", ["", "short", "with spaces?\x00and-more-of-it", "ümlaute-sind-keine-tokens"])
def test_bad_token_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(SettingsError, match=r"internal_token_file"):
        InternalSecurity(Server(internal_token_file=str(tmp_path / "token")))
    with pytest.raises(SettingsError, match="cannot read"):
        InternalSecurity(Server(internal_token_file=str(tmp_path / "missing")))
    assert len(new_token()) > 32


@in_loop
async def test_limits() -> None:
    """Of calls, and of processes that call."""
    waiting = asyncio.Event()

    async def wait(_: Conversation) -> None:
        waiting.set()
        await asyncio.sleep(60)

    settings = Server(internal_calls_max=1)
    async with served(settings, wait) as server, client_of(settings) as client:
        with client.call(server.address, "Echo") as first:
            await first.send(RpcFrame("x"))
            await asyncio.wait_for(waiting.wait(), 5)
            with client.call(server.address, "Echo") as second, pytest.raises(PeerGone, match="RESOURCE_EXHAUSTED"):
                await second.receive()
    waiting.clear()
    settings = Server(internal_connections_max=1)
    async with served(settings, wait) as server, client_of(settings) as client:
        with client.call(server.address, "Echo") as first:
            await first.send(RpcFrame("x"))
            await asyncio.wait_for(waiting.wait(), 5)
            options = [("grpc.use_local_subchannel_pool", 1)]
            async with grpc.aio.insecure_channel(server.address, options) as channel:
                call = channel.stream_stream(path_of("Echo"))()
                with pytest.raises(grpc.aio.AioRpcError, match="internal_connections_max"):
                    await call.read()


@in_loop
async def test_what_is_done_for_a_caller_ends_with_it() -> None:
    """Also where it is only waited for."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait(_: Conversation) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with served(Server(), wait) as server, client_of(Server()) as client:
        with client.call(server.address, "Echo") as conversation:
            await conversation.send(RpcFrame("x"))
            await asyncio.wait_for(began.wait(), 5)
        await asyncio.wait_for(ended.wait(), 5)


@in_loop
async def test_the_port_is_taken() -> None:
    """The error names the settings."""
    async with served(Server()) as server:
        port = int(server.address.rpartition(":")[2])
        again = InternalServer(Server(), InternalSecurity(Server()), {}, port=port)
        with pytest.raises(StrettoError, match=r"server\.grpc_listen_port"):
            await again.start()
