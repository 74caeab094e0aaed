"""What all clients of Kafka are made with: TLS that is renewed, secrets from files, tokens of OAUTHBEARER."""

import asyncio
import json
import os
import socket
import ssl
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import faust
import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from agents.stream import kafka_tokens
from agents.stream.faust_credentials import credentials
from agents.stream.kafka_client import KafkaClient, Sasl
from agents.stream.kafka_tls import KafkaTls
from agents.stream.kafka_tokens import ClientCredentials, EndpointTokens, FileTokens, NoToken, read_secret
from app.errors import StrettoError
from app.process.kafka import kafka_client
from app.settings import Settings
from tests.helpers.tls import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("kafka") / "ours", "ours")


def made(**kafka: Any) -> KafkaClient:
    return kafka_client(Settings.model_validate({"kafka": kafka}).kafka)


PASSWORD = {"mechanism": "SCRAM-SHA-512", "username": "u", "password": "hush"}


@pytest.mark.parametrize(
    ("sasl", "tls", "protocol", "mechanism"),
    [
        ({}, {}, "PLAINTEXT", None),
        ({}, {"enabled": True}, "SSL", None),
        (PASSWORD, {}, "SASL_PLAINTEXT", "SCRAM-SHA-512"),
        (PASSWORD | {"mechanism": "PLAIN"}, {"enabled": True}, "SASL_SSL", "PLAIN"),
        ({"mechanism": "OAUTHBEARER", "token_file": "TOKEN"}, {"enabled": True}, "SASL_SSL", "OAUTHBEARER"),
    ],
)
def test_faust_and_aiokafka_get_the_same(
    sasl: dict[str, Any], tls: dict[str, Any], protocol: str, mechanism: str | None, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("a.b.\n")
    sasl = {key: str(token) if value == "TOKEN" else value for key, value in sasl.items()}
    client = made(sasl=sasl, tls=tls, address=["a:1", "b:2"])
    arguments = client.arguments()
    assert arguments.pop("bootstrap_servers") == ["a:1", "b:2"]
    assert (arguments["security_protocol"], arguments.get("sasl_mechanism")) == (protocol, mechanism)
    of_faust = dict(credentials_to_aiokafka_auth(credentials(client)))
    assert of_faust == {key: value for key, value in arguments.items() if value is not None or key in of_faust}
    assert "hush" not in repr(client) + repr(credentials(client))


def test_a_new_password_is_for_new_clients(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("old\n")
    client = made(sasl={"mechanism": "PLAIN", "username": "u", "password_file": str(file)})
    of_faust = credentials(client)
    file.write_text("new\n")
    assert client.arguments()["sasl_plain_password"] == "new"
    assert credentials_to_aiokafka_auth(of_faust)["sasl_plain_password"] == "new"
    assert isinstance(of_faust, faust.SASLCredentials)


@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        ({"sasl": {"mechanism": "PLAIN", "username": "u", "password_file": "/no/such"}}, "/no/such cannot be read"),
        ({"sasl": {"mechanism": "OAUTHBEARER", "token_file": "/no/such"}}, "/no/such cannot be read"),
        ({"tls": {"enabled": True, "ca_file": "/no/such"}}, "/no/such cannot be used"),
        ({"tls": {"enabled": True, "cert_file": "/no/c", "key_file": "/no/k"}}, "/no/c cannot be used"),
    ],
)
def test_files_that_are_not_there(kafka: dict[str, Any], said: str) -> None:
    """The process does not start, and says which file."""
    with pytest.raises(StrettoError, match=said):
        made(**kafka)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> str:
    """The common name that the server sees of the client, over a socket."""
    ours, theirs = socket.socketpair()
    seen: list[Any] = []

    def serve() -> None:
        with server.wrap_socket(theirs, server_side=True) as stream:
            stream.recv(1)
            seen.append(stream.getpeercert())

    async def connect() -> None:
        _, writer = await asyncio.open_connection(sock=ours, ssl=client, server_hostname="127.0.0.1")
        writer.write(b"x")
        await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    thread = Thread(target=serve)
    thread.start()
    asyncio.run(connect())
    thread.join(10)
    return str(dict(pair for group in seen[0]["subject"] for pair in group)["commonName"])


def test_certificates_are_renewed(authority: Authority, tmp_path: Path) -> None:
    """The next connection shows the new one; half of a pair, or no certificate at all, changes nothing."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.cert))
    server.load_cert_chain(*authority.issue("broker"))
    server.verify_mode = ssl.CERT_REQUIRED
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def put(name: str, *, whole: bool = True) -> None:
        pair = authority.issue(name)
        cert.write_bytes(pair.cert.read_bytes())
        if whole:
            key.write_bytes(pair.key.read_bytes())
        moved = cert.stat().st_mtime_ns + 10**9
        os.utime(cert, ns=(moved, moved))

    put("first")
    client = KafkaTls.of(ca_file=str(authority.cert), cert_file=str(cert), key_file=str(key))
    assert handshake(client, server) == "first"
    put("second")
    assert handshake(client, server) == "second"
    put("third", whole=False)
    assert handshake(client, server) == "second"
    cert.unlink()
    assert handshake(client, server) == "second"
    put("fourth")
    assert handshake(client, server) == "fourth"


def test_names_of_brokers(authority: Authority) -> None:
    """The broker's certificate must have its host's name, or the one of the settings, or nobody looks."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.cert))
    server.load_cert_chain(*authority.issue("broker"))
    pair = authority.issue("client")
    server.verify_mode = ssl.CERT_REQUIRED
    files = {"ca_file": str(authority.cert), "cert_file": str(pair.cert), "key_file": str(pair.key)}
    assert handshake(KafkaTls.of(**files, server_name="127.0.0.1"), server) == "client"
    assert handshake(KafkaTls.of(**{**files, "ca_file": ""}, verify=False, server_name="other"), server) == "client"
    context = KafkaTls.of(**files, server_name="other.example")
    made_of = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="127.0.0.1")
    assert made_of.server_hostname == "other.example"


class Endpoint:
    """A token endpoint. Each answer is a status and a body."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        left, self.asked = list(answers), 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.asked += 1
                status, body = left.pop(0)
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/token?x=hush"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def tokens(self) -> EndpointTokens:
        return EndpointTokens(ClientCredentials(self.url, "id", lambda: "hush"), {"logicalCluster": "lkc"})


async def several(tokens: EndpointTokens, count: int) -> list[str]:
    return [await tokens.token() for _ in range(count)]


def test_a_token_is_used_until_it_is_nearly_over() -> None:
    endpoint = Endpoint(
        (200, {"access_token": "long", "expires_in": 3600}),
        (200, {"access_token": "short", "expires_in": 5}),
        (200, {"access_token": "next", "expires_in": "not a number"}),
    )
    tokens = endpoint.tokens()
    assert asyncio.run(several(tokens, 3)) == ["long"] * 3
    tokens._known = ("", 0.0)
    assert asyncio.run(several(tokens, 3)) == ["short", "next", "next"]
    assert tokens.extensions() == {"logicalCluster": "lkc"}
    endpoint.server.shutdown()
    endpoint.server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"error": "invalid_client"}, "status 401"),
        (302, b"", "status 302"),
        (200, b"<html>", "gives no token"),
        (200, {"token": "x"}, "no access_token"),
        (200, {"access_token": "a\nb"}, "no access_token"),
        (200, ["x"], "no access_token"),
    ],
)
def test_no_token(status: int, body: Any, said: str) -> None:
    """The text says why, without the secret."""
    endpoint = Endpoint((status, body))
    with pytest.raises(NoToken, match=said) as failed:
        asyncio.run(endpoint.tokens().token())
    assert "hush" not in str(failed.value)
    endpoint.server.shutdown()
    endpoint.server.server_close()


def test_no_token_endpoint_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_tokens, "_ANSWER_S", 1.0)
    with pytest.raises(NoToken, match="gives no token"):
        asyncio.run(EndpointTokens(ClientCredentials("http://127.0.0.1:9/t", "id", str), {}).token())


def test_token_file(tmp_path: Path) -> None:
    """Read for each connection."""
    file = tmp_path / "token"
    file.write_text("one\n")
    tokens = FileTokens(str(file), {})
    assert asyncio.run(tokens.token()) == "one"
    file.write_text("two")
    assert asyncio.run(tokens.token()) == "two"
    for bad in ("", "a\nb", "\x00"):
        file.write_text(bad)
        with pytest.raises(NoToken, match="one line of text"):
            read_secret(str(file))


def test_nobody_there() -> None:
    """The first broker that answers counts; of none the error of the last one is told."""
    with pytest.raises(OSError, match="Connect call failed"):
        asyncio.run(KafkaClient(("127.0.0.1:9", "127.0.0.1:9")).reach())
    with pytest.raises(OSError, match="no brokers"):
        asyncio.run(KafkaClient(()).reach())
    with pytest.raises(OSError, match="/no/such"):
        asyncio.run(KafkaClient(("127.0.0.1:9",), None, Sasl("PLAIN", "u", lambda: read_secret("/no/such"))).reach())
