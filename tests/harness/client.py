"""What the cluster tests do to a running Stretto: send, ask, wait, kill."""

import json
import os
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.harness.cluster import Cluster

T = TypeVar("T")
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
START_NS = 1_790_000_000 * 10**9
# Between two questions. The second is for what takes long: the questions themselves must not keep it from going on.
PAUSE_S, LONG_PAUSE_S = 0.05, 0.25


def eventually(ask: Callable[[], T], good: Callable[[T], bool], within_s: float = 60, what: str = "") -> T:
    """Asks until the answer is good; the last answer otherwise fails the test."""
    deadline_s = time.monotonic() + within_s
    pause_s = PAUSE_S
    while True:
        try:
            answer: Any = ask()
            if good(answer):
                return answer
        except OSError as err:
            answer = err
        assert time.monotonic() < deadline_s, f"{what or 'not so'} after {within_s} s: {answer!r}"
        time.sleep(pause_s)
        pause_s = min(1.2 * pause_s, LONG_PAUSE_S)


def request(service: str, traces: int, spans_per_trace: int, first_trace: int = 1) -> bytes:
    """Traces whose ids, service and times say which they are: spans of one trace follow each other by a second."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    scope = group.scope_spans.add()
    for trace in range(first_trace, first_trace + traces):
        trace_id = service.encode()[:8].ljust(8, b"_") + trace.to_bytes(8, "big")
        for n in range(spans_per_trace):
            span_id = (trace * 1000 + n + 1).to_bytes(8, "big")
            span = scope.spans.add(trace_id=trace_id, span_id=span_id, name=f"span {n}", kind=2)
            span.start_time_unix_nano = START_NS + n * 10**9
            span.end_time_unix_nano = span.start_time_unix_nano + 5 * 10**8
            if n:
                span.parent_span_id = (trace * 1000 + 1).to_bytes(8, "big")
    return message.SerializeToString()


class Client:
    """Talks to one cluster, or to one process of it."""

    def __init__(self, cluster: Cluster, http_url: str = "", otlp_address: str = "") -> None:
        """http_url, otlp_address: of one process; "": those of `stretto run`"""
        self.cluster = cluster
        self.http_url, self.otlp_address = http_url or cluster.http_url, otlp_address or cluster.otlp_address

    # ---- sending

    def send(self, body: bytes, within_s: float = 60, **metadata: str) -> ExportTraceServiceResponse:
        """Over gRPC. Raises grpc.RpcError."""
        with grpc.insecure_channel(self.otlp_address) as channel:
            export = channel.unary_unary(EXPORT, response_deserializer=ExportTraceServiceResponse.FromString)
            headers = [(key.replace("_", "-"), value) for key, value in metadata.items()]
            reply: ExportTraceServiceResponse = export(body, timeout=within_s, metadata=headers)
            return reply

    def post(self, body: bytes, content_type: str = "application/x-protobuf", **headers: str) -> tuple[int, Any, bytes]:
        """Over HTTP: status, headers, body."""
        url = f"{self.cluster.otlp_http_url}/v1/traces"
        named = {"Content-Type": content_type, **{key.replace("_", "-"): value for key, value in headers.items()}}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, named), timeout=60) as reply:
                return reply.status, reply.headers, reply.read()
        except urllib.error.HTTPError as err:
            return err.code, err.headers, err.read()

    # ---- asking

    def get(self, path: str, **params: Any) -> Any:
        """JSON. Raises urllib.error.HTTPError."""
        query = f"?{urllib.parse.urlencode(params)}" if params else ""
        with urllib.request.urlopen(f"{self.http_url}{path}{query}", timeout=60) as reply:
            return json.loads(reply.read())

    def get_json(self, path: str) -> Any:
        """Of a page that is HTML where nobody asks for JSON."""
        url = urllib.request.Request(f"{self.http_url}{path}", headers={"Accept": "application/json"})
        with urllib.request.urlopen(url, timeout=20) as reply:
            return json.loads(reply.read())

    def text(self, path: str) -> str:
        """An answer as it is. Raises urllib.error.HTTPError."""
        with urllib.request.urlopen(f"{self.cluster.http_url}{path}", timeout=60) as reply:
            found: bytes = reply.read()
        return found.decode()

    def search(self, query: str, **params: Any) -> list[dict[str, Any]]:
        """The traces that match, all of them."""
        traces: list[dict[str, Any]] = self.get("/api/search", q=query, limit=100_000, **params)["traces"]
        return traces

    def span_count(self, service: str) -> int:
        """Matched spans over all traces: one that is there twice counts twice."""
        found = self.search(f'{{ resource.service.name = "{service}" }}', spss=1)
        return sum(trace["spanSets"][0]["matched"] for trace in found)

    def trace_spans(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of a trace by id."""
        trace = self.get(f"/api/v2/traces/{trace_id}")["trace"]
        return [s for g in trace.get("resourceSpans", []) for scope in g["scopeSpans"] for s in scope["spans"]]

    def metric(self, name: str) -> float:
        """The sum of a metric's series."""
        with urllib.request.urlopen(f"{self.http_url}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def expect_spans(self, service: str, count: int, within_s: float = 60) -> None:
        """Waits until exactly so many are found; more is an error at once."""
        found = eventually(lambda: self.span_count(service), lambda n: n >= count, within_s, f"spans of {service}")
        assert found == count

    # ---- breaking

    def pid(self, name: str) -> int:
        """The worker's or Kafka's."""
        (found,) = self.pids(name)
        return found

    def pids(self, name: str) -> list[int]:
        """Those of the processes with this name; none between two lives."""
        return [process.pid for process in self.cluster.processes() if process.name == name]

    def kill_worker(self) -> None:
        """kill -9; returns when the next one is ready."""
        old = self.pid("worker")
        os.kill(old, signal.SIGKILL)
        self.wait_for_next_worker(old)

    def wait_for_next_worker(self, old: int) -> None:
        """Returns when another worker than `old` is ready."""
        eventually(lambda: self.pids("worker"), lambda pids: len(pids) == 1 and pids != [old], what="no new worker")
        eventually(self.ready, bool, 60, "not ready")

    def ready(self) -> bool:
        """Raises OSError where nothing listens."""
        try:
            with urllib.request.urlopen(f"{self.http_url}/ready", timeout=5):
                return True
        except urllib.error.HTTPError:
            return False
