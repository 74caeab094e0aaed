"""The map of services from a real Prometheus that has the metrics of a generator."""

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from pydantic import SecretStr

from app.api.page.page_config import PageConfig
from app.api.status.process import PROCESS, Process
from app.settings.sections.remote_write import Authorization
from app.settings.sections.ui import ServiceGraph
from tests.harness.ports import own_port
from tests.harness.prometheus import Prometheus, program
from tests.helpers.querying.api import api_over, serving
from tests.helpers.querying.engine import Engine

PREFIX = "traces_service_graph_request"
MINUTES, PER_MINUTE = 30, 60
REQUESTS = "stretto_service_map_prometheus_requests_total"
DURATIONS = "stretto_service_map_prometheus_request_duration_seconds_count"
LIMITED = "stretto_service_map_edges_limited_total"
QUERIES = 8  # of a map: counts, failures, three quantiles of edges and of nodes
# client, server, connection_type: calls a minute, of them failed, all as long as this bucket's bound in seconds
EDGES = {
    ("user", "web", "virtual_node"): (60, 0, 0.4),
    ("web", "orders", ""): (30, 6, 0.2),
    ("web", "pay", ""): (12, 0, 0.1),
    ("orders", "pay", ""): (6, 3, 0.1),
    ("orders", "postgresql", "database"): (90, 0, 0.1),
}
BOUNDS = (0.1, 0.2, 0.4, 0.8)


def open_metrics(start_s: int) -> str:
    """Counters that grow evenly, a sample a minute."""
    lines: dict[str, list[str]] = {f"{PREFIX}_total": [], f"{PREFIX}_failed_total": [], f"{PREFIX}_server_seconds": []}
    for (client, server, kind), (calls, failed, bound_s) in EDGES.items():
        labels = f'client="{client}",server="{server}"' + (f',connection_type="{kind}"' if kind else "")
        for minute in range(MINUTES + 1):
            at_s = start_s + 60 * minute
            lines[f"{PREFIX}_total"].append(f"{PREFIX}_total{{{labels}}} {calls * minute} {at_s}")
            if failed:
                lines[f"{PREFIX}_failed_total"].append(f"{PREFIX}_failed_total{{{labels}}} {failed * minute} {at_s}")
            for bound in (*BOUNDS, "+Inf"):
                count = calls * minute if bound == "+Inf" or bound >= bound_s else 0
                lines[f"{PREFIX}_server_seconds"].append(
                    f'{PREFIX}_server_seconds_bucket{{{labels},le="{bound}"}} {count} {at_s}'
                )
    text = ""
    for name, samples in lines.items():
        kind = "histogram" if name.endswith("seconds") else "counter"
        text += f"# TYPE {name.removesuffix('_total')} {kind}\n" + "\n".join(samples) + "\n"
    return text + "# EOF\n"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, int]]:
    """With half an hour of the metrics, and when they end in unix seconds."""
    folder = tmp_path_factory.mktemp("prometheus")
    end_s = int(time.time()) // 60 * 60 - 60
    metrics = folder / "metrics.txt"
    metrics.write_text(open_metrics(end_s - 60 * MINUTES))
    command = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", str(metrics), str(folder / "data")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with Prometheus(folder) as running:
        yield running, end_s


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@contextmanager
def counts(result: str) -> Iterator[None]:
    """Meanwhile queries to Prometheus end so, and are observed. The first that fails gives the others up."""
    names = ("success", "refused", "timeout", "unreachable", "too_large", "credentials")
    before, observed = {name: counted(REQUESTS, result=name) for name in names}, counted(DURATIONS)
    yield
    more = {name: counted(REQUESTS, result=name) - before[name] for name in names}
    assert [name for name, number in more.items() if number] == [result]
    assert result != "success" or more[result] == QUERIES
    assert (counted(DURATIONS) - observed >= more[result]) == (result != "credentials")


def ask(graph: ServiceGraph, query: str, *, headers: dict[str, str] | None = None, tenants: bool = False):
    api = api_over(Engine([]), multitenancy=tenants)
    api[PROCESS] = Process("all", page=PageConfig(service_graph=graph, multitenancy=tenants))

    async def use(base: str):
        url = f"{base}/api/service-map?{query}"
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            return answer.status, await answer.text()

    return asyncio.run(serving(api, use))


def test_rates_errors_and_quantiles_of_nodes_and_edges(prometheus):
    running, end_s = prometheus
    graph = ServiceGraph(prometheus_url=running.url)
    limited = counted(LIMITED)
    with counts("success"):
        status, text = ask(graph, f"start={end_s - 600}&end={end_s}")
    assert status == 200, text
    assert counted(LIMITED) == limited
    found = json.loads(text)
    assert (found["source"], found["rangeSeconds"]) == ("prometheus", 600)
    edges = {(one["client"], one["server"], one["kind"]): one for one in found["edges"]}
    assert set(edges) == {
        (client, server, "database" if kind == "database" else "service") for client, server, kind in EDGES
    }
    orders = edges["web", "orders", "service"]
    assert orders["requestsPerSecond"] == pytest.approx(0.5, rel=0.05)
    assert orders["errorShare"] == pytest.approx(0.2)
    assert (orders["requests"], orders["errors"]) == (pytest.approx(300, rel=0.05), pytest.approx(60, rel=0.05))
    # All calls are in the bucket from 0.1 to 0.2 s.
    assert (orders["p50Ms"], orders["p99Ms"]) == (pytest.approx(150), pytest.approx(199))
    nodes = {(one["name"], one["kind"]): one for one in found["services"]}
    assert set(nodes) == {
        *((name, "service") for name in ("user", "web", "orders", "pay")),
        ("postgresql", "database"),
    }
    # Called by two, and half of the calls of one of them fail.
    pay = nodes["pay", "service"]
    assert pay["requestsPerSecond"] == pytest.approx(0.3, rel=0.05)
    assert pay["errorShare"] == pytest.approx(3 / 18)
    assert pay["p99Ms"] == pytest.approx(99)
    assert nodes["user", "service"]["requests"] == 0


def test_only_the_busiest_edges(prometheus):
    running, end_s = prometheus
    limited = counted(LIMITED)
    graph = ServiceGraph(prometheus_url=running.url, edges_max=2)
    found = json.loads(ask(graph, f"start={end_s - 600}&end={end_s}")[1])
    assert {one["server"] for one in found["edges"]} == {"web", "postgresql"}
    assert found["message"] == "only the 2 busiest edges are shown (ui.service_graph.edges_max)"
    assert counted(LIMITED) == limited + 1
    graph = ServiceGraph(prometheus_url=running.url, edges_max=len(EDGES))
    assert "message" not in json.loads(ask(graph, f"start={end_s - 600}&end={end_s}")[1])
    assert counted(LIMITED) == limited + 1


def test_where_it_comes_from_can_be_chosen(prometheus):
    running, end_s = prometheus
    graph = ServiceGraph(prometheus_url=running.url)
    found = json.loads(ask(graph, f"start={end_s - 600}&end={end_s}&source=traces")[1])
    assert (found["source"], found["services"]) == ("traces", [])
    assert ask(graph, "source=x")[0] == 400
    assert ask(ServiceGraph(), "source=prometheus") == (
        400,
        "source=prometheus needs the setting ui.service_graph.prometheus_url",
    )


def test_a_time_without_samples_is_empty(prometheus):
    found = json.loads(ask(ServiceGraph(prometheus_url=prometheus[0].url), "start=1700000000&end=1700003600")[1])
    assert (found["services"], found["edges"]) == ([], [])


def test_a_prometheus_that_is_away_or_refuses_is_named():
    port = own_port()
    with counts("unreachable"):
        status, text = ask(ServiceGraph(prometheus_url=f"http://user:secret@127.0.0.1:{port}/x"), "")
    assert status == 503
    assert f"the Prometheus at 127.0.0.1:{port} (ui.service_graph.prometheus_url) does not answer" in text
    assert "secret" not in text
    unread = Authorization(credentials_file="/no/such")
    with counts("credentials"):
        status, text = ask(ServiceGraph(prometheus_url=f"http://127.0.0.1:{port}", authorization=unread), "")
    assert (status, "cannot be asked: " in text) == (503, True)


async def _with_stand_in(answer, use):
    """use(url) while a stand-in for Prometheus answers."""
    app = web.Application()
    app.router.add_post("/prom/api/v1/query", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        return await asyncio.to_thread(use, f"http://127.0.0.1:{runner.addresses[0][1]}/prom/")
    finally:
        await runner.cleanup()


def empty(warnings: list[str]) -> web.Response:
    data = {"resultType": "vector", "result": []}
    return web.json_response({"status": "success", "data": data, "warnings": warnings})


def test_who_asks_and_for_whom():
    seen: list[tuple[str, str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        head = request.headers
        seen.append((head.get("Authorization", ""), head.get("X-Scope-OrgID", ""), head.get("X-Own", "")))
        return empty(["one replica is away"])

    def use(url: str):
        graph = ServiceGraph(
            prometheus_url=url,
            headers={"X-Own": SecretStr("1"), "x-scope-orgid": SecretStr("other")},
            authorization=Authorization(credentials=SecretStr("token")),
        )
        return ask(graph, "", headers={"X-Scope-OrgID": "acme"}, tenants=True)

    status, text = asyncio.run(_with_stand_in(answer, use))
    assert status == 200
    assert json.loads(text)["message"] == "one replica is away"
    assert set(seen) == {("Bearer token", "acme", "1")}


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ({"status": 422, "text": json.dumps({"status": "error", "error": "too many samples"})}, "too many samples"),
        ({"status": 401, "text": "<h1>who are you</h1>"}, "status 401: <h1>who are you</h1>"),
        ({"status": 200, "text": "[]"}, "status 200: []"),
    ],
)
def test_what_prometheus_says_is_passed_on(response, said):
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(**response)

    with counts("refused"):
        status, text = asyncio.run(_with_stand_in(answer, lambda url: ask(ServiceGraph(prometheus_url=url), "")))
    # Not 401: the one who asks here is known.
    assert status == 503
    assert said in text


def test_a_slow_prometheus_and_a_long_answer(monkeypatch):
    from app.api.page import service_graph

    async def slow(_request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return empty([])

    graph = {"timeout_s": 0.2}
    with counts("timeout"):
        status, text = asyncio.run(_with_stand_in(slow, lambda url: ask(ServiceGraph(prometheus_url=url, **graph), "")))
    assert (status, "within 0.2 s (ui.service_graph.timeout_s)" in text) == (503, True)

    async def long(_request: web.Request) -> web.Response:
        return web.Response(text="x" * 5000)

    monkeypatch.setattr(service_graph, "ANSWER_BYTES_MAX", 4096)
    with counts("too_large"):
        status, text = asyncio.run(_with_stand_in(long, lambda url: ask(ServiceGraph(prometheus_url=url), "")))
    assert (status, "is longer than" in text) == (503, True)
