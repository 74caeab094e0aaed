"""The bookshop's spans in over gRPC, series out at a real Prometheus: its answers are the counts of the file."""

import math
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from agents.generator.config import GRAPH_BUCKETS_S, LATENCY_BUCKETS_S
from tests.harness.counted_workload import BY_EDGE, BY_SPAN, CALLS, GRAPH, LATENCY, CountedWorkload
from tests.helpers.generator.truth import buckets

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


# ---- span metrics


def test_calls(counted: CountedWorkload) -> None:
    """Of each service, name, kind and status, as many calls as the file has spans."""
    assert counted.by(CALLS, *BY_SPAN) == Counter(span.labels for span in counted.spans)


def test_increase_is_the_count(counted: CountedWorkload) -> None:
    """A series begins with 0, so that the first increase is not lost: `increase()` over the run is the count."""
    assert {samples[0][1] for samples in counted.prometheus.samples(CALLS, at_s=counted.at_s)} == {0}
    found = counted.by(f"increase({CALLS}[30m])", *BY_SPAN)
    assert found == pytest.approx(Counter(span.labels for span in counted.spans), rel=1e-9)


def test_pushes_are_not_late(counted: CountedWorkload) -> None:
    """A sample each collection interval; none twice, none of the past."""
    times_s = [time_s for time_s, _ in max(counted.prometheus.samples(CALLS, at_s=counted.at_s), key=len)]
    pauses_s = [later - sooner for sooner, later in pairwise(times_s[1:])]
    assert min(pauses_s) > 0.2
    assert max(pauses_s) < 8


def test_latency(counted: CountedWorkload) -> None:
    """Every bucket, the count and the sum of each series."""
    want = defaultdict(list)
    for span in counted.spans:
        want[span.labels].append(span.seconds)
    check_histogram(counted, LATENCY, BY_SPAN, want, LATENCY_BUCKETS_S)


def test_size(counted: CountedWorkload) -> None:
    """The bytes that the spans take as OTLP, to some percent."""
    want = Counter[str]()
    for span in counted.spans:
        want[span.service] += span.size_bytes
    found = counted.by("sum by (service) (traces_spanmetrics_size_total)", "service")
    assert found == pytest.approx({(service,): size for service, size in want.items()}, rel=0.1)


def check_histogram(
    counted: CountedWorkload, metric: str, labels: tuple[str, ...], want: dict, bounds_s: tuple[float, ...]
) -> None:
    """A classic histogram's three metrics. want: seconds by label values."""
    counts = {key: len(seconds) for key, seconds in want.items()}
    assert counted.by(f"{metric}_count", *labels) == counts
    sums = {key: math.fsum(seconds) for key, seconds in want.items()}
    assert counted.by(f"{metric}_sum", *labels) == pytest.approx(sums, rel=1e-9)
    found: dict = defaultdict(dict)
    for (*key, le), count in counted.by(f"{metric}_bucket", *labels, "le").items():
        found[tuple(key)][float(le)] = count
    for key, seconds in want.items():
        assert found.pop(key) == dict(zip([*bounds_s, math.inf], buckets(seconds, bounds_s), strict=True)), key
    assert not found


# ---- service graph


def test_the_graph_has_all_kinds_of_edges(counted: CountedWorkload) -> None:
    """Otherwise the following tests would say less than they seem to."""
    assert {kind for _, _, kind in counted.edges} == {"", "virtual_node", "database", "messaging_system"}
    of_messages = {(client, server) for client, server, kind in counted.edges if kind == "messaging_system"}
    assert of_messages == {("orders", "warehouse"), ("orders", "mailer")}
    assert sum(edge.failed for edge in counted.edges.values()) > 20


def test_edges(counted: CountedWorkload) -> None:
    """Every edge with its count and its failures; each consumer of a message is an edge of its own."""
    assert counted.by(f"{GRAPH}_total", *BY_EDGE) == {key: edge.count for key, edge in counted.edges.items()}
    failed = {key: edge.failed for key, edge in counted.edges.items() if edge.failed}
    assert counted.by(f"{GRAPH}_failed_total", *BY_EDGE) == failed
    increased = counted.by(f"increase({GRAPH}_failed_total[30m])", *BY_EDGE)
    assert increased == pytest.approx(failed, rel=1e-9)


def test_edges_durations(counted: CountedWorkload) -> None:
    """Both sides' times: every bucket, the count and the sum of each edge."""
    clients = {key: edge.client_s for key, edge in counted.edges.items()}
    check_histogram(counted, f"{GRAPH}_client_seconds", BY_EDGE, clients, GRAPH_BUCKETS_S)
    servers = {key: edge.server_s for key, edge in counted.edges.items()}
    check_histogram(counted, f"{GRAPH}_server_seconds", BY_EDGE, servers, GRAPH_BUCKETS_S)


# ---- TraceQL


@pytest.mark.parametrize(
    ("traceql", "promql"),
    [
        pytest.param("{ }", "", id="all"),
        pytest.param('{ resource.service.name = "orders" }', 'service="orders"', id="a service"),
        pytest.param(
            '{ resource.service.name = "reviews" && status = error }',
            'service="reviews", status_code="STATUS_CODE_ERROR"',
            id="a service's errors",
        ),
        pytest.param(
            '{ kind = client && name = "SELECT books" }',
            'span_kind="SPAN_KIND_CLIENT", span_name="SELECT books"',
            id="a database's statement",
        ),
        pytest.param(
            '{ kind = consumer && status != error && name =~ "process.*" }',
            'span_kind="SPAN_KIND_CONSUMER", status_code!="STATUS_CODE_ERROR", span_name=~"process.*"',
            id="regex",
        ),
    ],
)
def test_traceql_agrees(counted: CountedWorkload, traceql: str, promql: str) -> None:
    """The same filter gives the same count."""
    found = counted.client.get("/api/metrics/query", q=f"{traceql} | count_over_time()", **counted.window)
    count = sum(series["value"] for series in found["series"])
    assert count == counted.prometheus.total(f"{CALLS}{{{promql}}}", counted.at_s) > 0


def test_traceql_agrees_by_service(counted: CountedWorkload) -> None:
    """Groups of TraceQL are the series' sums."""
    found = counted.client.get(
        "/api/metrics/query", q="{ status = error } | count_over_time() by (resource.service.name)", **counted.window
    )
    counts = {(one["labels"][0]["value"]["stringValue"],): one["value"] for one in found["series"]}
    assert counts == counted.by(f'sum by (service) ({CALLS}{{status_code="STATUS_CODE_ERROR"}})', "service")
