"""Cost attribution: every byte of a request once, under the values of its spans' attributes."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents.distributor.limits import TenantLimits
from agents.distributor.usage import (
    METRIC,
    MISSING,
    OVERFLOW,
    VALUE_CHARS_MAX,
    UsageCount,
    UsageTracker,
    dimensions_of,
    label_name,
)
from tests.helpers.examples import examples
from tests.helpers.live.whole_way import request, span
from tests.helpers.receiving.limits import encoder, inspector, of


def usage(tracker_or_limits, *requests):
    look = inspector(tracker_or_limits, usage=UsageTracker(100, 900))
    return encoder(look).encode(list(requests), 1).usage


def table(counts):
    return {count.values: count.size_bytes for count in counts}


@pytest.mark.parametrize(
    ("dimensions", "values"),
    [
        pytest.param({"service.name": ""}, {("shop",): 3}, id="resource"),
        pytest.param({"team": ""}, {("red",): 1, ("blue",): 1, (MISSING,): 1}, id="span"),
        pytest.param({"resource.team": ""}, {("resources",): 3}, id="only the resource"),
        pytest.param({"span.team": "t"}, {("red",): 1, ("blue",): 1, (MISSING,): 1}, id="only spans"),
        pytest.param(
            {"resource.team": "t", "span.team": "t"}, {("red",): 1, ("blue",): 1, ("resources",): 1}, id="both"
        ),
        pytest.param(
            {"service.name": "s", "span.team": "t"}, {("shop", "red"): 1, ("shop", "blue"): 1, ("shop", MISSING): 1},
            id="two",
        ),
        pytest.param({"absent": ""}, {(MISSING,): 3}, id="absent"),
    ],
)  # fmt: skip
def test_dimensions(dimensions, values):
    """Without a scope the span's value counts, or else the resource's."""
    resource = {"service_name": "shop"} | (
        {"team": "resources"} if any("resource.team" in k for k in dimensions) else {}
    )
    spans = [span(1, attributes={"team": "red"}), span(2, attributes={"team": "blue"}), span(3)]
    body = request(spans, **resource)
    found = table(usage({"a": TenantLimits(dimensions=dimensions)}, of("a", body), of("b", body)))
    assert set(found) == set(values)
    assert sum(found.values()) == pytest.approx(len(body))


KINDS = st.lists(st.sampled_from(["u", "v", ""]), min_size=1, max_size=5)
REQUESTS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "y", ""]), KINDS), min_size=1, max_size=6)


@settings(max_examples=examples(10), deadline=None)
@given(REQUESTS)
def test_every_byte_once(requests):
    """Of each tenant the bytes of its requests, by service and kind of its spans, whatever comes together."""
    limits = {name: TenantLimits(dimensions={"service.name": "s", "k": "k"}) for name in "ab"}
    sent, total, number = [], Counter(), 0
    spans_of = set()
    for tenant, service, kinds in requests:
        spans = []
        for kind in kinds:
            number += 1
            spans.append(span(number, attributes={"k": kind} if kind else {}))
            spans_of.add((tenant, kind or MISSING, service or MISSING))
        body = request(spans, **({"service_name": service} if service else {}))
        sent.append(of(tenant, body))
        total[tenant] += len(body)
    found = Counter()
    for count in usage(limits, *sent):
        assert count.labels == ("k", "s")
        assert (count.tenant, *count.values) in spans_of
        found[count.tenant] += count.size_bytes
    assert found == pytest.approx(total)


def test_discarded_spans_cost_nothing():
    """Only what is stored."""
    old = span(2, attributes={"k": "b"}, start_time_unix_nano=1, end_time_unix_nano=2)
    body = request([span(1, attributes={"k": "a"}), old])
    limits = TenantLimits(dimensions={"k": ""}, past_slack_ns=10**18)
    assert set(table(usage({"a": limits}, of("a", body)))) == {("a",)}


def count(value, size=10, tenant="a"):
    return UsageCount(tenant, ("l",), (value,), size)


def test_page_bound_and_age():
    """Beyond the bound `__overflow__`; series without bytes go; each tenant's page has its own."""
    now = [0.0]
    tracker = UsageTracker(2, 100, lambda: now[0])
    tracker.add([count("x"), count("y"), count("z"), count('q"\n'), count("x", 5)], lambda _: 0)
    tracker.add([count("x", tenant="b"), count("y", tenant="b")], lambda tenant: 1 if tenant == "b" else 0)
    lines = [line for line in tracker.text(lambda tenant: tenant == "a").split("\n") if line[:1] not in ("#", "")]
    name = "tempo_usage_tracker_bytes_received_total"
    assert lines == [
        f'{name}{{l="{OVERFLOW}",tenant="a",tracker="cost_attribution"}} 20',
        f'{name}{{l="x",tenant="a",tracker="cost_attribution"}} 15',
        f'{name}{{l="y",tenant="a",tracker="cost_attribution"}} 10',
    ]
    assert 'tenant="b"' in tracker.text(lambda _: True)
    now[0] = 90.0
    tracker.add([count("x", 1)], lambda _: 0)
    now[0] = 150.0
    assert tracker.text(lambda _: True).count("{") == 1


def test_long_values_are_cut():
    """A client chooses them: thousands of 64 KiB each would be kept for a quarter of an hour."""
    tracker = UsageTracker(10, 100)
    tracker.add([count("x" * VALUE_CHARS_MAX + end) for end in "abc"], lambda _: 0)
    (line,) = [line for line in tracker.text(lambda _: True).splitlines() if line[:1] != "#"]
    assert line == f'{METRIC}{{l="{"x" * VALUE_CHARS_MAX}",tenant="a",tracker="cost_attribution"}} 30'


def test_names_of_labels():
    """What Prometheus allows."""
    assert [label_name(text) for text in ("service.name", "0x", "ok_1", "ü")] == ["service_name", "_0x", "ok_1", "_"]
    assert label_name("tenant") == "exported_tenant"
    assert dimensions_of({"a.b": "", "span.c": "a_b"}).labels == ("a_b",)


def test_in_pieces():
    """A large request costs its bytes, too, within what its pieces repeat."""
    body = request([span(n, attributes={"k": "x" * 3000}) for n in range(1, 600)], service_name="s")
    look = inspector({"a": TenantLimits(dimensions={"service.name": ""})}, usage=UsageTracker(10, 900))
    found = encoder(look).encode_each([of("a", body)], 1).usage
    assert {one.values for one in found} == {("s",)}
    assert sum(one.size_bytes for one in found) == pytest.approx(len(body), rel=0.001)
    assert ExportTraceServiceRequest.FromString(body)
