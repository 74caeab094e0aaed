"""The unit of systemd: it starts what the Procfile starts, with settings that exist."""

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from app.settings import load
from app.settings.models import TARGETS
from tests.helpers.files import ROOT

UNIT = ROOT / "docker" / "systemd" / "stretto@.service"


@pytest.fixture
def service() -> configparser.SectionProxy:
    # Not strict: systemd reads several lines of EnvironmentFile.
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(UNIT.read_text())
    return parser["Service"]


def test_it_starts_what_the_procfile_starts(service: configparser.SectionProxy) -> None:
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    _, program, arguments = lines["all"].partition("faust ")
    assert service["ExecStart"] == f"{service['WorkingDirectory']}/.venv/bin/{program}{arguments}"


@pytest.mark.parametrize("target", ["all", *TARGETS])
def test_its_variables_are_settings(service: configparser.SectionProxy, target: str, tmp_path: Path) -> None:
    env = dict(one.split("=", 1) for one in shlex.split(service["Environment"].replace("%i", target)))
    config = tmp_path / "stretto.yaml"
    config.write_text("")
    settings = load(env | {"STRETTO_CONFIG": str(config)}, tmp_path)
    assert settings.target == target
    # Everything else is read-only for the service.
    assert str(settings.data_dir) == f"/var/lib/{service['StateDirectory'].replace('%i', target)}"


def test_it_is_hardened() -> None:
    """By systemd's own measure, from 0 to 10; what is left is the network, and the user's processes in /proc."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not there")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "offline" in done.stderr and "nrecognized" in done.stderr:
        pytest.skip("systemd-analyze is too old to look at a file")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


def test_it_checks_the_settings_before(service: configparser.SectionProxy) -> None:
    assert service["ExecStartPre"] == f"{service['WorkingDirectory']}/.venv/bin/stretto config check"
