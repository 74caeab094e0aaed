"""Limits of a tenant: nothing is lost, and each is told."""

import pytest

from agents.generator.config import SPAN_METRICS, GeneratorConfig, ServiceGraphsConfig
from tables.wire import record
from tables.wire.split import split
from tests.helpers.generator.generated import DECODER, NOW_MS, Fed
from tests.helpers.live.whole_way import request, span

CALLS = "traces_spanmetrics_calls_total"
TOTAL = "traces_service_graph_request_total"
PER_SET = 19  # series: calls, size, 14 buckets, +Inf, _count, _sum


def named(count, **fields):
    return [request([span(number, name=f"n{number}", **fields)], service_name="s") for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("limit", "active", "entities"),
    [
        pytest.param({"max_active_series": 3 * PER_SET}, 4 * PER_SET, 4, id="series"),
        pytest.param({"limiter_type": "entity", "max_active_entities": 3}, 4 * PER_SET, 4, id="entities"),
        pytest.param({}, 5 * PER_SET, 5, id="none"),
    ],
)
@pytest.mark.parametrize("kinds", ["classic", "both"])
def test_label_sets_beyond_a_limit_share_one(limit, active, entities, kinds):
    """One more than the limit, which is labelled as the overflow; the sum is right."""
    if kinds == "both" and "max_active_series" in limit:
        limit = {"max_active_series": 3 * (PER_SET + 1)}
    config = GeneratorConfig(processors=frozenset({SPAN_METRICS}), generate_native_histograms=kinds, **limit)
    one = Fed(config).take(*named(5))
    one.take(*named(5))
    found = one.values(CALLS)
    figures = one.generator.stats()
    assert sum(found.values()) == 10
    assert found.get(("true",), 0) == figures.overflowed == (4 if limit else 0)
    assert (figures.active_series, figures.active_entities) == (active + entities * (kinds == "both"), entities)


def test_entities_of_all_tables_share_the_limit():
    """Label sets of span metrics and of edges are entities alike."""
    one = Fed(GeneratorConfig(limiter_type="entity", max_active_entities=2)).take(*named(2))
    roots = [request([span(n, trace=n.to_bytes(16, "big"), kind=2)], service_name=f"s{n}") for n in range(10, 13)]
    one.push()
    one.take(*roots)
    pushed = one.values(TOTAL)
    assert set(pushed) == {("true",)}
    assert sum(pushed.values()) == 3


def test_values_beyond_a_labels_limit_are_told():
    """Each span and half of an edge whose label's value was replaced is counted."""
    config = GeneratorConfig(max_cardinality_per_label=2, service_graphs=ServiceGraphsConfig(dimensions=("d",)))
    one = Fed(config).take(*named(5))
    one.push()
    assert one.generator.stats().label_overflowed == 3
    one.take(*named(5))
    one.push()
    assert one.generator.stats().label_overflowed == 6


@pytest.mark.parametrize(
    ("slack_s", "ended_s", "counted"),
    [
        pytest.param(0, -1e6, True, id="no slack, long ago"),
        pytest.param(0, 1e6, True, id="no slack, far ahead"),
        pytest.param(30, -30, True, id="just inside"),
        pytest.param(30, -30.001, False, id="too late"),
        pytest.param(30, 30.001, False, id="too far ahead"),
        pytest.param(30, 12, True, id="ahead"),
    ],
)
def test_slack(slack_s, ended_s, counted):
    """Spans that ended too long before or after their record came are left out, of edges too, and told."""
    end_ns = NOW_MS * 1_000_000 + round(ended_s * 1e9)
    times = {"start_time_unix_nano": end_ns - 5, "end_time_unix_nano": end_ns}
    one = Fed(GeneratorConfig(ingestion_time_range_slack_s=slack_s))
    sent = request([span(1, kind=2, **times)], service_name="s")
    pushed = one.take(sent).push()
    assert {dict(labels)["__name__"] for labels in pushed} >= ({CALLS, TOTAL} if counted else set())
    assert bool(pushed) == counted
    assert one.generator.stats().outside_slack == (not counted)


def test_slack_of_recalled_halves():
    """A half that did not count is no half after a restart either: the record's time is what matters."""
    one = Fed(GeneratorConfig(ingestion_time_range_slack_s=30))
    old = (NOW_MS - 31_000) * 1_000_000
    client = request([span(1, kind=3, start_time_unix_nano=old, end_time_unix_nano=old)], service_name="a")
    (part,) = split(DECODER.decode([client]).spans, 1)
    one.generator.recall(0, record.decode(record.encode(part.spans)[0]), NOW_MS)
    assert one.generator.stats().edges_waiting == 0
