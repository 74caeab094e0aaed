"""Histograms with classic buckets and, for who scrapes them as protobuf, Prometheus's native ones besides.

prometheus_client has classic buckets only. A native bucket's bound is 2 ** 2 ** -schema times the one before: the
schema is 3 (a factor of 1.09), as in Tempo, until a series has more than 100 buckets; then they are merged in pairs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Final

import numpy as np
import numpy.typing as npt
from prometheus_client import Histogram
from prometheus_client.samples import Sample

SCHEMA: Final = 3
BUCKETS_MAX: Final = 100
# Values up to this count as zero: client_golang's default.
ZERO_THRESHOLD: Final = 2.0**-128
_PER_DOUBLING: Final = 1 << SCHEMA
_BOUNDS: Final = np.array([0.5 * 2.0 ** (number / _PER_DOUBLING) for number in range(_PER_DOUBLING)])
# Values are counted together: one alone takes as long as a request's way through the batcher.
_TOGETHER: Final = 256


@dataclass(frozen=True, slots=True)
class NativeBuckets:
    """buckets: counts by index. The upper bound of bucket i is 2 ** (i / 2 ** schema)"""

    schema: int
    zeros: int
    buckets: dict[int, int]
    count: int
    sum: float


class NativeHistogram(Histogram):
    """As `prometheus_client.Histogram`, with both kinds of buckets. Thread-safe."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._native_lock = Lock()
        self._uncounted: list[float] = []
        self._native: dict[int, int] = {}
        self._native_shift = self._native_zeros = self._native_count = 0
        self._native_sum = 0.0

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:  # noqa: ARG002  (the parent has it)
        """Counts a value of 0 or more; a negative one counts as zero in native buckets. Exemplars are not kept."""
        uncounted = self._uncounted
        uncounted.append(amount)
        if len(uncounted) >= _TOGETHER:
            self._count()

    def _child_samples(self) -> Iterable[Sample]:
        self._count()
        return super()._child_samples()

    def _count(self) -> None:
        """Counts what was observed since the last time."""
        with self._native_lock:
            # The list stays the same, and its end: others append meanwhile.
            values = self._uncounted[:]
            del self._uncounted[: len(values)]
            if values:
                self._count_values(np.array(values, np.float64))

    def _count_values(self, values: npt.NDArray[np.float64]) -> None:
        total = float(values.sum())
        self._sum.inc(total)
        places = np.searchsorted(np.array(self._upper_bounds), values)  # the last bound is infinite
        for place, count in zip(*(each.tolist() for each in np.unique(places, return_counts=True)), strict=True):
            self._buckets[place].inc(count)
        self._native_count += len(values)
        self._native_sum += total
        large = values[values > ZERO_THRESHOLD]
        self._native_zeros += len(values) - len(large)
        indexes = -(-_indexes(large) >> self._native_shift)
        for index, count in zip(*(each.tolist() for each in np.unique(indexes, return_counts=True)), strict=True):
            self._native[index] = self._native.get(index, 0) + count
        while len(self._native) > BUCKETS_MAX:
            self._merge()

    def _merge(self) -> None:
        merged: dict[int, int] = {}
        for index, count in self._native.items():
            coarser = -(-index >> 1)
            merged[coarser] = merged.get(coarser, 0) + count
        self._native, self._native_shift = merged, self._native_shift + 1

    def natives(self) -> list[tuple[dict[str, str], NativeBuckets]]:
        """The native histogram of each series, with its labels, as of now."""
        if not self._labelnames:
            return [({}, self._native_state())]
        with self._lock:
            children = list(self._metrics.items())
        names = self._labelnames
        return [
            (dict(zip(names, values, strict=True)), child._native_state())  # noqa: SLF001
            for values, child in children
            if isinstance(child, NativeHistogram)
        ]

    def _native_state(self) -> NativeBuckets:
        self._count()
        with self._native_lock:
            schema, buckets = SCHEMA - self._native_shift, dict(self._native)
            return NativeBuckets(schema, self._native_zeros, buckets, self._native_count, self._native_sum)


def _indexes(amounts: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    fractions, exponents = np.frexp(amounts)
    return np.searchsorted(_BOUNDS, fractions) + (exponents.astype(np.int64) - 1) * _PER_DOUBLING
