"""One number per spanset: count, min, max, avg and sum, and comparisons of what is made of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple, assert_never

import numpy as np
import numpy.typing as npt

from query.engine import arithmetic
from query.engine.arithmetic import Part, Value
from query.engine.expressions import value
from query.functions.aggregates import AGGREGATES, AggregateFunction, Runs
from query.language import ast, text
from query.language.ast import Type
from query.language.check import type_of
from query.language.walk import fold
from query.scan.arrays import Mask, Rows
from query.scan.reader import Reader


class Aggregated(NamedTuple):
    """An aggregate under its text, as answers show it."""

    label: str
    value: Value
    type: Type  # DURATION: nanoseconds


def compare_scalars(
    node: ast.ScalarFilter, reader: Reader, rows: Rows, owner: Rows, sets: int
) -> tuple[Mask, list[Aggregated]]:
    """Which spansets satisfy the comparison, and the aggregates in it. In: the rows' spansets, how many there are."""
    aggregates: list[Aggregated] = []

    def scalar(expr: ast.Scalar, operands: Sequence[Value]) -> Value:
        match expr:
            case ast.Literal():
                return arithmetic.constant(expr, sets)
            case ast.ScalarOp():
                return arithmetic.calculate(expr.op, *operands)
            case ast.Aggregate():
                found = aggregate(expr, reader, rows, owner, sets)
                aggregates.append(found)
                return found.value
        assert_never(expr)

    keep = arithmetic.compare(node.op, fold(node.left, scalar), fold(node.right, scalar), sets)
    return keep, aggregates


def aggregate(node: ast.Aggregate, reader: Reader, rows: Rows, owner: Rows, sets: int) -> Aggregated:
    """Spans without the value do not count, nor where it is NaN; a spanset of only such spans has no aggregate.

    rows: of all spansets; owner: the spanset of each row, below `sets`
    """
    function, label = AGGREGATES[node.function], text.aggregate(node)
    if node.of is None:
        counts = np.bincount(owner, minlength=sets)
        numbers, has = function.kernel(Runs(counts[:0], np.cumsum(counts) - counts, counts))
        return Aggregated(label, (Part(Type.INT if numbers.dtype.kind == "i" else Type.FLOAT, numbers, has),), Type.INT)
    type_ = type_of(node.of)
    whole_ns, shown_as = type_ is Type.DURATION, type_ if function.of_its_field else Type.INT
    parts = numbers_of(value(node.of, reader))
    whole = [
        _over_sets(function, part, rows, owner, sets, whole_ns=whole_ns) for part in parts if part.type is Type.INT
    ]
    if all(part.type is Type.INT for part in parts):
        return Aggregated(label, tuple(whole), shown_as)
    # A spanset that has floats comes to a float; the same whatever other spansets have.
    numbers, has = measured(tuple(parts), reader.rows)
    mixed = _over_sets(function, Part(Type.FLOAT, numbers, has), rows, owner, sets)
    floats = [part.valid for part in parts if part.type is Type.FLOAT]
    floating = np.zeros(sets, bool)
    floating[owner[np.logical_or.reduce(floats)[rows]]] = True
    found = [Part(part.type, part.values, part.valid & ~floating) for part in whole]
    return Aggregated(label, (*found, Part(Type.FLOAT, mixed.values, mixed.valid & floating)), shown_as)


def _over_sets(
    function: AggregateFunction, part: Part, rows: Rows, owner: Rows, sets: int, *, whole_ns: bool = False
) -> Part:
    """The aggregate of each spanset that has a number."""
    among = part.valid[rows]
    numbers, owner = part.values[rows[among]], owner[among]
    counts = np.bincount(owner, minlength=sets)
    filled = counts > 0
    order = np.argsort(owner, kind="stable")
    starts = (np.cumsum(counts) - counts)[filled]
    if not len(owner):
        return Part(Type.INT if numbers.dtype.kind == "i" else Type.FLOAT, np.zeros(sets, numbers.dtype), filled)
    found, valid = function.kernel(Runs(numbers[order], starts, counts[filled], whole_ns))
    result = np.zeros(sets, found.dtype)
    result[filled] = found
    has = np.zeros(sets, bool)
    has[filled] = valid
    return Part(Type.INT if result.dtype.kind == "i" else Type.FLOAT, result, has)


def measured(found: Value, rows: int) -> tuple[npt.NDArray[Any], Mask]:
    """The numbers of an expression as floats, and which rows have one. NaN is none."""
    numbers, has = np.zeros(rows), np.zeros(rows, bool)
    for part in numbers_of(found):
        numbers[part.valid] = part.values[part.valid]
        has |= part.valid
    return numbers, has


def numbers_of(found: Value) -> list[Part]:
    """The parts that are numbers, without NaN."""
    parts = [part for part in found if part.type in {Type.INT, Type.FLOAT}]
    return [
        part if part.type is Type.INT else Part(part.type, part.values, part.valid & ~np.isnan(part.values))
        for part in parts
    ]
