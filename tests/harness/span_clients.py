"""The programs of tests/clients, which send spans with the libraries that people use."""

import os
import shutil
import sys

import pytest

from tests.helpers.files import ROOT

_CLIENTS = ROOT / "tests" / "clients"


def program(name: str) -> list[str]:
    """The command without arguments. Without Node the test is skipped; in CI (variable CI is set) it fails."""
    if name.endswith(".py"):
        return [sys.executable, str(_CLIENTS / name)]
    node = shutil.which("node", path=f"{ROOT / 'build' / 'node' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    if node is None or not (ROOT / "node_modules" / "jaeger-client").exists():
        said = "Node's clients are not there: `make test` installs them with npm (Debian, Ubuntu: apt-get install npm)"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    return [node, str(_CLIENTS / name)]
