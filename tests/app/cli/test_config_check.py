"""`stretto config check`: all problems of all files at once, with their places."""

import pytest

from app.cli.main import main

pytestmark = pytest.mark.usefixtures("clean_folder")


FILES = {
    "wrong.yaml": "serverr: {}\nquery: {threads: 0}\noverrides:\n  per_tenant_override_config: tenants.yaml\n",
    "tenants.yaml": "overrides:\n  a: {ingestion: {rate_limit: 5}}\n  b: {max_traces_per_user: 3}\n",
    "named.yaml": "overrides: {per_tenant_override_config: tenants.yaml}\n",
    "forwarder.yaml": "overrides: {per_tenant_override_config: f.yaml}\n",
    "f.yaml": "overrides: {a: {forwarders: [nobody]}}\n",
    "missing.yaml": "overrides: {per_tenant_override_config: none.yaml}\nserver: {auth_file: tokens.yaml}\n",
    "secret.yaml": "server: {auth_file: t.yaml, internal_token_file: i}\n",
    "t.yaml": "a: [hunter2]\n",
    "i": "short\n",
    "variable.yaml": "server: {http_listen_port: '${NOBODY_SET_THIS}'}\nlog_level: loud\n",
    "good.yaml": "server: {http_listen_port: 3300}\noverrides: {per_tenant_override_config: good-tenants.yaml}\n",
    "good-tenants.yaml": "overrides: {a: {ingestion_rate_limit_bytes: 5}}\n",
    "defaults.yaml": "overrides: {defaults: {ingestion: {rate_limit_bytes: 5}}}\n",
    "text.yaml": "just text\n",
}
CASES = {
    "wrong.yaml": [
        "wrong.yaml:1: serverr: unknown key",
        "wrong.yaml:2: query.threads: expected an integer from 1 to 1024; got the number 0",
        "tenants.yaml:2: overrides.a.ingestion.rate_limit: unknown key",
        "warning: tenants.yaml:3: overrides.b.max_traces_per_user: has no counterpart",
        "wrong.yaml: 3 problems",
    ],
    "tenants.yaml": ["error: tenants.yaml:2: overrides.a.ingestion.rate_limit", "tenants.yaml: 1 problem"],
    "forwarder.yaml": ["f.yaml:1: overrides.a: forwarders: 'nobody' is none of distributor.forwarders"],
    "missing.yaml": [
        "none.yaml: the overrides file cannot be read: No such file",
        "server.auth_file tokens.yaml: cannot be read",
        "missing.yaml: 2 problems",
    ],
    "secret.yaml": [
        "server.auth_file t.yaml: a: expected a list of sha256",
        "server.internal_token_file i: expected tokens",
    ],
    "variable.yaml": ["the variable NOBODY_SET_THIS is not set", "log_level: expected one of debug"],
    "text.yaml": ["text.yaml:1: expected a mapping"],
    "nowhere.yaml": ["nowhere.yaml: the settings file cannot be read: No such file"],
}


@pytest.fixture(autouse=True)
def _files(tmp_path, clean_folder):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)


@pytest.mark.parametrize(("name", "said"), CASES.items())
def test_problems(capsys, name, said):
    assert main(["config", "check", name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    for text in said:
        assert text in err
    assert "hunter2" not in err


@pytest.mark.parametrize("name", ["good.yaml", "good-tenants.yaml", "defaults.yaml"])
def test_nothing_is_wrong(capsys, name):
    assert main(["config", "check", name]) == 0
    assert capsys.readouterr() == (f"{name}: nothing is wrong\n", "")


def test_files_can_be_left_out(capsys):
    assert main(["config", "check", "--no-files", "missing.yaml"]) == 0
    assert capsys.readouterr().err == ""


def test_without_a_name(tmp_path, capsys, monkeypatch):
    """The file that `stretto run` would read, and the environment."""
    assert main(["config", "check"]) == 0
    monkeypatch.setenv("STRETTO_QUERY__THREADS", "0")
    monkeypatch.setenv("STRETTO_CONFIG", "good.yaml")
    assert main(["config", "check"]) == 2
    assert "variable STRETTO_QUERY__THREADS" in capsys.readouterr().err


def test_a_tenant_with_the_name_of_a_key(tmp_path, capsys):
    (tmp_path / "o.yaml").write_text("overrides: {defaults: {ingestion: {rate_limit_bytes: 5}}, x: {read: {}}}")
    assert main(["config", "check", "o.yaml"]) == 2
    assert main(["config", "check", "--overrides", "o.yaml"]) == 0
