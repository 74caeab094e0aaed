"""Kafka that asks who a client is: every client of ours says so, and nobody else gets in."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs

import grpc
import pytest

from tests.harness.client import Client, eventually, request
from tests.harness.cluster import SHORT_WINDOWS, BenchError, Cluster
from tests.harness.kafka import PASSWORD, USER, SecureKafka, unsecured_token

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
TLS, SASL = "STRETTO_KAFKA__TLS__", "STRETTO_KAFKA__SASL__"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with SecureKafka(tmp_path_factory.mktemp("secure")) as running:
        yield running


class TokenEndpoint:
    """Gives a token to the client that it knows."""

    def __init__(self) -> None:
        asked = self.asked = list[Any]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name is BaseHTTPRequestHandler's
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                asked.append((self.headers["Authorization"], form))
                body = json.dumps({"access_token": unsecured_token(30), "token_type": "Bearer", "expires_in": 30})
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    made = TokenEndpoint()
    yield made
    made.close()


def ways(secure: SecureKafka, endpoint: TokenEndpoint, folder: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """The listener, and the settings."""
    mine = secure.authority.issue("stretto")
    password, token = folder / "password", folder / "token"
    password.write_text(PASSWORD + "\n")
    token.write_text(unsecured_token())
    trusts = {f"{TLS}ENABLED": "true", f"{TLS}CA_FILE": str(secure.authority.cert)}
    user = {f"{SASL}USERNAME": USER, f"{SASL}PASSWORD": PASSWORD}
    oauth = {f"{SASL}MECHANISM": "OAUTHBEARER"}
    asks = {
        f"{SASL}OAUTH2__TOKEN_URL": endpoint.url,
        f"{SASL}OAUTH2__CLIENT_ID": "id",
        f"{SASL}OAUTH2__CLIENT_SECRET": "s",
    }
    return {
        "plain": ("sasl", {**user, f"{SASL}MECHANISM": "PLAIN"}),
        "scram over tls": (
            "sasl_tls",
            {
                **trusts,
                f"{SASL}USERNAME": USER,
                f"{SASL}PASSWORD_FILE": str(password),
                f"{SASL}MECHANISM": "SCRAM-SHA-256",
            },
        ),
        "scram 512, not verified": (
            "sasl_tls",
            {
                **user,
                f"{TLS}ENABLED": "true",
                f"{TLS}INSECURE_SKIP_VERIFY": "true",
                f"{SASL}MECHANISM": "SCRAM-SHA-512",
            },
        ),
        "client certificate": ("tls", {**trusts, f"{TLS}CERT_FILE": str(mine.cert), f"{TLS}KEY_FILE": str(mine.key)}),
        "token file": ("sasl", {**oauth, f"{SASL}TOKEN_FILE": str(token)}),
        "token endpoint": ("sasl_tls", {**trusts, **oauth, **asks, f"{SASL}OAUTH2__SCOPES": "a b"}),
    }


@pytest.mark.parametrize(
    "way",
    ["plain", "scram over tls", "scram 512, not verified", "client certificate", "token file", "token endpoint"],
)
def test_ways_in(secure: SecureKafka, endpoint: TokenEndpoint, tmp_path: Path, way: str) -> None:
    """Receivers write, consumer groups read, the leader of the compactors is found: nothing of ours stays outside. No
    secret is in the log or in /status/config.
    """
    listener, settings = ways(secure, endpoint, tmp_path)[way]
    name = way.replace(" ", "-").replace(",", "")
    settings |= {
        "KAFKA_URL": secure.addresses[listener],
        "STRETTO_KAFKA__CONSUMER_GROUP_PREFIX": name,
        "STRETTO_KAFKA__TOPIC": f"{name}-spans",
        "STRETTO_KAFKA__OTLP_TOPIC": f"{name}-otlp",
        "STRETTO_KAFKA__COMPACTION_TOPIC": f"{name}-jobs",
    }
    with Cluster(tmp_path, SHORT_WINDOWS | settings) as running:
        client = Client(running)
        client.send(request("svc", 3, 2))
        eventually(lambda: client.span_count("svc"), lambda count: count == 6)
        for role in ("live-store", "distributor", "compactor"):
            eventually(lambda role=role: running_role(client, role), lambda found: found == "Running")  # type: ignore[misc]
        shown = client.text("/status/config") + running.log.read_text()
        for log in running.data_dir.glob("logs/*.log"):
            shown += log.read_text()
    for secret in (PASSWORD, unsecured_token()[:60], "eyJhbGciOi"):
        assert secret not in shown
    if way == "token endpoint":
        assert endpoint.asked[0] == ("Basic aWQ6cw==", {"grant_type": ["client_credentials"], "scope": ["a b"]})
        assert len(endpoint.asked) < 8, "a token is used until it is nearly over"


def test_tokens_that_end(secure: SecureKafka, tmp_path: Path) -> None:
    """Kafka cuts connections off whose token is over; the file has the next one, and everything goes on."""
    token = tmp_path / "token"
    names = {"TOPIC": "ending-spans", "OTLP_TOPIC": "ending-otlp", "COMPACTION_TOPIC": "ending-jobs"}
    settings = {
        "KAFKA_URL": secure.addresses["sasl"],
        f"{SASL}MECHANISM": "OAUTHBEARER",
        f"{SASL}TOKEN_FILE": str(token),
        "STRETTO_KAFKA__CONSUMER_GROUP_PREFIX": "ending",
        **{f"STRETTO_KAFKA__{name}": value for name, value in names.items()},
    }
    over, good_for_s = Event(), 12.0

    def renew() -> None:
        while not over.wait(2.0):
            written = token.with_suffix(".new")
            written.write_text(unsecured_token(good_for_s))
            written.replace(token)

    token.write_text(unsecured_token(good_for_s))
    renewing = Thread(target=renew)
    renewing.start()
    try:
        with Cluster(tmp_path, SHORT_WINDOWS | settings) as running:
            client = Client(running)
            for turn in range(1, 5):
                eventually(lambda turn=turn: sent(client, turn), bool)  # type: ignore[misc]
                client.expect_spans("svc", 2 * turn)
                over.wait(good_for_s / 2)  # the time that a token has is what is tested
            assert client.metric("stretto_consumer_rebuilds_total") == 0
    finally:
        over.set()
        renewing.join()


def sent(client: Client, trace: int) -> bool:
    """Whether the spans were taken. A client may send again what was refused."""
    try:
        client.send(request("svc", 1, 2, trace))
    except grpc.RpcError:
        return False
    return True


def running_role(client: Client, role: str) -> str:
    """The state of a role, as /status/services has it."""
    line = next(line for line in client.text("/status/services").splitlines() if role in line)
    return "Running" if "Running" in line else line


@pytest.mark.parametrize(
    ("listener", "settings", "said"),
    [
        ("sasl", {f"{SASL}USERNAME": USER, f"{SASL}PASSWORD": "wrong", f"{SASL}MECHANISM": "PLAIN"}, "does not let"),
        (
            "sasl",
            {f"{SASL}USERNAME": USER, f"{SASL}PASSWORD": "wrong", f"{SASL}MECHANISM": "SCRAM-SHA-256"},
            "does not let",
        ),
        ("tls", {f"{TLS}ENABLED": "true"}, "is not accepted"),
    ],
)
def test_not_let_in(secure: SecureKafka, tmp_path: Path, listener: str, settings: dict[str, str], said: str) -> None:
    """It ends at once, and says which settings to look at."""
    with pytest.raises(BenchError, match=said) as failed:
        Cluster(tmp_path, {**settings, "KAFKA_URL": secure.addresses[listener]}).__enter__()
    assert "kafka.sasl" in str(failed.value) or "kafka.tls" in str(failed.value)
