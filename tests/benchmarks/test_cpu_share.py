"""Limits of CPU that benchmarks set."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.cpu_share import GROUPS, limited
from tests.harness.cluster import BenchError

SPIN = """
import time
end_s = time.monotonic() + 1
while time.monotonic() < end_s: pass
print(time.process_time())
"""


def usable() -> bool:
    """Whether this process may make control groups with limits of CPU."""
    version_1 = (GROUPS / "cpu" / "cpu.cfs_quota_us").exists()
    return os.access(GROUPS, os.W_OK) and (version_1 or (GROUPS / "cpu.max").exists())


@pytest.mark.skipif(not usable(), reason="NO LIMIT OF CPU IS TESTED: no control groups, or not root")
def test_a_process_gets_no_more() -> None:
    """A process that spins for a second gets about a fifth of it; its group is gone afterwards."""
    groups = set(GROUPS.glob("**/stretto-bench-*"))
    with subprocess.Popen(
        [sys.executable, "-c", f"input();{SPIN}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as one:
        with limited([one.pid], 0.2):
            assert set(GROUPS.glob("**/stretto-bench-*")) != groups
            began_s = time.monotonic()
            out, _ = one.communicate(b"\n")
            took_s = time.monotonic() - began_s
        assert float(out) < 0.4 * took_s
    assert set(GROUPS.glob("**/stretto-bench-*")) == groups


def test_no_control_groups(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match="cannot limit CPU: no control group in"),
        limited([1], 0.2, tmp_path / "absent"),
    ):
        pytest.fail("nothing is limited")
