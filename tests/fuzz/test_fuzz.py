"""A short run of every target, the same inputs each time; `make fuzz` runs longer, and other ones."""

import pytest

from tests.fuzz.forked import run_forked
from tests.fuzz.targets import TARGETS

_SECONDS = 8
_RUNS = 250


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_input_shows_a_fault(name, tmp_path):
    arguments = [name, "--folder", str(tmp_path), "--plain", "--seed", "1"]
    ran = run_forked([*arguments, "--seconds", str(_SECONDS), "--runs", str(_RUNS)], tmp_path)
    fault = tmp_path / "fault"
    assert ran.status == 0, f"{fault.read_bytes()[:2000] if fault.exists() else ''}\n{ran.errors[-4000:]}"
