"""From series to traces, and native histograms: what the buckets of a real Prometheus lead to."""

import math
from collections import defaultdict

import pytest

from agents.generator.config import GRAPH_BUCKETS_S, LATENCY_BUCKETS_S
from tests.harness.counted_workload import BY_EDGE, BY_SPAN, GRAPH, LATENCY, CountedWorkload
from tests.helpers.generator.truth import Seen

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

TRACES_FETCHED = 20
# Exponential buckets grow by at most native_histogram_bucket_factor, 1.1; one of a wide range is merged to every second
# or fourth one, so as to have no more than native_histogram_max_bucket_number.
BUCKET_FACTOR = 2 ** (1 / 4)
ZERO_S = 1e-9  # what is as small is in the zero bucket, whose middle is not quite 0


# ---- exemplars


def exemplars(counted: CountedWorkload, metric: str) -> list[tuple[dict[str, str], dict]]:
    """Labels of the series, and the exemplar, as Grafana asks for them."""
    found = counted.prometheus.get("query_exemplars", query=metric, **counted.window)
    return [(one["seriesLabels"], exemplar) for one in found for exemplar in one["exemplars"]]


def by_trace(spans: list[Seen]) -> dict[str, list[Seen]]:
    found = defaultdict(list)
    for span in spans:
        found[span.trace_id.hex()].append(span)
    return found


def test_exemplars_are_spans(counted: CountedWorkload) -> None:
    """Each names the trace of a span with the series' labels and that duration, in the bucket that it stands for."""
    spans = by_trace(counted.spans)
    lower_s = dict(zip([*LATENCY_BUCKETS_S, math.inf], [-math.inf, *LATENCY_BUCKETS_S], strict=True))
    found = exemplars(counted, f"{LATENCY}_bucket")
    assert len(found) > 50
    for series, exemplar in found:
        seconds, upper_s = float(exemplar["value"]), float(series["le"])
        assert lower_s[upper_s] < seconds <= upper_s
        labels = tuple(series[name] for name in BY_SPAN)
        candidates = spans[exemplar["labels"]["traceID"]]
        assert any(span.labels == labels and span.seconds == pytest.approx(seconds) for span in candidates)


@pytest.mark.parametrize("side", [pytest.param("client", id="client"), pytest.param("server", id="server")])
def test_exemplars_of_edges(counted: CountedWorkload, side: str) -> None:
    """Each is in its bucket, and of a trace through both services."""
    spans = by_trace(counted.spans)
    lower_s = dict(zip([*GRAPH_BUCKETS_S, math.inf], [-math.inf, *GRAPH_BUCKETS_S], strict=True))
    found = exemplars(counted, f'{GRAPH}_{side}_seconds_bucket{{connection_type!~"database|virtual_node"}}')
    assert len(found) > 5
    for series, exemplar in found:
        seconds, upper_s = float(exemplar["value"]), float(series["le"])
        assert lower_s[upper_s] < seconds <= upper_s
        through = spans[exemplar["labels"]["traceID"]]
        assert {series["client"], series["server"]} <= {span.service for span in through}
        assert any(span.service == series[side] and span.seconds == pytest.approx(seconds) for span in through)


def test_exemplars_lead_to_traces(counted: CountedWorkload) -> None:
    """Stretto has the trace by its id, with all of its spans."""
    spans = by_trace(counted.spans)
    traces = {exemplar["labels"]["traceID"] for _, exemplar in exemplars(counted, f"{LATENCY}_bucket")}
    assert len(traces) > TRACES_FETCHED
    for trace in sorted(traces)[:TRACES_FETCHED]:
        assert len(counted.client.trace_spans(trace)) == len(spans[trace])


# ---- native histograms


def check_native(
    counted: CountedWorkload, metric: str, labels: tuple[str, ...], want: dict[tuple[str, ...], list[float]]
) -> None:
    """Count and sum are exact, quantiles as exact as buckets are narrow. want: seconds by label values."""
    by = ", ".join(labels)
    counts = {key: len(seconds) for key, seconds in want.items()}
    assert counted.by(f"histogram_count(sum by ({by}) ({metric}))", *labels) == counts
    sums = {key: math.fsum(seconds) for key, seconds in want.items()}
    assert counted.by(f"histogram_sum(sum by ({by}) ({metric}))", *labels) == pytest.approx(sums, rel=1e-9, abs=1e-9)
    for quantile in (0.5, 0.9, 0.99):
        found = counted.by(f"histogram_quantile({quantile}, sum by ({by}) ({metric}))", *labels)
        assert found.keys() == want.keys()
        for key, seconds in want.items():
            exact_s = sorted(seconds)[math.ceil(quantile * len(seconds)) - 1]
            assert exact_s / BUCKET_FACTOR - ZERO_S <= found[key] <= exact_s * BUCKET_FACTOR + ZERO_S, (key, quantile)


@pytest.mark.parametrize(
    "labels", [pytest.param(BY_SPAN, id="series"), pytest.param(("service",), id="a service's sum")]
)
def test_native_latency(counted: CountedWorkload, labels: tuple[str, ...]) -> None:
    """Of each series, and where Prometheus adds up series, whatever their resolutions."""
    want = defaultdict(list)
    for span in counted.spans:
        named = dict(zip(BY_SPAN, span.labels, strict=True))
        want[tuple(named[label] for label in labels)].append(span.seconds)
    check_native(counted, LATENCY, labels, want)


@pytest.mark.parametrize("side", [pytest.param("client", id="client"), pytest.param("server", id="server")])
def test_native_edges(counted: CountedWorkload, side: str) -> None:
    """Both sides' times; 0 s for a side that sends no spans."""
    want = {key: edge.client_s if side == "client" else edge.server_s for key, edge in counted.edges.items()}
    check_native(counted, f"{GRAPH}_{side}_seconds", BY_EDGE, want)


def test_native_increase_is_the_count(counted: CountedWorkload) -> None:
    """Rates of native histograms begin with an empty one, as those of counters begin with 0."""
    want = defaultdict(int)
    for span in counted.spans:
        want[(span.service,)] += 1
    found = counted.by(f"histogram_count(sum by (service) (increase({LATENCY}[30m])))", "service")
    # Prometheus extrapolates a histogram to before its first sample by up to half a push's interval.
    assert found == pytest.approx(want, rel=0.15)
    assert all(found[key] >= count * (1 - 1e-9) for key, count in want.items())
