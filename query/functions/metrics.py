"""The metrics functions, and the cells that they are made of. A new one is an entry of METRICS_FUNCTIONS, and a line in
tests/query/testdata/metrics.test; docs/traceql.md explains it.

A cell is one group in one interval. Cells of sources and workers are added up; the samples are made of the sums.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np

from query.functions.signatures import ANY_SPAN, MEASURED, QUANTILES, Signature
from tables.columns.types import Floats, Int64s
from tables.units import NS_PER_S


class CellKind(NamedTuple):
    """fill: takes the cell of each span, the spans' numbers (None: nothing is measured) and how many cells there are;
        gives the cells. No number is a NaN, so that NaN can stand for none; infinity is a number like others
    merge: adds up two arrays of cells; empty: what a cell without spans holds
    """

    fill: Callable[[Int64s, Floats | None, int], Floats]
    merge: np.ufunc
    empty: float


def _count(cell: Int64s, _numbers: Floats | None, size: int) -> Floats:
    return np.bincount(cell, minlength=size).astype(np.float64)


def _sum(cell: Int64s, numbers: Floats | None, size: int) -> Floats:
    assert numbers is not None
    return np.bincount(cell, weights=numbers, minlength=size).astype(np.float64)


def _least(cell: Int64s, numbers: Floats | None, size: int) -> Floats:
    return _extreme(np.minimum, np.inf, cell, numbers, size)


def _greatest(cell: Int64s, numbers: Floats | None, size: int) -> Floats:
    return _extreme(np.maximum, -np.inf, cell, numbers, size)


def _extreme(operation: np.ufunc, start: float, cell: Int64s, numbers: Floats | None, size: int) -> Floats:
    assert numbers is not None
    flat = np.full(size, start)
    operation.at(flat, cell, numbers)
    empty = np.isinf(flat)
    if np.isinf(numbers).any():
        empty[cell] = False
    flat[empty] = np.nan
    return flat


CELL_KINDS: Final[Mapping[str, CellKind]] = {
    "count": CellKind(_count, np.add, 0.0),
    "sum": CellKind(_sum, np.add, 0.0),
    "min": CellKind(_least, np.fmin, np.nan),
    "max": CellKind(_greatest, np.fmax, np.nan),
}

Cells = Mapping[str, Floats]


class MetricsFunctionEntry(NamedTuple):
    """cells: the kinds of cells that it is made of
    samples: takes the cells of all spans by kind, and the step in ns; gives the samples; NaN: none
    buckets: its groups are split by the powers of two below which the numbers lie
    sketch: the distribution of the numbers in each cell is kept: of it and the fractions the samples are made instead
    doc: a half-sentence for people
    """

    name: str
    arguments: Signature
    cells: tuple[str, ...]
    samples: Callable[[Cells, int], Floats]
    doc: str
    buckets: bool = False
    sketch: bool = False


def _rate(cells: Cells, step_ns: int) -> Floats:
    return cells["count"] * (NS_PER_S / step_ns)


def _counts(cells: Cells, _step_ns: int) -> Floats:
    return cells["count"]


def _minima(cells: Cells, _step_ns: int) -> Floats:
    return cells["min"]


def _maxima(cells: Cells, _step_ns: int) -> Floats:
    return cells["max"]


def _sums(cells: Cells, _step_ns: int) -> Floats:
    return np.where(cells["count"] > 0, cells["sum"], np.nan)


def _averages(cells: Cells, _step_ns: int) -> Floats:
    # The sum of infinity and minus infinity is NaN: no sample.
    return cells["sum"] / np.where(cells["count"] > 0, cells["count"], np.nan)


METRICS_FUNCTIONS: Final = {
    function.name: function
    for function in (
        MetricsFunctionEntry("rate", ANY_SPAN, ("count",), _rate, "spans per second"),
        MetricsFunctionEntry("count_over_time", ANY_SPAN, ("count",), _counts, "how many spans"),
        MetricsFunctionEntry("min_over_time", MEASURED, ("min",), _minima, "the least number"),
        MetricsFunctionEntry("max_over_time", MEASURED, ("max",), _maxima, "the greatest number"),
        MetricsFunctionEntry("avg_over_time", MEASURED, ("count", "sum"), _averages, "the mean of the numbers"),
        MetricsFunctionEntry("sum_over_time", MEASURED, ("count", "sum"), _sums, "the sum of the numbers"),
        MetricsFunctionEntry(
            "histogram_over_time", MEASURED, ("count",), _counts, "how many numbers by powers of two", buckets=True
        ),
        MetricsFunctionEntry(
            "quantile_over_time", QUANTILES, ("count",), _counts, "the numbers at some fractions", sketch=True
        ),
    )
}
