"""TLS of the OTLP receivers and the query API, with real clients; certificates and tokens that change on disk."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from app.errors import StrettoError
from app.net.access import ANY_TENANT, Access, load_credentials
from app.net.file_watch import RELOADS, FileWatch
from app.net.tls import TlsFiles, tls_context
from app.receivers.otlp.export import EXPORT
from app.settings import Settings
from app.standalone.ports import Listener
from app.standalone.run import wait_ready
from app.targets.query_server import QueryServer
from tests.harness.ports import own_ports
from tests.helpers.querying.api import FakeBackend, in_auth_file
from tests.helpers.querying.shared_port import ask_grpc
from tests.helpers.tls import POLL_S, Authority, Pair, in_settings, receiving


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "theirs", "theirs")


def some_span() -> ReadableSpan:
    span = TracerProvider().get_tracer("test").start_span("a")
    span.end()
    assert isinstance(span, ReadableSpan)
    return span


def test_exporters_of_the_sdk(authority, monkeypatch):
    """OpenTelemetry's exporters, over gRPC and HTTP, with the server's authority and nothing else."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they would count instead
        monkeypatch.delenv(name, raising=False)

    async def use(grpc_at, http_at):
        over_grpc = GrpcExporter(
            f"https://{grpc_at}", credentials=grpc.ssl_channel_credentials(authority.cert.read_bytes())
        )
        over_http = HttpExporter(f"https://{http_at}/v1/traces", certificate_file=str(authority.cert))
        for exporter in (over_grpc, over_http):
            assert await asyncio.to_thread(exporter.export, [some_span()]) is SpanExportResult.SUCCESS
            await asyncio.to_thread(exporter.shutdown)

    assert len(receiving(use, in_settings(authority.issue("server"))).got) == 2


async def sent(grpc_at: str, ca: Path, pair: Pair | None = None) -> bool:
    """Whether a client over gRPC gets through: on a connection of its own."""
    keys = (pair.key.read_bytes(), pair.cert.read_bytes()) if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), *keys)
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.secure_channel(grpc_at, credentials, options=options) as channel:
        try:
            await channel.unary_unary(EXPORT.path)(b"", timeout=5)
        except grpc.aio.AioRpcError:
            return False
        return True


async def posted(http_at: str, ca: Path, pair: Pair | None = None) -> bool:
    """The same over HTTP."""
    context = ssl.create_default_context(cafile=str(ca))
    if pair is not None:
        context.load_cert_chain(*pair)
    headers = {"Content-Type": "application/x-protobuf"}
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(f"https://{http_at}/v1/traces", data=b"", headers=headers, ssl=context) as reply:
                return reply.status == 200
        except aiohttp.ClientError:
            return False


def test_client_certificates(authority, stranger):
    """With client_ca_file only clients with a certificate of that authority get in."""
    ours, theirs = authority.issue("client"), stranger.issue("client")

    async def use(grpc_at, http_at):
        for ask, at in ((sent, grpc_at), (posted, http_at)):
            assert await ask(at, authority.cert, ours)
            assert not await ask(at, authority.cert, theirs)
            assert not await ask(at, authority.cert)

    assert len(receiving(use, in_settings(authority.issue("server"), authority.cert)).got) == 2


def replace(pair: Pair, new: Pair) -> None:
    for old_file, new_file in zip(pair, new, strict=True):
        other = old_file.with_suffix(".new")
        other.write_bytes(new_file.read_bytes())
        other.replace(old_file)


async def becomes(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await what():
            await asyncio.sleep(POLL_S)


def test_renewed_certificate(authority, stranger, tmp_path):
    """What is new on disk counts from the next connection on; what is wrong there is not used."""
    used = Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    replace(used, authority.issue("server"))

    async def use(grpc_at, http_at):
        assert await sent(grpc_at, authority.cert)
        assert await posted(http_at, authority.cert)
        failed = RELOADS.labels("distributor.receivers.otlp.protocols.grpc.tls", "failed")
        before = failed._value.get()
        used.cert.write_text("nothing")
        async with asyncio.timeout(20):
            while failed._value.get() == before:
                await asyncio.sleep(POLL_S)
        assert await sent(grpc_at, authority.cert)
        assert await posted(http_at, authority.cert)
        replace(used, stranger.issue("server"))
        await becomes(lambda: sent(grpc_at, stranger.cert))
        await becomes(lambda: posted(http_at, stranger.cert))
        assert not await sent(grpc_at, authority.cert)
        assert not await posted(http_at, authority.cert)

    receiving(use, in_settings(used))


def test_query_api(authority, stranger, tmp_path):
    """HTTP and gRPC on the query port: client certificates, and a certificate that is renewed."""
    used = Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    replace(used, authority.issue("server"))
    client = authority.issue("client")

    async def asks(where: str, ca: Path, pair: Pair | None = client) -> bool:
        context = ssl.create_default_context(cafile=str(ca))
        if pair is not None:
            context.load_cert_chain(*pair)
        async with aiohttp.ClientSession() as session:
            try:
                async with session.get(f"https://{where}/api/echo", ssl=context) as reply:
                    return reply.status == 200
            except aiohttp.ClientError:
                return False

    async def main() -> None:
        (port,) = own_ports(1)
        where = f"127.0.0.1:{port}"
        settings = Settings.model_validate(
            {
                "server": {
                    "http_listen_address": "127.0.0.1",
                    "http_listen_port": port,
                    "http_tls_config": in_settings(used, authority.cert),
                    "file_poll_s": POLL_S,
                }
            }
        )
        server = QueryServer(settings, FakeBackend())
        await server.on_start()
        try:
            assert await asks(where, authority.cert)
            assert not await asks(where, authority.cert, None)
            assert not await asks(where, authority.cert, stranger.issue("client"))
            replace(used, stranger.issue("server"))
            await becomes(lambda: asks(where, stranger.cert))
            keys = (client.key.read_bytes(), client.cert.read_bytes())
            credentials = grpc.ssl_channel_credentials(stranger.cert.read_bytes(), *keys)
            async with grpc.aio.secure_channel(where, credentials) as channel:
                assert len(await ask_grpc(channel)) == 1
            # `stretto run` has no certificate, and goes on all the same.
            said: list[str] = []
            here = Listener("query API", "127.0.0.1", port, "PORT", tls=True, only_with_certificate=True)
            async with asyncio.timeout(20):
                await wait_ready(here, said.append)
            assert not said
        finally:
            await server.on_stop()

    asyncio.run(main())


def test_tokens_that_change(authority, tmp_path):
    """A token counts as soon as it is in the file, and no longer than it is; a wrong file changes nothing."""
    file = tmp_path / "auth.yaml"
    file.write_text(f"single-tenant: ['{in_auth_file('old')}']")
    failed = RELOADS.labels("auth_file", "failed")

    async def use(grpc_at, http_at):
        async def status(token: str) -> int:
            headers = {"Content-Type": "application/x-protobuf", "Authorization": f"Bearer {token}"}
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"http://{http_at}/v1/traces", data=b"", headers=headers) as reply,
            ):
                return reply.status

        async def code(token: str) -> str:
            async with grpc.aio.insecure_channel(grpc_at) as channel:
                try:
                    await channel.unary_unary(EXPORT.path)(b"", metadata=(("authorization", f"Bearer {token}"),))
                except grpc.aio.AioRpcError as err:
                    return err.code().name
                return "OK"

        assert [await status("old"), await status("new")] == [200, 401]
        before = failed._value.get()
        file.write_text("single-tenant: [new]")
        async with asyncio.timeout(20):
            while failed._value.get() == before:
                await asyncio.sleep(POLL_S)
        assert await status("old") == 200
        file.write_text(f"single-tenant: ['{in_auth_file('new')}']")

        async def is_new() -> bool:
            return await status("new") == 200

        await becomes(is_new)
        assert await status("old") == 401
        assert [await code("new"), await code("old")] == ["OK", "UNAUTHENTICATED"]
        file.unlink()
        async with asyncio.timeout(20):
            while failed._value.get() == before + 1:
                await asyncio.sleep(POLL_S)
        assert await status("new") == 200

    receiving(use, {}, auth_file=str(file))


def test_watch(tmp_path, caplog):
    """Files are read anew when they change, not otherwise; whatever is wrong, the next change is seen."""
    file = tmp_path / "auth.yaml"
    file.write_text(f"'{ANY_TENANT}': ['{in_auth_file('a')}']")
    access = Access(multitenancy=False, credentials=load_credentials(file))
    loads: list[float] = []

    def load() -> object:
        loads.append(time.monotonic())
        if file.read_text() == "fault":
            raise ZeroDivisionError
        return load_credentials(file)

    async def main() -> None:
        watch = FileWatch(0.01)
        watch.add("auth_file", [file], load, access.replace)
        watch.start()
        await asyncio.sleep(0.1)
        assert not loads
        for number, text in enumerate(["fault", "[", f"'{ANY_TENANT}': ['{in_auth_file('b')}']"], 1):
            file.write_text(text)
            async with asyncio.timeout(20):
                while len(loads) < number:
                    await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await watch.stop()

    asyncio.run(main())
    assert len(loads) in (3, 4, 5)  # a file may be seen half written
    access.check("Bearer b")
    assert "stays as it was" in caplog.text


@pytest.mark.parametrize(
    ("cert", "ca", "words"),
    [
        pytest.param(None, None, r"certificate .*setting\)", id="no certificate"),
        pytest.param("server", "nothing", r"authorities .*setting\.client_ca_file\)", id="no authority"),
    ],
)
def test_wrong_files(authority, tmp_path, cert, ca, words):
    """The error names the file and the setting."""
    pair = authority.issue(cert) if cert else Pair(tmp_path / "a", tmp_path / "b")
    with pytest.raises(StrettoError, match=words):
        tls_context(TlsFiles(pair.cert, pair.key, tmp_path / ca if ca else None, "setting"))
