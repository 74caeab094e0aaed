"""A small steady load, and questions that know what must be in the answer."""

import json
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Final

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.load import EXPORT
from tests.harness.cluster import Cluster

_EVERY_S: Final = 0.2
_ASK_EVERY_S: Final = 0.5
# Kafka has acknowledged before the client knows; the search may have begun a little before it was sent, as we see it.
_SLACK_S: Final = 1.0
_TIMEOUT_S: Final = 15.0
_LIMIT: Final = 100_000


def request(service: str, trace_id: bytes) -> bytes:
    """One trace of one span, now."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    span = group.scope_spans.add().spans.add(trace_id=trace_id, span_id=os.urandom(8), name="canary", kind=2)
    span.start_time_unix_nano = time.time_ns() - 10**6
    span.end_time_unix_nano = time.time_ns()
    return message.SerializeToString()


class Canary:
    """Sends a trace every fifth of a second and searches twice a second, in threads. lag_s_max: kafka.lag_s_max of the
    server

    A search that answers 200 without a trace that was acknowledged lag_s_max before is wrong; `lies` keeps it.
    """

    def __init__(self, cluster: Cluster, lag_s_max: float) -> None:
        self._cluster, self._lag_s_max = cluster, lag_s_max
        self._lock = threading.Lock()
        self._acknowledged: dict[str, dict[str, float]] = {}  # by service and trace id: when, by time.monotonic()
        self._finish = threading.Event()
        self._service = "canary-0"
        self.lies: list[str] = []
        self.answers = self.refusals = 0  # of searches
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._ask)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        self._finish.set()
        for thread in self._threads:
            thread.join(2 * _TIMEOUT_S)

    def next(self) -> str:
        """Traces are of another service from now on. Returns the service until now."""
        with self._lock:
            before, number = self._service, int(self._service.partition("-")[2])
            self._service = f"canary-{number + 1}"
            return before

    def acknowledged(self, service: str, before_s: float = float("inf")) -> set[str]:
        """Ids of traces that were acknowledged before a moment of time.monotonic()."""
        with self._lock:
            return {one for one, at_s in self._acknowledged.get(service, {}).items() if at_s <= before_s}

    @property
    def last_acknowledged_s(self) -> float:
        with self._lock:
            return max((at_s for found in self._acknowledged.values() for at_s in found.values()), default=0.0)

    def search(self, service: str) -> set[str] | None:
        """Ids of the traces that are found; None where the answer is not 200."""
        query = urllib.parse.urlencode({"q": f'{{ resource.service.name = "{service}" }}', "limit": _LIMIT})
        try:
            with urllib.request.urlopen(f"{self._cluster.http_url}/api/search?{query}", timeout=_TIMEOUT_S) as reply:
                # Leading zeros of an id are left out, as Tempo does.
                return {one["traceID"].rjust(32, "0") for one in json.loads(reply.read())["traces"]}
        except (OSError, urllib.error.HTTPError, ValueError):
            return None

    def missing(self, service: str) -> str:
        """The acknowledged traces that an answer does not have now, as text; "": none."""
        wanted, found = self.acknowledged(service), self.search(service)
        if found is None:
            return "no answer"
        lost = wanted - found
        return f"{len(lost)} of {len(wanted)} acknowledged traces" if lost else ""

    def _send(self) -> None:
        with grpc.insecure_channel(self._cluster.otlp_address, [("grpc.max_reconnect_backoff_ms", 500)]) as channel:
            export = channel.unary_unary(EXPORT)
            while not self._finish.wait(_EVERY_S):
                with self._lock:
                    service = self._service
                trace_id = os.urandom(16)
                body = request(service, trace_id)
                while not self._finish.is_set():
                    try:
                        export(body, timeout=_TIMEOUT_S)
                    except grpc.RpcError:
                        time.sleep(0.2)  # the same again
                    else:
                        with self._lock:
                            self._acknowledged.setdefault(service, {})[trace_id.hex()] = time.monotonic()
                        break

    def _ask(self) -> None:
        while not self._finish.wait(_ASK_EVERY_S):
            with self._lock:
                service = self._service
            asked_s = time.monotonic()
            found = self.search(service)
            if found is None:
                self.refusals += 1
                continue
            self.answers += 1
            lost = self.acknowledged(service, asked_s - self._lag_s_max - _SLACK_S) - found
            if lost:
                self.lies.append(f"{service}: a search answered 200 without {len(lost)} acknowledged traces")
