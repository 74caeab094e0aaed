"""Histograms with classic buckets and, for who scrapes them as protobuf, Prometheus's native ones besides.

prometheus_client has classic buckets only. A native bucket's bound is 2 ** 2 ** -schema times the one before: the
schema is 3 (a factor of 1.09), as in Tempo, until a series has more than 100 buckets; then they are merged in pairs.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from threading import Lock
from typing import Final

from prometheus_client import Histogram

SCHEMA: Final = 3
BUCKETS_MAX: Final = 100
# Values up to this count as zero: client_golang's default.
ZERO_THRESHOLD: Final = 2.0**-128
_PER_DOUBLING: Final = 1 << SCHEMA
_BOUNDS: Final = tuple(0.5 * 2.0 ** (number / _PER_DOUBLING) for number in range(_PER_DOUBLING))


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
        self._native: dict[int, int] = {}
        self._native_shift = self._native_zeros = self._native_count = 0
        self._native_sum = 0.0

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Counts a value of 0 or more; a negative one counts as zero in native buckets."""
        super().observe(amount, exemplar)
        with self._native_lock:
            self._native_count += 1
            self._native_sum += amount
            if amount <= ZERO_THRESHOLD:
                self._native_zeros += 1
                return
            index = _index(amount) if self._native_shift == 0 else -(-_index(amount) >> self._native_shift)
            self._native[index] = self._native.get(index, 0) + 1
            if len(self._native) > BUCKETS_MAX:
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
        with self._native_lock:
            schema, buckets = SCHEMA - self._native_shift, dict(self._native)
            return NativeBuckets(schema, self._native_zeros, buckets, self._native_count, self._native_sum)


def _index(amount: float) -> int:
    fraction, exponent = math.frexp(amount)
    return bisect_left(_BOUNDS, fraction) + (exponent - 1) * _PER_DOUBLING
