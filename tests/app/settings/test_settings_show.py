"""Settings as text, and docs/settings.md."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args, get_origin

import hypothesis
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from app.settings import Settings, load, to_yaml
from app.settings.environment import CONFIG, SHORT_NAMES
from app.settings.keys import dotted, leaves
from app.settings.show import table
from app.settings.values import duration_text, mask, parse_duration
from tests.helpers.examples import examples
from tests.helpers.files import ROOT

DOCS = ROOT / "docs/settings.md"

NAMES = st.from_regex(r"\A[A-Za-z0-9._-]{1,20}\Z")
PORTS = st.integers(1, 65535)
ADDRESSES = st.builds("{}:{}".format, NAMES, PORTS)
URLS = st.builds("{}://{}:{}/{}".format, st.sampled_from(["http", "https"]), st.just("h"), PORTS, NAMES)
# Settings whose text has a form of its own.
FORMS = {
    "address": st.lists(ADDRESSES, min_size=1, max_size=3),
    "remote_write": st.lists(st.fixed_dictionaries({"url": URLS}), max_size=2),
    "dimension_mappings": st.lists(
        st.fixed_dictionaries({"name": NAMES, "source_labels": st.lists(NAMES, max_size=2), "join": st.text()}),
        max_size=1,
    ),
    "filter_policies": st.lists(
        st.fixed_dictionaries({"include": st.just({"attributes": [{"key": "span.a", "value": "on"}]})}), max_size=1
    ),
    "processors": st.lists(st.sampled_from(["service-graphs", "span-metrics"]), max_size=2),
    "intrinsic_dimensions": st.lists(st.sampled_from(["service", "span_name", "status_message"]), max_size=3),
    "histogram_buckets": st.lists(st.floats(0.001, 100), min_size=1, max_size=4, unique=True).map(sorted),
    "external_labels": st.lists(st.builds("{}={}".format, NAMES, NAMES), max_size=2),
    "dimensions": st.lists(NAMES, max_size=2),
    "target_info_excluded_dimensions": st.lists(NAMES, max_size=2),
    "peer_attributes": st.lists(NAMES, max_size=2),
    "database_name_attributes": st.lists(NAMES, max_size=2),
    "allowed_origins": st.lists(NAMES.map("https://{}.*".format) | st.just("*"), max_size=2),
    "allowed_headers": st.lists(NAMES, max_size=2),
    "caches": st.lists(
        st.fixed_dictionaries({"roles": st.just(["bloom", "frontend-search"]), "redis": st.just({"endpoint": "h:1"})})
        | st.fixed_dictionaries({"roles": st.just("parquet-page"), "memcached": st.just({"addresses": "a,b:2"})}),
        max_size=2,
    ),
    "tags": st.dictionaries(NAMES, st.text(), max_size=2),
    "metadata": st.dictionaries(NAMES, st.text(), max_size=2),
    "object_metadata": st.dictionaries(NAMES, st.text(), max_size=2),
    "properties": st.dictionaries(NAMES, st.text(), max_size=2),
    "extensions": st.dictionaries(NAMES, st.text(), max_size=2),
    "endpoint_params": st.dictionaries(NAMES, st.text(), max_size=2),
    "scopes": st.lists(NAMES, max_size=2),
    "token_url": URLS,
    "dead_letter_topic": NAMES,
    "traces": st.lists(
        st.fixed_dictionaries({"topics": st.lists(NAMES | st.just("^a.*"), min_size=1, max_size=2, unique=True)}),
        max_size=1,
    ),
    "forwarders": st.lists(
        st.fixed_dictionaries(
            {
                "name": NAMES,
                "otlpgrpc": st.fixed_dictionaries(
                    {"endpoints": st.lists(ADDRESSES, min_size=1, max_size=2), "tls": st.just({"insecure": True})}
                ),
            }
        ),
        max_size=1,
    ),
    "links": st.lists(
        st.fixed_dictionaries({"name": NAMES, "url": st.just("https://logs/?q=$${traceId}")}), max_size=1
    ),
    "topic": NAMES,
    "otlp_topic": NAMES,
    "consumer_group_prefix": NAMES,
    "advertise_address": NAMES,
    "instance_interface_names": st.lists(NAMES, max_size=2),
    "worker_addresses": st.lists(ADDRESSES, max_size=2),
    "frontend_address": st.lists(ADDRESSES, max_size=2),
    "headers": st.dictionaries(NAMES, NAMES, max_size=2),
    "zone": st.sampled_from(["", "a", "eu-1"]),
    "http_listen_address": st.text(min_size=1),
}

# Texts that YAML or we could take for something else.
ODD = ["${A}", "$${A}", "$$${", "on", "1", "~", "null", "a: b", "# a", "\x85 \u2028", "\ue0000\ue001"]


def values(key, field):
    limits = {
        name: getattr(item, name) for item in field.metadata for name in ("ge", "gt", "le") if hasattr(item, name)
    }
    if key[-1] in FORMS:
        return FORMS[key[-1]]
    if key[-1] == "endpoint":
        return URLS if "storage" in key else ADDRESSES
    if get_origin(field.annotation) is Literal:
        return st.sampled_from(get_args(field.annotation))
    kinds = {
        int: st.integers(limits.get("ge"), limits.get("le")),
        float: st.floats(limits.get("gt", 0), limits.get("le"), exclude_min="gt" in limits),
        bool: st.booleans(),
        str: st.text() | st.sampled_from(ODD),
        SecretStr: st.text(),
        Path: st.text(min_size=1),
    }  # fmt: skip
    return kinds[field.annotation]


@st.composite
def trees(draw):
    """A settings file as a tree: a few leaves set, each to what its type allows."""
    tree = {}
    for key in draw(st.lists(st.sampled_from(sorted(leaves())), max_size=12, unique=True)):
        at = tree
        for name in key[:-1]:
            at = at.setdefault(name, {})
        at[key[-1]] = draw(values(key, leaves()[key]))
    return tree


# No deadline: the first call builds the models' tables. An example costs what the whole file does, not what is set.
@hypothesis.settings(max_examples=examples(25), deadline=None)
@given(trees())
def test_what_is_dumped_loads_as_the_same(tree):
    """Settings → YAML → settings changes nothing but relative paths, which are resolved once."""
    try:
        settings = Settings.model_validate(tree)
    except ValidationError:
        assume(False)
    with TemporaryDirectory() as folder:
        path = Path(folder, "stretto.yaml")
        path.write_text(to_yaml(settings, masked=False), encoding="utf-8")
        first = load({CONFIG: str(path)}, Path("/cwd"))
        path.write_text(to_yaml(first, masked=False), encoding="utf-8")
        assert load({CONFIG: str(path)}, Path("/elsewhere")).model_dump() == first.model_dump()
    resolved = settings.model_dump()
    resolved["data_dir"] = Path("/cwd") / settings.data_dir
    resolved["storage"]["trace"]["local"]["path"] = Path("/cwd") / settings.storage.trace.local.path
    assert first.model_dump() == resolved


def test_masked(tmp_path):
    """Secrets and users in URLs are neither in the YAML nor in a repr; that they are set can be seen."""
    text = """
storage:
  trace:
    s3:
      {access_key: id, secret_key: hush, session_token: hush,
       sse: {type: SSE-C, encryption_key: hush-hush-hush-hush-hush-hush-32}}
    azure: {sas_token: hush}
metrics_generator: {storage: {remote_write: [{url: 'https://hush:hush@prometheus/api'}]}}
kafka:
  sasl:
    mechanism: OAUTHBEARER
    oauth2: {token_url: 'https://idp/token', client_id: id, client_secret: hush, endpoint_params: {x: hush}}
"""
    (tmp_path / "stretto.yaml").write_text(text)
    settings = load({}, tmp_path)
    shown = to_yaml(settings)
    assert "hush" not in shown + repr(settings) + str(settings)
    assert "secret_key: '***'" in shown
    assert "url: https://***@prometheus/api" in shown
    assert settings.storage.trace.s3.secret_key.get_secret_value() == "hush"
    assert settings.metrics_generator.storage.remote_write[0].url == "https://hush:hush@prometheus/api"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        pytest.param("http://host/path", "http://host/path", id="no user"),
        pytest.param("http://token@host", "http://***@host", id="token"),
        pytest.param("http://u:p@host:1/a", "http://***@host:1/a", id="password"),
        pytest.param("http://u:p@ss/word@host", "http://***@host", id="password with signs"),
        pytest.param("a@b", "a@b", id="no URL"),
    ],
)
def test_mask(text, masked):
    """What stands before the @ of a URL is hidden."""
    assert mask(text) == masked


def test_every_setting_is_documented():
    """docs/settings.md holds the table as the models say it; `stretto config --table` makes it anew."""
    rows = table()
    assert DOCS.read_text(encoding="utf-8").endswith("\n\n" + rows)
    assert all(f"| `{dotted(key)}` |" in rows for key in leaves())
    assert all(field.description for field in leaves().values())


def test_every_short_variable_is_documented():
    """The variables without a path are in docs/settings.md."""
    text = DOCS.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in (*SHORT_NAMES, CONFIG, "STRETTO_DATA_DIR"))


def test_the_documented_file_loads(tmp_path):
    """The examples in docs/settings.md are good settings files."""
    for_editors, example = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "stretto.yaml").write_text(for_editors)
    assert load({}, tmp_path).target == "all"
    (tmp_path / "stretto.yaml").write_text(example)
    settings = load({"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}, tmp_path)
    assert settings.storage.trace.s3.bucket == "traces"
    assert settings.kafka.address == ("127.0.0.1:9092",)


@pytest.mark.parametrize(
    ("seconds", "text"), [(1_209_600, "336h"), (90, "90s"), (120, "2m"), (3600, "1h"), (0.5, "0.5s"), (0, "0s")]
)
def test_durations_are_shown_as_they_are_written(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
    assert parse_duration(text) == seconds
