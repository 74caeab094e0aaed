"""What two workers on this machine take in the time that one does, and what a span costs each.

python -m benchmarks.workers [--spans N] [--rate SPANS_PER_S] [--workers 1,2] [--rounds R] [--cores-each CORES]

For each number of workers in turn: `stretto run` with a Kafka, and a load over eight connections, at full speed or a
steady rate, until all spans are searchable. CPU seconds count until all are in blocks, 20 s later; what idle processes
take in that time is measured before, and left out. Loader and Kafka run on the same cores. So it also says how many
cores all of them used while the spans were taken: if one worker leaves little of the machine idle, no second one can
take much more, and the bound says how much it could. With --cores-each no worker gets more than so many cores: as on a
machine with room for all of them, loader and Kafka, in small.
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import measure, workload
from benchmarks.__main__ import wait_for
from benchmarks.cpu_share import limited
from benchmarks.load import load
from tests.harness.cluster import Cluster

CONNECTIONS: Final = 8
IN_FLIGHT: Final = 4  # of each connection
BLOCK_AGE_S: Final = 20
WAIT_S: Final = 600.0
WARM_SPANS: Final = 20_000
PARTITIONS: Final = 8
IDLE_S: Final = 5.0
# A look at the counters of two workers takes 0.1 CPU seconds.
LOOK_S: Final = 0.25
LOOK_FOR_BLOCKS_S: Final = 2.0
MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Taken:
    """cores: of worker, kafka and loader, used until all was searchable. cpu_s: per 1M spans, until all is in blocks,
    without what idle processes take. idle: cores of all processes together. shares: of the spans, by worker
    """

    workers: int
    spans_per_s: float
    cores: dict[str, float]
    cpu_s: dict[str, float]
    idle: float = 0.0
    shares: Sequence[float] = ()

    def __str__(self) -> str:
        used = ", ".join(f"{name} {value:.2f}" for name, value in self.cores.items())
        costs = ", ".join(f"{name} {value:.1f}" for name, value in self.cpu_s.items())
        shares = " and ".join(f"{share:.0%}" for share in self.shares)
        return (
            f"{self.workers} workers: {self.spans_per_s:9,.0f} spans/s ({shares}); "
            f"cores: {used}, idle {self.idle:.2f}; CPU s per 1M spans: {costs}"
        )


def main(argv: list[str]) -> int:
    """Prints a line for each run, and how they compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__.partition("\n")[0])
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, help="spans a second (default: full speed)")
    parser.add_argument("--workers", default="1,2", help="numbers with a comma between; the first is compared with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores-each", type=float, help="limit of each worker, such as 0.4 (Linux, as root)")
    given = parser.parse_args(argv)
    counts = [int(text) for text in given.workers.split(",")]
    workload.make_cache(workload.CACHE)
    runs: list[Taken] = []
    for _ in range(given.rounds):
        for count in counts:
            with tempfile.TemporaryDirectory(prefix="workers-", dir=workload.CACHE) as folder:
                runs.append(measured(Path(folder), count, given.spans, given.rate, given.cores_each))
            print(runs[-1], flush=True)
    print(compared(runs, counts, os.cpu_count() or 1))
    return 0


def measured(folder: Path, count: int, spans: int, rate: float | None, cores_each: float | None = None) -> Taken:
    """One run. cores_each: limit of each worker. Raises: BenchError"""
    settings = {
        "STRETTO_WORKERS": str(count),
        "STRETTO_KAFKA__PARTITIONS": str(PARTITIONS),
        "STRETTO_LIVE_STORE__BLOCK_AGE_S": str(BLOCK_AGE_S),
        "STRETTO_LIVE_STORE__SEGMENT_AGE_S": "10",
    }
    with Cluster(folder, settings) as cluster, ExitStack() as limits:
        warm, file = folder / "warm.otlp", folder / "load.otlp"
        workload.moved(workload.cached(workload.Options(WARM_SPANS)), time.time_ns(), warm)
        send(cluster, warm, None)
        wait_for(cluster, lambda now: now.received > 0 and now.flushed >= now.received, WAIT_S, LOOK_FOR_BLOCKS_S)
        idle = idle_cores(cluster)
        if cores_each is not None:
            workers = [one.pid for one in cluster.processes() if one.name == "worker"]
            limits.enter_context(limited(workers, cores_each))
        sent = workload.moved(workload.cached(workload.Options(spans)), time.time_ns(), file)
        received = received_by(cluster)
        before, own_s, began_s = cpu_s(cluster), time.process_time(), time.monotonic()
        send(cluster, file, rate)
        wait_for(cluster, lambda now: now.searchable >= now.received, WAIT_S, LOOK_S)
        wall_s = time.monotonic() - began_s
        loader_s = time.process_time() - own_s
        used = {name: seconds - before[name] for name, seconds in cpu_s(cluster).items()}
        wait_for(cluster, lambda now: now.flushed >= now.received, WAIT_S, LOOK_FOR_BLOCKS_S)
        whole_s = time.monotonic() - began_s
        whole = {name: seconds - before[name] - idle[name] * whole_s for name, seconds in cpu_s(cluster).items()}
        shares = [(after - before) / sent for before, after in zip(received, received_by(cluster), strict=True)]
    cores = {name: seconds / wall_s for name, seconds in {**used, "loader": loader_s}.items()}
    costs = {name: seconds / sent * MILLION for name, seconds in whole.items()}
    return Taken(count, sent / wall_s, cores, costs, sum(idle.values()), shares)


def idle_cores(cluster: Cluster) -> dict[str, float]:
    """CPU seconds a second of workers and Kafka while nothing comes."""
    before = cpu_s(cluster)
    time.sleep(IDLE_S)
    return {name: (seconds - before[name]) / IDLE_S for name, seconds in cpu_s(cluster).items()}


def received_by(cluster: Cluster) -> list[int]:
    """Spans that each worker has received."""
    urls = cluster.worker_urls().values() if cluster.workers > 1 else [cluster.http_url]
    return [measure.counts(f"{url}/metrics?worker=own").received for url in urls]


def send(cluster: Cluster, file: Path, rate: float | None) -> None:
    """Over several connections: the system gives each to one of the workers. At full speed a connection sends its next
    request when it has room, so that a worker with few of them has not less to do than it could.
    """
    requests = workload.Requests(file)
    numbers = itertools.count()  # of all connections
    pace = rate and rate / workload.Options().spans_per_request / CONNECTIONS

    def send_some(_: int) -> None:
        loaded = load(shared(requests, numbers), cluster.otlp_address, IN_FLIGHT, pace)
        assert (loaded.errors, loaded.rejected_spans) == (0, 0), loaded

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(send_some, range(CONNECTIONS)))


def shared(requests: Sequence[bytes], numbers: Iterator[int]) -> Iterator[bytes]:
    """Those requests that none of the others has taken. numbers: of all who take"""
    for number in numbers:
        if number >= len(requests):
            return
        yield requests[number]


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
