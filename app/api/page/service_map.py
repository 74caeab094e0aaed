"""GET /api/service-map: services of a time range and who calls whom, with rates, errors and quantiles of durations.

It comes from a Prometheus with the metrics of a generator, where the settings name one. Otherwise it is made of TraceQL
metrics, so that every backend can answer it: of the requests that services take (spans of kind server and consumer, or
all spans of a service that has none), and for each service the spans of others right below its own. Databases are those
that client spans name in `db.system.name` or `db.system`.
"""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import orjson
from aiohttp import web

from app.api import params
from app.api.call import Call, call_of
from app.api.errors import ParameterError
from app.api.page.busiest import NODES_MAX, Busiest, shown
from app.api.page.service_graph import ask_service_graph
from app.api.page.service_stats import Edge, Key, Node, Stats, counted, with_quantiles
from app.api.page.together import together
from app.api.partial import observer_of
from app.api.replies import reply
from app.api.status.process import PROCESS
from query import memory
from query.requests import InstantRequest
from query.results import Series
from tables.units import NS_PER_S

T = TypeVar("T")
routes = web.RouteTableDef()

PROMETHEUS: Final = "prometheus"
TRACES: Final = "traces"
# Services are asked one by one who they call: those near the one that is looked at, then the busiest.
SERVICES_MAX: Final = 60
# A map must not keep others from their queries.
_AT_ONCE: Final = 3
# Nor for minutes: services are needed; what else is not known by then is given up, and the answer says what it lacks.
_CONNECTIONS_S: Final = 20.0
_NO_DATABASES: Final = "databases: there was no time left to ask for them"
_SERVICE: Final = "resource.service.name"
_DATABASES: Final = ("span.db.system.name", "span.db.system")
_REQUESTS: Final = "{ kind = server || kind = consumer }"
_QUANTILES: Final = "quantile_over_time(duration, .5, .95, .99)"


@routes.get("/api/service-map")
async def service_map(request: web.Request) -> web.Response:
    """?start= &end= &since=, as of /api/metrics/query; ?allow_partial=true; ?source=prometheus, traces;
    ?around=: a service whose connections are wanted before those of others
    """
    call = call_of(request)
    asked = params.instant_request({**call.params, "q": "{ } | rate()"}, call.limits)
    page = request.app[PROCESS].page
    source = _source(call, configured=bool(page.service_graph.prometheus_url))
    if source == PROMETHEUS:
        tenant = call.tenant if page.multitenancy else ""
        found = await ask_service_graph(page.service_graph, tenant, asked.start_ns, asked.end_ns)
        nodes, edges, seconds, missing = found
        left_out = 0
    else:
        made = _Map(call, asked, page.service_graph.edges_max)
        nodes, edges, left_out = await made.make(call.params.get("around", ""))
        seconds, missing = max(1, asked.end_ns - asked.start_ns) / NS_PER_S, made.missing
    out: dict[str, Any] = {
        "services": [{"name": node.name, "kind": _kind(node.database), **node.stats.json(seconds)} for node in nodes],
        "edges": [
            {
                "client": edge.client,
                "server": edge.server,
                "kind": _kind(edge.database),
                **edge.stats.json(seconds),
            }
            for edge in edges
        ],
        "source": source,
        "rangeSeconds": seconds,
        "leftOut": left_out,
    }
    if missing:
        out |= {"status": "PARTIAL", "message": "; ".join(dict.fromkeys(missing))}
    return await reply(request, partial(orjson.dumps, out))


def _source(call: Call, *, configured: bool) -> str:
    """Where the map comes from. Raises: ParameterError"""
    source = call.params.get("source") or (PROMETHEUS if configured else TRACES)
    if source not in (PROMETHEUS, TRACES):
        raise ParameterError(f"invalid source {source[:40]!r}: must be {PROMETHEUS} or {TRACES}")
    if source == PROMETHEUS and not configured:
        raise ParameterError(f"source={PROMETHEUS} needs the setting ui.service_graph.prometheus_url")
    return source


def _beside(service: str, operator: str) -> str:
    """The spans of other services right below (>) or above (<) those of a service, in TraceQL."""
    own = orjson.dumps(service).decode()  # TraceQL's strings are as JSON's
    return f"{{ {_SERVICE} = {own} }} {operator} {{ {_SERVICE} != {own} }}"


def _kind(database: bool) -> str:  # noqa: FBT001
    return "database" if database else "service"


class _Map:
    def __init__(self, call: Call, asked: InstantRequest, edges_max: int) -> None:
        self._call, self._asked, self._edges_max = call, asked, edges_max
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._until_s = asyncio.get_running_loop().time() + _CONNECTIONS_S
        self.missing: list[str] = []

    async def make(self, around: str = "") -> tuple[list[Node], list[Edge], int]:
        """Nodes, edges, and how many services were left out of the edges."""
        services = await self._services()
        nodes, edges = Busiest[Node](NODES_MAX), Busiest[Edge](self._edges_max)
        nodes.add(Node(name, False, stats) for name, stats in services.items())
        for stored in await together([self._databases(name) for name in _DATABASES]):
            nodes.add(stored[0])
            edges.add(stored[1])
        near = await self._near(around) if around in services and len(services) > SERVICES_MAX else []
        busiest = heapq.nsmallest(SERVICES_MAX, services, key=lambda name: (-services[name].spans, name))
        asked = list(dict.fromkeys([*(name for name in near if name in services), *busiest]))[:SERVICES_MAX]
        left_out = len(services) - len(asked)
        if len(services) > 1:
            left_out += sum(await together([self._add_called_by(name, edges) for name in asked]))
        found_nodes, found_edges, missing = shown(nodes, edges, self._edges_max)
        self.missing += missing
        return found_nodes, found_edges, left_out

    async def _services(self) -> dict[str, Stats]:
        spans, requests = await together(
            [self._stats("{ }", [_SERVICE], durations=False), self._stats(_REQUESTS, [_SERVICE])]
        )
        if spans.keys() - requests.keys():
            requests = {**await self._stats("{ }", [_SERVICE]), **requests}
        return {key[0]: requests[key].with_spans(found.count) for key, found in spans.items() if key in requests}

    async def _add_called_by(self, client: str, edges: Busiest[Edge]) -> bool:
        """Whether there was no time left."""
        found = await self._in_time(lambda: self._stats(_beside(client, ">"), [_SERVICE]))
        edges.add(Edge(client, key[0], False, stats) for key, stats in (found or {}).items())
        return found is None

    async def _near(self, service: str) -> list[str]:
        """A service, its callers, those that it calls, and the callers of its callers: as many as there is time for."""
        callers, callees = await together([self._next(service, "<"), self._next(service, ">")])
        further = await together([self._next(caller, "<") for caller in callers[:SERVICES_MAX]])
        return [service, *callers, *callees, *itertools.chain(*further)]

    async def _next(self, service: str, operator: str) -> list[str]:
        found = await self._in_time(lambda: self._stats(_beside(service, operator), [_SERVICE], durations=False)) or {}
        return sorted((key[0] for key in found), key=lambda name: -found[name,].count)

    async def _databases(self, field: str) -> tuple[list[Node], list[Edge]]:
        spans = f"{{ kind = client && {field} != nil }}"
        edges = await self._in_time(lambda: self._stats(spans, [_SERVICE, field]))
        nodes = await self._in_time(lambda: self._stats(spans, [field])) if edges else {}
        if edges is None or nodes is None:
            self.missing.append(_NO_DATABASES)
            return [], []
        return (
            [Node(key[0], True, stats) for key, stats in nodes.items()],
            [Edge(key[0], key[1], True, stats) for key, stats in edges.items()],
        )

    async def _in_time(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """None: there was no time left. What then still runs is given up."""
        if asyncio.get_running_loop().time() > self._until_s:
            return None
        try:
            async with asyncio.timeout_at(self._until_s):
                return await ask()
        except TimeoutError:
            return None

    async def _stats(self, spans: str, by: Sequence[str], *, durations: bool = True) -> dict[Key, Stats]:
        """Counts, errors and quantiles of some spans, by the values of some fields."""
        fields = ", ".join(by)
        # Not a turn for each query: time would run out with many counts, and quantiles for none of them.
        async with self._turns:
            series = await self._ask(f"{spans} | count_over_time() by ({fields}, status)")
            found = await asyncio.to_thread(counted, series, by)
            if durations and found:
                series = await self._ask(f"{spans} | {_QUANTILES} by ({fields})")
                return await asyncio.to_thread(with_quantiles, found, series, by)
            return found

    async def _ask(self, query: str) -> Sequence[Series]:
        observer = observer_of(self._call)
        request = InstantRequest(query=query, start_ns=self._asked.start_ns, end_ns=self._asked.end_ns)
        # Each is a query like any other: what one reserves is free when it has ended, not at the end of the map.
        with memory.further_query():
            result = await self._call.backend.metrics_instant(self._call.tenant, request, observer)
        self.missing += observer.missing_data or ()
        return list(result.series)
