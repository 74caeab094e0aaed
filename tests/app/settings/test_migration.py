"""Settings of Tempo in ours: every key arrives, or is named with the reason; what comes out is accepted."""

import pytest
import yaml

from app.errors import SettingsError
from app.settings import load
from app.settings.migration import migrate_settings, migrate_tenants
from app.settings.migration.rules import RULES
from app.settings.show import tree_yaml
from app.settings.tenants.tenant_file import read_tenants


def flat(tree, above=()):
    if not isinstance(tree, dict):
        return {".".join(above): tree}
    return {key: value for name, item in tree.items() for key, value in flat(item, (*above, str(name))).items()}


def migrate(text):
    """The migration of a file, and our settings by dotted names, without the receivers that are off."""
    found = migrate_settings(text, "tempo.yaml")
    ours = {key: value for key, value in flat(found.tree).items() if not (key.endswith(".endpoint") and value == "")}
    return found, ours


def accepted(found, tmp_path, environ=None):
    """The settings that the migrated file means."""
    (tmp_path / "stretto.yaml").write_text(tree_yaml(found.tree))
    return load(environ or {}, tmp_path)


NO_METRICS = {"metrics_generator.processors": []}

# Tempo's section, and what it is here.
KEYS = [
    ("target: ingester", {"target": "live-store"}),
    ("target: block-builder,live-store", {"target": "live-store"}),
    ("target: backend-worker", {"target": "compactor"}),
    ("target: scalable-single-binary", {"target": "scalable-single-binary"}),
    ("multitenancy_enabled: true", {"multitenancy_enabled": True}),
    ("auth_enabled: true", {"multitenancy_enabled": True}),
    (
        ("server: {http_listen_port: 80, log_level: warn, http_server_read_header_timeout: 5s, "
        "http_server_idle_timeout: 1m30s}"),
        {
            "server.http_listen_port": 80,
            "log_level": "warn",
            "server.http_server_read_header_timeout_s": 5,
            "server.http_server_idle_timeout_s": 90,
        },
    ),
    ("server: {http_listen_address: '', http_listen_conn_limit: 0, http_server_read_header_timeout: 0s}", {}),
    (
        ("server: {http_tls_config: {cert_file: c, key_file: k, client_ca_file: a, "
        "client_auth_type: RequireAndVerifyClientCert}}"),
        {
            "server.http_tls_config.cert_file": "c",
            "server.http_tls_config.key_file": "k",
            "server.http_tls_config.client_ca_file": "a",
        },
    ),
    (
        "server: {grpc_tls_config: {cert_file: c, key_file: k}}",
        {"server.internal_tls_config.cert_file": "c", "server.internal_tls_config.key_file": "k"},
    ),
    ("distributor: {max_span_attr_byte: 4096}", {"distributor.max_attribute_bytes": 4096}),
    ("distributor: {log_received_traces: true}", {"distributor.log_received_spans.enabled": True}),
    (
        "distributor: {usage: {cost_attribution: {enabled: true, max_cardinality: 5, stale_duration: 1h}}}",
        {
            "distributor.usage.cost_attribution.enabled": True,
            "distributor.usage.cost_attribution.max_cardinality": 5,
            "distributor.usage.cost_attribution.stale_duration": "1h",
        },
    ),
    ("ingester: {max_block_duration: 30m}", {"live_store.block_age_s": 1800}),
    ("block_builder: {consume_cycle_duration: 90s}", {"live_store.block_age_s": 90}),
    (
        "{ingester: {max_block_duration: 30m}, block_builder: {consume_cycle_duration: 90s}}",
        {"live_store.block_age_s": 90},
    ),
    (
        "querier: {search: {query_timeout: 30s}, max_concurrent_queries: 7}",
        {"query.timeout_s": 30, "querier.max_concurrent_queries": 7},
    ),
    (
        ("query_frontend: {max_retries: 3, search: {concurrent_jobs: 9, target_bytes_per_job: 1.048576e+08, "
        "max_duration: 168h, max_result_limit: 500}, metrics: {max_duration: 24h}}"),
        {
            "query_frontend.max_retries": 3,
            "query_frontend.concurrent_jobs": 9,
            "query_frontend.target_bytes_per_job": 104857600,
            "query_frontend.search.max_duration_s": 604800,
            "query_frontend.search.max_result_limit": 500,
            "query_frontend.metrics.max_duration_s": 86400,
        },
    ),
    (
        ("compactor: {compaction: {block_retention: 48h, compaction_window: 2h, max_block_bytes: 1000000, "
        "min_input_blocks: 3}}"),
        {
            "compactor.compaction.block_retention": "48h",
            "compactor.compaction.compaction_window": "2h",
            "compactor.compaction.max_block_bytes": 1000000,
            "compactor.compaction.input_blocks_min": 3,
        },
    ),
    (
        ("{backend_worker: {compaction: {block_retention: 48h}}, "
        "backend_scheduler: {provider: {compaction: {compaction: {block_retention: 48h}, min_input_blocks: 3}}}}"),
        {"compactor.compaction.block_retention": "48h", "compactor.compaction.input_blocks_min": 3},
    ),
    (
        ("metrics_generator: {limiter_type: entity, registry: {collection_interval: 30s, stale_duration: 5m, "
        "external_labels: {a: b, c: d}}, metrics_ingestion_time_range_slack: 40s, "
        "processor: {service_graphs: {wait: 5s, max_items: 10}, "
        "span_metrics: {intrinsic_dimensions: {status_message: true, span_kind: false}}}}"),
        {
            "metrics_generator.registry.limiter_type": "entity",
            "metrics_generator.registry.collection_interval_s": 30,
            "metrics_generator.registry.stale_duration_s": 300,
            "metrics_generator.registry.external_labels": ["a=b", "c=d"],
            "metrics_generator.metrics_ingestion_time_range_slack_s": 40,
            "metrics_generator.processor.service_graphs.wait_s": 5,
            "metrics_generator.processor.service_graphs.max_items": 10,
            "metrics_generator.processor.span_metrics.intrinsic_dimensions": [
                "service", "span_name", "status_code", "status_message",
            ],
        },
    ),
    (
        ("metrics_generator: {storage: {path: /x, remote_write: [{url: 'http://p/w', remote_timeout: 10s, "
        "send_exemplars: true, basic_auth: {username: u, password: p}}]}}"),
        {
            "metrics_generator.storage.remote_write": [
                {
                    "url": "http://p/w",
                    "remote_timeout_s": 10,
                    "send_exemplars": True,
                    "basic_auth": {"username": "u", "password": "p"},
                }
            ]
        },
    ),
    (
        ("ingest: {enabled: true, kafka: {address: 'k:1', topic: tempo-ingest, write_timeout: 20s, sasl_username: u, "
        "sasl_password: p, tls_enabled: true, tls_ca_path: /ca}}"),
        {
            "kafka.address": "k:1",
            "kafka.write_timeout_s": 20,
            "kafka.sasl.username": "u",
            "kafka.sasl.password": "p",
            "kafka.sasl.mechanism": "PLAIN",
            "kafka.tls.enabled": True,
            "kafka.tls.ca_file": "/ca",
        },
    ),
    ("ingest: {kafka: {sasl_mechanism: PLAIN, sasl_username: ''}}", {}),
    (
        ("storage: {trace: {backend: s3, blocklist_poll: 5m, s3: {bucket: b, endpoint: 'm:9000', insecure: true}, "
        "gcs: {bucket_name: ''}, pool: {max_workers: 9}}}"),
        {
            "storage.trace.backend": "s3",
            "storage.trace.s3.bucket": "b",
            "storage.trace.s3.endpoint": "m:9000",
            "storage.trace.s3.insecure": True,
            "storage.trace.s3.prefix": "stretto",
        },
    ),
    (
        "storage: {trace: {backend: gcs, gcs: {bucket_name: b, prefix: tempo, hedge_requests_at: 500ms}}}",
        {
            "storage.trace.backend": "gcs",
            "storage.trace.gcs.bucket_name": "b",
            "storage.trace.gcs.prefix": "stretto",
            "storage.trace.gcs.hedge_requests_at": "500ms",
        },
    ),
    ("storage: {trace: {backend: local, local: {path: /var/tempo}}}", {"storage.trace.backend": "local"}),
    (
        ("cache: {caches: [{memcached: {host: m, service: memcached-client, consistent_hash: true, timeout: 500ms}, "
        "roles: [bloom]}]}"),
        {"cache.caches": [{"memcached": {"host": "m", "timeout": "500ms"}, "roles": ["bloom"]}]},
    ),
    (
        "overrides: {per_tenant_override_config: /o.yaml, per_tenant_override_period: 1m}",
        {"overrides.per_tenant_override_config": "/o.yaml", "overrides.per_tenant_override_period_s": 60},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), KEYS)
def test_keys(tmp_path, text, expected):
    found, ours = migrate(text)
    assert ours == {**NO_METRICS, **expected}
    assert found.manual == []
    accepted(found, tmp_path)


@pytest.mark.parametrize(
    ("text", "processors"),
    [
        ("overrides: {defaults: {metrics_generator: {processors: [span-metrics, local-blocks]}}}", ["span-metrics"]),
        ("overrides: {metrics_generator_processors: [service-graphs]}", ["service-graphs"]),
        ("overrides: {metrics_generator_processors: [span-metrics-latency]}", ["span-metrics"]),
        ("overrides: {metrics_generator_processors: [host-info]}", []),
    ],
)
def test_processors(tmp_path, text, processors):
    """Only those of the overrides run in Tempo."""
    found, ours = migrate(text)
    assert ours["overrides.defaults.metrics_generator.processors"] == processors
    assert "metrics_generator.processors" not in ours
    assert bool(found.manual) == ("host-info" in text)
    accepted(found, tmp_path)


# What somebody has to look at, or what has no counterpart, and a part of the reason.
NAMED = [
    ("manual", "http_api_prefix: /tempo", "http_api_prefix: the API is at /"),
    ("manual", "server: {grpc_listen_address: 0.0.0.0}", "server.internal_token_file"),
    ("manual", "server: {http_tls_config: {cert: hunter2}}", "certificates are files here"),
    ("manual", "server: {http_tls_config: {cert_file: a, key_file: b, client_ca_file: c}}", "client_auth_type"),
    ("manual", "metrics_generator: {processor: {service_graphs: {filter_policies: [{}]}}}", "made of all spans"),
    ("manual", "distributor: {receivers: {opencensus: }}", "no receiver of OpenCensus"),
    ("manual", "distributor: {receivers: {otlp/2: {protocols: {grpc: }}}}", "no such receiver"),
    ("manual", "ingest: {kafka: {sasl_msk_iam_access_key: hunter2}}", "kafka.sasl knows"),
    ("manual", "nobody_knows: 5", "nobody_knows: is no key of Tempo"),
    ("manual", "target: all,nobody", "nobody is no target here"),
    ("manual", "server: {http_listen_port: 99999}", "expected an integer from 1 to 65535"),
    ("manual", "storage: {trace: {backend: s3}}", "storage.trace.s3.bucket"),
    ("manual", "overrides: {defaults: {metrics_generator: {max_active_entities: 5}}}", "max_active_entities"),
    ("manual", "{backend_worker: {compaction: {block_retention: 1h}}, compactor: {compaction: {block_retention: 2h}}}",
     "says otherwise than backend_worker.compaction.block_retention"),
    ("dropped", "memberlist: {join_members: [a]}", "memberlist: Kafka's consumer groups"),
    ("dropped", "server: {http_listen_conn_limit: 0}", "0 means none in Tempo"),
    ("dropped", "storage: {trace: {wal: {path: /x}}}", "storage.trace.wal"),
    ("dropped", "querier: {frontend_worker: {frontend_address: 'f:9095'}}", "by themselves"),
    ("dropped", "ingest: {kafka: {topic: tempo}}", "a topic of their own"),
    ("dropped", "overrides: {defaults: {ingestion: {max_traces_per_user: 5}}}", "no list of live traces"),
    ("changed", "distributor: {receivers: {otlp: {protocols: {grpc: }}}}", "these stay off: otlp.http, jaeger.grpc"),
    ("changed", "distributor: {receivers: {otlp: {protocols: {grpc: }}}}", "localhost, where no address is given"),
    ("changed", "distributor: {receivers: {zipkin: {endpoint: 'tempo:9411'}}}", "if that name is not this machine's"),
    ("changed", "storage: {trace: {backend: s3, s3: {bucket: b}}}", "prefix is stretto"),
    ("changed", "{}", "metrics_generator.processors: []"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "said"), NAMED)
def test_what_is_named(tmp_path, kind, text, said):
    found, _ = migrate(text)
    notes = [str(note) for note in getattr(found, kind)]
    assert any(said in note for note in notes), notes
    assert "hunter2" not in str((found.changed, found.dropped, found.manual))
    accepted(found, tmp_path)


def test_places():
    found, _ = migrate("server:\n  http_listen_port: 3200\n\nmemberlist:\n  join_members: [a]\n")
    (note,) = found.dropped
    assert str(note).startswith("tempo.yaml:4: memberlist: ")


def test_receivers(tmp_path):
    """Those that are named are on, with what the Collector's settings mean here."""
    text = """
distributor:
  receivers:
    otlp:
      protocols:
        grpc: {endpoint: "0.0.0.0:4317", max_recv_msg_size_mib: 8, keepalive: {}, tls: {cert_file: c, key_file: k}}
        http: {endpoint: "0.0.0.0:4318", cors: {allowed_origins: ["*"]}, read_header_timeout: 5s, idle_timeout: 1m}
    jaeger: {protocols: {thrift_http: }}
    kafka: {brokers: [b], topic: traces, encoding: jaeger_proto}
"""
    found, _ = migrate(text)
    receivers = accepted(found, tmp_path).distributor.receivers
    otlp = receivers.otlp.protocols
    assert (otlp.grpc.endpoint, otlp.grpc.max_recv_msg_size_mib, otlp.grpc.tls.cert_file) == ("0.0.0.0:4317", 8, "c")
    assert (otlp.http.cors.allowed_origins, otlp.http.read_header_timeout_s, otlp.http.idle_timeout_s) == (
        ("*",),
        5,
        60,
    )
    assert receivers.jaeger.protocols.thrift_http.endpoint == "0.0.0.0:14268"
    off = [receivers.jaeger.protocols.grpc, receivers.jaeger.protocols.thrift_compact, receivers.zipkin]
    assert [one.endpoint for one in off] == ["", "", ""]
    assert receivers.kafka.traces[0].topics == ("traces",)
    assert receivers.kafka.traces[0].encoding == "jaeger_proto"
    assert ["brokers" in str(note) for note in found.manual] == [True]


VARIABLES = """
server: {http_listen_port: "${PORT:-3200}"}
storage: {trace: {backend: s3, s3: {bucket: "${BUCKET}", access_key: "${KEY}", secret_key: "${SECRET}"}}}
ingest: {kafka: {address: "${KAFKA:=k:9092}"}}
metrics_generator: {storage: {remote_write: [{url: "${URL}"}]}, registry: {external_labels: {cluster: "${CLUSTER}"}}}
query_frontend: {search: {max_duration: "${LONGEST:-24h}"}}
"""


def test_variables_are_kept(tmp_path):
    """Also those that are not set where the file is migrated. What has another unit here is named."""
    found, ours = migrate(VARIABLES)
    assert ours["server.http_listen_port"] == "${PORT:-3200}"
    assert ours["storage.trace.s3.secret_key"] == "${SECRET}"
    assert ours["kafka.address"] == "${KAFKA:-k:9092}"
    assert ours["query_frontend.search.max_duration_s"] == "${LONGEST:-86400}"
    assert [str(note) for note in found.manual] == [
        "tempo.yaml:6: query_frontend.search.max_duration: is set by a variable, which must now be a number of seconds"
    ]
    environ = {"BUCKET": "b", "KEY": "k", "SECRET": "s#1", "URL": "http://p/w", "CLUSTER": "c", "PORT": "99"}
    settings = accepted(found, tmp_path, environ)
    assert settings.server.http_listen_port == 99
    assert settings.storage.trace.s3.secret_key.get_secret_value() == "s#1"
    assert settings.metrics_generator.registry.external_labels == ("cluster=c",)
    assert settings.query_frontend.search.max_duration_s == 86400


TENANTS = """
overrides:
  a:
    ingestion_rate_limit_bytes: 5
    max_traces_per_user: 9
    metrics_generator_processors: [span-metrics, local-blocks]
    metrics_generator_collection_interval: 30s
    metrics_generator_remote_write_headers: {x: hunter2}
  b:
    ingestion: {rate_limit_bytes: 6}
    global: {max_bytes_per_trace: 7}
  "*":
  "a b/c": {}
"""


def test_tenants():
    """Both formats in one file become ours; the file is accepted, without warnings."""
    found = migrate_tenants(TENANTS, "overrides.yaml")
    made = read_tenants(tree_yaml(found.tree), "ours.yaml", {}, lambda _: None)
    assert made.warnings == []
    assert set(made.entries) == {"a", "b", "*"}
    assert found.tree["overrides"]["a"] == {
        "ingestion": {"rate_limit_bytes": 5},
        "metrics_generator": {"processors": ["span-metrics"], "collection_interval_s": 30},
    }
    assert found.tree["overrides"]["b"] == {"ingestion": {"rate_limit_bytes": 6, "max_bytes_per_trace": 7}}
    notes = [str(note) for note in found.manual]
    assert [note.partition(": ")[2].partition(": ")[0] for note in notes] == [
        "overrides.a.metrics_generator_remote_write_headers", "overrides.a b/c",
    ]  # fmt: skip
    assert "hunter2" not in "".join(notes)


@pytest.mark.parametrize("text", ["a: [", "server: {http_listen_port: ${A,,}}"])
def test_what_cannot_be_read(text):
    with pytest.raises(SettingsError, match=r"tempo\.yaml:1: "):
        migrate(text)


def test_rules_name_our_keys():
    """A rule that moves a key says where to, or why it is nowhere."""
    from app.settings.keys import field_at
    from app.settings.migration.reasons import Drop, Manual, Move

    for key, rule in RULES.items():
        if isinstance(rule, Move):
            assert field_at(tuple(rule.to.split("."))) is not None or rule.why, key
        else:
            assert isinstance(rule, Drop | Manual)
            assert rule.why, key


def test_yaml_comes_back():
    """The text of a migrated file is what was put into it."""
    found, _ = migrate(VARIABLES)
    assert flat(yaml.safe_load(tree_yaml(found.tree))) == flat(found.tree)
