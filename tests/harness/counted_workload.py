"""The bookshop's spans in over gRPC, series out at a real Prometheus, and what both should say."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from benchmarks.load import load
from benchmarks.workload import Options, Requests, write
from tests.harness.client import Client, eventually
from tests.harness.cluster import SHORT_WINDOWS, Cluster
from tests.harness.prometheus import Prometheus
from tests.helpers.generator.truth import Edges, Seen, edges, spans_of

CALLS = "traces_spanmetrics_calls_total"
LATENCY = "traces_spanmetrics_latency"
GRAPH = "traces_service_graph_request"
BY_SPAN = ("service", "span_name", "span_kind", "status_code")
BY_EDGE = ("client", "server", "connection_type")
PEERS = ["peer.service", "server.address"]
SPANS, REQUESTS_PER_S = 20_000, 10
GENERATOR = {
    "registry": {"collection_interval_s": 1, "generate_native_histograms": "both"},
    "processor": {"service_graphs": {"wait_s": 4, "peer_attributes": PEERS}},
}


@dataclass(frozen=True, slots=True)
class CountedWorkload:
    """A workload that has come through, and the file's own counts."""

    prometheus: Prometheus
    client: Client
    spans: list[Seen]
    edges: Edges
    window: dict[str, int]  # start and end of a query of all spans
    at_s: float  # the push that all answers are asked for

    def by(self, promql: str, *labels: str) -> dict[tuple[str, ...], float]:
        return self.prometheus.by(promql, *labels, at_s=self.at_s)


@contextmanager
def counted_workload(folder: Path) -> Iterator[CountedWorkload]:
    """A cluster and a Prometheus with all their data in `folder`, while they run."""
    database = folder / "prometheus"
    database.mkdir()
    stretto = Cluster(folder, SHORT_WINDOWS)
    with Prometheus(database, scraped=[urlsplit(stretto.http_url).netloc]) as prometheus:
        remote_write = {"storage": {"remote_write": [{"url": prometheus.write_url}]}}
        (folder / "stretto.yaml").write_text(yaml.safe_dump({"metrics_generator": GENERATOR | remote_write}))
        with stretto:
            yield sent(prometheus, Client(stretto), folder / "workload")


def sent(prometheus: Prometheus, client: Client, path: Path) -> CountedWorkload:
    start_s = int(time.time()) - 10
    write(Options(spans=SPANS, start_s=start_s, spans_per_s=2_000), path)
    requests = Requests(path)
    loaded = load(requests, client.cluster.otlp_address, rate=REQUESTS_PER_S)
    assert (loaded.errors, loaded.rejected_spans) == (0, 0), loaded
    spans = spans_of(requests)
    want = edges(spans, PEERS)
    expect(prometheus, CALLS, len(spans))
    expect(prometheus, f"{GRAPH}_total", sum(edge.count for edge in want.values()))
    window = {"start": start_s - 60, "end": start_s + 600}
    return CountedWorkload(prometheus, client, spans, want, window, prometheus.last_push_s(CALLS))


def expect(prometheus: Prometheus, metric: str, count: int) -> None:
    """Waits until a counter's series add up to so much; more is an error at once."""
    found = eventually(lambda: prometheus.total(metric), lambda total: total >= count, 60, f"{metric}, not {count}")
    assert found == count
