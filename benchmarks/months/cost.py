"""What work costs in requests to the storage, as the process's own metrics count them."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter as Metric

from tables.storage.request_metrics import BYTES, REQUESTS


@dataclass(slots=True)
class Cost:
    """Requests by operation, bytes of all of them, and seconds of wall time."""

    by_operation: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        return self.by_operation.total()

    def add(self, other: "Cost") -> None:
        """Adds what other work costs."""
        self.by_operation += other.by_operation
        self.bytes += other.bytes
        self.seconds += other.seconds


def cost_of(work: Callable[[], Any]) -> Cost:
    """What it costs to do it once, if nothing else happens meanwhile."""
    requests, read_bytes, began_s = _by_operation(REQUESTS), _by_operation(BYTES), time.perf_counter()
    work()
    seconds = time.perf_counter() - began_s
    more_bytes = _by_operation(BYTES).total() - read_bytes.total()
    return Cost(_by_operation(REQUESTS) - requests, more_bytes, seconds)


def _by_operation(metric: Metric) -> Counter[str]:
    found: Counter[str] = Counter()
    for family in metric.collect():
        for sample in family.samples:
            if sample.name.endswith("_total"):
                found[sample.labels["operation"]] += round(sample.value)
    return found
