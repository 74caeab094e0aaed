# ruff: noqa: E501  (a case is a line of a table)
"""Span metrics: every span counted under its labels, whatever the batches."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from agents.generator.config import (
    SPAN_METRICS,
    AttributeMatch,
    DimensionMapping,
    FilterPolicy,
    GeneratorConfig,
    PolicyMatch,
    SpanMetricsConfig,
)
from agents.generator.series.labels import KIND_TEXTS, STATUS_TEXTS, Interner, combine, label_name, number_text
from tests.helpers.examples import examples
from tests.helpers.generator.generated import Fed, values
from tests.helpers.live.whole_way import START_NS, request, span

CALLS = "traces_spanmetrics_calls_total"
MS = 1_000_000
PLAIN = ("service", "span_kind", "status_code", "span_name")


def fed(partitions=1, **config):
    limits = {name: config.pop(name) for name in ("max_active_series", "max_cardinality_per_label") if name in config}
    chosen = GeneratorConfig(processors=frozenset({SPAN_METRICS}), span_metrics=SpanMetricsConfig(**config), **limits)
    return Fed(chosen, partitions)


def lasting(number, ms, **fields):
    return span(number, end_time_unix_nano=START_NS + round(ms * MS), **fields)


def test_labels_are_tempos():
    """Names and spellings of the labels; a service without a name has no label service."""
    one = fed().take(request([span(kind=2, status=Status(code=2))], service_name="cart"), request([span(2, kind=9)]))
    (named, unnamed) = (
        dict(labels)
        for labels in sorted(one.push(), key=lambda labels: "service" not in dict(labels))
        if ("__name__", CALLS) in labels
    )
    assert named == {
        "__name__": CALLS,
        "service": "cart",
        "span_name": "op",
        "span_kind": "SPAN_KIND_SERVER",
        "status_code": "STATUS_CODE_ERROR",
    }
    assert unnamed["span_kind"] == "SPAN_KIND_UNSPECIFIED"
    assert "service" not in unnamed


def test_histogram_is_cumulative_and_bounds_are_inside():
    """A bucket holds what lasted at most its bound; _count and +Inf hold all; _sum is in seconds."""
    one = fed(histogram_buckets=(0.002, 0.004, 1.0))
    one.take(request([lasting(1, 1), lasting(2, 2), lasting(3, 2.001), lasting(4, 5000)], service_name="a"))
    pushed = one.push()
    found = values(pushed, "traces_spanmetrics_latency_bucket", *PLAIN)
    assert found == {("0.002",): 2, ("0.004",): 3, ("1",): 3, ("+Inf",): 4}
    assert values(pushed, "traces_spanmetrics_latency_count", *PLAIN) == {(): 4}
    assert values(pushed, "traces_spanmetrics_latency_sum", *PLAIN) == {(): pytest.approx(5.005001)}


SPANS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", ""]),
        st.sampled_from(["x", "y"]),
        st.integers(0, 5),
        st.integers(0, 2),
        st.sampled_from([None, "GET", 7, 2.5, True]),
        st.integers(0, 20_000),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=examples(40))
@given(st.lists(SPANS, max_size=5), st.integers(1, 3))
def test_vectorised_is_row_by_row(batches, partitions):
    """Calls, sums and sizes are those that a loop over the spans finds, over any split into records."""
    one = fed(partitions, dimensions=("http.method",))
    calls, seconds, sizes = Counter(), Counter(), Counter()
    number = 0
    for batch in batches:
        message = ExportTraceServiceRequest()
        for service, name, kind, status, method, ms in batch:
            number += 1
            text = {None: "", True: "true"}.get(method, str(method)) if method is not True else "true"
            typed = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}.get(type(method))
            attributes = {"http.method": AnyValue(**{typed: method})} if typed else {}
            sent = lasting(
                number,
                ms,
                trace=number.to_bytes(16, "big"),
                name=name,
                kind=kind,
                status=Status(code=status),
                attributes=attributes,
            )
            message.MergeFromString(request([sent], **({"service_name": service} if service else {})))
            key = tuple(text for text in (text, service, KIND_TEXTS[kind], name, STATUS_TEXTS[status]) if text)
            calls[key] += 1
            seconds[key] += ms / 1000
            sizes[key] += sent.ByteSize()
        if batch:
            one.take(message.SerializeToString())
    pushed = one.push()
    assert values(pushed, CALLS) == calls
    assert values(pushed, "traces_spanmetrics_latency_sum") == pytest.approx(seconds)
    assert values(pushed, "traces_spanmetrics_size_total") == pytest.approx(sizes, rel=0.1)


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        pytest.param(FilterPolicy(include=PolicyMatch((AttributeMatch("kind", "SPAN_KIND_SERVER"),))), {1, 2}, id="kind"),
        pytest.param(FilterPolicy(exclude=PolicyMatch((AttributeMatch("name", "b"),))), {1, 3}, id="not a name"),
        pytest.param(FilterPolicy(include=PolicyMatch((AttributeMatch("status", "STATUS_CODE_ERROR"),))), {3}, id="status"),
        pytest.param(FilterPolicy(include=PolicyMatch((AttributeMatch("span.k", "v1"),))), {1}, id="span attribute"),
        pytest.param(FilterPolicy(include=PolicyMatch((AttributeMatch("resource.service.name", "s"),))), {1, 2, 3}, id="resource"),
        pytest.param(FilterPolicy(include=PolicyMatch((AttributeMatch("span.k", "^v"),), "regex")), {1, 2}, id="regex"),
        pytest.param(FilterPolicy(include=PolicyMatch((AttributeMatch("span.k", ""),), "regex")), {1, 2}, id="absent matches nothing"),
        pytest.param(
            FilterPolicy(include_any=PolicyMatch((AttributeMatch("name", "a"), AttributeMatch("span.k", "v2")))),
            {1, 2}, id="any of two",
        ),
        pytest.param(
            FilterPolicy(exclude=PolicyMatch((AttributeMatch("name", "a"), AttributeMatch("span.k", "v2")))),
            {1, 2, 3}, id="excluded only if all match",
        ),
    ],
)  # fmt: skip
def test_filter_policies(policy, kept):
    """Which spans count; the others are counted as filtered."""
    one = fed(filter_policies=(policy,), intrinsic_dimensions=frozenset(), dimensions=("n",))
    spans = [
        span(1, name="a", kind=2, attributes={"k": "v1", "n": "1"}),
        span(2, name="b", kind=2, attributes={"k": "v2", "n": "2"}),
        span(3, name="c", kind=3, attributes={"n": "3"}, status=Status(code=2)),
    ]
    one.take(request(spans, service_name="s"))
    assert {int(key) for (key,) in one.values(CALLS)} == kept
    assert one.generator.stats().filtered == 3 - len(kept)


def test_dimensions_and_mappings():
    """The resource's attribute wins; a label that is taken gets underscores; a mapping joins what is there."""
    mapping = DimensionMapping("where", ("region", "zone", "missing"), "/")
    one = fed(dimensions=("http.method", "service"), dimension_mappings=(mapping,))
    sent = [span(1, attributes={"http.method": "GET", "service": "mine", "zone": "b"})]
    one.take(request(sent, service_name="s", region="eu"))
    (labels,) = (dict(labels) for labels in one.push() if ("__name__", CALLS) in labels)
    assert (labels["http_method"], labels["__service"], labels["where"]) == ("GET", "mine", "eu/b")


def test_span_multiplier():
    """A span with a sampling ratio of 0.25 stands for four."""
    one = fed(span_multiplier_key="ratio")
    one.take(request([span(1, attributes={"ratio": AnyValue(double_value=0.25)}), span(2)], service_name="s"))
    assert one.values(CALLS, *PLAIN) == {(): 5}


def test_target_info():
    """One series of value 1 per resource, and job and instance with every series."""
    one = fed(enable_target_info=True, target_info_excluded_dimensions=("secret",))
    sent = request([span()], service_name="s", service_namespace="n", service_instance_id="i", host="h", secret="x")
    one.take(sent, sent)
    pushed = one.push()
    (info,) = (labels for labels in pushed if ("__name__", "traces_target_info") in labels)
    assert dict(info) == {"__name__": "traces_target_info", "job": "n/s", "instance": "i", "host": "h"}
    assert [value for _, value in pushed[info]] == [1]
    assert values(pushed, CALLS, *PLAIN) == {("i", "n/s"): 2}


def test_series_limit():
    """What is beyond the limit is counted under metric_overflow: totals stay right."""
    one = fed(max_active_series=2 * 18)  # calls, size, 14 buckets, +Inf, _count, _sum: 19 a label set
    for number in range(1, 6):
        one.take(request([span(number, name=f"n{number}")], service_name="s"))
    found = one.values(CALLS)
    assert found[("true",)] == 4
    assert sum(found.values()) == 5
    assert one.generator.stats().overflowed == 4


def test_label_limit():
    """Values beyond the limit of a label share one."""
    one = fed(max_cardinality_per_label=2, intrinsic_dimensions=frozenset({"span_name"}))
    one.take(request([span(n, name=f"n{n}") for n in range(1, 6)]))
    assert one.values(CALLS) == {("n1",): 1, ("n2",): 1, ("__cardinality_overflow__",): 3}


def test_texts_of_ended_series_are_forgotten():
    """Codes move when series end; those that live go on counting under their labels."""
    one = fed()
    one.take(
        request([span(1, name="old", kind=2)], service_name="gone"), request([span(2, name="new")], service_name="s")
    )
    one.push()
    one.wait(600).take(request([span(3, name="new")], service_name="s"))
    one.push()
    one.wait(400).push()
    one.take(request([span(4, name="new"), span(5, name="newer")], service_name="s"))
    found = one.values(CALLS, "span_kind", "status_code")
    assert found == {("s", "new"): 3, ("s", "newer"): 1}


def test_combine_tells_rows_apart_beyond_64_bits():
    """Columns of large numbers are factorised before they overflow."""
    columns = [np.array([2**31 - 1, 5, 2**31 - 1, 5], np.int32) for _ in range(4)]
    columns.append(np.array([0, 0, 1, 0], np.int32))
    found = combine(columns)
    assert found[1] == found[3]
    assert len(set(found.tolist())) == 3


@pytest.mark.parametrize(
    ("attribute", "taken", "name"),
    [
        pytest.param("http.method", (), "http_method", id="dots"),
        pytest.param("1st", (), "_1st", id="digit in front"),
        pytest.param("service", ("service",), "__service", id="taken"),
        pytest.param("größe", (), "gr__e", id="letters of other alphabets"),
    ],
)
def test_label_name(attribute, taken, name):
    """Any attribute's key becomes a label's name that Prometheus takes."""
    assert label_name(attribute, taken) == name


@pytest.mark.parametrize(("value", "text"), [(0.002, "0.002"), (1.0, "1"), (12.8, "12.8"), (float("inf"), "+Inf")])
def test_number_text(value, text):
    """Bounds as Tempo writes them."""
    assert number_text(value) == text


def test_interner_keeps_the_absent():
    """Code 0 stays the absent value."""
    texts = Interner()
    assert texts.codes(["a", "b", "", "a"]).tolist() == [1, 2, 0, 1]
    assert texts.keep(np.array([2])).tolist() == [0, -1, 1]
    assert texts.values == ["", "b"]
