"""`stretto config migrate`: the file goes to stdout or to a file, what was changed to stderr, and no secret there."""

import pytest

from app.cli.main import main

TEMPO = """
server: {http_listen_port: 3200}
memberlist: {join_members: [a]}
distributor: {receivers: {otlp: {protocols: {grpc: {endpoint: "0.0.0.0:4317"}}}}}
ingest: {kafka: {address: "k:9092", sasl_username: u, sasl_password: hunter2}}
storage: {trace: {backend: s3, s3: {bucket: traces, access_key: a, secret_key: hunter2, sse: {type: SSE-C,
  encryption_key: hunter2}}}}
metrics_generator: {storage: {remote_write: [{url: "http://u:hunter2@p/w", headers: {x: hunter2}}]}}
"""


@pytest.fixture(autouse=True)
def _tempo(clean_folder):
    (clean_folder / "tempo.yaml").write_text(TEMPO)


def test_to_stdout(tmp_path, capsys):
    assert main(["config", "migrate", "tempo.yaml"]) == 1  # the key of SSE-C is too short
    out, err = capsys.readouterr()
    assert "secret_key: hunter2" in out
    assert "hunter2" not in err
    for said in (
        "Changed:\n",
        "Without a counterpart; nothing to do:\n  tempo.yaml:3: memberlist: ",
        "To do by hand:\n  tempo.yaml:6: storage.trace.s3.sse",
        "stretto import tempo s3://traces",
        "Next: `stretto config check the file`",
    ):
        assert said in err
    (tmp_path / "ours.yaml").write_text(out)
    assert main(["config", "check", "ours.yaml"]) == 0


def test_to_a_file(tmp_path, capsys):
    """Which only its owner may read: it has Tempo's secrets."""
    assert main(["config", "migrate", "tempo.yaml", "--output", "ours.yaml"]) == 1
    assert capsys.readouterr().out == ""
    assert (tmp_path / "ours.yaml").stat().st_mode & 0o777 == 0o600
    assert main(["config", "check", "ours.yaml"]) == 0


def test_overrides(tmp_path, capsys):
    (tmp_path / "o.yaml").write_text("overrides: {a: {ingestion_rate_limit_bytes: 5}}")
    assert main(["config", "migrate", "o.yaml", "-o", "ours.yaml"]) == 0
    assert "check ours.yaml` --overrides" in capsys.readouterr().err
    assert main(["config", "check", "ours.yaml"]) == 0


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["none.yaml"], 1, "none.yaml: cannot be read: No such file"),
        (["tempo.yaml", "-o", "nowhere/x"], 1, "nowhere/x: cannot be written: No such file"),
        (["bad.yaml"], 2, "bad.yaml:1: not YAML"),
    ],
)
def test_failures(tmp_path, capsys, argv, code, said):
    (tmp_path / "bad.yaml").write_text("a: [")
    assert main(["config", "migrate", *argv]) == code
    assert said in capsys.readouterr().err
