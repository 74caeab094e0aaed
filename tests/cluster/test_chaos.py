"""Short pieces of `make chaos`: two workers under load, killed, stopped, and asked all the time; one of three brokers
lost; a bucket that is slow or away.
"""

from pathlib import Path

import pytest

from tests.helpers.benchmark_run import benchmark_report

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

# Each event once; an event takes as long as the machine needs, and the load goes on meanwhile. The clock of the second
# worker is wrong all the time.
SHORT = ["--every-s", "8", "--rate", "600", "--traces", "30", "--block-age-s", "15", "--clocks", "0,90"]
# Processes are exchanged one after the other in `test_targets.py` and in `test_rolling_upgrade.py`.
WORKERS = ["--minutes", "0.7", "--events", "kill-worker,freeze-worker,join-killed"]
SURROUNDINGS = ["--minutes", "0.6", "--brokers", "3", "--bucket", "--events", "kill-broker,slow-bucket,bucket-away"]


@pytest.mark.parametrize("what", [WORKERS, SURROUNDINGS], ids=["workers", "brokers and bucket"])
def test_every_span_once(tmp_path: Path, what: list[str]) -> None:
    """At every moment and in the end; no query fails but with a time to come back after."""
    short = ["--workers", "2", "--ask", "--partitions", "8", *SHORT, "--compaction-window-s", "30"]
    report = benchmark_report("benchmarks.soak", [*short, *what], tmp_path)
    assert "is there exactly once" in report
