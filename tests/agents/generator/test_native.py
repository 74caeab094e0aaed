"""Native histograms: buckets, counts and sums are those of a plain loop, in a push as well."""

import math
import struct
from bisect import bisect_left
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from agents.generator.config import SPAN_METRICS, GeneratorConfig, ServiceGraphsConfig, SpanMetricsConfig
from agents.generator.remote_write.write_request import STALE, requests
from agents.generator.series.histogram import Histogram, Observations
from agents.generator.series.native import SCHEMA_MIN, ZERO, bucket_indices, schema_of
from agents.generator.series.series import SeriesTable, TableConfig
from agents.generator.series.snapshot import Metric
from tests.helpers.examples import examples
from tests.helpers.generator.generated import NOW_MS, Fed
from tests.helpers.generator.remote_write import decoded_series
from tests.helpers.live.whole_way import START_NS, request, span

LATENCY = "traces_spanmetrics_latency"
NATIVE = GeneratorConfig(processors=frozenset({SPAN_METRICS}), generate_native_histograms="native")
VALUES = st.floats(0, 1e9) | st.sampled_from([0.0, 2.0**-128, 2.0**-127, 1.0, 0.5, 2.0, 4.0])


def bound(index, schema):
    return 2.0 ** (index * 2.0**-schema)


@given(st.lists(VALUES, min_size=1), st.integers(-4, 8))
@example([1.0, 0.5, 2.0, 4.0, 1 / 1024], 3)
def test_a_value_lies_between_its_bounds(found, schema):
    """Above the bound before, at most at its own; the smallest are zero."""
    for value, index in zip(found, bucket_indices(np.array(found), schema).tolist(), strict=True):
        if value <= 2.0**-128:
            assert index == ZERO
        else:
            # A bound that is no power of two is rounded.
            assert bound(index - 1, schema) * (1 - 1e-12) <= value <= bound(index, schema) * (1 + 1e-12)


@pytest.mark.parametrize(
    ("value", "schema", "index"),
    [
        pytest.param(1.0, 3, 0, id="1 ends bucket 0"),
        pytest.param(2.0, 3, 8, id="bounds are inside"),
        pytest.param(math.nextafter(2.0, 3), 3, 9, id="just above"),
        pytest.param(2.0, 0, 1, id="base 2"),
        pytest.param(2.0, -1, 1, id="base 4"),
        pytest.param(4.1, -1, 2, id="base 4, above 4"),
        pytest.param(0.25, -1, -1, id="base 4, below 1"),
        pytest.param(0.2, -1, -1, id="base 4, rounded up"),
    ],
)
def test_bucket_index(value, schema, index):
    """Powers of the base are exact upper bounds."""
    assert bucket_indices(np.array([value]), schema).tolist() == [index]


@pytest.mark.parametrize(
    ("factor", "schema"), [(1.1, 3), (2.0, 0), (1.0001, 8), (1.0905077326652577, 3), (4.0, -1), (65536.0, -4), (1.5, 1)]
)
def test_schema_of_a_factor(factor, schema):
    """The coarsest whose base is at most the factor."""
    assert schema_of(factor) == schema
    assert schema == 8 or 2.0**2.0**-schema <= factor


def reference(found, schema, buckets_max):
    """A plain loop: index → count, and the schema after merging."""
    bounds = [bound(index, schema) for index in range(-140 * 2 ** max(schema, 0), 40 * 2 ** max(schema, 0))]
    counts = Counter()
    for value, weight in found:
        if weight:
            counts[None if value <= 2.0**-128 else bisect_left(bounds, value) - 140 * 2 ** max(schema, 0)] += weight
    while buckets_max and len(set(counts) - {None}) > buckets_max and schema > SCHEMA_MIN:
        merged = Counter()
        for index, count in counts.items():
            merged[None if index is None else math.ceil(index / 2)] += count
        counts, schema = merged, schema - 1
    return counts, schema


ROWS = st.lists(st.tuples(st.integers(0, 3), st.floats(1e-9, 1e4) | st.just(0.0)), max_size=40)
BATCHES = st.lists(st.tuples(st.integers(0, 2), ROWS), max_size=6)


@settings(deadline=None, max_examples=examples(50))
@given(BATCHES, st.sampled_from([1.1, 1.5, 3.0]), st.sampled_from([0, 1, 3, 20]), st.booleans(), st.data())
def test_vectorised_is_row_by_row(batches, factor, buckets_max, weighted, data):
    """Over any partitions, batches and pushes between them, in both versions of the protocol."""
    config = TableConfig(classic=False, native=True, native_bucket_factor=factor, native_buckets_max=buckets_max)
    histograms = [Histogram("h", (1.0,)), Histogram("g", (1.0,), sparse=True)]
    table = SeriesTable([Metric("m")], lambda codes: (("n", str(codes[0])),), config, histograms, fractions=weighted)
    seen: dict[tuple[str, str], list[tuple[float, float]]] = {}
    state = {}
    for partition, rows in batches:
        count = len(rows)
        group, seconds = np.array([n for n, _ in rows], np.int32), np.array([value for _, value in rows], float)
        weights = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 4.0]), min_size=count, max_size=count))
        given_weights = np.array(weights) if weighted else None
        nothing = np.zeros(count, np.int64), np.zeros((count, 2), np.uint64)
        both = [Observations(times * seconds, given_weights, *nothing) for times in (1, 2)]
        table.add(partition, [group], [given_weights], both, 0.0)
        for number, value, weight in zip(group.tolist(), seconds.tolist(), weights, strict=True):
            seen.setdefault(("h", str(number)), []).append((value, weight if weighted else 1))
            seen.setdefault(("g", str(number)), []).append((2 * value, weight if weighted else 1))
        if data.draw(st.booleans()):
            state = check(table, seen, factor, buckets_max, state)
    check(table, seen, factor, buckets_max, state)


def check(table, seen, factor, buckets_max, before):
    """A push says of each series what the loop does; merged buckets stay merged. Returns the schemas."""
    snapshot = table.collect(0.0, 1.0)
    pushed = [decoded_series(requests(snapshot, NOW_MS, NOW_MS - 1, 3, version=version), version) for version in (1, 2)]
    assert [(key, one.samples, one.natives) for key, one in pushed[0].items()] == [
        (key, one.samples, one.natives) for key, one in pushed[1].items()
    ]
    schemas = {}
    found = {(dict(key)["__name__"], dict(key)["n"]): one.natives for key, one in pushed[0].items() if one.natives}
    wanted = {key: values for key, values in seen.items() if any(weight for _, weight in values)}
    assert set(found) == set(wanted)
    for key, natives in found.items():
        *zero, native = natives
        assert bool(zero) == (key not in before)
        for one in zero:
            assert (one.count, one.sum, one.zeros, one.buckets, one.time_ms) == (0, 0, 0, {}, NOW_MS - 1)
            assert (one.schema, one.floats) == (native.schema, native.floats)
        counts, schema = reference(wanted[key], schema_of(factor), buckets_max)
        assert native.schema == schema
        assert native.schema <= before.get(key, native.schema)
        assert native.zeros == counts.pop(None, 0)
        assert native.buckets == counts
        assert native.count == sum(weight for _, weight in wanted[key])
        assert native.sum == pytest.approx(sum(value * weight for value, weight in wanted[key]))
        schemas[key] = schema
    return schemas


def lasting(number, ms, **fields):
    return span(number, end_time_unix_nano=START_NS + round(ms * 1_000_000), **fields)


def the(pushed, name):
    (found,) = [one for labels, one in pushed.items() if ("__name__", name) in labels]
    return found


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        pytest.param("classic", {f"{LATENCY}_bucket", f"{LATENCY}_count", f"{LATENCY}_sum"}, id="classic"),
        pytest.param("native", {LATENCY}, id="native"),
        pytest.param("both", {LATENCY, f"{LATENCY}_bucket", f"{LATENCY}_count", f"{LATENCY}_sum"}, id="both"),
    ],
)
def test_which_histograms(kinds, names):
    """generate_native_histograms: the names of the series of a histogram; active series are what is pushed."""
    one = Fed(replace(NATIVE, generate_native_histograms=kinds)).take(request([lasting(1, 1)], service_name="s"))
    pushed = one.push_whole()[0]
    assert {name for labels in pushed if (name := dict(labels)["__name__"]).startswith(LATENCY)} == names
    assert one.generator.stats().active_series == len(pushed)


def test_negative_durations_count_as_zero():
    """A client's clock that goes back does not make a sum fall."""
    one = Fed(NATIVE).take(request([lasting(1, -5), lasting(2, 3)], service_name="s"))
    native = the(one.push_whole()[0], LATENCY).natives[-1]
    assert (native.count, native.zeros) == (2, 1)
    assert native.sum == pytest.approx(0.003)


def test_a_multiplier_makes_floats():
    """Counts with fractions are floats: a span that stands for 2.5."""
    config = replace(NATIVE, span_metrics=SpanMetricsConfig(span_multiplier_key="ratio"))
    one = Fed(config).take(request([lasting(1, 1, attributes={"ratio": AnyValue(double_value=0.4)})], service_name="s"))
    zero, native = the(one.push_whole()[0], LATENCY).natives
    assert (zero.floats, native.floats, native.count, list(native.buckets.values())) == (True, True, 2.5, [2.5])


def test_service_graphs_have_them():
    """Of both sides of an edge; of messages only where there are any."""
    graphs = ServiceGraphsConfig(enable_messaging_system_latency_histogram=True)
    one = Fed(GeneratorConfig(service_graphs=graphs, generate_native_histograms="native"))
    one.take(request([span(1, kind=3)], service_name="a"), request([span(2, kind=2, parent_span_id=bytes(7) + b"\1")]))
    one.take(
        request([span(1, kind=3), lasting(3, 1, kind=4)], service_name="a"),
        request([span(2, kind=2, parent_span_id=bytes(7) + b"\1")], service_name="b"),
        request([span(4, kind=5, parent_span_id=bytes(7) + b"\3")], service_name="c"),
    )
    graph = "traces_service_graph_request"
    pushed = one.push_whole()[0]
    edges = {
        (dict(key)["__name__"].removeprefix(graph), dict(key)["server"]) for key, found in pushed.items()
        if found.natives and dict(key)["__name__"].startswith(graph)
    }  # fmt: skip
    assert edges == {
        ("_client_seconds", "b"), ("_server_seconds", "b"), ("_client_seconds", "c"), ("_server_seconds", "c"),
        ("_messaging_system_seconds", "c"),
    }  # fmt: skip


def test_one_that_ends_and_begins_again():
    """It ends with a sum that says so, and begins again with an empty one, at full resolution."""
    one = Fed(replace(NATIVE, native_histogram_max_bucket_number=1))
    one.take(request([lasting(1, 1), lasting(2, 90)], service_name="s"))
    assert the(one.push_whole()[0], LATENCY).natives[-1].schema < 3
    (ended,) = the(one.wait(901).push_whole()[0], LATENCY).natives
    assert struct.pack("<d", ended.sum) == STALE
    one.wait(15).take(request([lasting(3, 1)], service_name="s"))
    for pushed in one.push_whole():
        zero, native = the(pushed, LATENCY).natives
        assert (zero.count, native.count, native.schema) == (0, 1, 3)


def test_a_partition_that_goes_takes_its_buckets_along():
    """Its next owner counts them."""
    one = Fed(NATIVE).take(request([lasting(1, 1)], service_name="s"))
    one.push()
    one.take(request([lasting(2, 1)], service_name="s"))
    one.generator.forget(0)
    (native,) = the(one.push_whole()[0], LATENCY).natives
    assert native.count == 1
