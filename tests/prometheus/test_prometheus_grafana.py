"""What Grafana asks Prometheus for: the service map and the table beside it; $__range is one that covers the run."""

import math
from collections import Counter

import pytest

from agents.generator.config import GRAPH_BUCKETS_S, LATENCY_BUCKETS_S
from tests.harness.counted_workload import BY_EDGE, CALLS, GRAPH, LATENCY, CountedWorkload

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

QUANTILE = 0.9


def test_service_map(counted: CountedWorkload) -> None:
    """The service map: rates of requests, seconds and failures per edge, and who is instrumented."""
    seconds = 1800
    rates = {}
    for metric in (f"{GRAPH}_total", f"{GRAPH}_failed_total", f"{GRAPH}_server_seconds_sum"):
        found = counted.by(f"sum by (client, server) (rate({metric}[{seconds}s]))", "client", "server")
        rates[metric] = {key: rate * seconds for key, rate in found.items()}
    want: dict = {metric: Counter() for metric in rates}
    for (client, server, _), edge in counted.edges.items():
        sums = (edge.count, edge.failed, math.fsum(edge.server_s))
        for metric, total in zip(rates, sums, strict=True):
            want[metric].update({(client, server): total})
    want[f"{GRAPH}_failed_total"] = +want[f"{GRAPH}_failed_total"]  # a series appears with its first failure
    for metric, counts in want.items():
        assert rates[metric] == pytest.approx(counts, rel=1e-9), metric
    groups = counted.by(f"group by (client, connection_type, server) ({GRAPH}_total)", *BY_EDGE)
    assert groups == dict.fromkeys(counted.edges, 1)
    # A service that calls nobody and that nobody calls is not on the map; all others are.
    named = {name for client, server, _ in counted.edges for name in (client, server)}
    assert {span.service for span in counted.spans} <= named


def test_service_map_quantile(counted: CountedWorkload) -> None:
    """The map's p95 of an edge, from the buckets: in the bucket that the exact one is in."""
    promql = f"histogram_quantile(.95, sum by (le, client, server) (rate({GRAPH}_server_seconds_bucket[1800s])))"
    found = counted.by(promql, "client", "server")
    want = {(client, server): edge.server_s for (client, server, kind), edge in counted.edges.items() if not kind}
    assert len(want) > 10
    for key, seconds in want.items():
        assert_in_bucket(found[key], seconds, 0.95, GRAPH_BUCKETS_S)


def test_span_table(counted: CountedWorkload) -> None:
    """The table beside the map: the five most asked for, their error rates, their p90."""
    of_servers = 'span_kind="SPAN_KIND_SERVER"'
    servers = [span for span in counted.spans if span.kind == "SERVER"]
    rates = counted.by(f"topk(5, sum(rate({CALLS}{{{of_servers}}}[1800s])) by (span_name))", "span_name")
    counts = Counter(span.name for span in servers)
    assert sorted(rate * 1800 for rate in rates.values()) == pytest.approx(sorted(counts.values())[-5:], rel=1e-9)
    assert {name: rate * 1800 for (name,), rate in rates.items()} == pytest.approx(
        {name: counts[name] for (name,) in rates}, rel=1e-9
    )
    names = "|".join(name.replace("{", r"\\{").replace("}", r"\\}") for (name,) in rates)
    chosen = f'{of_servers},span_name=~"{names}"'
    failing = counted.by(
        f'sum(rate({CALLS}{{status_code="STATUS_CODE_ERROR",{chosen}}}[1800s])) by (span_name)', "span_name"
    )
    failed = Counter((span.name,) for span in servers if span.status == "ERROR" and (span.name,) in rates)
    assert failed
    assert {name: rate * 1800 for name, rate in failing.items()} == pytest.approx(failed, rel=1e-9)
    promql = f"histogram_quantile({QUANTILE}, sum(rate({LATENCY}_bucket{{{chosen}}}[1800s])) by (le, span_name))"
    quantiles = counted.by(promql, "span_name")
    assert quantiles.keys() == rates.keys()
    for (name,), found in quantiles.items():
        assert_in_bucket(found, [span.seconds for span in servers if span.name == name], QUANTILE, LATENCY_BUCKETS_S)


def assert_in_bucket(found: float, seconds: list[float], quantile: float, bounds_s: tuple[float, ...]) -> None:
    """A quantile of a histogram is as exact as its buckets are narrow."""
    exact_s = sorted(seconds)[math.ceil(quantile * len(seconds)) - 1]
    above = next(place for place, bound_s in enumerate([*bounds_s, math.inf]) if exact_s <= bound_s)
    lower_s, upper_s = (0.0, *bounds_s)[above], (*bounds_s, bounds_s[-1])[above]
    assert lower_s <= found <= upper_s, (exact_s, len(seconds))
