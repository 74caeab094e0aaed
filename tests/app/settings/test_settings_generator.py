# ruff: noqa: E501  (a case is a line of a table, its error text is one line too)
"""Settings of the metrics generator → its configuration."""

import pytest

from agents.generator.config import AttributeMatch, DimensionMapping, FilterPolicy, GeneratorConfig, PolicyMatch
from app.errors import SettingsError
from app.main import build
from app.settings import load

AT = "stretto.yaml:1: metrics_generator"


def settings_of(cwd, text, **environ):
    (cwd / "stretto.yaml").write_text(f"metrics_generator: {text}")
    return load(environ, cwd)


def test_defaults(tmp_path):
    """The settings' defaults are the generator's; the instance is a label of every series."""
    config = load({}, tmp_path).metrics_generator.config("i")
    assert config == GeneratorConfig(external_labels=(("__metrics_gen_instance", "i"),))


def test_lists_and_policies(tmp_path):
    """Everything that is a list, also as text with commas in the environment."""
    text = (
        "{processor: {span_metrics: {dimensions: [a.b], dimension_mappings: [{name: n, source_labels: [a, b], join: /}], "
        "filter_policies: [{include: {attributes: [{key: kind, value: SPAN_KIND_SERVER}]}, "
        "exclude: {match_type: regex, attributes: [{key: span.x, value: ^y}]}}]}}}"
    )
    environ = {
        "STRETTO_METRICS_GENERATOR__REGISTRY__EXTERNAL_LABELS": "cluster=eu, empty=",
        "STRETTO_METRICS_GENERATOR__PROCESSOR__SERVICE_GRAPHS__HISTOGRAM_BUCKETS": "0.5, 1",
    }
    config = settings_of(tmp_path, text, **environ).metrics_generator.config("i")
    assert config.external_labels[1:] == (("cluster", "eu"), ("empty", ""))
    assert config.service_graphs.histogram_buckets == (0.5, 1.0)
    assert config.span_metrics.dimensions == ("a.b",)
    assert config.span_metrics.dimension_mappings == (DimensionMapping("n", ("a", "b"), "/"),)
    include = PolicyMatch((AttributeMatch("kind", "SPAN_KIND_SERVER"),))
    exclude = PolicyMatch((AttributeMatch("span.x", "^y"),), "regex")
    assert config.span_metrics.filter_policies == (FilterPolicy(include, None, exclude),)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("{processors: [spans]}", ".processors: 'spans' is none of service-graphs, span-metrics", id="processor"),
        pytest.param("{processor: {span_metrics: {intrinsic_dimensions: [name]}}}", ".processor.span_metrics.intrinsic_dimensions: 'name' is none of service, span_name", id="intrinsic"),
        pytest.param("{processor: {service_graphs: {histogram_buckets: [1, 1]}}}", ".processor.service_graphs.histogram_buckets: expected seconds above 0, each more than the one before", id="buckets"),
        *(
            pytest.param(f"{{processor: {{{section}: {{histogram_buckets: [{bounds}]}}}}}}", f".processor.{section}.histogram_buckets: expected seconds above 0, each more than the one before, none infinite or NaN", id=f"buckets {bounds} of {section}")
            for section in ("span_metrics", "service_graphs") for bounds in (".nan", "1, .nan", ".nan, 1", "1, .inf", "-1, 1", "0, 1", "2, 1", "")
        ),
        *(
            pytest.param(f"{{processor: {{{section}: {{{name}: [a, {blank}]}}}}}}", f".processor.{section}.{name}[1]: is empty; name an attribute, as http.method, or take it out; got the text {blank}", id=f"{name} {blank} of {section}")
            for section, name in (("span_metrics", "dimensions"), ("span_metrics", "target_info_excluded_dimensions"), ("service_graphs", "dimensions"), ("service_graphs", "peer_attributes"), ("service_graphs", "database_name_attributes"))
            for blank in ("''", "' '")
        ),
        pytest.param("{processor: {span_metrics: {dimension_mappings: [{name: n, source_labels: ['']}]}}}", ".processor.span_metrics.dimension_mappings[0].source_labels[0]: is empty", id="empty source label"),
        pytest.param("{processor: {span_metrics: {dimension_mappings: [{name: n, source_labels: []}]}}}", ".processor.span_metrics.dimension_mappings[0].source_labels: expected at least one attribute", id="no source label"),
        pytest.param("{registry: {external_labels: [a.b=x]}}", ".registry.external_labels: 'a.b' is no label's name", id="label's name"),
        pytest.param("{registry: {external_labels: [a=x, a=y]}}", ".registry.external_labels: the label a is there twice", id="label twice"),
        *(
            pytest.param(f"{{registry: {{external_labels: [{name}=x]}}}}", f".registry.external_labels: the label {name} has a meaning of its own", id=f"label {name}")
            for name in ("__name__", "le", "quantile", "metric_overflow", "__metrics_gen_instance")
        ),
        pytest.param("{registry: {trace_id_label_name: " + "a" * 97 + "}}", ".registry.trace_id_label_name: expected a name of letters, digits and underscores, not beginning with a digit, of at most 96", id="long label name"),
        pytest.param("{processor: {service_graphs: {histogram_buckets: '1;2'}}}", ".processor.service_graphs.histogram_buckets: expected numbers with commas", id="buckets as text"),
        pytest.param("{registry: {external_labels: ['=x']}}", ".registry.external_labels: expected name=value; got '=x'", id="label"),
        pytest.param("{registry: {max_active_entities: 5}}", ".registry.max_active_entities: does not hold while registry.limiter_type is series", id="limit of entities"),
        pytest.param("{registry: {limiter_type: entity, max_active_series: 5}}", ".registry.max_active_series: does not hold while registry.limiter_type is entity", id="limit of series"),
        pytest.param("{registry: {native_histogram_bucket_factor: 1}}", ".registry.native_histogram_bucket_factor: expected a number above 1, at most 65536; got the number 1", id="bucket factor"),
        pytest.param("{registry: {trace_id_label_name: trace-id}}", ".registry.trace_id_label_name: expected a name of letters, digits and underscores", id="label name"),
        pytest.param("{registry: {stale_duration_s: 20}}", ".registry.stale_duration_s: must be at least two metrics_generator.registry.collection_interval_s", id="stale too soon"),
        pytest.param("{processor: {span_metrics: {filter_policies: [{include: {attributes: [{key: x, value: y}]}}]}}}", ".processor.span_metrics.filter_policies[0].include.attributes[0].key: expected kind, name, status", id="key"),
        pytest.param("{processor: {span_metrics: {filter_policies: [{exclude: {match_type: regex, attributes: [{key: name, value: '('}]}}]}}}", ".processor.span_metrics.filter_policies[0].exclude.attributes[0].value: Invalid regular expression", id="regex"),
    ],
)  # fmt: skip
def test_errors(tmp_path, text, problem):
    """What is wrong, and where."""
    with pytest.raises(SettingsError) as err:
        settings_of(tmp_path, text)
    assert str(err.value).startswith(AT + problem)


def test_a_generator_needs_a_receiver(tmp_path):
    """TARGET=metrics-generator alone says what is missing."""
    with pytest.raises(SettingsError, match="REMOTE_WRITE_URL"):
        build(load({"TARGET": "metrics-generator"}, tmp_path))
