"""The command `stretto`."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

from app.cli.main import main
from app.errors import StrettoError
from tests.helpers.files import ROOT

pytestmark = pytest.mark.usefixtures("clean_folder")


def test_config_prints_what_holds(tmp_path, monkeypatch, capsys):
    """`stretto config` prints file and environment together, as YAML."""
    (tmp_path / "stretto.yaml").write_text("query: {threads: 7}")
    monkeypatch.setenv("PORT", "3300")
    assert main(["config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["query"]["threads"] == 7
    assert shown["server"]["http_listen_port"] == 3300
    assert shown["data_dir"] == str(tmp_path / "data")


def test_config_table(tmp_path, capsys):
    """`stretto config --table` prints the table, whatever the settings file says."""
    (tmp_path / "stretto.yaml").write_text("nope: 1")
    assert main(["config", "--table"]) == 0
    assert capsys.readouterr().out.startswith("| Setting |")


@pytest.mark.parametrize("command", ["config", "run"])
def test_wrong_settings(tmp_path, capsys, monkeypatch, command):
    """Wrong settings: status 2, one line each on stderr, nothing on stdout."""
    monkeypatch.setitem(sys.modules, "app.standalone.run", SimpleNamespace(main=lambda _settings: 0))
    (tmp_path / "stretto.yaml").write_text("serverr: {}\nquery: {threads: 0}\n")
    assert main([command]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "stretto: stretto.yaml:1: serverr: unknown key; the nearest known key is server\n"
        "stretto: stretto.yaml:2: query.threads: expected an integer from 1 to 1024; got the number 0\n"
    )


def test_run_gets_the_settings(monkeypatch):
    """`stretto run` hands the settings on, and its result back."""
    seen = []
    fake = SimpleNamespace(main=lambda settings: seen.append(settings.target) or 7)
    monkeypatch.setitem(sys.modules, "app.standalone.run", fake)
    assert main(["run"]) == 7
    assert seen == ["all"]


def test_run_fails(monkeypatch, capsys):
    """Another error that the operator can mend is told without a traceback: status 1."""

    def fail(_settings):
        raise StrettoError("the port 9092 is taken\nstop what has it")

    monkeypatch.setitem(sys.modules, "app.standalone.run", SimpleNamespace(main=fail))
    assert main(["run"]) == 1
    assert capsys.readouterr().err == "stretto: the port 9092 is taken\nstretto: stop what has it\n"


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param([], id="none"),
        pytest.param(["--rate", "5", "--help"], id="options"),
        pytest.param(["a", "-x=1"], id="mixed"),
    ],
)
def test_demo_reads_its_own_arguments(monkeypatch, argv):
    """`stretto demo` hands its arguments on as they are."""
    seen = []
    monkeypatch.setitem(sys.modules, "app.cli.demo", SimpleNamespace(main=lambda argv: seen.append(argv) or 3))
    assert main(["demo", *argv]) == 3
    assert seen == [argv]


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param([], id="none"),
        pytest.param(["nope"], id="unknown"),
        pytest.param(["config", "--nope"], id="option"),
    ],
)
def test_wrong_command_line(capsys, argv):
    """argparse's errors: status 2 and the usage."""
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    assert "usage: stretto" in capsys.readouterr().err


def test_config_needs_neither_kafka_nor_grpc(tmp_path):
    """A real process: wrong settings end it with status 2, and heavy parts are not imported."""
    code = (
        "import sys; from app.cli.main import main; code = main(['config']); "
        "print([name for name in ('faust', 'grpc', 'pyarrow') if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "TARGET": "nope"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("stretto: variable TARGET: target: 'nope' is no target; expected all,")
    assert "Traceback" not in done.stderr
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [["config"], ["config", "--table"], ["blocks", "list"]])
def test_a_closed_pipe_is_no_failure(tmp_path, command, unbuffered):
    """`stretto … | head`: what reads has seen enough."""
    (tmp_path / "data").mkdir()
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    ran = subprocess.run(
        [sys.executable, "-c", "import sys; from app.cli.main import main; sys.exit(main())", *command],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        timeout=60,
    )
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (0, "")
