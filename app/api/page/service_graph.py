"""The map of services from the metrics of a metrics generator, traces_service_graph_*, that a Prometheus has."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import orjson
from prometheus_client import Counter, Histogram

from app.api.errors import Unavailable
from app.api.page.busiest import NODES_MAX, Busiest, shown
from app.api.page.service_stats import Edge, Key, Node, Stats
from app.api.page.together import together
from app.remote_write.credentials import ClientTls, CredentialsError, authorization_of
from app.settings.sections.ui import ServiceGraph
from tables.units import NS_PER_S

# Samples come every 15 s by default: a shorter time has none of many series.
WINDOW_S_MIN: Final = 60
ANSWER_BYTES_MAX: Final = 32 << 20
_TEXT_CHARS_MAX: Final = 300
_AT_ONCE: Final = 3
_QUANTILES: Final = (0.5, 0.95, 0.99)
_EDGE: Final = ("client", "server", "connection_type")
_NODE: Final = ("server", "connection_type")
_DATABASE: Final = "database"
_TOTAL: Final = "traces_service_graph_request_total"
_FAILED: Final = "traces_service_graph_request_failed_total"
_SECONDS: Final = "traces_service_graph_request_server_seconds"
_SETTING: Final = "ui.service_graph.prometheus_url"

REQUESTS: Final = Counter(
    "stretto_service_map_prometheus_requests_total",
    "Queries of service maps to the Prometheus of ui.service_graph.prometheus_url, by result: success, refused (it "
    "answers with an error), timeout, unreachable, too_large (the answer), credentials (ours cannot be read).",
    ["result"],
)
DURATION: Final = Histogram(
    "stretto_service_map_prometheus_request_duration_seconds",
    "Time from such a query to the end of its answer, or to its failure.",
    buckets=(0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25),
)


class Graph(NamedTuple):
    """seconds: the time that requests are of; warnings: of Prometheus, about what the answer lacks"""

    nodes: list[Node]
    edges: list[Edge]
    seconds: float
    warnings: list[str]


async def ask_service_graph(config: ServiceGraph, tenant: str, start_ns: int, end_ns: int) -> Graph:
    """The map of a time range. tenant: the value of X-Scope-OrgID, or of several; "": it is not sent

    Raises: Unavailable
    """
    seconds = max(WINDOW_S_MIN, math.ceil((end_ns - start_ns) / NS_PER_S))
    prometheus = _Prometheus(config, tenant, end_ns / NS_PER_S)
    window, most = f"[{seconds}s]", config.edges_max
    edge, node = ", ".join(_EDGE), ", ".join(_NODE)
    async with prometheus:
        counts, failed, *quantiles = await together(
            [
                # One more than are shown tells whether there are more.
                prometheus.ask(f"topk({most + 1}, sum by ({edge}) (increase({_TOTAL}{window})) > 0)", _EDGE),
                prometheus.ask(f"sum by ({edge}) (increase({_FAILED}{window})) > 0", _EDGE),
                *(prometheus.ask(_quantile(one, edge, window), _EDGE) for one in _QUANTILES),
                *(prometheus.ask(_quantile(one, node, window), _NODE) for one in _QUANTILES),
            ]
        )
    of_edges, of_nodes = quantiles[: len(_QUANTILES)], quantiles[len(_QUANTILES) :]
    stats = {
        key: Stats(count, min(count, failed.get(key, 0.0)), quantiles_s=_quantiles_of(key, of_edges))
        for key, count in counts.items()
    }
    edges, nodes = Busiest[Edge](most), Busiest[Node](NODES_MAX)
    edges.add(Edge(key[0], key[1], key[2] == _DATABASE, found) for key, found in stats.items())
    kept = {(edge.client, edge.server, edge.database) for edge in edges.all()}
    drawn = {key: found for key, found in stats.items() if (key[0], key[1], key[2] == _DATABASE) in kept}
    nodes.add(_nodes(drawn, of_nodes))
    found_nodes, found_edges, limited = shown(nodes, edges, most)
    return Graph(found_nodes, found_edges, seconds, [*dict.fromkeys(prometheus.warnings), *limited])


def _quantile(quantile: float, by: str, window: str) -> str:
    """Of classic buckets, or else of native histograms."""
    classic = f"histogram_quantile({quantile}, sum by ({by}, le) (rate({_SECONDS}_bucket{window})))"
    return f"{classic} or histogram_quantile({quantile}, sum by ({by}) (rate({_SECONDS}{window})))"


def _quantiles_of(key: Key, answers: list[dict[Key, float]]) -> dict[float, float]:
    found = {quantile: answer.get(key) for quantile, answer in zip(_QUANTILES, answers, strict=True)}
    # Without a request there is no quantile: NaN.
    return {quantile: value for quantile, value in found.items() if value is not None and math.isfinite(value)}


def _nodes(edges: Mapping[Key, Stats], quantiles: list[dict[Key, float]]) -> list[Node]:
    """Whoever calls or is called, with the requests that it takes."""
    nodes: dict[tuple[str, bool], Stats] = {}
    for (client, server, kind), stats in edges.items():
        nodes.setdefault((client, False), Stats())
        called = (server, kind == _DATABASE)
        before = nodes.get(called, Stats())
        nodes[called] = replace(
            before,
            count=before.count + stats.count,
            errors=before.errors + stats.errors,
            # A service that is called in several ways has the quantiles of the first: they cannot be added up.
            quantiles_s=before.quantiles_s or _quantiles_of((server, kind), quantiles),
        )
    return [Node(name, database, stats) for (name, database), stats in nodes.items()]


class _Prometheus:
    """Instant queries at one moment, in a session of their own."""

    def __init__(self, config: ServiceGraph, tenant: str, at_s: float) -> None:
        self.warnings: list[str] = []
        self._config, self._tenant, self._at_s = config, tenant, at_s
        self._parts = urlsplit(config.prometheus_url)
        host = self._parts.netloc.rpartition("@")[2]
        path = f"{self._parts.path.rstrip('/')}/api/v1/query"
        self._url = urlunsplit(self._parts._replace(netloc=host, path=path))
        self._name = f"the Prometheus at {host} ({_SETTING})"
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> None:
        try:
            tls = ClientTls(self._config.tls_config).context()[0] if self._parts.scheme == "https" else True
            headers = self._headers()
        except CredentialsError as err:
            raise _failed("credentials", f"{self._name} cannot be asked: {err}") from err
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self._config.timeout_s),
            connector=aiohttp.TCPConnector(limit=_AT_ONCE, ssl=tls),
        )

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    def _headers(self) -> dict[str, str]:
        """The headers of a query. Raises: CredentialsError if a file with a password or token cannot be read"""
        headers = {name: value.get_secret_value() for name, value in self._config.headers.items()}
        if self._tenant:
            headers = {name: value for name, value in headers.items() if name.lower() != "x-scope-orgid"}
            headers["X-Scope-OrgID"] = self._tenant
        if who := authorization_of(self._parts, self._config.basic_auth, self._config.authorization):
            headers["Authorization"] = who
        return headers

    async def ask(self, promql: str, labels: tuple[str, ...]) -> dict[Key, float]:
        """A vector by some of its labels. Raises: Unavailable"""
        assert self._session is not None
        asked = {"query": promql, "time": f"{self._at_s:.3f}", "timeout": f"{self._config.timeout_s:g}s"}
        name = self._config.tls_config.server_name or None
        try:
            async with self._slots:
                with DURATION.time():
                    async with self._session.post(
                        self._url, data=asked, allow_redirects=False, server_hostname=name
                    ) as answer:
                        body = await _read(answer.content)
        except TimeoutError as err:
            text = f"did not answer within {self._config.timeout_s:g} s (ui.service_graph.timeout_s)"
            raise _failed("timeout", f"{self._name} {text}") from err
        except (aiohttp.ClientError, OSError) as err:
            raise _failed("unreachable", f"{self._name} does not answer: {str(err) or type(err).__name__}") from err
        if body is None:
            raise _failed("too_large", f"the answer of {self._name} is longer than {ANSWER_BYTES_MAX >> 20} MiB")
        found = await asyncio.to_thread(self._vector, answer.status, body, labels)  # it may have megabytes
        REQUESTS.labels("success").inc()
        return found

    def _vector(self, status: int, body: bytes, labels: tuple[str, ...]) -> dict[Key, float]:
        try:
            said = orjson.loads(body)
            if said["status"] == "success":
                self.warnings += said.get("warnings") or ()
                return {
                    tuple(one["metric"].get(label, "") for label in labels): float(one["value"][1])
                    for one in said["data"]["result"]
                }
            text: Any = said["error"]
        except (ValueError, LookupError, TypeError, AttributeError):
            text = body[:_TEXT_CHARS_MAX].decode(errors="replace").strip()
        raise _failed("refused", f"{self._name} refuses the query, status {status}: {str(text)[:_TEXT_CHARS_MAX]}")


def _failed(result: str, text: str) -> Unavailable:
    """Counts a query that failed. result: as REQUESTS has it"""
    REQUESTS.labels(result).inc()
    return Unavailable(text)


async def _read(content: aiohttp.StreamReader) -> bytes | None:
    """All of an answer; None: it is too long."""
    parts: list[bytes] = []
    left = ANSWER_BYTES_MAX
    async for part in content.iter_any():
        left -= len(part)
        if left < 0:
            return None
        parts.append(part)
    return b"".join(parts)
