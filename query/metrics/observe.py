"""One metrics function over one source: spans counted and measured in cells of group and interval.

A value that is not a number (NaN) counts as none; infinity counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from query.engine.aggregates import measured
from query.engine.expressions import value
from query.engine.groups import Groups, group
from query.engine.spansets import Spansets, State
from query.functions.metrics import CELL_KINDS, METRICS_FUNCTIONS
from query.language import ast
from query.language.ast import Type
from query.language.check import type_of
from query.metrics.intervals import Intervals
from query.metrics.partials import Candidate, Key, Partial, check_size, key_part
from query.metrics.quantile_sketch import QuantileSketch
from query.scan.arrays import Mask, Rows, raw_all
from query.scan.reader import Reader
from tables.columns.sorted_sets import unique
from tables.columns.types import Floats, Int64s
from tables.turns import consumed, drop
from tables.units import NS_PER_S

# Dense cells are cheaper than sorting, up to so many per row.
_CELLS_PER_ROW_MAX: Final = 8
_CELLS_MIN: Final = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """Spans of the range. rows: None: all of the source; interval: of each of them"""

    rows: Rows | None
    interval: Int64s

    def take(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The spans' part of a column of the source."""
        return column if self.rows is None else column[self.rows]

    def where(self, keep: Mask) -> "Observed":
        if keep.all():
            return self
        rows = np.flatnonzero(keep) if self.rows is None else self.rows[keep]
        return Observed(rows, self.interval[keep])


def spans_in_range(state: State, among: Mask | None, reader: Reader, intervals: Intervals) -> Observed:
    """The matched spans that start within the range. In: among: the rows that count (None: all)"""
    if isinstance(state, Spansets):
        rows: Rows | None = state.rows if among is None else state.rows[among[state.rows]]
    else:
        mask = state if among is None else state & among
        rows = None if mask.all() else np.flatnonzero(mask)
    if rows is not None and not len(rows):
        return Observed(rows, rows)
    starts = reader.numbers("start_ns")
    times = starts if rows is None else starts[rows]
    bounds = reader.bounds("start_ns")
    if bounds is None or bounds[0] <= intervals.after_ns or bounds[1] > intervals.until_ns:
        inside = (times > intervals.after_ns) & (times <= intervals.until_ns)
        rows = np.flatnonzero(inside) if rows is None else rows[inside]
        times = times[inside]
    return Observed(rows, intervals.sample_of(times))


def observe(
    function: ast.MetricsFunction, spans: Observed, reader: Reader, intervals: Intervals, exemplars_max: int
) -> Partial:
    """The cells of one source. Keys hold the values of `by`, then, of histograms, the bucket's upper bound.

    Raises: TooManyCells
    """
    numbers: Floats | None = None
    if function.of is not None:
        found, has = measured(value(function.of, reader), reader.rows)
        spans = spans.where(spans.take(has))
        numbers = spans.take(found)
        if type_of(function.of) is Type.DURATION:
            numbers = numbers / NS_PER_S
    kernel = METRICS_FUNCTIONS[function.name]
    dimensions: list[_Dimension] = [_group_dimension(group(expr, reader), spans) for expr in function.by]
    if kernel.buckets:
        assert function.of is not None
        assert numbers is not None
        dimensions.append(_buckets(numbers, float(NS_PER_S) if type_of(function.of) is Type.DURATION else 1.0))
    codes, keys = _combined(dimensions, len(spans.interval), intervals.count)
    check_size(len(keys), intervals.count)
    cell = codes * intervals.count + spans.interval
    shape = (len(keys), intervals.count)
    cells = {kind: CELL_KINDS[kind].fill(cell, numbers, shape[0] * shape[1]).reshape(shape) for kind in kernel.cells}
    partial = Partial(keys, cells)
    if kernel.sketch:
        assert numbers is not None
        partial.sketch = QuantileSketch.from_values(cell, numbers, cells["count"].reshape(-1).astype(np.int64))
        check_size(len(keys), intervals.count, partial.sketch.entries)
    if exemplars_max > 0 and len(cell):
        partial.candidates = _candidates(partial, cell, spans, numbers, reader, exemplars_max)
    return partial


@dataclass(frozen=True, slots=True, eq=False)
class _Dimension:
    """codes: of each span, below `size`; labels: code → label's value, for the few codes that are there"""

    codes: Int64s
    size: int
    label: Any


def _group_dimension(groups: Groups, spans: Observed) -> _Dimension:
    return _Dimension(spans.take(groups.codes), groups.size, groups.label)


def _buckets(numbers: Floats, scale: float) -> _Dimension:
    """The next power of two of each number (of durations: in ns): a bucket's upper bound. 0 and below: bucket 0."""
    # Whole nanoseconds again: seconds are not exact.
    exponent = _exponents(np.rint(numbers * scale) if scale != 1.0 else numbers)
    found, codes = np.unique(exponent, return_inverse=True)
    with np.errstate(over="ignore"):
        bounds = [0.0 if e == _NO_EXPONENT else float(np.ldexp(1.0, e) / scale) for e in found]
    return _Dimension(codes.astype(np.int64), max(1, len(bounds)), bounds.__getitem__)


def _exponents(numbers: Floats) -> npt.NDArray[np.int32]:
    """The least power of two that is not below each number. 0 and below: _NO_EXPONENT"""
    fraction, exponent = np.frexp(numbers)
    powers: npt.NDArray[np.int32] = exponent - (fraction == 0.5)
    powers[np.isinf(numbers)] = _INFINITE_EXPONENT
    powers[fraction <= 0] = _NO_EXPONENT
    return powers


_NO_EXPONENT: Final = -2000
_INFINITE_EXPONENT: Final = 1024  # as of numbers above 2 ** 1023: the bound of both is infinity


def _combined(dimensions: Sequence[_Dimension], rows: int, intervals: int) -> tuple[Int64s, list[Key]]:
    """One code per span for all dimensions together, and the key of each code."""
    cells_max = max(_CELLS_MIN, _CELLS_PER_ROW_MAX * rows)
    codes, size = np.zeros(rows, np.int64), 1
    parts: list[list[Any]] = [[]]  # per code: the label parts
    for dimension in dimensions:
        joined = codes * dimension.size + dimension.codes
        size = len(parts) * dimension.size
        if size * intervals <= cells_max:
            there = np.zeros(size, bool)
            there[joined] = True
            used = np.flatnonzero(there)
            place = np.zeros(size, np.int64)
            place[used] = np.arange(len(used))
            codes = place[joined]
        else:
            used, codes = np.unique(joined, return_inverse=True)
        cache: dict[int, Any] = {}
        for code in unique(used % dimension.size).tolist():
            cache[code] = key_part(dimension.label(code))
        longer = [[*parts[code // dimension.size], cache[code % dimension.size]] for code in used.tolist()]
        drop(cache)
        drop(parts)
        parts = longer
    keys: list[Key] = [tuple(part) for part in consumed(parts)]
    number: dict[Key, int] = {}
    first = np.fromiter((number.setdefault(key, len(number)) for key in keys), np.int64, len(keys))
    if len(number) < len(keys):  # two codes stand for values of which answers show the same: they are one group
        codes, keys = first[codes], list(number)
    drop(number)
    return codes, keys


def _candidates(
    partial: Partial, cell: Int64s, spans: Observed, numbers: Floats | None, reader: Reader, exemplars_max: int
) -> dict[tuple[Key, int], Candidate]:
    """The first span of each cell (rows are in the order of trace ids), of the first `exemplars_max` traces.

    Of a sketch the first below each power of two, so that there is one near each quantile.
    """
    intervals = next(iter(partial.cells.values())).shape[1]
    exponents: Int64s | None = None
    if partial.sketch is None:
        first = np.full(len(partial.keys) * intervals, -1, np.int64)
        first[cell[::-1]] = np.arange(len(cell) - 1, -1, -1)
        chosen = np.sort(first[first >= 0])
    else:
        assert numbers is not None
        exponents = _exponents(numbers).astype(np.int64)
        place = cell * (_INFINITE_EXPONENT - _NO_EXPONENT + 1) + exponents - _NO_EXPONENT
        ordered = np.sort(place * len(cell) + np.arange(len(cell)))
        of_place = ordered // len(cell)
        chosen = np.sort(ordered[np.r_[True, of_place[1:] != of_place[:-1]]] % len(cell))
    rows = chosen if spans.rows is None else spans.rows[chosen]
    trace = np.searchsorted(reader.traces().offsets, rows, side="right")
    few = np.flatnonzero(np.cumsum(np.r_[True, trace[1:] != trace[:-1]]) <= exemplars_max)[: 4 * exemplars_max]
    chosen, rows = chosen[few], rows[few]
    ids, times = raw_all(reader.traces().ids[trace[few] - 1]), reader.numbers("start_ns")[rows].tolist()
    measures = [float("nan")] * len(chosen) if numbers is None else numbers[chosen].tolist()
    more: list[Key] = [()] * len(chosen) if exponents is None else [(("int", e),) for e in exponents[chosen].tolist()]
    return {
        ((*partial.keys[place // intervals], *more[i]), place % intervals): Candidate(ids[i], times[i], measures[i])
        for i, place in enumerate(cell[chosen].tolist())
    }
