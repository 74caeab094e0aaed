"""/api/overrides: what tenants set themselves, who may, what counts then; /usage_metrics."""

import asyncio
import json
from types import SimpleNamespace

import pytest
import yaml

from agents.distributor.usage import UsageCount, UsageTracker
from app.api.limits import ApiLimits, CurrentLimits
from app.api.mcp.server import McpServer
from app.api.tenants import TenantApi
from app.process.own_overrides import merge_patch
from app.targets.tenant_api import QueryLimitsTable, tenant_api
from tests.helpers.own_overrides import OWN, SETTINGS, URL, Process, caller, two_processes
from tests.helpers.querying.api import FakeBackend, api_over, hashed, serving


@pytest.fixture
def processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return two_processes(tmp_path)


@pytest.fixture
def call(ask, processes):
    return caller(ask, processes[0])


def test_a_life(call, processes):
    """Set, read, changed, removed; each process counts it after its next poll, the one that was asked at once."""
    here, there = processes
    assert call().status == 404
    made = call("POST", OWN, match="0")
    assert made.status == 200
    version = made.headers["Etag"]
    shown = call()
    assert (shown.status, json.loads(shown.text), shown.headers["Etag"]) == (200, OWN, version)
    assert here.generator().interval_s == 30
    assert there.generator().interval_s == 15
    there.own.poll()
    for process in processes:
        config = process.generator()
        assert (config.interval_s, config.generator.processors) == (30, {"span-metrics"})
        assert config.generator.max_active_series == 5, "what the operator says stays below"
    patched = call("PATCH", {"metrics_generator": {"processors": None, "disable_collection": True}})
    assert json.loads(patched.text) == {"metrics_generator": {"collection_interval": "30s", "disable_collection": True}}
    there.own.poll()
    assert not there.generator().generator.processors
    gone = call("DELETE", match=patched.headers["Etag"])
    assert (gone.status, call().status) == (200, 404)
    there.own.poll()
    for process in processes:
        assert process.generator().generator.processors == {"service-graphs"}
    assert call("POST", {}, match="0").status == 200, "it can be set anew"


def test_versions(call, processes):
    """Nobody's change gets lost."""
    version = call("POST", OWN, match="0").headers["Etag"]
    other = {"forwarders": ["copy"]}
    assert call("POST", other, match="0").status == 412
    assert call("POST", other, match="nonsense").status == 412
    assert call("POST", other).status == 428
    assert call("DELETE").status == 428
    newer = call("POST", other, match=f'"{version}"', process=processes[1]).headers["Etag"]
    assert call("DELETE", match=version).status == 412
    assert json.loads(call().text) == other
    assert call("DELETE", match=newer).status == 200
    assert call("DELETE", match=newer).status == 404


def test_patches_at_the_same_time(processes, monkeypatch):
    """Each is applied to what the other one has written."""
    here, there = processes
    write = here.own._write

    def late(*args):
        monkeypatch.setattr(here.own, "_write", write)
        there.own.patch("acme", {"forwarders": ["copy"]})
        write(*args)

    monkeypatch.setattr(here.own, "_write", late)
    found = here.own.patch("acme", OWN)
    assert found.tree == {**OWN, "forwarders": ["copy"]}


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        (b"{", "the body is not JSON"),
        ([], "expected a JSON object"),
        ({"ingestion": {"rate_limit_bytes": 10**9}}, "ingestion: tenants cannot set this, only the operator"),
        ({"metrics_generator": {"max_active_series": 9}}, "metrics_generator.max_active_series: tenants cannot"),
        ({"cost_attribution": {"max_cardinality": 9}}, "cost_attribution.max_cardinality: tenants cannot set this"),
        ({"metrics_generator": {"procesors": []}}, "metrics_generator.procesors: tenants cannot set this"),
        ({"metrics_generator": {"processors": ["x"]}}, "'x' is none of service-graphs, span-metrics"),
        ({"metrics_generator": {"collection_interval": "1s"}}, "must be from 15s to 300s"),
        ({"metrics_generator": {"collection_interval": "soon"}}, "expected a number"),
        ({"metrics_generator": {"processor": {"span_metrics": {"dimensions": [3]}}}}, "dimensions[0]"),
        ({"metrics_generator": {"span_name_sanitization": "enabled"}}, "has no counterpart here"),
        ({"forwarders": ["nowhere"]}, "'nowhere' is none of distributor.forwarders"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_tenants_cannot_set(call, tree, text, method):
    """400, and what is wrong; nothing is stored."""
    answer = call(method, tree, match="0")
    assert (answer.status, text in answer.text) == (400, True), answer.text
    assert call().status == 404


def test_merged(call):
    """What counts, of what a tenant may set: with the operator's below it."""
    assert json.loads(call(path=f"{URL}?scope=merged").text) == {
        "metrics_generator": {"processors": ["service-graphs"]}
    }
    version = call("POST", {"metrics_generator": {"collection_interval": "1m"}}, match="0").headers["Etag"]
    merged = call(path=f"{URL}?scope=merged")
    assert merged.headers["Etag"] == version
    assert json.loads(merged.text) == {
        "metrics_generator": {"processors": ["service-graphs"], "collection_interval": "1m"}
    }
    assert call(path=f"{URL}?scope=x").status == 400


def test_each_tenant_has_its_own(call, processes):
    """Other tenants neither see nor change it."""
    call("POST", OWN, match="0")
    assert call(tenant="other").status == 404
    call("POST", {"forwarders": ["copy"]}, match="0", tenant="other")
    processes[1].own.poll()
    assert processes[1].file.of("other").forwarders == ("copy",)
    assert processes[1].file.of("acme").forwarders == ()


@pytest.mark.parametrize("tenant", ["acme|other", "a/b", "..", "x" * 200])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_names_that_are_none(call, tenant, method):
    """One tenant at a time, and no way to another object."""
    assert call(method, {}, match="0", tenant=tenant).status == 400


def test_objects_that_are_wrong(processes, caplog):
    """What somebody else has written there does not count; what was read before does."""
    here, there = processes
    here.own.set("acme", OWN, "0")
    there.own.poll()
    store = there.own._store
    store.put("overrides/acme/overrides.json", b"{")
    store.put("overrides/bad/overrides.json", b'{"ingestion": {"rate_limit_bytes": 1}}')
    store.put("overrides/a b/overrides.json", b"{}")
    there.own.poll()
    assert there.generator().interval_s == 30
    assert there.file.of("bad").ingestion.rate_limit_bytes == 0
    assert "the overrides that tenant bad has set cannot be used" in caplog.text


def test_a_forwarder_that_is_gone(processes, tmp_path, caplog):
    """An entry that does not fit any more does not count, and the log says so."""
    processes[0].own.set("acme", {"forwarders": ["copy"]}, "0")
    (tmp_path / "stretto.yaml").write_text(SETTINGS.replace("copy", "other"))
    later = Process(tmp_path)
    later.own.poll()
    assert later.file.of("acme").forwarders == ()
    assert "what tenant acme" in caplog.text or "tenant acme has set cannot be used" in caplog.text


def test_off(ask):
    """Where the setting does not allow it there is no such endpoint."""
    assert ask(URL).status == 404
    assert ask("/usage_metrics").status == 404


@pytest.mark.parametrize(
    ("tree", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "foo"}, "bar", "bar"),
    ],
)
def test_merge_patch(tree, patch, merged):
    """The examples of RFC 7396."""
    assert merge_patch(tree, patch) == merged


def test_usage_metrics(ask):
    """All tenants for whoever runs it; with a token those of the token."""
    tracker = UsageTracker(10, 900)
    tracker.add([UsageCount(name, ("s",), ("x",), 5.0) for name in ("a", "b")], lambda _: 0)
    tenants = TenantApi(usage=tracker)
    assert ask("/usage_metrics", tenants=tenants).text.count("{") == 2
    credentials = {"a": [hashed("ta")], "*": [hashed("tall")]}
    for token, names in (("ta", ["a"]), ("tall", ["a", "b"])):
        answer = ask(
            "/usage_metrics", tenants=tenants, credentials=credentials, headers={"Authorization": f"Bearer {token}"}
        )
        assert [name for name in ("a", "b") if f'tenant="{name}"' in answer.text] == names
    assert ask("/usage_metrics", tenants=tenants, credentials=credentials).status == 401


def test_status_of_a_tenant(ask, processes):
    """What counts, layer by layer."""
    here, _ = processes
    here.own.set("acme", OWN, "0")
    made = tenant_api(CurrentLimits(ApiLimits()), SimpleNamespace(overrides=here.file, usage=None), None)  # type: ignore[arg-type]
    shown = yaml.safe_load(ask("/status/overrides/acme", tenants=made).text)
    assert shown == {
        "metrics_generator": {"max_active_series": 5, "processors": ["span-metrics"], "collection_interval_s": 30}
    }


def test_limits_of_queries(processes, tmp_path):
    """Of the tenant, or else of all; as the file says now."""
    here, _ = processes
    table = QueryLimitsTable(CurrentLimits(ApiLimits(max_search_duration_s=7, max_metrics_duration_s=8)), here.file)
    assert table.of("acme").max_search_duration_s == 7
    text = "overrides: {acme: {read: {max_search_duration: 1m, max_query_memory_bytes: 9}}}"
    (tmp_path / "tenants.yaml").write_text(text)
    here.file.reload()
    acme = table.of("acme")
    assert (acme.max_search_duration_s, acme.max_metrics_duration_s, acme.max_query_memory_bytes) == (60, 8, 9)
    assert table.of("other").max_search_duration_s == 7


@pytest.mark.parametrize(
    "body",
    [
        b'{"cost_attribution": {"dimensions": {"a": "\\ud800"}}}',
        b'{"cost_attribution": {"dimensions": {"\\udfffb": "c"}}}',
        b'{"metrics_generator": {"processor": {"service_graphs": {"dimensions": ["\\ud83d"]}}}}',
    ],
)
def test_halves_of_characters_are_refused(call, processes, body):
    """JSON may name them, and nobody could write them: no answer, no label of a metric, no push."""
    assert call("POST", body, match="0").status == 400
    assert call("PATCH", body).status == 400
    assert call().status == 404
    assert "\ud83d" not in str(processes[0].generator())
    assert call("PATCH", OWN).status == 200
    assert call("PATCH", body).status == 400
    assert json.loads(call().text) == OWN


@pytest.mark.parametrize("path", ["/api/overrides", "/api/v2/traces/diff", "/api/mcp"])
def test_a_body_that_does_not_come_holds_nothing(processes, monkeypatch, path):
    """The client is told so; nothing is set."""
    monkeypatch.setattr("app.api.body._BODY_S", 0.05)
    api = api_over(FakeBackend(), multitenancy=True, tenants=processes[0].tenants, mcp=McpServer(4096, "1"))

    async def use(url):
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nX-Scope-OrgID: acme\r\nIf-Match: 0\r\nContent-Length: 9\r\n\r\n"
        writer.write(head.encode() + b"{")
        answer = await reader.readuntil(b"within 0.05 s")
        writer.close()
        assert answer.startswith(b"HTTP/1.1 400")

    asyncio.run(asyncio.wait_for(serving(api, use), 20))
