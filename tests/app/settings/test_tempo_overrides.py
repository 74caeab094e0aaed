"""Overrides as Tempo writes them, in its new and old format: every key works, or is refused or told with its name."""

import logging
import re

import pytest
import yaml

from app.errors import SettingsError
from app.settings import load
from app.settings.tenants.overrides import TenantOverrides, layered
from app.settings.tenants.tempo_overrides import convert, to_tempo
from app.settings.tenants.tenant_file import read_tenants

NEW = """
overrides:
  a:
    ingestion:
      {rate_strategy: global, rate_limit_bytes: 100, burst_size_bytes: 200, max_attribute_bytes: 300,
      retry_info_enabled: false}
    read: {max_bytes_per_tag_values_query: 400, max_search_duration: 1h, max_metrics_duration: 30m}
    compaction: {block_retention: 24h, compaction_window: 2h, compaction_disabled: true}
    global: {max_bytes_per_trace: 500}
    forwarders: [x]
    cost_attribution: {max_cardinality: 7, dimensions: {service.name: svc, span.k: }}
    metrics_generator:
      processors: [span-metrics]
      collection_interval: 30s
      disable_collection: false
      ingestion_time_range_slack: 10s
      max_active_series: 8
      generate_native_histograms: both
      native_histogram_bucket_factor: 1.2
      trace_id_label_name: tid
      processor:
        service_graphs: {dimensions: [d], enable_client_server_prefix: true}
        span_metrics: {dimensions: [e], intrinsic_dimensions: {span_kind: false, status_message: true}}
"""
OLD = """
overrides:
  a:
    ingestion_rate_strategy: global
    ingestion_rate_limit_bytes: 100
    ingestion_burst_size_bytes: 200
    ingestion_max_attribute_bytes: 300
    ingestion_retry_info_enabled: false
    max_bytes_per_tag_values_query: 400
    max_search_duration: 1h
    max_metrics_duration: 30m
    block_retention: 24h
    compaction_window: 2h
    compaction_disabled: true
    max_bytes_per_trace: 500
    forwarders: [x]
    cost_attribution: {max_cardinality: 7, dimensions: {service.name: svc, span.k: ""}}
    metrics_generator_processors: [span-metrics]
    metrics_generator_collection_interval: 30s
    metrics_generator_disable_collection: false
    metrics_generator_ingestion_time_range_slack: 10s
    metrics_generator_max_active_series: 8
    metrics_generator_generate_native_histograms: both
    metrics_generator_native_histogram_bucket_factor: 1.2
    metrics_generator_trace_id_label_name: tid
    metrics_generator_processor_service_graphs_dimensions: [d]
    metrics_generator_processor_service_graphs_enable_client_server_prefix: true
    metrics_generator_processor_span_metrics_dimensions: [e]
    metrics_generator_processor_span_metrics_intrinsic_dimensions: {span_kind: false, status_message: true}
"""


def read(text):
    return read_tenants(text, "t.yaml", {}, lambda _: None)


def test_both_formats_mean_the_same():
    """And every value arrives."""
    new, old = read(NEW), read(OLD)
    assert new.entries == old.entries
    assert new.warnings == old.warnings == []
    assert yaml.safe_load(yaml.safe_dump(new.entries["a"].model_dump(mode="json", exclude_unset=True))) == {
        "ingestion": {
            "rate_strategy": "global",
            "rate_limit_bytes": 100,
            "burst_size_bytes": 200,
            "max_attribute_bytes": 300,
            "retry_info_enabled": False,
            "max_bytes_per_trace": 500,
        },
        "read": {"max_bytes_per_tag_values_query": 400, "max_search_duration": 3600, "max_metrics_duration": 1800},
        "compaction": {"block_retention": 86400, "compaction_window": 7200, "compaction_disabled": True},
        "forwarders": ["x"],
        "cost_attribution": {"max_cardinality": 7, "dimensions": {"service.name": "svc", "span.k": ""}},
        "metrics_generator": {
            "processors": ["span-metrics"],
            "collection_interval_s": 30,
            "disable_collection": False,
            "metrics_ingestion_time_range_slack_s": 10,
            "max_active_series": 8,
            "generate_native_histograms": "both",
            "native_histogram_bucket_factor": 1.2,
            "trace_id_label_name": "tid",
            "processor": {
                "service_graphs": {"dimensions": ["d"], "enable_client_server_prefix": True},
                "span_metrics": {
                    "dimensions": ["e"],
                    "intrinsic_dimensions": ["service", "span_name", "status_code", "status_message"],
                },
            },
        },
    }


@pytest.mark.parametrize(
    ("text", "problem", "warning"),
    [
        ("{metrics_generator_forwarder_queue_size: 9}", "", "spans come to the generator through Kafka"),
        ("{metrics_generator_forwarder_workers: 9}", "", "spans come to the generator through Kafka"),
        ("{metrics_generator_processor_host_info_metric_name: m}", "there is no processor host-info", ""),
        ("{metrics_generator_processor_host_info_host_identifiers: []}", "", ""),
    ],
)
def test_flat_names_of_a_section_that_means_nothing(text, problem, warning):
    """The old format has the keys of `forwarder` and `host_info`, and not the sections themselves."""
    found = convert(yaml.safe_load(text))
    assert found.tree == {}
    assert problem in "".join(found.problems.values())
    assert warning in "".join(found.warnings.values())
    assert (len(found.problems), len(found.warnings)) == (bool(problem), bool(warning))


# Of Tempo 3.1: all keys of an entry, with a value that is not the default. True: it works.
KEYS = {
    "ingestion": {
        "rate_strategy": "local", "rate_limit_bytes": 1, "burst_size_bytes": 1, "max_traces_per_user": 1,
        "max_global_traces_per_user": 1, "tenant_shard_size": 1, "max_attribute_bytes": 300, "artificial_delay": "1s",
        "retry_info_enabled": True,
    },
    "read": {
        "max_bytes_per_tag_values_query": 1, "max_blocks_per_tag_values_query": 1,
        "max_condition_groups_per_tag_query": 1, "max_search_duration": "1s", "max_metrics_duration": "1s",
        "unsafe_query_hints": True, "left_pad_trace_ids": True, "metrics_spanonly_fetch": True,
        "span_pruning_awareness": True, "engine_bytes_tracking": True, "span_pruning_enabled": True,
    },
    "compaction": {"block_retention": "1h", "compaction_window": "1h", "compaction_disabled": True},
    "metrics_generator": {
        "ring_size": 1, "processors": ["span-metrics"], "max_active_series": 1, "max_active_entities": 0,
        "collection_interval": "15s", "disable_collection": True, "generate_native_histograms": "native",
        "trace_id_label_name": "t", "remote_write_headers": {"a": "b"},
        "forwarder": {"queue_size": 1, "workers": 1}, "ingestion_time_range_slack": "1s",
        "native_histogram_bucket_factor": 1.5, "native_histogram_max_bucket_number": 1,
        "native_histogram_min_reset_duration": "1m", "span_name_sanitization": "enabled",
        "max_cardinality_per_label": 1,
        "processor": {
            "service_graphs": {
                "histogram_buckets": [1], "dimensions": ["a"], "peer_attributes": ["a"], "filter_policies": [{}],
                "enable_client_server_prefix": True, "enable_messaging_system_latency_histogram": True,
                "enable_virtual_node_label": True, "span_multiplier_key": "k",
                "enable_tracestate_span_multiplier": True,
            },
            "span_metrics": {
                "histogram_buckets": [1], "dimensions": ["a"], "intrinsic_dimensions": {"service": True},
                "filter_policies": [], "dimension_mappings": [], "enable_target_info": True,
                "target_info_excluded_dimensions": ["a"], "enable_instance_label": True, "span_multiplier_key": "k",
                "enable_tracestate_span_multiplier": True,
            },
            "host_info": {"host_identifiers": ["a"], "metric_name": "m"},
        },
    },
    "forwarders": ["x"],
    "global": {"max_bytes_per_trace": 1},
    "storage": {"parquet_dedicated_columns": [{"scope": "span", "name": "a", "type": "string"}]},
    "cost_attribution": {"max_cardinality": 1, "dimensions": {"a": "b"}},
}  # fmt: skip


REFUSED = {
    "left_pad_trace_ids",
    "remote_write_headers",
    "span_name_sanitization",
    "host_info",
    "enable_tracestate_span_multiplier",
}


def leaves(tree, above=()):
    for name, value in tree.items():
        if isinstance(value, dict) and name not in ("dimensions", "intrinsic_dimensions", "remote_write_headers"):
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value


@pytest.mark.parametrize(
    ("key", "value"), list(leaves(KEYS)), ids=lambda one: ".".join(one) if isinstance(one, tuple) else "value"
)
def test_no_key_of_tempo_is_ignored_silently(key, value):
    """It is in the entry, or a warning or an error names it."""
    tree = value
    for part in reversed(key):
        tree = {part: tree}
    text = yaml.safe_dump({"overrides": {"a": tree}})
    refused = rf"overrides\.a\.{re.escape('.'.join(key[:3]))}.*: has no counterpart here: "
    if not REFUSED.isdisjoint(key) or key[-2:] == ("service_graphs", "filter_policies"):
        with pytest.raises(SettingsError, match=refused):
            read(text)
        return
    found = read(text)
    set_keys = list(leaves(found.entries["a"].model_dump(exclude_unset=True)))
    assert len(set_keys) + len(found.warnings) == 1, (set_keys, found.warnings)
    if found.warnings:
        place = rf"t\.yaml:\d+: overrides\.a\.{re.escape(key[0])}\.[a-z_]+"
        assert re.fullmatch(place + ": has no counterpart here and is ignored: .{10,}", found.warnings[0])


def test_errors_name_the_line():
    """Of the old format, too."""
    with pytest.raises(SettingsError) as err:
        read("overrides:\n  a:\n    ingestion_rate_limit_bytes: -1\n    ingestion_typo: 1\n")
    first, second = str(err.value).split("\n")
    assert first.startswith("t.yaml:3: overrides.a.ingestion.rate_limit_bytes: expected an integer from 0 to ")
    assert second.startswith("t.yaml:4: overrides.a.ingestion.typo: unknown key; the nearest known key is ")


def test_twice_under_two_names():
    """Nobody could know which counts."""
    with pytest.raises(SettingsError, match=r"ingestion_rate_limit_bytes: says the same as ingestion.rate_limit_bytes"):
        read("overrides:\n  a:\n    ingestion: {rate_limit_bytes: 1}\n    ingestion_rate_limit_bytes: 2\n")


@pytest.mark.parametrize(
    "text",
    [
        "overrides: {defaults: {ingestion: {rate_limit_bytes: 9}, global: {max_bytes_per_trace: 8}}}",
        "overrides: {ingestion_rate_limit_bytes: 9, max_bytes_per_trace: 8, max_traces_per_user: 3}",
    ],
)
def test_defaults_in_the_settings_file(tmp_path, text, caplog):
    """In both formats; what is ignored is in the log."""
    (tmp_path / "stretto.yaml").write_text(text)
    with caplog.at_level(logging.WARNING):
        ingestion = load({}, tmp_path).overrides.defaults.ingestion
    assert (ingestion.rate_limit_bytes, ingestion.max_bytes_per_trace) == (9, 8)
    assert ("max_traces_per_user" in text) == ("overrides.defaults.max_traces_per_user" in caplog.text)


def test_layers():
    """What neither layer sets is not set."""
    below = TenantOverrides.model_validate({"ingestion": {"rate_limit_bytes": 1, "burst_size_bytes": 2}})
    above = TenantOverrides.model_validate({"ingestion": {"rate_limit_bytes": 3}, "forwarders": ["x"]})
    both = layered(below, above)
    assert both.model_dump(exclude_unset=True) == {
        "ingestion": {"rate_limit_bytes": 3, "burst_size_bytes": 2},
        "forwarders": ("x",),
    }


def test_there_and_back():
    """What the API shows it also takes."""
    entry = read(NEW).entries["a"].model_dump(mode="json", exclude_unset=True)
    assert convert(to_tempo(entry)).tree == entry
