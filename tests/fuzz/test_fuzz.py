"""A short run of every target, the same inputs each time; `make fuzz` runs longer, and other ones."""

import os
import subprocess
import sys

import pytest

from tests.fuzz.targets import TARGETS

_SECONDS = 8
_RUNS = 400


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_input_shows_a_fault(name, tmp_path):
    command = [sys.executable, "-m", "tests.fuzz.child", name, "--folder", str(tmp_path), "--plain", "--seed", "1"]
    command += ["--seconds", str(_SECONDS), "--runs", str(_RUNS)]
    # What targets write goes with the test's folder, however the process ends.
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, timeout=120, check=False, text=True, env=env)
    fault = tmp_path / "fault"
    assert done.returncode == 0, f"{fault.read_bytes()[:2000] if fault.exists() else ''}\n{done.stderr[-4000:]}"
