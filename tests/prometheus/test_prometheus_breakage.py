"""kill -9 of the worker and of Prometheus in the middle of a run: the totals are still those of the file.

The name makes it the first of this folder: the cluster that the others share is not running yet.
"""

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from benchmarks.load import load
from benchmarks.workload import Options, Requests, write
from tests.harness.client import Client, eventually
from tests.harness.cluster import SHORT_WINDOWS, Cluster
from tests.harness.prometheus import Prometheus
from tests.helpers.generator.truth import edges, spans_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

CALLS = "traces_spanmetrics_calls_total"
LATENCY = "traces_spanmetrics_latency"
EDGES = "traces_service_graph_request_total"
BY_SPAN = ("service", "span_name", "span_kind", "status_code")
BY_EDGE = ("client", "server", "connection_type")
SPANS, REQUESTS_PER_S = 12_000, 25
# Of the span metrics only: edges need both their halves.
POLICIES = [
    {
        "include_any": {"match_type": "regex", "attributes": [{"key": "kind", "value": "SPAN_KIND_(SERVER|CONSUMER)"}]},
        "exclude": {"attributes": [{"key": "resource.service.name", "value": "catalog"}]},
    },
    {"exclude": {"match_type": "regex", "attributes": [{"key": "name", "value": "^bookshop[.]Accounts/"}]}},
]
SAME_IN_TRACEQL = (
    '{ (kind = server || kind = consumer) && resource.service.name != "catalog" && name !~ "bookshop[.]Accounts/.*" }'
)


class Run:
    """A cluster, its Prometheus, and a workload that is sent part by part."""

    def __init__(self, prometheus: Prometheus, client: Client, requests: Requests) -> None:
        self.prometheus, self.client = prometheus, client
        self._requests, self._sent = requests, 0

    def send(self, share: float) -> None:
        """The workload up to this share of its requests. Returns when all are acknowledged."""
        first, self._sent = self._sent, round(share * len(self._requests))
        answer = load(self._requests[first : self._sent], self.client.cluster.otlp_address, rate=REQUESTS_PER_S)
        assert (answer.errors, answer.rejected_spans) == (0, 0), answer

    def pushed(self, more_than: float) -> float:
        """Waits for a push with new calls. Returns how many there have been."""
        return eventually(
            lambda: sum(self.increases(CALLS, ()).values()), lambda total: total > more_than, what="no push came"
        )

    def increases(self, metric: str, labels: Sequence[str]) -> dict[tuple[str, ...], float]:
        """What each series has added up to, over all resets: from the samples themselves."""
        total = Counter[tuple[str, ...]]()
        found = self.prometheus.get("query", query=f"{metric}[1h]")["result"]
        for one in found:
            values = [float(value) for _, value in one["values"]]
            assert values[0] == 0
            grown = sum(after - before if after >= before else after for before, after in pairwise(values))
            total[tuple(one["metric"].get(label, "") for label in labels)] += grown
        return dict(total)


def test_totals_over_kills(tmp_path: Path) -> None:
    """Whatever is killed, and whatever was on its way then, every span and every edge is counted once."""
    database = tmp_path / "prometheus"
    database.mkdir()
    start_s = int(time.time()) - 10
    path = tmp_path / "workload"
    write(Options(spans=SPANS, start_s=start_s, spans_per_s=2_000, seed=3, spans_per_request=100), path)
    requests = Requests(path)
    with Prometheus(database) as prometheus:
        generator = {
            "registry": {"collection_interval_s": 1, "generate_native_histograms": "both"},
            "processor": {"service_graphs": {"wait_s": 60}, "span_metrics": {"filter_policies": POLICIES}},
            "storage": {"remote_write": [{"url": prometheus.write_url}]},
        }
        (tmp_path / "stretto.yaml").write_text(yaml.safe_dump({"metrics_generator": generator}))
        with Cluster(tmp_path, SHORT_WINDOWS) as cluster:
            run = Run(prometheus, Client(cluster), requests)
            break_things(run)
            check(run, requests, {"start": start_s - 60, "end": start_s + 600})


def break_things(run: Run) -> None:
    """Sends the whole workload meanwhile."""
    run.send(0.2)
    some = run.pushed(more_than=0)
    run.client.kill_worker()  # counted in part, accepted in part
    run.send(0.4)
    some = run.pushed(more_than=some)
    run.prometheus.kill()
    run.send(0.5)
    run.client.kill_worker()  # counted, and not accepted by anybody
    run.send(0.6)
    run.prometheus.start()
    some = run.pushed(more_than=some)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(run.send, 1.0)
        # In the middle of pushes: one may be accepted whose answer never comes.
        run.pushed(more_than=some)
        run.prometheus.kill()
        run.prometheus.start()
        sending.result()


def check(run: Run, requests: Requests, window: dict[str, int]) -> None:
    """Totals of Prometheus, of the file, and of TraceQL."""
    spans = spans_of(requests)
    want_edges = {key: edge.count for key, edge in edges(spans).items()}
    want_calls = Counter(
        span.labels
        for span in spans
        if span.kind in ("SERVER", "CONSUMER")
        and span.service != "catalog"
        and not span.name.startswith("bookshop.Accounts/")
    )
    expect(run, CALLS, BY_SPAN, want_calls)
    expect(run, EDGES, BY_EDGE, want_edges)
    found = run.client.get("/api/metrics/query", q=f"{SAME_IN_TRACEQL} | count_over_time()", **window)
    assert sum(series["value"] for series in found["series"]) == want_calls.total()
    at_s = run.prometheus.last_push_s(CALLS)
    increases = run.prometheus.by(f"sum by ({', '.join(BY_SPAN)}) (increase({CALLS}[30m]))", *BY_SPAN, at_s=at_s)
    assert increases == pytest.approx(want_calls, rel=1e-9)
    # Of native histograms, too; these are extrapolated by up to half an interval at the beginning.
    native = run.prometheus.total(f"histogram_count(sum(increase({LATENCY}[30m])))", at_s)
    assert want_calls.total() * (1 - 1e-9) <= native <= want_calls.total() * 1.3


def expect(run: Run, metric: str, labels: Sequence[str], want: dict[tuple[str, ...], int]) -> None:
    """Waits until nothing is missing."""
    total = sum(want.values())
    found = eventually(
        lambda: run.increases(metric, labels), lambda found: sum(found.values()) >= total, 40, f"{metric}, not {total}"
    )
    assert found == want
