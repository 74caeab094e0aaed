"""The server of the query API as the worker starts it: from settings, without Kafka."""

import asyncio
import hashlib
import socket
import ssl

import aiohttp
import grpc
import pytest

from app.api.proto import tempo_pb2 as pb
from app.errors import StrettoError
from app.net.access import Access
from app.receivers.grpc import GrpcReceiver
from app.receivers.otlp.export import EXPORT
from app.settings import Settings
from app.targets.query_server import QueryServer
from tests.harness.ports import own_port
from tests.helpers.querying.api import CREDENTIALS, FakeBackend
from tests.helpers.querying.shared_port import ask_grpc
from tests.helpers.receiving.receivers import FakeBatcher


def served(use, **server) -> FakeBackend:
    """Runs `use(host:port)` while the server of these settings runs."""

    async def main():
        where = {"http_listen_address": "127.0.0.1", "http_listen_port": own_port()}
        settings = Settings.model_validate({"server": where | server})
        queries = QueryServer(settings, backend)
        await queries.on_start()
        try:
            await use(f"127.0.0.1:{where['http_listen_port']}")
        finally:
            await queries.on_stop()
        assert backend.closed

    backend = FakeBackend()
    asyncio.run(main())
    return backend


def test_plain():
    """HTTP and gRPC on the port of the setting."""

    async def use(where):
        async with aiohttp.ClientSession() as session, session.get(f"http://{where}/api/echo") as reply:
            assert await reply.text() == "echo\n"
        async with grpc.aio.insecure_channel(where) as channel:
            assert len(await ask_grpc(channel)) == 1

    assert served(use).asked[0]["limit"] == 1


def test_tls_and_tokens(certificate, tmp_path):
    """Both over TLS, both with a token; whoever speaks plainly is cut."""
    cert, key = certificate
    auth = tmp_path / "auth.yaml"
    auth.write_text(f"single-tenant: ['sha256:{hashlib.sha256(b'token').hexdigest()}']\n")

    async def use(where):
        client = ssl.create_default_context(cafile=str(cert))
        headers = {"Authorization": "Bearer token"}
        async with aiohttp.ClientSession() as session:
            async with session.get(f"https://{where}/api/echo", ssl=client) as reply:
                assert reply.status == 401
            async with session.get(f"https://{where}/api/echo", ssl=client, headers=headers) as reply:
                assert reply.status == 200
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"http://{where}/api/echo")
        async with grpc.aio.secure_channel(where, grpc.ssl_channel_credentials(cert.read_bytes())) as channel:
            with pytest.raises(grpc.RpcError) as got:
                await ask_grpc(channel)
            assert got.value.code() is grpc.StatusCode.UNAUTHENTICATED
            call = channel.unary_stream("/tempopb.StreamingQuerier/Search", pb.SearchRequest.SerializeToString)
            assert [part async for part in call(pb.SearchRequest(), metadata=(("authorization", "Bearer token"),))]

    tls = {"cert_file": str(cert), "key_file": str(key)}
    assert len(served(use, http_tls_config=tls, auth_file=str(auth)).asked) == 1


@pytest.mark.parametrize(
    ("server", "words"),
    [
        pytest.param({"auth_file": "/nowhere/auth.yaml"}, "server.auth_file", id="no auth file"),
        pytest.param({"http_tls_config": {"cert_file": "a", "key_file": "b"}}, "http_tls_config", id="no certificate"),
    ],
)
def test_wrong_files(server, words):
    """The error names the setting."""
    with pytest.raises(StrettoError, match=words):
        served(None, **server)


def test_taken_port():
    """The error names the port and the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StrettoError, match=rf"{port} \(PORT\)"):
            served(None, http_listen_port=port)


def test_receiver_over_grpc():
    """OTLP over gRPC wants the same tokens."""

    async def main():
        port = own_port()
        server = GrpcReceiver(
            FakeBatcher(),
            f"127.0.0.1:{port}",
            Access(multitenancy=True, credentials=CREDENTIALS),
            EXPORT,
            message_bytes_max=1000,
        )
        await server.start()
        codes = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            export = channel.unary_unary(EXPORT.path)
            for token, org in (("Bearer a1", "acme"), ("Bearer a1", "beta"), ("Bearer nope", "acme")):
                try:
                    await export(b"", metadata=(("authorization", token), ("x-scope-orgid", org)))
                    codes.append("OK")
                except grpc.aio.AioRpcError as err:
                    codes.append(err.code().name)
        await server.stop(None)
        return codes

    assert asyncio.run(main()) == ["OK", "PERMISSION_DENIED", "UNAUTHENTICATED"]
