"""Mutated inputs of all that is not OTLP against `stretto run`, beside a client whose spans must be found.

    python -m benchmarks.hostile.others --requests 20000 --seed 1

Jaeger over HTTP, gRPC and UDP, Zipkin in each of its formats, and of the query API what has a body, and what the web
page asks for. The status is 1 where an answer is 5xx or missing, the worker ends or takes more than its memory, or a
span of the other client is not found.
"""

import argparse
import asyncio
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random
from typing import Any, Final

import grpc
import uvloop

from benchmarks.hostile.canary import Canary
from benchmarks.hostile.http_client import Connection
from benchmarks.hostile.mutate import mutate, mutate_message
from benchmarks.hostile.one_run import one_run
from benchmarks.hostile.queries import Watchdog
from tests.fuzz import bodies
from tests.harness.cluster import Cluster
from tests.helpers.receiving import jaeger, zipkin

SETTINGS: Final = {
    "STRETTO_SERVER__PPROF_ENABLED": "true",
    "STRETTO_OVERRIDES__USER_CONFIGURABLE_OVERRIDES__ENABLED": "true",
    "STRETTO_QUERY_FRONTEND__MCP_SERVER__ENABLED": "true",
    "STRETTO_QUERY__MEMORY_BYTES_MAX": str(128 << 20),
    "STRETTO_QUERY__MEMORY_TOTAL_BYTES_MAX": str(128 << 20),
    "STRETTO_QUERY__COLUMN_CACHE_BYTES_MAX": str(128 << 20),
    "STRETTO_LIVE_STORE__SEGMENT_AGE_S": "10",
    "STRETTO_LIVE_STORE__BLOCK_AGE_S": "30",
}
_LAG_S_MAX: Final = 10.0  # kafka.lag_s_max
_POST_SPANS: Final = "/jaeger.api_v2.CollectorService/PostSpans"
_RIGHT: Final = (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
_WORDS: Final = (b"null", b"1e400", b'"\\ud83d"', b"[]", b"{}", b"\x7f\xff\xff\xff", b"\xfc\xff\xff\xff\xff\x07")
_UDP_PAUSE_S: Final = 0.001
_FAULTS_TOLD: Final = 10


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of input. to: a receiver of `Cluster.receivers`; "query": the query API. path: "": not over HTTP"""

    to: str
    seeds: Sequence[bytes]
    path: str = ""
    content_type: str = "application/json"
    method: str = "POST"
    protobuf: bool = False

    def request(self, data: bytes, version: str) -> bytes:
        """The request as HTTP/1.1 has it. version: of the overrides that it changes, for If-Match"""
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: a", f"Content-Type: {self.content_type}"]
        lines += [f"If-Match: {version}", "Accept: application/json, text/event-stream"]
        return "\r\n".join([*lines, f"Content-Length: {len(data)}", "", ""]).encode() + data


def kinds() -> list[Kind]:
    """All inputs that are sent, with examples of each."""
    thrift, protobuf = "application/x-thrift", "application/x-protobuf"
    of = {target.name: target.make_seeds() for target in bodies.TARGETS}
    return [
        Kind("jaeger_http", jaeger.batches("binary"), "/api/traces", thrift),
        Kind("jaeger_grpc", jaeger.posted(), protobuf=True),
        Kind("jaeger_compact", jaeger.datagrams("compact")),
        Kind("jaeger_binary", jaeger.datagrams("binary")),
        Kind("zipkin", zipkin.version2(), "/api/v2/spans"),
        Kind("zipkin", zipkin.protobuf(), "/api/v2/spans", protobuf, protobuf=True),
        Kind("zipkin", zipkin.version1(), "/api/v1/spans"),
        Kind("zipkin", zipkin.thrift(), "/api/v1/spans", thrift),
        Kind("query", of["own_overrides"], "/api/overrides", method="PATCH"),
        Kind("query", of["own_overrides"], "/api/overrides"),
        Kind("query", of["trace_diff"], "/api/v2/traces/diff"),
        Kind("query", of["mcp"], "/api/mcp"),
        *(Kind("query", [b""], path, method="GET") for path in _PAGE),
    ]


_PAGE: Final = (
    "/api/service-map?since=1h",
    "/api/search/stream?q=%7B%20%7D%20%3E%3E%20%7B%20%7D&since=1h&limit=5",
    "/api/v2/traces/1/outline",
    "/api/overrides?scope=merged",
    "/usage_metrics",
    "/status/config",
)


@dataclass(slots=True)
class Clients:
    """What is sent, and what came of it."""

    cluster: Cluster
    left: int
    rng: Random
    kinds: Sequence[Kind] = field(default_factory=kinds)
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    async def run(self, connections: int) -> None:
        """Sends all of it over so many connections to each port."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            async with grpc.aio.insecure_channel(self.cluster.receivers["jaeger_grpc"]) as channel:
                post = channel.unary_unary(_POST_SPANS)
                await asyncio.gather(*(self._client(udp, post) for _ in range(connections)))

    async def _client(self, udp: socket.socket, post: Callable[..., Any]) -> None:
        open_: dict[str, Connection] = {}
        while self.left > 0:
            self.left -= 1
            kind = self.rng.choice(list(self.kinds))
            address = self.cluster.receivers.get(kind.to) or self.cluster.http_url.removeprefix("http://")
            host, _, port = address.rpartition(":")
            data = self._mutated(kind)
            if kind.path:
                connection = open_.setdefault(address, Connection(host, int(port)))
                await self._http(connection, kind, data)
            elif kind.protobuf:
                await self._grpc(post, data)
            else:
                udp.sendto(data[: 60 << 10], (host, int(port)))
                self.statuses[f"{kind.to}: sent"] += 1
                await asyncio.sleep(_UDP_PAUSE_S)
        for connection in open_.values():
            connection.close()

    def _mutated(self, kind: Kind) -> bytes:
        rng, data = self.rng, self.rng.choice(list(kind.seeds))
        if rng.random() < 0.1:
            return data
        change = mutate_message if kind.protobuf and rng.random() < 0.8 else mutate
        for _ in range(rng.choice((1, 1, 2, 4))):
            data = change(data, rng, _WORDS, kind.seeds)
        return data

    async def _http(self, connection: Connection, kind: Kind, data: bytes) -> None:
        try:
            status, answer = await connection.ask(kind.request(data, self.rng.choice(("0", "1"))), broken=False)
        except (TimeoutError, OSError) as err:
            connection.close()
            self._fault(f"{kind.path}: {err!r} after {data[:300]!r}")
            return
        self.statuses[f"{kind.method} {kind.path.partition('?')[0]}: {status}"] += 1
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == 0:
            self._fault(f"{kind.path}: status {status}, {answer[:200]!r} after {data[:300]!r}")

    async def _grpc(self, post: Callable[..., Any], data: bytes) -> None:
        try:
            await post(data, timeout=60)
        except grpc.aio.AioRpcError as err:
            self.statuses[f"PostSpans: {err.code().name}"] += 1
            if err.code() not in _RIGHT:
                self._fault(f"PostSpans: {err.code().name} {str(err.details())[:200]} after {data[:200]!r}")
            return
        self.statuses["PostSpans: OK"] += 1

    def _fault(self, text: str) -> None:
        self.statuses["faults"] += 1
        if len(self.faults) < _FAULTS_TOLD:
            self.faults.append(text)
            print(text, file=sys.stderr, flush=True)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile.others", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--connections", type=int, default=16, help="to each port")
    parser.add_argument("--megabytes", type=int, default=1024, help="resident memory that the worker may have")
    given = parser.parse_args(argv)
    return one_run(SETTINGS, lambda cluster: _run(cluster, given))


def _run(cluster: Cluster, given: argparse.Namespace) -> list[str]:
    (worker,) = [one for one in cluster.processes() if one.name == "worker"]
    dog, canary = Watchdog(worker.pid, given.megabytes << 20), Canary(cluster, _LAG_S_MAX)
    dog.start()
    canary.start()
    clients, began_s = Clients(cluster, given.requests, Random(given.seed)), time.monotonic()
    uvloop.run(clients.run(given.connections))
    took_s = time.monotonic() - began_s
    time.sleep(_LAG_S_MAX / 2)  # the canary goes on when the others have gone
    canary.finish()
    dog.finish.set()
    print(f"{given.requests} inputs in {took_s:.0f} s, seed {given.seed}; worker {dog.peak_bytes >> 20} MB at most")
    for name, count in sorted(clients.statuses.items()):
        print(f"  {name:40} {count}")
    print(f"canary: {canary.answers} answers, {canary.refusals} refusals, {len(canary.lies)} wrong")
    problems = [*clients.faults, *canary.lies[:10]]
    if missing := canary.missing("canary-0"):
        problems.append(f"in the end: {missing}")
    if dog.gone or worker.pid not in [one.pid for one in cluster.processes()]:
        problems.append("the worker that was started is gone")
    if dog.peak_bytes > dog.bytes_max:
        problems.append(f"the worker had {dog.peak_bytes >> 20} MB, more than {given.megabytes}")
    return problems


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
