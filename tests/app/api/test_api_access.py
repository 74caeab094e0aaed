"""Tokens: who may ask and send, and what the others are told; what the open endpoints tell."""

import asyncio
from base64 import b64encode

import pytest
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDict

from app.errors import SettingsError
from app.net.access import Access, Forbidden, Unauthorized, load_credentials
from app.net.tenant import InvalidTenant, NoTenant
from app.receivers.http_body import BodyLimits
from app.receivers.otlp.http import build_http_receiver
from tests.helpers.querying.api import CREDENTIALS, hashed
from tests.helpers.receiving.receivers import FakeBatcher

ALL = {"*": [hashed("root")], "single-tenant": [hashed("one")]}


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "org", "want"),
    [
        pytest.param("Bearer a1", "acme", "acme", id="bearer"),
        pytest.param("bearer  a2", "acme", "acme", id="second token"),
        pytest.param("Bearer a1", None, "acme", id="the token names the tenant"),
        pytest.param(basic("acme", "a1"), None, "acme", id="basic names it"),
        pytest.param(basic("gamma", "both"), None, "gamma", id="basic chooses"),
        pytest.param(basic("gamma", "both"), "beta", "beta", id="the header goes before"),
        pytest.param("Bearer both", None, NoTenant, id="which of two"),
        pytest.param("Bearer both", "gamma", "gamma", id="one of two"),
        pytest.param("Bearer a1", "beta", Forbidden, id="another's"),
        pytest.param("Bearer a1", "../x", InvalidTenant, id="no tenant"),
        pytest.param("Bearer nope", "acme", Unauthorized, id="unknown"),
        pytest.param("Bearer ", "acme", Unauthorized, id="empty"),
        pytest.param(None, "acme", Unauthorized, id="none"),
        pytest.param("a1", "acme", Unauthorized, id="no scheme"),
        pytest.param("Basic ???", "acme", Unauthorized, id="no base64"),
        pytest.param("Basic " + b64encode(b"\xff\xfe").decode(), "acme", Unauthorized, id="no text"),
        pytest.param("Digest a1", "acme", Unauthorized, id="other scheme"),
    ],
)
def test_tenant_of_a_token(authorization, org, want):
    """The tenant, or why not."""
    access = Access(multitenancy=True, credentials=CREDENTIALS)
    if isinstance(want, str):
        assert access.tenant(authorization, org) == want
    else:
        with pytest.raises(want):
            access.tenant(authorization, org)


def test_single_tenant_and_all_tenants():
    """Without tenants the token must be of the one that there is; `*` is for all."""
    single = Access(multitenancy=False, credentials=ALL)
    assert single.tenant("Bearer one", None) == "single-tenant"
    assert single.tenant(basic("anyone", "root"), "ignored") == "single-tenant"
    with pytest.raises(Forbidden, match="multitenancy_enabled"):
        Access(multitenancy=False, credentials=CREDENTIALS).tenant("Bearer a1", None)
    many = Access(multitenancy=True, credentials=ALL)
    assert many.tenant("Bearer root", "whoever") == "whoever"
    with pytest.raises(NoTenant):
        many.tenant("Bearer root", None)


@pytest.mark.parametrize("path", ["/api/search?q={}", "/api/echo", "/status/config", "/api/nothing", "/ready/"])
def test_api_wants_a_token(ask, path):
    """Everything but /ready and /metrics is 401 without one, also what is not there, and says how to send it."""
    answer = ask(path, credentials=CREDENTIALS, multitenancy=True)
    assert answer.status == 401
    assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert ask(path, credentials=CREDENTIALS, headers={"Authorization": "Bearer nope"}).status == 401
    good = ask(path, credentials=CREDENTIALS, multitenancy=True, headers={"Authorization": "Bearer a1"})
    assert good.status in (200, 404)


def test_api_of_others(ask):
    """403 for a tenant that the token is not for."""
    headers = {"Authorization": "Bearer a1", "X-Scope-OrgID": "beta"}
    answer = ask("/api/search?q={}", credentials=CREDENTIALS, multitenancy=True, headers=headers)
    assert answer.status == 403


@pytest.mark.parametrize(
    "path", ["/api/search?q={}", "/api/traces/1", "/api/echo", "/status/config", "/nothing", "/ready"]
)
@pytest.mark.parametrize("name", ["X-Scope-OrgID", "Authorization"])
def test_repeated_headers(ask, path, name):
    """Which of them counts nobody can know: 400 on every route, also where both say the same."""
    headers = CIMultiDict([("Authorization", "Bearer a1"), ("X-Scope-OrgID", "acme"), (name, "acme")])
    answer = ask(path, credentials=CREDENTIALS, multitenancy=True, headers=headers)
    assert (answer.status, f"{name} is there 2 times" in answer.text) == (400, True)


@pytest.mark.parametrize("path", ["/ready", "/metrics"])
def test_open(ask, path):
    """Probes and scrapers need no token."""
    assert ask(path, credentials=CREDENTIALS, multitenancy=True).status == 200


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        (
            "cannot seal partition 3: [Errno 28] No space left on device: '/var/lib/my data/x'",
            "cannot seal partition 3: [Errno 28] No space left on device: …",
        ),
        (
            "IO error: While appending to file: /data/live/000012.sst: No space",
            "IO error: While appending to file: …: No space",
        ),
        ("cannot list s3://bucket/a/b, access denied", "cannot list …, access denied"),
        ("partition 1 is at offset 3 of 9 (live_store.x)", "partition 1 is at offset 3 of 9 (live_store.x)"),
    ],
)
def test_ready_tells_no_paths(ask, backend, reason, shown):
    """What is wrong, not where on this server."""
    backend.reasons = [reason]
    assert ask("/ready").text == f"{shown}\n"
    assert ask("/status/services").text == f"all: Starting\n{shown}\n"


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer a1"}, 200), ({"Authorization": "Bearer a1", "X-Scope-OrgID": "beta"}, 403)],
)
def test_receiver_over_http(headers, status):
    """The same tokens where spans are sent."""

    async def run():
        app = build_http_receiver(
            FakeBatcher(), Access(multitenancy=True, credentials=CREDENTIALS), BodyLimits(1000, 1000)
        )
        async with TestClient(TestServer(app)) as client:
            reply = await client.post("/v1/traces", headers={"Content-Type": "application/x-protobuf"} | headers)
            return reply.status, "WWW-Authenticate" in reply.headers

    assert asyncio.run(run()) == (status, status == 401)


def test_file(tmp_path):
    """Tenants and hashes; without a file nobody needs a token."""
    path = tmp_path / "auth.yaml"
    path.write_text(f"acme:\n- sha256:{hashed('a1').hex()}\n'*': [sha256:{hashed('root').hex().upper()}]\n")
    assert load_credentials(path) == {"acme": (hashed("a1"),), "*": (hashed("root"),)}
    assert load_credentials(None) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "a mapping", id="empty"),
        pytest.param("[a]", "a mapping", id="list"),
        pytest.param("a: [secret-token]", "a: expected a list", id="a token, not its hash"),
        pytest.param("a: sha256:00", "a: expected a list", id="no list"),
        pytest.param("a: []", "a: expected a list", id="no token"),
        pytest.param("7: [x]", "quote numbers", id="a number"),
        pytest.param("../a: [x]", "not a tenant's name", id="no tenant"),
        pytest.param("a: [\n", "not YAML", id="not YAML"),
        pytest.param(None, "No such file", id="not there"),
    ],
)
def test_wrong_file(tmp_path, text, words):
    """What is wrong, and where; never a token."""
    path = tmp_path / "auth.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=words) as got:
        load_credentials(path)
    assert "auth.yaml" in str(got.value)
    assert "secret-token" not in str(got.value)
