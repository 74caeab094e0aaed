"""Series from the cells of all sources: samples and labels, rankings, comparisons, arithmetic."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, assert_never

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from query import memory
from query.engine.groups import NIL
from query.functions.comparators import NUMPY
from query.functions.metrics import METRICS_FUNCTIONS
from query.language import ast, text
from query.language.ast import Literal, Type
from query.language.walk import fold, left_chain
from query.metrics.compare_function import compare_series
from query.metrics.intervals import Intervals
from query.metrics.partials import Candidate, Key, Partial, key_part, merge_equal
from query.results import Attributes, Exemplar, Samples, Series
from tables.columns.types import Floats
from tables.turns import as_list, consumed, drop, pieces
from tables.units import NS_PER_S

NAME: Final = "__name__"
BUCKET: Final = "__bucket"
QUANTILE: Final = "p"
CHEAPER: Final = "fewer fields in by(), fields with fewer values, topk(), or a longer step"
# A series with its labels, and what it takes to put it in order. Its samples are those of the cells.
_SERIES_BYTES: Final = 700
_MANY: Final = 1000
_MATH: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
}


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One series while it is worked on. values: one per interval; NaN: no sample"""

    labels: Attributes
    values: Floats
    exemplars: tuple[tuple[int, Candidate], ...] = ()  # with the interval


def evaluate(node: ast.Metrics, partials: Sequence[Partial], intervals: Intervals) -> list[Series]:
    """The answer, in the order of labels. In: one partial for each metrics function, from left to right."""
    found = _in_order(_lines(node, iter(partials), intervals))
    try:
        memory.reserve(len(found) * _SERIES_BYTES, f"an answer of {len(found)} series", CHEAPER)
        times = np.array(intervals.timestamps_ns, np.int64)
        return [series for line in consumed(found) if (series := _series(line, times)).samples]
    finally:
        drop(found)


def _lines(part: ast.Metrics | Literal, rest: Iterator[Partial], intervals: Intervals) -> list[Line]:
    """The series of a part of the query. In: the partials of its metrics functions and of those to the right of it.

    No function inside another: one that calls itself is garbage that only a collection frees, with all partials.
    """
    match part:
        case Literal():
            return [Line((), np.full(intervals.count, _number(part)))]
        case ast.MetricsQuery():
            return of_partial(part.function, next(rest), intervals)
        case ast.Ranking() | ast.MetricsFilter():
            first, chosen = left_chain(part, ast.CHOICES)
            # What one has left out of is let go before the next.
            copies = 4 if any(isinstance(one, ast.Ranking) for one in chosen) else 1
            left = _counted(_lines(first, rest, intervals), intervals, copies)
            for one in chosen:
                left = _chosen(one, left)
            return left
        case ast.MetricsMath():
            first, chain = left_chain(part, ast.MetricsMath)
            left = _counted(_lines(first, rest, intervals), intervals)
            named = _name(part)
            for math in chain:
                left = _calculated(math, left, _counted(_lines(math.right, rest, intervals), intervals), named)
            return left
    assert_never(part)


def _counted(found: list[Line], intervals: Intervals, copies: int = 1) -> list[Line]:
    memory.reserve(copies * len(found) * (8 * intervals.count + _SERIES_BYTES), f"{len(found)} series", CHEAPER)
    return found


def of_partial(function: ast.MetricsFunction | ast.Compare, given: Partial, intervals: Intervals) -> list[Line]:
    """The series of one metrics function."""
    if isinstance(function, ast.Compare):
        return [Line(labels, values) for labels, values in compare_series(given, function.top_n)]
    partial = _merge_equal_labels(function, given)
    exemplars: dict[Key, list[tuple[int, Candidate]]] = {}
    for (key, interval), candidate in sorted(partial.candidates.items(), key=lambda item: item[1].timestamp_ns):
        key = key if partial.sketch is None else key[:-1]
        exemplars.setdefault(key, []).append((interval, candidate))
    if function.numbers:
        return _quantile_lines(function, partial, exemplars)
    values = METRICS_FUNCTIONS[function.name].samples(partial.cells, intervals.step_ns)
    names = _names(function)
    found = [
        Line(_labels(function, names, key), values[i], tuple(exemplars.get(key, ())))
        for i, key in enumerate(partial.keys)
    ]
    if partial is not given:
        partial.drop()
    return found


def _merge_equal_labels(function: ast.MetricsFunction, partial: Partial) -> Partial:
    """No value is shown as "nil", which a string may be, too: both are one series then, as no labels come twice.

    Series of quantiles lack the label instead.
    """
    if function.numbers:
        return partial
    names = _names(function)
    # The types of values tell all others apart, unless labels are asked for twice.
    nothing = ((len(names) * (None,)), (key_part(NIL), *(len(names) - 1) * (None,)))
    if len(set(names)) == len(names) and not all(key in partial.keys for key in nothing):
        return partial
    first: dict[Any, Key] = {}
    keys = [first.setdefault(_typed(_labels(function, names, key)), key) for key in partial.keys]
    distinct = len(first)
    drop(first)
    return partial if distinct == len(keys) else merge_equal(partial, keys)


def _names(function: ast.MetricsFunction) -> list[str]:
    """Of the labels. Once for all series: putting an expression into words takes longer than all else of a series."""
    names = [text.expression(expr) for expr in function.by]
    if METRICS_FUNCTIONS[function.name].buckets:
        names.append(BUCKET)
    return names


def _labels(function: ast.MetricsFunction, names: Sequence[str], key: Key) -> Attributes:
    """Without those that have no value; where none has one the first is shown as nil."""
    if not names:
        return ((NAME, function.name),)
    found = tuple((name, part[1]) for name, part in zip(names, key, strict=True) if part is not None)
    return found or ((names[0], NIL),)


def _quantile_lines(
    function: ast.MetricsFunction, partial: Partial, exemplars: dict[Key, list[tuple[int, Candidate]]]
) -> list[Line]:
    """A line for each group that has values, and quantile; 0 where an interval has none.

    Exemplars go to the quantile nearest to them.
    """
    if partial.sketch is None:
        return []
    counts = partial.cells["count"]
    flat = partial.sketch.quantiles(counts.reshape(-1).astype(np.int64), function.numbers)
    values = flat.reshape(len(function.numbers), *counts.shape)
    names = [text.expression(expr) for expr in function.by]
    out = []
    for row in np.flatnonzero(counts.any(axis=1)).tolist():
        key = partial.keys[row]
        labels = tuple((name, part[1]) for name, part in zip(names, key, strict=True) if part is not None)
        of_quantile: dict[int, list[tuple[int, Candidate]]] = {}
        for interval, candidate in exemplars.get(key, ()):
            nearest = _nearest(values[:, row, interval], candidate.value)
            of_quantile.setdefault(nearest, []).append((interval, candidate))
        out += [
            Line((*labels, (QUANTILE, p)), values[number, row], tuple(of_quantile.get(number, ())))
            for number, p in enumerate(function.numbers)
        ]
    return out


def _nearest(values: Floats, number: float) -> int:
    """Which of the quantiles a number is closest to."""
    with np.errstate(invalid="ignore"):
        return int(np.argmin(np.where(values == number, 0.0, np.abs(values - number))))


def _number(node: Literal) -> float:
    assert isinstance(node.value, int | float)
    return node.value / NS_PER_S if node.type is Type.DURATION else float(node.value)


def _order(line: Line) -> list[tuple[str, str]]:
    return [(name, f"{value:030.12f}" if isinstance(value, float) else str(value)) for name, value in line.labels]


def _in_order(lines: list[Line], *, descending: bool = False) -> list[Line]:
    """By labels. Many by Arrow, without the GIL: comparing a hundred thousand takes a second."""
    if len(lines) < _MANY:
        return sorted(lines, key=_order, reverse=descending)
    keys = pa.chunked_array(
        [pa.array(map(_joined, some), pa.large_string()) for some in pieces(lines)], pa.large_string()
    )
    order = pc.array_sort_indices(keys, order="descending" if descending else "ascending")
    return [lines[i] for i in as_list(order)]


def _joined(line: Line) -> str:
    return "\0".join(text for label in _order(line) for text in label)


def _series(line: Line, times: npt.NDArray[np.int64]) -> Series:
    there, values = ~np.isnan(line.values), line.values
    exemplars = tuple(
        Exemplar(c.trace_id, c.timestamp_ns, float(values[i]) if np.isnan(c.value) else c.value)
        for i, c in line.exemplars
        if not np.isnan(line.values[i])
    )
    samples = Samples(times, values) if there.all() else Samples(times[there], values[there])
    return Series(line.labels, samples, exemplars)


def _ranked(lines: list[Line], count: int, *, largest: bool) -> list[Line]:
    """In each interval only the `count` largest or smallest samples.

    Of equal ones topk keeps the first by labels. bottomk is topk turned round, and keeps the last.
    """
    if not lines:
        return lines
    ordered = _in_order(lines, descending=not largest)
    values = np.empty((len(ordered), len(ordered[0].values)))
    for i, line in enumerate(ordered):
        values[i] = line.values
    # NaN sorts last.
    best = np.argsort(-values if largest else values, axis=0, kind="stable")[:count]
    kept = np.full(values.shape, np.nan)
    np.put_along_axis(kept, best, np.take_along_axis(values, best, axis=0), axis=0)
    drop(lines)
    return [replace(line, values=kept[i]) for i, line in enumerate(consumed(ordered))]


def _chosen(node: ast.Ranking | ast.MetricsFilter, lines: list[Line]) -> list[Line]:
    """What is left of the series. The list that is given is empty then."""
    if isinstance(node, ast.Ranking):
        return _ranked(lines, node.n, largest=node.function == "topk")
    return _filtered(lines, node.op, _number(node.value))


def _filtered(lines: list[Line], op: str, bound: float) -> list[Line]:
    return [
        replace(line, values=np.where(NUMPY[op](line.values, bound), line.values, np.nan)) for line in consumed(lines)
    ]


def _calculated(node: ast.MetricsMath, left: list[Line], right: list[Line], named: str) -> list[Line]:
    """Series with equal labels together; a number with every series. What has no value (0 / 0, 1 / 0) is no sample.

    named: the name of a series without labels. The lists that are given are empty then
    """

    def line(a: Line, b: Line) -> Line:
        with np.errstate(all="ignore"):
            values = _MATH[node.op](a.values, b.values)
        # Infinity comes from infinity only: not from a division by 0, and not from an overflow.
        made = np.isinf(values) & ~np.isinf(a.values) & ~np.isinf(b.values)
        if node.op == "/":
            made |= b.values == 0
        labels = _unnamed(b if isinstance(node.left, Literal) else a)
        return Line(labels or ((NAME, named),), np.where(made, np.nan, values))

    if isinstance(node.left, Literal):
        return [line(left[0], b) for b in consumed(right)]
    if isinstance(node.right, Literal):
        return [line(a, right[0]) for a in consumed(left)]
    others = {_identity(b): b for b in consumed(right)}
    found = [line(a, b) for a in consumed(left) if (b := others.get(_identity(a))) is not None]
    drop(others)
    return found


def _identity(line: Line) -> tuple[Any, ...]:
    """The labels with the types of their values: in Python 1, 1.0 and true are equal."""
    return _typed(_unnamed(line))


def _typed(labels: Attributes) -> tuple[Any, ...]:
    return tuple((name, key_part(value)) for name, value in labels)


def _unnamed(line: Line) -> tuple[Any, ...]:
    return tuple(label for label in line.labels if label[0] != NAME)


def _name(node: ast.Metrics | Literal) -> str:
    return fold(node, _part_name)


def _part_name(node: ast.Metrics | Literal, operands: Sequence[str]) -> str:
    match node:
        case Literal():
            return text.literal(node)
        case ast.MetricsQuery():
            return "compare" if isinstance(node.function, ast.Compare) else node.function.name
        case ast.Ranking() | ast.MetricsFilter():
            return operands[0]
        case ast.MetricsMath():
            return f"({operands[0]} {node.op} {operands[1]})"
    assert_never(node)
