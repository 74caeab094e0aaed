"""`stretto vulture` against the real thing: it writes, reads all of it back, and finds nothing missing or wrong."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.harness.cluster import COMMAND, Cluster

pytestmark = pytest.mark.cluster

# Segments are cut every 2 s and blocks every 6 s here: late writes of a trace are in another block than the first.
OFTEN = (
    *("--write-interval", "1s", "--late-write", "7s", "--check-after", "1s", "--recent", "10s"),
    *("--read-interval", "1s", "--search-interval", "1s", "--metrics-interval", "1s", "--seed", "cluster"),
)


def vulture(cluster: Cluster, *arguments: str, to: Sequence[str] = ()) -> tuple[int, str, dict[str, int]]:
    """Its status, what it said, and the numbers of its last line."""
    command = [COMMAND[0], "vulture", "--url", cluster.http_url, "--listen", "", *arguments]
    command += to or ["--to", cluster.otlp_address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    last = re.findall(r"msg=ended (.*)", done.stderr)
    return done.returncode, done.stderr, {name: int(n) for name, n in re.findall(r"(\w+)=(\d+)", "".join(last))}


def test_all_is_found(cluster: Cluster, tmp_path: Path) -> None:
    """By every kind of check, over gRPC and HTTP: at once, while segments become blocks, and by a later process."""
    status, said, counts = vulture(cluster, "--once", "--check-after", "1s", "--late-write", "1s", "--seed", "one")
    assert (status, counts) == (0, {"checks": 7, "failed": 0, "failed_writes": 0}), said
    state = ("--state-file", str(tmp_path / "state.json"))
    to = ("--to-http", cluster.otlp_http_url)
    status, said, counts = vulture(cluster, *OFTEN, *state, "--for", "30s", to=to)
    assert (status, counts["failed"], counts["failed_writes"]) == (0, 0, 0), said
    assert counts["checks"] > 200
    status, said, counts = vulture(cluster, *OFTEN, *state, "--for", "10s", "--no-write")
    assert (status, counts["failed"]) == (0, 0), said
    assert counts["checks"] > 40


def test_what_nobody_wrote_is_missed(cluster: Cluster) -> None:
    """Traces of a seed that never wrote any: each kind of check fails, and the status says so."""
    since = ("--no-write", "--written-since", "now-5m", "--late-write", "1s", "--write-interval", "1s")
    often = ("--read-interval", "1s", "--search-interval", "1s", "--metrics-interval", "1s")
    status, said, counts = vulture(cluster, *since, *often, "--seed", "nobody", "--for", "4s")
    assert status == 1
    assert counts["failed"] > 5
    assert {"notfound_byid", "notfound_search", "notfound_metrics"} <= set(re.findall(r"error=(\w+)", said))
