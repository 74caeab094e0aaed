"""Quantiles from counts in buckets whose upper bounds are powers of two, as Tempo estimates them.

An estimate lies in the right bucket, so it is at most twice the exact value, and at least half of it.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from query.over_time.partials import Floats


def quantiles(uppers: npt.NDArray[np.float64], counts: Floats, numbers: Sequence[float]) -> Floats:
    """A row per quantile, a column per interval; 0 where nothing was counted.

    In: upper bounds, ascending; counts of shape (buckets, intervals); quantiles from 0 to 1
    The quantile p of n values is the ceil(p * n)-th of them, at least the first. Where that is the last value up to a
    bucket's end, it is the bucket's upper bound; otherwise it lies between the bounds, logarithmically.
    """
    upto = np.cumsum(counts, axis=0)
    total = upto[-1]
    out = np.zeros((len(numbers), counts.shape[1]))
    with np.errstate(all="ignore"):
        logs = np.log2(uppers)
    lower = _lower_bounds(logs, counts)
    every = np.arange(counts.shape[1])
    for row, p in enumerate(numbers):
        wanted = np.maximum(np.ceil(p * total), 1)
        bucket = np.minimum((upto < wanted).sum(axis=0), len(uppers) - 1)
        inside = wanted - (upto[bucket, every] - counts[bucket, every])
        with np.errstate(all="ignore"):
            share = inside / counts[bucket, every]
            least = lower[bucket, every]
            values = np.exp2(least + (logs[bucket] - least) * share)
        values = np.where(share == 1, uppers[bucket], values)
        out[row] = np.where((total > 0) & (uppers[bucket] > 0), values, 0)
    return out


def _lower_bounds(logs: npt.NDArray[np.float64], counts: Floats) -> Floats:
    """Where each interval's buckets begin: at the end of the last one before that has counts, or else one power of two
    below their own end.
    """
    out = np.empty(counts.shape)
    last = np.full(counts.shape[1], -np.inf)
    for row, log in enumerate(logs):
        out[row] = np.where(np.isfinite(last), last, log - 1)
        last = np.where(counts[row] > 0, log, last)
    return out


def nearest(values: npt.NDArray[np.float64], number: float) -> int:
    """Which of the quantiles a number is closest to."""
    return int(np.argmin(np.abs(values - number)))
