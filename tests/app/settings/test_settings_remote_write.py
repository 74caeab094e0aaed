# ruff: noqa: E501  (a case is a line of a table, its error text is one line too)
"""Settings of remote-write targets: what is wrong with them, and what is never shown."""

import pytest

from app.errors import SettingsError
from app.settings import load, to_yaml

AT = "stretto.yaml:1: metrics_generator.storage.remote_write"


def settings_of(cwd, target, **environ):
    text = f"metrics_generator: {{storage: {{remote_write: [{{url: 'http://h/w', {target}}}]}}}}"
    (cwd / "stretto.yaml").write_text(text)
    return load(environ, cwd)


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        pytest.param("headers: {Authorization: x}", "[0].headers: Authorization is not set here", id="reserved header"),
        pytest.param("headers: {'a b': x}", "[0].headers: 'a b' is not the name of an HTTP header", id="header's name"),
        pytest.param('headers: {a: "x\\ny"}', "[0].headers: the value of a has a line break", id="header's value"),
        pytest.param("headers: {a: 7}", "[0].headers.a: expected text; got a value that is not shown", id="header's type"),
        pytest.param("headers: 7", "[0].headers: expected a mapping of names to values; got", id="no headers"),
        pytest.param("bearer_token: a, bearer_token_file: b", "[0].bearer_token_file: bearer_token is set, too", id="two tokens"),
        pytest.param("basic_auth: {username: u, password: a}, bearer_token: b", "[0].bearer_token: basic_auth.username is set, too", id="two ways"),
        pytest.param("basic_auth: {username: u, password: a, password_file: b}", "[0].basic_auth.password_file: password is set, too", id="two passwords"),
        pytest.param("basic_auth: {password: a}", "[0].basic_auth.username: is not set, but a password is", id="no user"),
        pytest.param("authorization: {credentials: a, credentials_file: b}", "[0].authorization.credentials_file: credentials is set, too", id="two credentials"),
        pytest.param("tls_config: {cert_file: c}", "[0].tls_config.cert_file: cert_file is set but key_file is not", id="no key"),
        pytest.param("queue_config: {min_backoff_s: 5, max_backoff_s: 1}", "[0].queue_config.max_backoff_s: must not be less than min_backoff_s (5)", id="backoff"),
        pytest.param("protobuf_message: v2", "[0].protobuf_message: expected one of prometheus.WriteRequest, io.prometheus.write.v2.Request; got the text 'v2'", id="message"),
        pytest.param("remote_timeout: 3", "[0].remote_timeout: unknown key; the nearest known key is metrics_generator.storage.remote_write[0].remote_timeout_s", id="Prometheus' spelling"),
        pytest.param("name: a}, {url: 'http://i', name: a", ": two targets have the name 'a'", id="names"),
    ],
)  # fmt: skip
def test_errors(tmp_path, target, problem):
    """What is wrong, and where."""
    with pytest.raises(SettingsError) as err:
        settings_of(tmp_path, target)
    assert str(err.value).startswith(AT + problem)


@pytest.mark.parametrize(
    "target",
    [
        "basic_auth: {username: u, password: hush}",
        "authorization: {credentials: hush}",
        "bearer_token: hush",
        "bearer_token: '${TOKEN}'",
        "headers: {X-Key: hush}",
        "headers: {X-Key: '${TOKEN}'}",
    ],
)
def test_secrets_are_not_shown(tmp_path, target):
    """Neither by `stretto config` nor in a repr; unmasked they load again."""
    settings = settings_of(tmp_path, target, TOKEN="hush")
    assert "hush" not in to_yaml(settings) + repr(settings) + str(settings)
    assert "'***'" in to_yaml(settings)
    (tmp_path / "stretto.yaml").write_text(to_yaml(settings, masked=False))
    assert load({}, tmp_path).metrics_generator == settings.metrics_generator


def test_from_the_environment(tmp_path):
    """The list as YAML in one variable."""
    text = "[{url: 'http://h/w', headers: {a: b}, tls_config: {insecure_skip_verify: true}}]"
    settings = load({"STRETTO_METRICS_GENERATOR__STORAGE__REMOTE_WRITE": text}, tmp_path)
    (target,) = settings.metrics_generator.storage.remote_write
    assert target.headers["a"].get_secret_value() == "b"
    assert target.tls_config.insecure_skip_verify
