# ruff: noqa: E501  (a case is a line of a table, its error text is one line too)
"""What a settings file and an environment come to. Errors: test_settings_errors.py."""

from pathlib import Path

import pytest

from app.errors import SettingsError
from app.settings import Settings, load


def settings_of(cwd: Path, text: str = "", **environ: str) -> Settings:
    (cwd / "stretto.yaml").write_text(text, encoding="utf-8")
    return load(environ, cwd)


def at(settings: Settings, dotted: str) -> object:
    value: object = settings
    for name in dotted.split("."):
        value = value[int(name)] if isinstance(value, tuple) else getattr(value, name)
    return value


def test_defaults_without_a_file(tmp_path):
    """Without a file and variables all is as the models say, with paths below the working directory."""
    settings = load({}, tmp_path)
    assert settings.data_dir == tmp_path / "data"
    assert settings.storage.trace.local.path == tmp_path / "data/blocks"
    assert settings.target == "all"
    assert settings.kafka == Settings().kafka
    assert not settings.kafka.model_fields_set


@pytest.mark.parametrize(
    ("text", "environ", "key", "value"),
    [
        pytest.param("server: {http_listen_port: 80}", {}, "server.http_listen_port", 80, id="plain"),
        pytest.param("server:\n  # nothing set\n", {}, "server.http_listen_port", 3200, id="a section without keys"),
        pytest.param("kafka: {address: 'a:1, b:2'}", {}, "kafka.address", ("a:1", "b:2"), id="addresses with commas"),
        pytest.param("kafka: {address: ['a:1', b]}", {}, "kafka.address", ("a:1", "b:9092"), id="addresses in a list"),
        pytest.param("kafka: {address: '[::1]:9'}", {}, "kafka.address", ("[::1]:9",), id="address of IPv6"),
        pytest.param("live_store: {segment_age_s: 0.5}", {}, "live_store.segment_age_s", 0.5, id="part of a second"),
        pytest.param("kafka: {topic: 2026-11-21}", {}, "kafka.topic", "2026-11-21", id="a date is text"),
        pytest.param("kafka: {topic: &t x, consumer_group_prefix: *t}", {}, "kafka.consumer_group_prefix", "x", id="alias"),
        pytest.param("storage: {trace: {s3: {prefix: /a/b/}}}", {}, "storage.trace.s3.prefix", "a/b", id="outer slashes"),
        # Durations as Tempo writes them.
        pytest.param("compactor: {compaction: {block_retention: 48h}}", {}, "compactor.compaction.block_retention", 172_800.0, id="hours"),
        pytest.param("compactor: {compaction: {compaction_cycle: 1m30.5s}}", {}, "compactor.compaction.compaction_cycle", 90.5, id="several units"),
        pytest.param("compactor: {audit_interval: 0}", {}, "compactor.audit_interval", 0.0, id="no unit is seconds"),
        pytest.param("compactor: {orphan_age: 2d}", {}, "compactor.orphan_age", 172_800.0, id="days"),
        pytest.param("", {"STRETTO_COMPACTOR__COMPACTION__BLOCK_RETENTION": "720h"}, "compactor.compaction.block_retention", 2_592_000.0, id="duration in a variable"),
        pytest.param("overrides: {defaults: {compaction: {block_retention: 1h}}}", {}, "overrides.defaults.compaction.block_retention", 3600.0, id="override of a duration"),
        # Variables in the file.
        pytest.param("kafka: {topic: ${T}}", {"T": "a"}, "kafka.topic", "a", id="variable in braces"),
        pytest.param("kafka: {topic: a.${T}-${U}}", {"T": "b", "U": "c"}, "kafka.topic", "a.b-c", id="within text"),
        pytest.param("kafka: {topic: ${T}}", {"T": "12"}, "kafka.topic", "12", id="digits for text"),
        pytest.param('query: {threads: "${N}"}', {"N": "12"}, "query.threads", 12, id="quoted, for a number"),
        pytest.param("query: {threads: ${N:-7}}", {}, "query.threads", 7, id="default"),
        pytest.param("query: {threads: ${N:-7}}", {"N": ""}, "query.threads", 7, id="default for an empty one"),
        pytest.param("query: {timeout_s: 1${N}}", {"N": "5"}, "query.timeout_s", 15.0, id="part of a number"),
        pytest.param("multitenancy_enabled: ${M}", {"M": "true"}, "multitenancy_enabled", True, id="truth"),
        pytest.param("kafka: {address: ${A:-h:1}}", {}, "kafka.address", ("h:1",), id="default with a colon"),
        pytest.param("kafka: {address: [${A}, ${B:-h:2}]}", {"A": "h:1"}, "kafka.address", ("h:1", "h:2"), id="list"),
        pytest.param("kafka: {address: ${A}}", {"A": "[h:1, h:2]"}, "kafka.address", ("h:1", "h:2"), id="list in one"),
        pytest.param("storage: {trace: {s3: {region: ${R:-}}}}", {}, "storage.trace.s3.region", "", id="empty default"),
        pytest.param("storage: {trace: {s3: {region: 'a $${R} $$ $R'}}}", {}, "storage.trace.s3.region", "a ${R} $$ $R", id="escaped"),
        pytest.param("storage: {trace: {s3: {region: $${R}}}}", {}, "storage.trace.s3.region", "${R}", id="escaped in flow"),
        pytest.param("storage: {trace: {s3: {region: \ue0000\ue001}}}", {}, "storage.trace.s3.region", "\ue0000\ue001", id="marks"),
        pytest.param("storage: {trace: {s3: {region: ${R}}}}", {"R": "a: b # ${R} \"'\n- "}, "storage.trace.s3.region", "a: b # ${R} \"'\n- ", id="what would be YAML"),
        pytest.param("# ${NOT_SET}\nkafka: {topic: x}", {}, "kafka.topic", "x", id="variable in a comment"),
        pytest.param("storage: {trace: {s3: {region: |-\n  a ${R}\n}}}".replace("|-\n  a ${R}\n", '"a\n  ${R}"'), {"R": "b"}, "storage.trace.s3.region", "a b", id="over two lines"),
        # Variables by themselves.
        pytest.param("server: {http_listen_port: 80}", {"STRETTO_SERVER__HTTP_LISTEN_PORT": "81"}, "server.http_listen_port", 81, id="before the file"),
        pytest.param("server: {http_listen_port: x}", {"PORT": "81"}, "server.http_listen_port", 81, id="PORT"),
        pytest.param("", {"PORT": "81", "STRETTO_SERVER__HTTP_LISTEN_PORT": "82"}, "server.http_listen_port", 82, id="long before short"),
        pytest.param("", {"PORT": ""}, "server.http_listen_port", 3200, id="empty PORT"),
        pytest.param("", {"TARGET": "live-store"}, "target", "live-store", id="TARGET"),
        pytest.param("", {"HONCHO_PROCESS_NAME": "live-store.2"}, "worker", 2, id="HONCHO_PROCESS_NAME"),
        pytest.param("", {"STRETTO_SERVER__GRPC_LISTEN_PORT": "0"}, "server.grpc_listen_port", 0, id="any free port"),
        pytest.param("", {"KAFKA_URL": "kafka://a:1,b:2"}, "kafka.address", ("a:1", "b:2"), id="KAFKA_URL"),
        pytest.param("", {"KAFKA_URL": "a:1"}, "kafka.address", ("a:1",), id="KAFKA_URL without scheme"),
        pytest.param("", {"KAFKA_URL": "kafka://a:1/,kafka://b"}, "kafka.address", ("a:1", "b:9092"), id="KAFKA_URL twice"),
        pytest.param("kafka: {address: [c:1, c:2, c:3]}", {"KAFKA_URL": "a:1"}, "kafka.address", ("a:1",), id="list replaced"),
        pytest.param("", {"STRETTO_KAFKA__ADDRESS": "[a:1, b:2]"}, "kafka.address", ("a:1", "b:2"), id="list as YAML"),
        pytest.param("", {"STRETTO_MULTITENANCY_ENABLED": "true"}, "multitenancy_enabled", True, id="truth of a variable"),
        pytest.param("", {"STRETTO_KAFKA__TOPIC": "12"}, "kafka.topic", "12", id="digits for text of a variable"),
        pytest.param("", {"REMOTE_WRITE_URL": "http://p:1/w"}, "metrics_generator.storage.remote_write.0.url", "http://p:1/w", id="REMOTE_WRITE_URL"),
        pytest.param("", {"STRETTO_METRICS_GENERATOR__STORAGE__REMOTE_WRITE": "[{url: http://p}]"}, "metrics_generator.storage.remote_write.0.url", "http://p", id="a list of mappings"),
        pytest.param("query:", {"STRETTO_QUERY__THREADS": "3"}, "query.threads", 3, id="into an empty section"),
        pytest.param("", {"STRETTO_SERVICE_HOST": "10.0.0.1", "STRETTO_SERVICE_PORT_HTTP": "1", "STRETTO_PORT": "tcp://10.0.0.1:1", "STRETTO_PORT_1_TCP_ADDR": "10.0.0.1", "STRETTO_QUERY_PORT": "tcp://10.0.0.1:1"}, "target", "all", id="what Kubernetes sets for a service"),
    ],
)  # fmt: skip
def test_value(tmp_path, text, environ, key, value):
    """A file and an environment give a setting this value."""
    found = at(settings_of(tmp_path, text, **environ), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("url", "backend", "place"),
    [
        pytest.param("file:///var/b", "local", {"local.path": Path("/var/b")}, id="file"),
        pytest.param("file:///var/my%20b", "local", {"local.path": Path("/var/my b")}, id="file, escaped"),
        pytest.param("s3://b/a/c/", "s3", {"s3.bucket": "b", "s3.prefix": "a/c"}, id="s3"),
        pytest.param("s3://b", "s3", {"s3.bucket": "b", "s3.prefix": ""}, id="s3 without prefix"),
        pytest.param("gs://b/a", "gcs", {"gcs.bucket_name": "b", "gcs.prefix": "a"}, id="gs"),
        pytest.param("az://b/a", "azure", {"azure.container_name": "b", "azure.prefix": "a"}, id="az"),
    ],
)
def test_storage_url(tmp_path, url, backend, place):
    """STORAGE_URL says backend and place; the file's prefix does not get into it."""
    text = "storage: {trace: {s3: {prefix: old}, azure: {storage_account_name: n}}}"
    trace = settings_of(tmp_path, text, STORAGE_URL=url).storage.trace
    assert trace.backend == backend
    for key, value in place.items():
        section, name = key.split(".")
        assert getattr(getattr(trace, section), name) == value


@pytest.mark.parametrize(
    ("text", "environ", "data_dir", "blocks"),
    [
        pytest.param("", {"STRETTO_DATA_DIR": "/d"}, "/d", "/d/blocks", id="absolute"),
        pytest.param("data_dir: d", {}, "{cwd}/d", "{cwd}/d/blocks", id="relative"),
        pytest.param(
            "data_dir: d", {"STRETTO_DATA_DIR": ""}, "{cwd}/d", "{cwd}/d/blocks", id="empty variable is unset"
        ),
        pytest.param("storage: {trace: {local: {path: b}}}", {}, "{cwd}/data", "{cwd}/b", id="blocks elsewhere"),
        pytest.param("", {"STORAGE_URL": "file:///b", "STRETTO_DATA_DIR": "d"}, "{cwd}/d", "/b", id="blocks by URL"),
    ],
)
def test_folders(tmp_path, text, environ, data_dir, blocks):
    """Relative paths start at the working directory; blocks lie in the data directory unless told otherwise."""
    settings = settings_of(tmp_path, text, **environ)
    assert settings.data_dir == Path(data_dir.format(cwd=tmp_path))
    assert settings.storage.trace.local.path == Path(blocks.format(cwd=tmp_path))


@pytest.mark.parametrize(
    ("endpoint", "insecure", "url"),
    [
        pytest.param("", True, None, id="AWS"),
        pytest.param("minio:9000", True, "http://minio:9000", id="http"),
        pytest.param("minio:9000", False, "https://minio:9000", id="https"),
        pytest.param("http://minio:9000", False, "http://minio:9000", id="whole URL"),
    ],
)
def test_s3_endpoint(tmp_path, endpoint, insecure, url):
    """A bare host gets its scheme from `insecure`; a URL has one."""
    text = f"storage: {{trace: {{s3: {{endpoint: '{endpoint}', insecure: {str(insecure).lower()}}}}}}}"
    assert settings_of(tmp_path, text).storage.trace.s3.endpoint_url == url


def test_stretto_config_names_the_file(tmp_path):
    """STRETTO_CONFIG is read instead of stretto.yaml; empty, it is as if not set."""
    (tmp_path / "stretto.yaml").write_text("target: distributor")
    (tmp_path / "other.yaml").write_bytes(b"\xef\xbb\xbftarget: live-store")
    assert load({"STRETTO_CONFIG": "other.yaml"}, tmp_path).target == "live-store"
    assert load({"STRETTO_CONFIG": str(tmp_path / "other.yaml")}, tmp_path / "nowhere").target == "live-store"
    assert load({"STRETTO_CONFIG": ""}, tmp_path).target == "distributor"


def test_settings_do_not_change(tmp_path):
    """Settings are made once: no part of them can be assigned to."""
    settings = load({}, tmp_path)
    for section in (settings, settings.kafka, settings.storage.trace.s3):
        name = next(iter(type(section).model_fields))
        with pytest.raises(ValueError, match="frozen"):
            setattr(section, name, None)


def test_a_missing_file_is_an_error_only_where_named(tmp_path):
    """A file named by STRETTO_CONFIG must be there."""
    with pytest.raises(SettingsError, match=r"^nope\.yaml: the settings file cannot be read: No such file"):
        load({"STRETTO_CONFIG": "nope.yaml"}, tmp_path)
