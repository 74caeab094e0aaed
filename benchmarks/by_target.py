"""`python -m benchmarks.by_target`: CPU seconds per million spans of each target, each in a process of its own.

One live store with a query API runs as `stretto run` with a Kafka; a distributor and a metrics generator beside it. The
load goes to the distributor; what counts is CPU time from the first request until all spans are in blocks.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks import measure, workload
from benchmarks.load import load
from tests.harness.client import Client, eventually
from tests.harness.cluster import Cluster
from tests.harness.other_process import OtherProcess

_WAIT_S: Final = 300.0
_SINK: Final = "http://127.0.0.1:9/api/v1/write"  # nobody is there: pushes wait, and cost next to nothing


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.by_target", description=__doc__.partition("\n")[0])
    parser.add_argument("--spans", type=int, default=300_000)
    parser.add_argument("--rate", type=float, default=None, help="spans a second (default: full speed)")
    parser.add_argument("--block-age-s", type=int, default=20)
    given = parser.parse_args(argv)
    workload.make_cache(workload.CACHE)
    with tempfile.TemporaryDirectory(prefix="by-target-", dir=workload.CACHE) as folder, ExitStack() as stack:
        variables = {
            "TARGET": "live-store",
            "STRETTO_LIVE_STORE__BLOCK_AGE_S": str(given.block_age_s),
            "STRETTO_LIVE_STORE__SEGMENT_AGE_S": "10",
        }
        cluster = stack.enter_context(Cluster(Path(folder), variables))
        distributor, generator = (
            stack.enter_context(OtherProcess(cluster, Path(folder), target, REMOTE_WRITE_URL=_SINK))
            for target in ("distributor", "metrics-generator")
        )
        pids = {
            "distributor": distributor.pid,
            "live-store": one(cluster, "worker"),
            "metrics-generator": generator.pid,
            "kafka": one(cluster, "kafka"),
        }
        eventually(lambda: Client(cluster, distributor.http_url).ready(), bool, 90, "the distributor is not ready")
        eventually(lambda: Client(cluster, generator.http_url).ready(), bool, 90, "the generator is not ready")
        requests = workload.Requests(workload.cached(workload.Options(spans=given.spans)))
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        per_request = given.spans / len(requests)
        began_s = time.monotonic()
        loaded = load(requests, distributor.otlp_address, rate=given.rate and given.rate / per_request)
        assert (loaded.errors, loaded.rejected_spans) == (0, 0), loaded
        loaded_s = time.monotonic() - began_s
        sent = sum(map(workload.count_spans, requests))
        eventually(lambda: cluster.counts().flushed, lambda flushed: flushed >= sent, _WAIT_S, "not all in blocks")
        used = {name: (cpu_s(pid) - before[name]) / sent * 1e6 for name, pid in pids.items()}
    print(f"{sent:,} spans in {loaded_s:.0f} s, acknowledgement ms {loaded.ack_ms}")
    total = sum(used.values())
    for name, seconds in used.items():
        print(f"{name:<18} {seconds:6.2f} CPU s per 1M spans  {seconds / total:4.0%}")
    print(f"{'in all':<18} {total:6.2f}")
    return 0


def one(cluster: Cluster, name: str) -> int:
    (found,) = (each.pid for each in cluster.processes() if each.name == name)
    return found


def cpu_s(pid: int) -> float:
    """User and system time of a process since it began."""
    found = measure.process(pid, 0)
    assert found is not None, f"process {pid} has ended"
    return found.cpu_s


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
