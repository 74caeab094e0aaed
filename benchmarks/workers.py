"""What two workers on this machine take in the time that one does, and what a span costs each.

python -m benchmarks.workers [--spans N] [--workers 1,2] [--rounds R]

For each number of workers in turn: `stretto run` with a Kafka, and a load at full speed over eight connections, until
all spans are searchable. CPU seconds count until all are in blocks. Loader and Kafka run on the same cores. So it also
says how many cores all of them used while the spans were taken: if one worker leaves little of the machine idle, no
second one can take much more, and the bound says how much it could.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import measure, workload
from benchmarks.__main__ import wait_for
from benchmarks.load import load
from tests.harness.cluster import Cluster

CONNECTIONS: Final = 8
IN_FLIGHT: Final = 4  # of each connection
BLOCK_AGE_S: Final = 20
WAIT_S: Final = 600.0
WARM_SPANS: Final = 20_000
PARTITIONS: Final = 8
MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Taken:
    """cores: of worker, kafka and loader, used until all was searchable. cpu_s: per 1M spans, until all is in blocks"""

    workers: int
    spans_per_s: float
    cores: dict[str, float]
    cpu_s: dict[str, float]

    def __str__(self) -> str:
        used = ", ".join(f"{name} {value:.2f}" for name, value in self.cores.items())
        costs = ", ".join(f"{name} {value:.1f}" for name, value in self.cpu_s.items())
        return f"{self.workers} workers: {self.spans_per_s:9,.0f} spans/s; cores: {used}; CPU s per 1M spans: {costs}"


def main(argv: list[str]) -> int:
    """Prints a line for each run, and how they compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__.partition("\n")[0])
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--workers", default="1,2", help="numbers with a comma between; the first is compared with")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(argv)
    counts = [int(text) for text in given.workers.split(",")]
    workload.make_cache(workload.CACHE)
    runs: list[Taken] = []
    for _ in range(given.rounds):
        for count in counts:
            with tempfile.TemporaryDirectory(prefix="workers-", dir=workload.CACHE) as folder:
                runs.append(measured(Path(folder), count, given.spans))
            print(runs[-1], flush=True)
    print(compared(runs, counts, os.cpu_count() or 1))
    return 0


def measured(folder: Path, count: int, spans: int) -> Taken:
    """One run. Raises: BenchError"""
    settings = {
        "STRETTO_WORKERS": str(count),
        "STRETTO_KAFKA__PARTITIONS": str(PARTITIONS),
        "STRETTO_LIVE_STORE__BLOCK_AGE_S": str(BLOCK_AGE_S),
        "STRETTO_LIVE_STORE__SEGMENT_AGE_S": "10",
    }
    with Cluster(folder, settings) as cluster:
        warm, file = folder / "warm.otlp", folder / "load.otlp"
        workload.moved(workload.cached(workload.Options(WARM_SPANS)), time.time_ns(), warm)
        send(cluster, warm)
        wait_for(cluster, lambda now: now.received > 0 and now.searchable >= now.received, WAIT_S)
        sent = workload.moved(workload.cached(workload.Options(spans)), time.time_ns(), file)
        before, own_s, began_s = cpu_s(cluster), time.process_time(), time.monotonic()
        send(cluster, file)
        wait_for(cluster, lambda now: now.searchable >= now.received, WAIT_S)
        wall_s = time.monotonic() - began_s
        loader_s = time.process_time() - own_s
        used = {name: seconds - before[name] for name, seconds in cpu_s(cluster).items()}
        wait_for(cluster, lambda now: now.flushed >= now.received, WAIT_S)
        whole = {name: seconds - before[name] for name, seconds in cpu_s(cluster).items()}
    cores = {name: seconds / wall_s for name, seconds in {**used, "loader": loader_s}.items()}
    return Taken(count, sent / wall_s, cores, {name: seconds / sent * MILLION for name, seconds in whole.items()})


def send(cluster: Cluster, file: Path) -> None:
    """At full speed, over several connections: the system gives each to one of the workers."""
    requests = workload.Requests(file)
    shares = [[requests[n] for n in range(first, len(requests), CONNECTIONS)] for first in range(CONNECTIONS)]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        sending = partial(load, to=cluster.otlp_address, in_flight=IN_FLIGHT)
        for loaded in pool.map(sending, [share for share in shares if share]):
            assert (loaded.errors, loaded.rejected_spans) == (0, 0), loaded


def cpu_s(cluster: Cluster) -> dict[str, float]:
    """CPU time of workers and Kafka since they began."""
    processes = cluster.processes()
    return {name: sum(one.cpu_s for one in processes if one.name == name) for name in ("worker", "kafka")}


def compared(runs: Sequence[Taken], counts: Sequence[int], machine_cores: int) -> str:
    """Each number of workers against the first, by medians; and what the machine allows."""
    first, *others = counts
    rates = {count: median(one.spans_per_s for one in runs if one.workers == count) for count in counts}
    costs = {count: median(sum(one.cpu_s.values()) for one in runs if one.workers == count) for count in counts}
    busy = median(sum(one.cores.values()) for one in runs if one.workers == first)
    lines = [
        f"{count} workers take {rates[count] / rates[first]:.2f} times what {first} takes, "
        f"for {costs[count] / costs[first] - 1:+.0%} CPU a span"
        for count in others
    ]
    bound = f"with {first} {busy:.2f} of {machine_cores} cores are busy, loader and Kafka included: "
    return "\n".join([*lines, f"{bound}{machine_cores / busy:.2f} times as much is what the machine allows"])


if __name__ == "__main__":
    if not measure.PROC.is_dir():
        sys.exit("benchmarks.workers needs /proc, that is, Linux")
    sys.exit(main(sys.argv[1:]))
