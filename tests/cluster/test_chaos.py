"""Short pieces of `make chaos`: two workers under load, killed, stopped, exchanged, and asked all the time; one of
three brokers lost; a bucket that is slow or away.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.files import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

# Each event once; an event takes as long as the machine needs, and the load goes on meanwhile. The clock of the second
# worker is wrong all the time.
SHORT = ["--every-s", "12", "--rate", "1000", "--traces", "40", "--block-age-s", "15", "--clocks", "0,90"]
WORKERS = ["--minutes", "1.2", "--events", "kill-worker,freeze-worker,rolling-restart,join-killed"]
SURROUNDINGS = ["--minutes", "0.7", "--brokers", "3", "--bucket", "--events", "kill-broker,slow-bucket,bucket-away"]


@pytest.mark.parametrize("what", [WORKERS, SURROUNDINGS], ids=["workers", "brokers and bucket"])
def test_every_span_once(tmp_path: Path, what: list[str]) -> None:
    """At every moment and in the end; no query fails but with a time to come back after."""
    out = tmp_path / "chaos.txt"
    command = [sys.executable, "-m", "benchmarks.soak", "--workers", "2", "--ask", "--partitions", "8", *SHORT, *what]
    done = subprocess.run(
        [*command, "--compaction-window-s", "30", "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    assert "is there exactly once" in out.read_text()
