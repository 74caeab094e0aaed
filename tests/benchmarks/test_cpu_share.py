"""`benchmarks.cpu_share` holds a process to its share of a CPU, and leaves no control group behind."""

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
    """Whether this process may make control groups with limits of CPU, of version 1 or 2."""
    subtree = GROUPS / "cgroup.subtree_control"
    has_limits = (GROUPS / "cpu" / "cpu.cfs_quota_us").exists() or (
        subtree.exists() and "cpu" in subtree.read_text().split()
    )
    return has_limits and os.access(GROUPS, os.W_OK)


needs_groups = pytest.mark.skipif(not usable(), reason="NO LIMIT OF CPU IS TESTED: no control groups, or not root")


@needs_groups
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


@needs_groups
def test_errors_of_what_is_measured_stay_what_they_are() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as one:
        with pytest.raises(FileNotFoundError), limited([one.pid], 0.2):
            raise FileNotFoundError
        one.communicate(b"\n")


def test_no_control_groups(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match="cannot limit CPU: no control group in"),
        limited([1], 0.2, tmp_path / "absent"),
    ):
        pytest.fail("nothing is limited")
