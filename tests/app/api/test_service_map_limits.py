"""GET /api/service-map: what a map may take: time, memory, threads, and how it ends when nobody waits for it."""

import asyncio
import json

import aiohttp
import pytest

from app.api.page import busiest, service_map
from app.api.page.page_config import PageConfig
from app.api.page.service_stats import Node, Stats
from app.settings.sections.ui import ServiceGraph
from query import memory
from query.memory import MemoryBudget, SharedMemory
from tables.columns.in_memory import TableSource
from tests.helpers.querying.api import api_over, serving
from tests.helpers.querying.engine import Engine
from tests.helpers.querying.service_maps import CHAIN, LOAD, RANGE, ask
from tests.query.golden import load_table

AROUND, CALLS, DATABASES = "} < {", "} > {", "kind = client"


class HeldUp(Engine):
    """Never answers the queries that have a text in them, and notes which began and which were given up."""

    def __init__(self, load: str, *texts: str) -> None:
        super().__init__([TableSource(load_table(load))])
        self._texts = texts
        self.begun, self.given_up = asyncio.Event(), []
        self.running = self.most_running = 0

    async def metrics_instant(self, tenant, request, observer):
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0)
            if any(text in request.query for text in self._texts):
                self.begun.set()
                await asyncio.Event().wait()
            return await super().metrics_instant(tenant, request, observer)
        except asyncio.CancelledError:
            self.given_up.append(request.query)
            raise
        finally:
            self.running -= 1


@pytest.mark.parametrize("text", [AROUND, CALLS, DATABASES])
def test_a_part_that_does_not_end_is_left_out(monkeypatch, text):
    """In time, and its queries are given up; the services are there with their counts."""
    monkeypatch.setattr(service_map, "_CONNECTIONS_S", 2.0)  # begun by then also where the machine is busy
    monkeypatch.setattr(service_map, "SERVICES_MAX", 2)
    backend = HeldUp(LOAD, text)
    status, answer = ask(backend, f"/api/service-map?{RANGE}&around=pay")
    body = json.loads(answer)
    services = {one["name"]: one["requests"] for one in body["services"] if one["kind"] == "service"}
    assert (status, services) == (200, {"web": 2, "pay": 2, 'a "b"': 1})
    assert backend.given_up
    assert backend.running == 0
    assert (body.get("status"), body["leftOut"] == 3) == {
        AROUND: (None, True),  # no time left for the calls either
        CALLS: (None, True),
        DATABASES: ("PARTIAL", True),
    }[text]


def test_what_is_known_when_time_is_over_is_shown(monkeypatch):
    """Databases, which are asked first, though no service could be asked whom it calls."""
    monkeypatch.setattr(service_map, "_CONNECTIONS_S", 2.0)  # begun by then also where the machine is busy
    _, answer = ask(HeldUp(LOAD, CALLS), f"/api/service-map?{RANGE}")
    assert {one["server"] for one in json.loads(answer)["edges"]} == {"postgresql", "redis"}


def test_few_queries_of_a_map_run_at_once():
    backend = HeldUp(CHAIN)
    assert ask(backend, f"/api/service-map?{RANGE}")[0] == 200
    assert backend.most_running == service_map._AT_ONCE


@pytest.mark.parametrize("text", ["{ }", AROUND, CALLS, DATABASES])
def test_a_client_that_leaves_stops_its_queries(monkeypatch, text):
    monkeypatch.setattr(service_map, "SERVICES_MAX", 2)

    async def leave() -> HeldUp:
        backend = HeldUp(LOAD, text)

        async def use(base: str) -> None:
            async with aiohttp.ClientSession() as session:
                asking = asyncio.ensure_future(session.get(f"{base}/api/service-map?{RANGE}&around=pay"))
                await backend.begun.wait()
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                async with asyncio.timeout(10):
                    while backend.running:
                        await asyncio.sleep(0.01)

        await serving(api_over(backend), use)
        return backend

    assert all(text in query for query in asyncio.run(leave()).given_up)


class Reserving(Engine):
    """Each query reserves half of what one may take, as stitched traces are, until its end."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__([TableSource(load_table(CHAIN))])
        self.shared, self._bytes_max = SharedMemory(1 << 30), bytes_max

    async def metrics_instant(self, tenant, request, observer):
        budget = memory.request_budget(lambda: MemoryBudget(self._bytes_max, self.shared, free_bytes=0))
        with budget.active():
            memory.reserve(self._bytes_max // 2, "traces that lie in several blocks")
            await asyncio.sleep(0)
            return await super().metrics_instant(tenant, request, observer)


def test_each_query_of_a_map_has_the_memory_of_a_query():
    """What one has reserved does not refuse the next, and is given back."""
    backend = Reserving(20 << 20)
    status, answer = ask(backend, f"/api/service-map?{RANGE}")
    assert (status, len(json.loads(answer)["edges"])) == (200, 6)
    assert backend.shared.bytes == 0


def test_only_the_busiest_are_shown(monkeypatch):
    """Clients choose the names of services: there may be a hundred thousand."""
    monkeypatch.setattr(service_map, "NODES_MAX", 3)
    counters = (busiest.NODES_LIMITED, busiest.EDGES_LIMITED)
    before = [counter._value.get() for counter in counters]
    page = PageConfig(service_graph=ServiceGraph(edges_max=2))
    load = "load\n" + "\n".join(
        f"  t{trace} {span}{above} name=x resource.service.name=s{n} kind=server duration=1ms"
        for trace, deep in enumerate((5, 3, 2, 1), 1)
        for n, (span, above) in enumerate(list(zip("abcde", ("", "<a", "<b", "<c", "<d"), strict=True))[:deep])
    )
    status, text = ask(Engine([TableSource(load_table(load))]), f"/api/service-map?{RANGE}", page=page)
    found = json.loads(text)
    assert (status, found["status"]) == (200, "PARTIAL")
    assert {one["name"]: one["requests"] for one in found["services"]} == {"s0": 4, "s1": 3, "s2": 2}
    assert {(one["client"], one["server"]): one["requests"] for one in found["edges"]} == {
        ("s0", "s1"): 3,
        ("s1", "s2"): 2,
    }
    assert "3 busiest services" in found["message"].replace(str(busiest.NODES_MAX), "3")
    assert "2 busiest edges" in found["message"]
    assert [counter._value.get() for counter in counters] == [before[0] + 1, before[1] + 1]


def test_what_is_held_of_many_is_bounded():
    kept = busiest.Busiest[Node](10)
    kept.add(Node(f"s{n}", False, Stats(count=n)) for n in range(1000))
    assert len(kept._found) <= 30
    assert [one.name for one in kept.all()] == [f"s{n}" for n in range(999, 989, -1)]
    assert kept.limited
