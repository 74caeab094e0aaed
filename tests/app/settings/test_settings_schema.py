"""The JSON schemas accept what the reader accepts, and refuse what an editor can see to be wrong."""

import re

import jsonschema
import pytest
import yaml

from app.errors import SettingsError
from app.settings import Settings, load, to_yaml
from app.settings.keys import dotted, fields, leaves
from app.settings.schema import overrides_schema, settings_schema
from app.settings.tenants.tenant_file import read_tenants
from tests.helpers.files import ROOT

SETTINGS = jsonschema.Draft7Validator(settings_schema())
OVERRIDES = jsonschema.Draft7Validator(overrides_schema())

GOOD = [
    "{}",
    "server:\nkafka:\n",
    "server: {http_listen_port: 3300}",
    "server: {http_listen_port: '${PORT:-3300}'}",
    "workers: auto",
    "kafka: {address: 'a:9092,b'}",
    "kafka: {address: [a, 'b:1']}",
    "target: distributor,querier",
    "compactor: {compaction: {block_retention: 336h, compaction_window: 1h30m}}",
    "compactor: {compaction: {block_retention: 86400}}",
    "storage: {trace: {backend: '${BACKEND:-local}', s3: {tags: {a: b}, metadata: 'a=b,c=d'}}}",
    "metrics_generator: {storage: {remote_write: [{url: 'http://p:9090/w', headers: {a: b}}]}}",
    "metrics_generator: {processor: {span_metrics: {histogram_buckets: [0.1, 1], dimensions: a}}}",
    "distributor: {forwarders: [{name: f, otlpgrpc: {endpoints: ['h:1'], tls: {insecure: true}}, filter: {}}]}",
    "overrides: {defaults: {ingestion: {rate_limit_bytes: 5, past_slack: 1h}, cost_attribution: {dimensions: {a: }}}}",
    "cache: {caches: [{roles: [bloom], redis: {endpoint: r}}]}",
    "ui: {links: [{name: l, url: 'http://h/$${traceId}'}]}",
]
BAD = {
    "serverr: {}": "serverr",
    "server: {http_listen_port: 0}": "0",
    "server: {http_listen_port: '3200'}": "3200",
    "server: {http_listen_port: 1.5}": "1.5",
    "server: 5": "5",
    "server: {http_listen_conn_limit: true}": "True",
    "log_level: loud": "loud",
    "multitenancy_enabled: 1": "1",
    "query: {timeout_s: 0}": "0",
    "query: {timeout_s: 1m}": "1m",
    "compactor: {compaction: {block_retention: 2 weeks}}": "2 weeks",
    "compactor: {compaction: {block_retention: -1}}": "-1",
    "kafka: {address: []}": "",
    "kafka: {topic: 'a b'}": "a b",
    "metrics_generator: {storage: {remote_write: [{}]}}": "url",
    "metrics_generator: {storage: {remote_write: [{url: 'http://h', nope: 1}]}}": "nope",
    "metrics_generator: {processor: {span_metrics: {histogram_buckets: [a]}}}": "a",
    "distributor: {forwarders: [{name: f}]}": "otlpgrpc",
    "workers: many": "many",
    "server: {http_listen_address: ''}": "",
}


def settings(tmp_path, text):
    (tmp_path / "stretto.yaml").write_text(text)
    return load({}, tmp_path)


@pytest.mark.parametrize("schema", [settings_schema(), overrides_schema()], ids=["settings", "overrides"])
def test_it_is_a_schema(schema):
    jsonschema.Draft7Validator.check_schema(schema)


@pytest.mark.parametrize("text", GOOD)
def test_good(tmp_path, text):
    settings(tmp_path, text)
    assert list(SETTINGS.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(("text", "named"), BAD.items())
def test_bad(tmp_path, text, named):
    """Both refuse it, the schema with the value or the key in its message."""
    with pytest.raises(SettingsError):
        settings(tmp_path, text)
    (error, *_) = SETTINGS.iter_errors(yaml.safe_load(text))
    assert named in error.message


def test_all_settings_are_good(tmp_path):
    assert list(SETTINGS.iter_errors(yaml.safe_load(to_yaml(Settings())))) == []


@pytest.mark.parametrize("key", leaves(), ids=dotted)
def test_every_setting_is_described(key):
    at = settings_schema()
    for part in key:
        at = at["properties"][part]
    assert at["description"] == fields()[key].description


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/*.md")), ids=lambda path: path.name)
def test_examples_of_the_documents(path):
    """The settings that documents show."""
    for block in re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        tree = yaml.safe_load(block)
        if isinstance(tree, dict) and set(tree) <= set(Settings.model_fields):
            errors = list(SETTINGS.iter_errors(tree)) and list(OVERRIDES.iter_errors(tree))
            assert [error.message for error in errors] == [], block


OWN = "overrides:\n  a: {ingestion: {rate_limit_bytes: 5}, metrics_generator: {collection_interval_s: 30}}\n  '*':\n"


def test_overrides():
    assert set(read_tenants(OWN, "o.yaml", {}, lambda _: None).entries) == {"a", "*"}
    assert [error.message for error in OVERRIDES.iter_errors(yaml.safe_load(OWN))] == []
    for wrong in ("override: {}", "overrides: {a: {ingestion: {rate_limit: 5}}}", "overrides: {a: 5}"):
        with pytest.raises(SettingsError):
            read_tenants(wrong, "o.yaml", {}, lambda _: None)
        assert list(OVERRIDES.iter_errors(yaml.safe_load(wrong)))
