"""CORS: what a browser is told, as the OpenTelemetry Collector tells it."""

import asyncio
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from app.net.access import Access
from app.net.cors import Cors
from app.receivers.http_body import BodyLimits
from app.receivers.otlp.http import build_http_receiver
from app.settings import Settings
from tests.helpers.receiving.receivers import FakeBatcher

APP = "https://app.example.com"


def asked(cors: Cors | None, method: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    async def main() -> tuple[int, dict[str, str]]:
        app = build_http_receiver(FakeBatcher(), Access(multitenancy=False), BodyLimits(1000, 1000), cors=cors)  # type: ignore[arg-type]
        async with TestClient(TestServer(app)) as client:
            reply = await client.request(
                method, "/v1/traces", data=b"{}" if method == "POST" else None, headers=headers
            )
            return reply.status, dict(reply.headers)

    return asyncio.run(main())


def preflight(cors: Cors | None, origin: str, headers: str = "content-type", method: str = "POST") -> Any:
    asking = {"Origin": origin, "Access-Control-Request-Method": method}
    return asked(cors, "OPTIONS", asking | ({"Access-Control-Request-Headers": headers} if headers else {}))


@pytest.mark.parametrize(
    ("allowed", "origin", "good"),
    [
        ([APP], APP, True),
        ([APP], "https://APP.example.com", True),
        ([APP], "http://app.example.com", False),
        ([APP], f"{APP}.evil.com", False),
        (["https://*.example.com"], APP, True),
        (["https://*.example.com"], "https://a.b.example.com", True),
        (["https://*.example.com"], "https://example.com", False),
        (["https://*.example.com"], "https://evilexample.com", False),
        (["https://*.example.com"], "https://x.exampleXcom", False),
        (["http://localhost:*"], "http://localhost:3000", True),
        ([APP, "*"], "https://anything", True),
    ],
)
def test_origins(allowed, origin, good):
    """A star stands for any text, nothing else does; who is not allowed may not read the answer either."""
    cors = Cors(allowed)
    status, got = preflight(cors, origin)
    shown = "*" if "*" in allowed else origin
    assert (status, got.get("Access-Control-Allow-Origin")) == ((204, shown) if good else (403, None))
    status, got = asked(cors, "POST", {"Origin": origin, "Content-Type": "application/json"})
    assert (status, got.get("Access-Control-Allow-Origin")) == (200, shown if good else None)
    assert ("Origin" in got.get("Vary", "")) == ("*" not in allowed)
    assert got.get("Access-Control-Allow-Credentials") == ("true" if good and "*" not in allowed else None)


def test_headers_and_age():
    """Those that are set, and those that need not be."""
    cors = Cors([APP], ["X-Scope-OrgID"], 600)
    status, got = preflight(cors, APP, "content-type, x-scope-orgid")
    assert status == 204
    assert got["Access-Control-Allow-Headers"] == "content-type, x-scope-orgid"
    assert got["Access-Control-Allow-Methods"] == "POST"
    assert got["Access-Control-Max-Age"] == "600"
    assert preflight(cors, APP, "authorization")[0] == 403
    assert preflight(cors, APP, "x-requested-with")[0] == 403
    assert preflight(Cors([APP]), APP, "X-Requested-With")[0] == 204  # as the Collector has it
    assert preflight(Cors([APP]), APP, "x-scope-orgid")[0] == 403
    assert preflight(cors, APP, "", "DELETE")[0] == 403
    status, got = preflight(Cors([APP], ["*"]), APP, "authorization,x-y")
    assert (status, got["Access-Control-Allow-Headers"]) == (204, "authorization, x-y")
    assert "Access-Control-Max-Age" not in got
    assert asked(cors, "OPTIONS", {"Origin": APP})[0] == 405


def test_refusals_can_be_read():
    """A page learns why it was refused."""
    status, got = asked(Cors([APP]), "POST", {"Origin": APP, "Content-Type": "text/plain"})
    assert (status, got["Access-Control-Allow-Origin"]) == (415, APP)


def test_off():
    """Without the setting nothing is told to browsers."""
    status, got = preflight(None, APP)
    assert (status, "Access-Control-Allow-Origin" in got) == (405, False)


def test_settings():
    """The Collector's names; wrong ones are told."""
    cors = {"allowed_origins": "https://*.example.com, http://x", "allowed_headers": ["*"], "max_age": 5}

    def load(**changed: Any) -> Any:
        http = {"cors": cors | changed}
        tree = {"distributor": {"receivers": {"otlp": {"protocols": {"http": http}}}}}
        return Settings.model_validate(tree).distributor.receivers.otlp.protocols.http.cors

    assert load().allowed_headers == ("*",)
    for wrong in ("example.com", "https://x/path", ""):
        with pytest.raises(ValueError, match="origin"):
            load(allowed_origins=[wrong])
    with pytest.raises(ValueError, match="header"):
        load(allowed_headers=["a b"])
