"""Native (exponential) histograms of a whole table: sparse counts per series and bucket.

The upper bound of bucket i is base ** i, with base = 2 ** 2 ** -schema. All batches count at the finest schema. If a
series has too many buckets, its buckets are merged in pairs, repeatedly if necessary, and stay merged. A merge loses
resolution but no count; for Prometheus it is no reset.

Source: Prometheus's specification of native histograms.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agents.generator.series.columns_file import Tree
from tables.columns.types import Floats

Keys = npt.NDArray[np.int64]

SCHEMA_MIN: Final = -4
_SCHEMA_MAX: Final = 8
# Values up to this count as zero: client_golang's default zero threshold.
ZERO_THRESHOLD: Final = 2.0**-128
# A key: the series, then the bucket in 20 bits. At the finest schema doubles have indices of 19 bits and a sign.
INDEX_BITS: Final = 20
_MIDDLE: Final = 1 << (INDEX_BITS - 1)
ZERO: Final = -_MIDDLE  # the index that stands for the zero bucket


def schema_of(factor: float) -> int:
    """The coarsest schema in which each bucket's bound is at most `factor` times the one before."""
    return min(_SCHEMA_MAX, max(SCHEMA_MIN, -math.floor(math.log2(math.log2(factor)))))


def bucket_indices(values: Floats, schema: int) -> Keys:
    """The bucket index of each value. values: 0 or more"""
    fractions, exponents = np.frexp(values)
    if schema > 0:
        count = 1 << schema
        bounds = 0.5 * 2.0 ** (np.arange(count) / count)
        indices = np.searchsorted(bounds, fractions, "left") + (exponents.astype(np.int64) - 1) * count
    else:
        indices = exponents.astype(np.int64) - (fractions == 0.5)
        indices = -((-indices) >> -schema)
    indices[values <= ZERO_THRESHOLD] = ZERO
    return indices


def keys_of(series: npt.NDArray[np.integer[Any]], indices: Keys) -> Keys:
    """Combines series numbers and bucket indices to sortable keys."""
    return (series.astype(np.int64) << INDEX_BITS) + (indices + _MIDDLE)


def indices_of(keys: Keys) -> Keys:
    """The bucket indices of some keys; see `keys_of`."""
    return (keys & ((1 << INDEX_BITS) - 1)) - _MIDDLE


# Up to this many buckets per value, a dense array counts them; beyond, it would be mostly empty.
_CELLS_PER_VALUE: Final = 8


class SparseCounts:
    """Counts by key, ordered by key."""

    def __init__(self) -> None:
        self.keys: Keys = np.zeros(0, np.int64)
        self.counts: Floats = np.zeros(0)

    def add(self, keys: Keys, counts: Floats) -> None:
        """Adds counts. keys: ascending and distinct"""
        places = np.searchsorted(self.keys, keys)
        there = np.zeros(len(keys), np.bool_)
        inside = places < len(self.keys)
        there[inside] = self.keys[places[inside]] == keys[inside]
        self.counts[places[there]] += counts[there]
        new = ~there
        if new.any():
            self.keys = np.insert(self.keys, places[new], keys[new])
            self.counts = np.insert(self.counts, places[new], counts[new])


@dataclass(eq=False, slots=True)
class NativeState:
    """Native histograms at one moment: each series' buckets, in order.

    series: numbers, ascending; starts: the first bucket of each series, and the end; schemas: of each series
    """

    series: Keys
    starts: Keys
    indices: Keys
    counts: Floats
    schemas: Keys


class NativeHistograms:
    """The native histograms of one table. buckets_max: per series; 0 for no limit"""

    def __init__(self, bucket_factor: float, buckets_max: int) -> None:
        self._schema = schema_of(bucket_factor)
        self._buckets_max = buckets_max
        self._totals = SparseCounts()
        self._deltas: dict[int, SparseCounts] = {}
        self._shifts: Keys = np.zeros(0, np.int64)  # by series: how often its buckets were merged

    def observe(
        self, partition: int, series_of_group: Keys, group: npt.NDArray[Any], values: Floats, weights: Floats | None
    ) -> None:
        """Counts values. group: of each value; series_of_group: the series of each group; several groups may share a
        series
        """
        if not len(values):
            return
        indices = bucket_indices(values, self._schema)
        real = indices[indices != ZERO]
        low = int(real.min()) - 1 if len(real) else 0  # where zeros are counted meanwhile
        width = (int(real.max()) if len(real) else 0) - low + 1
        cells = group * np.int64(width) + np.maximum(indices - low, 0)
        if len(series_of_group) * width <= _CELLS_PER_VALUE * len(values):
            dense = np.bincount(cells, weights, len(series_of_group) * width)
            distinct = np.flatnonzero(dense)
            counts = dense[distinct].astype(np.float64)
        else:
            distinct, which = np.unique(cells, return_inverse=True)
            counts = np.bincount(which, weights, len(distinct)).astype(np.float64)
        place, column = np.divmod(distinct, width)
        keys = keys_of(series_of_group[place], np.where(column == 0, ZERO, column + low))
        keys, which = np.unique(keys, return_inverse=True)
        counts = np.bincount(which, counts, len(keys)).astype(np.float64)
        self._deltas.setdefault(partition, SparseCounts()).add(keys, counts)

    def forget(self, partition: int) -> None:
        """Drops what a partition added since the last collection."""
        self._deltas.pop(partition, None)

    def end(self, series: Keys) -> None:
        """Forgets series whose numbers new series may reuse."""
        gone = np.isin(self._totals.keys >> INDEX_BITS, series)
        self._totals.keys, self._totals.counts = self._totals.keys[~gone], self._totals.counts[~gone]
        self._shifts[series[series < len(self._shifts)]] = 0

    def collect(self, series_max: int) -> None:
        """Adds up the partitions. series_max: all series numbers are below it"""
        if series_max > len(self._shifts):
            self._shifts = np.concatenate([self._shifts, np.zeros(series_max - len(self._shifts), np.int64)])
        for delta in self._deltas.values():
            self._totals.add(*self._merged(delta.keys, delta.counts, self._shifts[delta.keys >> INDEX_BITS]))
        self._deltas.clear()
        while self._buckets_max and len(over := self._with_too_many()):
            self._shifts[over] += 1
            keys = self._totals.keys
            merge = np.isin(keys >> INDEX_BITS, over).astype(np.int64)
            self._totals.keys, self._totals.counts = self._merged(keys, self._totals.counts, merge)

    def _with_too_many(self) -> Keys:
        keys = self._totals.keys
        series, counts = np.unique(keys[indices_of(keys) != ZERO] >> INDEX_BITS, return_counts=True)
        over: Keys = series[(counts > self._buckets_max) & (self._schema - self._shifts[series] > SCHEMA_MIN)]
        return over

    @staticmethod
    def _merged(keys: Keys, counts: Floats, shifts: Keys) -> tuple[Keys, Floats]:
        """Keys whose buckets are merged `shifts` times, in order, and their counts."""
        if not shifts.any():
            return keys, counts
        indices = indices_of(keys)
        merged = np.where(indices == ZERO, ZERO, -((-indices) >> shifts))
        distinct, which = np.unique(keys_of(keys >> INDEX_BITS, merged), return_inverse=True)
        return distinct, np.bincount(which, counts, len(distinct)).astype(np.float64)

    def saved(self) -> Tree:
        """A copy of what was collected, for `restore`."""
        return {"keys": self._totals.keys.copy(), "counts": self._totals.counts.copy(), "shifts": self._shifts.copy()}

    def restore(self, saved: Tree) -> None:
        """Replaces the histograms by those of a saved state, as the method that saves returned it."""
        self._totals.keys, self._totals.counts, self._shifts = (saved[name] for name in ("keys", "counts", "shifts"))

    def state(self) -> NativeState:
        """A copy of what was collected."""
        keys = self._totals.keys
        series, firsts = np.unique(keys >> INDEX_BITS, return_index=True)
        starts = np.append(firsts, len(keys)).astype(np.int64)
        schemas = self._schema - self._shifts[series]
        return NativeState(series, starts, indices_of(keys), self._totals.counts.copy(), schemas)
