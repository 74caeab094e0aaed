"""GET /api/service-map over the real engine, and the page's own configuration."""

import json
from pathlib import Path

import pytest

from app.api.errors import TooManyRequests
from app.api.page.config import DEMO_HEADER
from app.api.page.page_config import PageConfig, ReceiverAddress
from tables.columns.in_memory import TableSource
from tests.helpers.querying.engine import Engine
from tests.helpers.querying.service_maps import CHAIN, LOAD, RANGE, ask
from tests.query.golden import load_table


@pytest.fixture(scope="module")
def found() -> dict:
    status, text = ask(Engine([TableSource(load_table(LOAD))]), f"/api/service-map?{RANGE}")
    assert status == 200, text
    return json.loads(text)


def test_services_with_what_they_take(found):
    services = {one["name"]: one for one in found["services"] if one["kind"] == "service"}
    assert set(services) == {"web", "pay", 'a "b"'}
    web, pay, other = services["web"], services["pay"], services['a "b"']
    assert (web["requests"], web["errors"], web["spans"]) == (2, 0, 3)
    assert (pay["requests"], pay["errors"], pay["errorShare"]) == (2, 1, 0.5)
    assert web["requestsPerSecond"] == pytest.approx(2 / found["rangeSeconds"])
    assert 40 <= web["p50Ms"] <= 70
    assert 90 <= web["p99Ms"] <= 135
    # It takes no requests: all of its spans count.
    assert (other["requests"], other["spans"]) == (1, 1)


def test_who_calls_whom(found):
    edges = {(one["client"], one["server"], one["kind"]): one for one in found["edges"]}
    assert set(edges) == {("web", "pay", "service"), ("pay", "postgresql", "database"), ("pay", "redis", "database")}
    assert (edges["web", "pay", "service"]["requests"], edges["web", "pay", "service"]["errors"]) == (2, 1)
    assert edges["pay", "postgresql", "database"]["p50Ms"] == pytest.approx(20, rel=0.1)
    databases = {one["name"] for one in found["services"] if one["kind"] == "database"}
    assert databases == {"postgresql", "redis"}


def test_an_empty_map():
    status, text = ask(Engine([]), f"/api/service-map?{RANGE}")
    assert (status, json.loads(text)["services"], json.loads(text)["edges"]) == (200, [], [])


def test_only_the_busiest_are_asked_whom_they_call(monkeypatch):
    from app.api.page import service_map

    monkeypatch.setattr(service_map, "SERVICES_MAX", 1)
    _, text = ask(Engine([TableSource(load_table(LOAD))]), f"/api/service-map?{RANGE}")
    body = json.loads(text)
    assert body["leftOut"] == 2
    assert {one["client"] for one in body["edges"] if one["kind"] == "service"} <= {"web", "pay"}


def test_a_map_ends_in_time(monkeypatch):
    """Where there is no time left services are left out of the edges; all of them are shown."""
    from app.api.page import service_map

    monkeypatch.setattr(service_map, "_CONNECTIONS_S", -1.0)
    _, text = ask(Engine([TableSource(load_table(LOAD))]), f"/api/service-map?{RANGE}")
    body = json.loads(text)
    assert (body["leftOut"], len([one for one in body["services"] if one["kind"] == "service"])) == (3, 3)
    assert [one for one in body["edges"] if one["kind"] == "service"] == []


def test_the_service_that_is_looked_at_comes_before_the_busiest(monkeypatch):
    """With callers and callees, two calls far, however few spans they have."""
    from app.api.page import service_map

    monkeypatch.setattr(service_map, "SERVICES_MAX", 4)
    engine = Engine([TableSource(load_table(CHAIN))])
    for around, clients in [
        ("s4", {"s2", "s3", "s4", "s5"}),
        ("", {"s0", "s1", "s2", "s3"}),
        ("none", {"s0", "s1", "s2", "s3"}),
    ]:
        _, text = ask(engine, f"/api/service-map?{RANGE}&around={around}")
        body = json.loads(text)
        assert {one["client"] for one in body["edges"]} == clients
        assert (body["leftOut"], len(body["services"])) == (3, 7)


def test_an_error_of_one_of_its_queries_is_its_own(monkeypatch):
    """Not a group of errors, which would be a fault of ours: 500."""
    engine = Engine([TableSource(load_table(LOAD))])

    async def busy(*_):
        raise TooManyRequests("8 queries are worked on and as many wait (query.concurrent_max)")

    monkeypatch.setattr(engine, "metrics_instant", busy)
    status, text = ask(engine, f"/api/service-map?{RANGE}")
    assert (status, text) == (429, "8 queries are worked on and as many wait (query.concurrent_max)")


def test_bad_times():
    assert ask(Engine([]), "/api/service-map?start=x")[0] == 400


def test_the_page_is_told_of_receivers_and_of_no_secret(tmp_path: Path):
    page = PageConfig(
        (ReceiverAddress("otlp_http", "OTLP over HTTP", "http://", "", 4318, False, "x.endpoint"),),
        receives_here=True,
        tokens=True,
        demo_switch=tmp_path / "switch",
    )
    body = json.loads(ask(Engine([]), "/api/page/config", page=page)[1])
    assert body["receivers"][0]["port"] == 4318
    assert body["tokens"] is True
    assert body["demo"] == {"allowed": True, "running": False}
    assert str(tmp_path) not in json.dumps(body)


def test_the_switch_of_the_demo(tmp_path: Path):
    page, own = PageConfig(demo_switch=tmp_path / "switch"), {DEMO_HEADER: "1"}
    assert ask(Engine([]), "/api/page/demo", method="POST", headers=own)[0] == 404
    assert ask(Engine([]), "/api/page/demo", method="POST", page=page)[0] == 400
    assert not (tmp_path / "switch").exists()
    status, text = ask(Engine([]), "/api/page/demo", method="POST", headers=own, page=page)
    assert (status, json.loads(text)) == (200, {"allowed": True, "running": True})
    assert (tmp_path / "switch").exists()
    assert ask(Engine([]), "/api/page/demo?running=maybe", method="POST", headers=own, page=page)[0] == 400
    ask(Engine([]), "/api/page/demo?running=false", method="POST", headers=own, page=page)
    assert not (tmp_path / "switch").exists()
