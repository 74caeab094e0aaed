"""Whatever is sent, what is pushed is valid, and counts every span once: for all settings, in both protocols."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from agents.generator.config import (
    SERVICE_GRAPHS,
    SPAN_METRICS,
    DimensionMapping,
    GeneratorConfig,
    ServiceGraphsConfig,
    SpanMetricsConfig,
)
from agents.generator.push.requests import encoded
from tests.helpers.examples import examples
from tests.helpers.generator.generated import Fed
from tests.helpers.generator.strict_receiver import StrictReceiver
from tests.helpers.live.whole_way import START_NS, request, span

CALLS = "traces_spanmetrics_calls_total"
RATIO = "sampling.ratio"
KEYS = st.sampled_from(
    [
        *("a.b", "a_b", "__a_b", "a-b", "1st", "_1st", "größe", "gr__e", "😀", "_", " ", "\0", "x" * 300, "host"),
        *("job", "instance", "__job", "le", "quantile", "__name__", "____name__", "__type__", "metric_overflow"),
        *("service", "span.name", "span_kind", "status_code", "status_message", "__service", "cluster", "__cluster"),
        *("client", "server", "connection_type", "virtual_node", "client_a.b", "service.name", "service.namespace"),
        *("service.instance.id", "peer.service", "db.name", "db.system", "server.address", "network.peer.port", RATIO),
    ]
)
TEXTS = st.sampled_from(["", " ", "x", "y", "true", "__cardinality_overflow__", "ä\n\"'\\", "\0", "long" * 500])
DOUBLES = st.sampled_from([0.0, -0.0, 0.5, 1.0, 3.0, -1.0, 1e-320, 5e-324, 1e308, float("nan"), float("inf")])
ANY = st.one_of(
    TEXTS.map(lambda v: AnyValue(string_value=v)),
    st.booleans().map(lambda v: AnyValue(bool_value=v)),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: AnyValue(int_value=v)),
    DOUBLES.map(lambda v: AnyValue(double_value=v)),
    st.just(AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="x")]))),
    st.just(AnyValue(bytes_value=b"x")),
    st.just(AnyValue()),
)
# Also an empty key, and one that a span has twice.
ATTRIBUTES = st.lists(st.builds(KeyValue, key=KEYS | st.just(""), value=ANY), max_size=5)
TIMES = st.sampled_from([0, 1, START_NS, START_NS + 1, START_NS + 10**9, 2**63 - 1, 2**63, 2**64 - 1])
IDS = st.integers(1, 4).map(lambda number: number.to_bytes(8, "big"))
SPANS = st.builds(
    Span,
    trace_id=st.integers(1, 2).map(lambda number: number.to_bytes(16, "big")),
    span_id=IDS,
    parent_span_id=IDS | st.just(b""),
    name=TEXTS,
    kind=st.integers(0, 6),
    status=st.builds(Status, code=st.integers(0, 3), message=TEXTS),
    start_time_unix_nano=TIMES,
    end_time_unix_nano=TIMES,
    attributes=ATTRIBUTES,
)
SERVICE = st.sampled_from(["s", "t"]).map(lambda v: [KeyValue(key="service.name", value=AnyValue(string_value=v))])
RESOURCES = st.builds(lambda service, more: Resource(attributes=[*service, *more]), SERVICE | st.just([]), ATTRIBUTES)
REQUESTS = st.builds(
    lambda resources: ExportTraceServiceRequest(resource_spans=resources),
    st.lists(
        st.builds(
            lambda resource, spans: ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=spans)]),
            RESOURCES,
            st.lists(SPANS, max_size=4),
        ),
        max_size=3,
    ),
)
DIMENSIONS = st.lists(KEYS, max_size=4).map(tuple)
BUCKETS = st.sampled_from([(0.002, 1.0), (5e-324,), (1.0, 1e300)])
MAPPINGS = st.lists(
    st.builds(DimensionMapping, name=KEYS, source_labels=st.lists(KEYS, min_size=1, max_size=2).map(tuple)), max_size=2
).map(tuple)
INTRINSICS = st.frozensets(st.sampled_from(["service", "span_name", "span_kind", "status_code", "status_message"]))
MULTIPLIERS = st.sampled_from(["", RATIO])
CONFIGS = st.builds(
    GeneratorConfig,
    processors=st.just(frozenset({SPAN_METRICS, SERVICE_GRAPHS})),
    span_metrics=st.builds(
        SpanMetricsConfig,
        histogram_buckets=BUCKETS,
        intrinsic_dimensions=INTRINSICS,
        dimensions=DIMENSIONS,
        dimension_mappings=MAPPINGS,
        span_multiplier_key=MULTIPLIERS,
        enable_target_info=st.booleans(),
        enable_instance_label=st.booleans(),
        target_info_excluded_dimensions=DIMENSIONS,
    ),
    service_graphs=st.builds(
        ServiceGraphsConfig,
        histogram_buckets=BUCKETS,
        dimensions=DIMENSIONS,
        enable_client_server_prefix=st.booleans(),
        enable_messaging_system_latency_histogram=st.booleans(),
        enable_virtual_node_label=st.booleans(),
        span_multiplier_key=MULTIPLIERS,
    ),
    external_labels=st.sampled_from([(), (("cluster", "eu"), ("host", "h")), (("service", "x"), ("job", "j"))]),
    max_active_series=st.sampled_from([0, 0, 40]),
    max_cardinality_per_label=st.sampled_from([0, 0, 1, 3]),
    stale_duration_s=st.just(60.0),
    trace_id_label_name=st.just("t" * 96),
    generate_native_histograms=st.sampled_from(["classic", "native", "both"]),
    native_histogram_max_bucket_number=st.sampled_from([0, 1, 100]),
)


def valid(config: GeneratorConfig, steps: list[ExportTraceServiceRequest]) -> tuple[Fed, list[StrictReceiver], float]:
    """Takes and pushes each step, then lets all series end. What both protocols' receivers have got, and the calls
    that were told before the end.
    """
    counted = 0.0
    one, receivers = Fed(config), [StrictReceiver(), StrictReceiver()]
    for step in [*steps, None, None]:
        if step is not None:
            one.take(step.SerializeToString())
        else:
            one.wait(61)
        one.now_ms = max(one.now_ms, one.pushed_ms + 2)
        snapshots = one.generator.collect(one.now_ms / 1000)
        times, one.pushed_ms = (one.now_ms, one.pushed_ms + 1), one.now_ms + 1
        for version, receiver in enumerate(receivers, 1):
            receiver.take(encoded(snapshots, *times, series_max=7, version=version), version)
        if step is not None:
            counted = _calls(receivers[0])
    return one, receivers, counted


def _calls(receiver: StrictReceiver) -> float:
    return sum(one.samples[-1][1] for labels, one in receiver.series.items() if ("__name__", CALLS) in labels)


@settings(deadline=None, max_examples=examples(40))
@given(CONFIGS, st.lists(REQUESTS, max_size=3))
def test_whatever_is_pushed_is_valid(config, steps):
    """A strict receiver takes it all, nothing fails, and no span is lost."""
    one, (first, second), counted = valid(config, steps)
    assert one.generator.stats().failed == 0
    assert first.series.keys() == second.series.keys()
    if not config.span_metrics.span_multiplier_key:
        sent = sum(len(of.spans) for step in steps for by in step.resource_spans for of in by.scope_spans)
        assert counted == sent


def calls_labels(config: SpanMetricsConfig, *sent: bytes, **more: Any) -> list[dict[str, str]]:
    one = Fed(GeneratorConfig(processors=frozenset({SPAN_METRICS}), span_metrics=config, **more)).take(*sent)
    return [dict(labels) for labels in one.push() if ("__name__", CALLS) in labels]


@pytest.mark.parametrize(
    ("config", "external", "names"),
    [
        pytest.param({"dimensions": ("job",), "enable_target_info": True}, (), {"__job", "job"}, id="target_info's"),
        pytest.param({"dimensions": ("job",)}, (), {"job"}, id="free without target_info"),
        pytest.param({"dimensions": ("job",)}, (("job", "x"),), {"__job", "job"}, id="an external label"),
        pytest.param({"dimensions": ("a.b", "a_b")}, (), {"a_b", "__a_b"}, id="each other"),
        pytest.param({"dimensions": ("a.b", "a-b", "a_b")}, (), {"a_b", "__a_b", "____a_b"}, id="three"),
        pytest.param({"dimensions": ("le", "__name__")}, (), {"__le", "____name__"}, id="of metrics"),
        pytest.param({"dimensions": ("status_message",)}, (), {"__status_message"}, id="an intrinsic that is off"),
        pytest.param({"dimensions": ("metric_overflow",)}, (), {"__metric_overflow"}, id="the overflow's"),
    ],
)  # fmt: skip
def test_labels_that_clash(config, external, names):
    """Each has a label of its own; the one that comes later, or that is not ours, gets the prefix. No count is lost."""
    keys = [*config["dimensions"]]
    wanted = SpanMetricsConfig(intrinsic_dimensions=frozenset(), **config)
    sent = request([span(n, attributes={key: f"{key}{n}" for key in keys}) for n in (1, 2)], service_name="s")
    found = calls_labels(wanted, sent, external_labels=external)
    assert len(found) == 2
    for labels in found:
        assert labels.keys() - {"__name__"} == names


def test_dimensions_of_edges_that_clash():
    """As with span metrics; external labels are the same for both."""
    graphs = ServiceGraphsConfig(dimensions=("a.b", "a_b", "client", "cluster"))
    config = GeneratorConfig(
        processors=frozenset({SERVICE_GRAPHS}), service_graphs=graphs, external_labels=(("cluster", "eu"),)
    )
    keys = {key: key for key in graphs.dimensions}
    pushed = Fed(config).take(request([span(1, kind=2, attributes=keys)], service_name="s")).push()
    (labels,) = (dict(found) for found in pushed if ("__name__", "traces_service_graph_request_total") in found)
    assert labels["a_b"] == "a.b"
    assert labels["__a_b"] == "a_b"
    assert (labels["client"], labels["__client"]) == ("user", "client")
    assert (labels["cluster"], labels["__cluster"]) == ("eu", "cluster")


def test_target_info_of_wild_attributes():
    """No empty name, no two of one name, none without a value; the order of the attributes does not matter."""
    pairs = {"": "empty", "a.b": "dot", "a_b": "exact", "job": "mine", "1st": "digit", "none": "", "cluster": "c"}
    sets = []
    for order in (list(pairs), list(reversed(pairs))):
        resource = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value="s"))])
        resource.attributes.extend(KeyValue(key=key, value=AnyValue(string_value=pairs[key])) for key in order)
        sets.append(ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=[span()])]))
    config = GeneratorConfig(
        processors=frozenset({SPAN_METRICS}),
        span_metrics=SpanMetricsConfig(enable_target_info=True),
        external_labels=(("cluster", "eu"),),
    )
    pushed = Fed(config).take(ExportTraceServiceRequest(resource_spans=sets).SerializeToString()).push()
    (labels,) = (dict(found) for found in pushed if ("__name__", "traces_target_info") in found)
    assert labels == {
        "__name__": "traces_target_info",
        "job": "s",
        "__job": "mine",
        "a_b": "exact",
        "__a_b": "dot",
        "_1st": "digit",
        "cluster": "eu",
        "__cluster": "c",
    }


@pytest.mark.parametrize("series_max", [0, 1])
def test_targets_that_ended_are_forgotten(series_max):
    """Pods come and go: what is kept of them is bounded, also beyond the limit on series; those that stay go on."""
    spans = SpanMetricsConfig(enable_target_info=True)
    limits = {"max_active_series": series_max, "stale_duration_s": 60}
    one = Fed(GeneratorConfig(processors=frozenset({SPAN_METRICS}), span_metrics=spans, **limits))
    for number in range(8):
        sent = [request([span()], service_name="s", pod=f"{number}-{pod}") for pod in range(300)]
        one.take(*sent, request([span()], service_name="s", pod="stays")).push()
        one.wait(61)
    kept = one.generator._spans._targets
    assert len(kept) <= 1301
    found = [dict(labels) for labels in one.push() if ("__name__", "traces_target_info") in labels]
    assert [labels["pod"] for labels in found if labels.get("pod") == "stays"] == ([] if series_max else ["stays"])


@pytest.mark.parametrize(
    ("ratio", "weight"),
    [
        *((ratio, 1.0) for ratio in (0.0, -0.5, 1e-320, 5e-324, 2.0**-57, float("nan"), float("inf"), float("-inf"))),
        *((ratio, 1 / ratio) for ratio in (2.0**-56, 0.25, 1.0, 4.0)),
    ],
)
def test_ratios(ratio, weight):
    """From the least that OpenTelemetry can say on they count; anything else counts a span once."""
    config = SpanMetricsConfig(intrinsic_dimensions=frozenset(), span_multiplier_key=RATIO)
    one = Fed(GeneratorConfig(processors=frozenset({SPAN_METRICS}), span_metrics=config))
    one.take(request([span(attributes={RATIO: AnyValue(double_value=ratio)})], service_name="s"))
    assert one.values(CALLS) == {(): weight}


@pytest.mark.parametrize(
    ("of_resource", "own", "weight"),
    [
        pytest.param("0.5", "0.25", 4, id="the span's own first"),
        pytest.param("0.5", "", 2, id="without text"),
        pytest.param("0.5", "none", 2, id="no number"),
        pytest.param("none", "0.25", 4, id="the resource's is none"),
        pytest.param("none", "0", 1, id="neither"),
    ],
)
def test_ratios_of_span_and_resource(of_resource, own, weight):
    """A ratio that is none hides no other."""
    config = SpanMetricsConfig(intrinsic_dimensions=frozenset(), span_multiplier_key="r")
    one = Fed(GeneratorConfig(processors=frozenset({SPAN_METRICS}), span_metrics=config))
    one.take(request([span(attributes={"r": own})], service_name="s", r=of_resource))
    assert one.values(CALLS) == {(): weight}


def test_numbers_as_labels():
    """As Go writes them; zero has no sign, so that equal values are one series."""
    config = SpanMetricsConfig(intrinsic_dimensions=frozenset(), dimensions=("d",))
    values = (float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e21)
    spans = [span(n, attributes={"d": AnyValue(double_value=value)}) for n, value in enumerate(values, 1)]
    found = Fed(GeneratorConfig(processors=frozenset({SPAN_METRICS}), span_metrics=config)).take(request(spans))
    assert found.values(CALLS) == {("NaN",): 1, ("+Inf",): 1, ("-Inf",): 1, ("0",): 2, ("1" + "0" * 21,): 1}


def test_a_limit_on_values_leaves_kinds():
    """Kinds and status codes are few: they keep their names, however low the limit."""
    one = Fed(GeneratorConfig(processors=frozenset({SPAN_METRICS}), max_cardinality_per_label=1))
    one.take(request([span(n, name="op", kind=n, status=Status(code=2)) for n in range(1, 6)], service_name="s"))
    kinds = {key[1] for key in one.values(CALLS)}
    assert kinds == {f"SPAN_KIND_{word}" for word in ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")}
