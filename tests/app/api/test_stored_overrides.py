"""/api/overrides over objects that somebody else wrote: an earlier version, or a hand in the bucket."""

import json

import pytest

from app.process.own_overrides import FETCH_FAILED
from tests.helpers.own_overrides import OWN, caller, two_processes

HALF = b'{"cost_attribution": {"dimensions": {"service.name": "a\\ud800b"}}}'
DEEP = b'{"metrics_generator": ' * 5_000 + b"1" + b"}" * 5_000
NO_JSON = {
    "deep": DEEP,
    "deep lists": b"[" * 100_000,
    "less deep": b'{"a": ' * 300 + b"1" + b"}" * 300,
    "cut off": b'{"metrics_generator": {',
    "no text": b"\xff\xfe\x00",
    "zeros": bytes(100),
    "huge number": b'{"metrics_generator": {"collection_interval": 1' + b"0" * 400 + b"}}",
    "not a number": b'{"metrics_generator": {"collection_interval": NaN}}',
}
ODD = {
    "half a character": HALF,
    "no such character": b'{"metrics_generator": {"processors": ["\\u0000"]}}',
    "larger than 64 bits": b'{"metrics_generator": {"collection_interval": 123456789012345678901234567890}}',
    "twice": b'{"metrics_generator": {}, "metrics_generator": {"collection_interval": "30s"}}',
    "a list": b"[1, 2]",
    "a text": b'"x"',
    "null": b"null",
}


@pytest.fixture
def processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return two_processes(tmp_path)


@pytest.fixture
def call(ask, processes):
    return caller(ask, processes[0])


def stored(process, data: bytes, tenant: str = "acme") -> None:
    store = process.own._store
    path = f"overrides/{tenant}/overrides.json"
    stamp = store.stamp(path)
    assert store.create(path, data) if stamp is None else store.replace(path, data, stamp.e_tag)


@pytest.mark.parametrize("data", [*NO_JSON.values(), *ODD.values()], ids=[*NO_JSON, *ODD])
def test_every_method_answers(call, processes, data):
    """What is there is shown, or refused with a reason and its version; with that it can be replaced and deleted."""
    stored(processes[0], data)
    shown, merged = call(), call(path="/api/overrides?scope=merged")
    assert shown.status == (409 if data in NO_JSON.values() else 200)
    assert merged.status == 200
    assert merged.headers["Etag"] == shown.headers["Etag"]
    assert call("PATCH", {"metrics_generator": {"disable_collection": True}}).status in {200, 400, 409}
    version = call().headers["Etag"]
    assert call("DELETE", match=version).status == 200
    assert call().status == 404
    stored(processes[0], data)
    assert call("POST", OWN, match=call().headers["Etag"]).status == 200
    assert json.loads(call().text) == OWN


def test_half_a_character_is_shown_as_none_and_can_be_patched(call, processes):
    stored(processes[0], HALF)
    assert json.loads(call().text) == {"cost_attribution": {"dimensions": {"service.name": "a\ufffdb"}}}
    patched = call("PATCH", OWN)
    assert patched.status in {200, 400}
    patched = call("PATCH", {**OWN, "cost_attribution": None})
    assert (patched.status, json.loads(patched.text)) == (200, OWN)


@pytest.mark.parametrize("data", [*NO_JSON.values(), *ODD.values()], ids=[*NO_JSON, *ODD])
def test_one_tenants_object_stops_no_other(call, processes, data):
    """It may count, or not; those of others are read and count."""
    here, there = processes
    for tenant in ("aaaa", "acme", "zzzz"):
        stored(here, data if tenant == "acme" else json.dumps(OWN).encode(), tenant)
    failed = FETCH_FAILED._value.get()
    there.own.poll()
    if data in NO_JSON.values():
        assert FETCH_FAILED._value.get() == failed + 1
    for tenant in ("aaaa", "zzzz"):
        assert there.generator(tenant).interval_s == 30


@pytest.mark.parametrize("data", [DEEP, b"[" * 50_000, b'{"a": ' * 950 + b"1" + b"}" * 950, b'{"a": NaN}', b"1e999"])
def test_such_bodies_are_refused(call, data):
    for method in ("POST", "PATCH"):
        answer = call(method, data, match="0")
        assert answer.status in {400, 413}
