"""Whether the server's event loop is held up: what a client sees of it, and what the server itself says."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.queries.ask import Connection
from tests.harness.cluster import BenchError

EVERY_S: Final = 0.02
METRIC: Final = "stretto_event_loop_stall_seconds"
# What stalls are made of.
PARTS: Final = {
    "its own work": "stretto_event_loop_work_seconds",
    "no CPU was free": "stretto_event_loop_cpu_wait_seconds",
    "the GIL": "stretto_event_loop_gil_wait_seconds",
    "nothing of the process ran": "stretto_event_loop_other_wait_seconds",
}

Buckets = Mapping[float, float]  # upper bound in seconds → how many were not above it


class Echo(threading.Thread):
    """Asks /api/echo fifty times a second, on a connection of its own, until `finish`."""

    def __init__(self, url: str) -> None:
        super().__init__(name="echo", daemon=True)
        self.took_s: list[float] = []  # from when a question was due
        self.failure: BenchError | None = None
        self._url = url
        self._finish = threading.Event()

    def run(self) -> None:
        try:
            with Connection(self._url) as connection:
                due_s = time.perf_counter()
                while not self._finish.wait(max(0.0, due_s - time.perf_counter())):
                    if (status := connection.get("/api/echo").status) != 200:
                        raise BenchError(f"{self._url}/api/echo: status {status}")
                    now_s = time.perf_counter()
                    self.took_s.append(now_s - due_s)
                    # What fell due meanwhile is not asked: those would only wait in line.
                    due_s = max(due_s + EVERY_S, now_s)
        except BenchError as error:
            self.failure = error

    def finish(self) -> None:
        """Raises BenchError where the server did not answer."""
        self._finish.set()
        self.join()
        if self.failure:
            raise self.failure


def metrics(url: str) -> str:
    """All that the server counts. Raises BenchError where it does not answer."""
    with Connection(url) as connection:
        return connection.get("/metrics").body.decode()


def buckets(url: str, metric: str = METRIC) -> Buckets:
    """The server's histogram, as it is now. Raises BenchError where it has none."""
    return _histograms(url, [metric])[metric]


def all_buckets(url: str) -> dict[str, Buckets]:
    """Of stalls (METRIC) and of each of their parts, as of one moment. Raises as `buckets`."""
    return _histograms(url, [METRIC, *PARTS.values()])


def _histograms(url: str, wanted: Sequence[str]) -> dict[str, Buckets]:
    found: dict[str, dict[float, float]] = {metric: {} for metric in wanted}
    for family in text_string_to_metric_families(metrics(url)):
        for sample in family.samples:
            metric = sample.name.removesuffix("_bucket")
            if metric in found and metric != sample.name:
                found[metric][float(sample.labels["le"])] = sample.value
    if missing := [metric for metric, buckets_of in found.items() if not buckets_of]:
        raise BenchError(f"{url}/metrics has no {missing[0]}")
    return dict(found)


def longest_parts_ms(before: Mapping[str, Buckets], after: Mapping[str, Buckets]) -> dict[str, float]:
    """As `longest_ms`, of each part of stalls by its name."""
    return {name: longest_ms(before[metric], after[metric]) for name, metric in PARTS.items()}


def longest_ms(before: Buckets, after: Buckets) -> float:
    """The bound that no stall between the two was above; 0 where nothing was observed, inf above the last bound."""
    grown = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    total = max(grown.values(), default=0.0)
    if not total:
        return 0.0
    return 1e3 * min(bound for bound, count in grown.items() if count == total)
