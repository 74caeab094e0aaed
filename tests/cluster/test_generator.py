"""Spans in over gRPC, series out at a receiver, over a kill -9 of the worker and a receiver that is away."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.cluster import Cluster
from tests.cluster.client import Client, eventually
from tests.cluster.conftest import SETTINGS
from tests.helpers.generated import decoded
from tests.helpers.whole_way import request, span

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

CALLS = "traces_spanmetrics_calls_total"
EDGES = "traces_service_graph_request_total"
CLIENT, SERVER = 3, 2


class Receiver:
    """Keeps all samples; adds up increases as Prometheus does: what is less than before has begun anew."""

    def __init__(self) -> None:
        self.samples: dict[frozenset[tuple[str, str]], dict[int, float]] = {}
        self.away = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not outer.away:
                    outer.take(body)
                self.send_response(503 if outer.away else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/api/v1/write"

    def take(self, body: bytes) -> None:
        length = shift = 0
        for byte in body[:5]:
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        for labels, samples in decoded([pa.Codec("snappy").decompress(body, length).to_pybytes()]).items():
            self.samples.setdefault(labels, {}).update(samples)

    def increase(self, name: str) -> float:
        total = 0.0
        for labels, samples in list(self.samples.items()):
            if ("__name__", name) in labels:
                values = [value for _, value in sorted(samples.items())]
                assert values[0] == 0
                total += sum(b - a if b >= a else b for a, b in pairwise(values))
        return total


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def halves(first: int, count: int, kind: int) -> bytes:
    """One side of `count` calls, each in a trace of its own."""
    ids = {"parent_span_id": (1).to_bytes(8, "big")} if kind == SERVER else {}
    spans = [
        span(1 if kind == CLIENT else 2, trace=number.to_bytes(16, "big"), kind=kind, **ids)
        for number in range(first, first + count)
    ]
    return request(spans, service_name="front" if kind == CLIENT else "back")


def test_increase_is_what_was_sent(tmp_path: Path, receiver: Receiver) -> None:
    """Over a kill -9 while halves of edges wait, and a receiver that is away, every span and edge is counted once."""
    settings = {
        "REMOTE_WRITE_URL": receiver.url,
        "STRETTO_METRICS_GENERATOR__REGISTRY__COLLECTION_INTERVAL_S": "1",
        "STRETTO_METRICS_GENERATOR__PROCESSOR__SERVICE_GRAPHS__WAIT_S": "60",
    }
    with Cluster(tmp_path, SETTINGS | settings) as cluster:
        client = Client(cluster)
        client.send(halves(1, 200, CLIENT))
        client.send(halves(201, 100, SERVER))
        eventually(lambda: receiver.increase(CALLS), lambda found: found == 300, 30, "calls before the kill")
        receiver.away = True
        client.send(halves(301, 50, CLIENT))
        client.kill_worker()
        client.send(halves(1, 200, SERVER))
        client.send(halves(201, 100, CLIENT))
        receiver.away = False
        client.send(halves(301, 50, SERVER))
        eventually(lambda: receiver.increase(CALLS), lambda found: found >= 700, 30, "calls after the kill")
        eventually(lambda: receiver.increase(EDGES), lambda found: found >= 350, 30, "edges")
        threading.Event().wait(3)  # nothing more may come
        assert (receiver.increase(CALLS), receiver.increase(EDGES)) == (700, 350)
