"""One number per spanset: count, min, max, avg and sum, and comparisons of what is made of them."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, assert_never

import numpy as np
import numpy.typing as npt

from query.engine import arithmetic
from query.engine.arithmetic import Part, Value
from query.engine.expressions import value
from query.language import ast, text
from query.language.ast import Type
from query.language.check import type_of
from query.language.walk import fold
from query.scan.arrays import Mask, Rows
from query.scan.reader import Reader

_MOST: Final = float(np.nextafter(2.0**63, 0))  # the greatest float that is an int64, too


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
    """Spans without the value do not count, nor where it is NaN; a spanset of only such spans has no aggregate."""
    label = text.aggregate(node)
    if node.of is None:
        counts = np.bincount(owner, minlength=sets).astype(np.int64)
        return Aggregated(label, (Part(Type.INT, counts, np.ones(sets, bool)),), Type.INT)
    type_ = type_of(node.of)
    parts = numbers_of(value(node.of, reader))
    whole = [_over_sets(node.function, part, rows, owner, sets, type_) for part in parts if part.type is Type.INT]
    if all(part.type is Type.INT for part in parts):
        return Aggregated(label, tuple(whole), type_)
    # A spanset that has floats comes to a float; the same whatever other spansets have.
    numbers, has = measured(tuple(parts), reader.rows)
    mixed = _over_sets(node.function, Part(Type.FLOAT, numbers, has), rows, owner, sets, type_)
    floats = [part.valid for part in parts if part.type is Type.FLOAT]
    floating = np.zeros(sets, bool)
    floating[owner[np.logical_or.reduce(floats)[rows]]] = True
    found = [Part(part.type, part.values, part.valid & ~floating) for part in whole]
    return Aggregated(label, (*found, Part(Type.FLOAT, mixed.values, mixed.valid & floating)), type_)


def _over_sets(function: str, part: Part, rows: Rows, owner: Rows, sets: int, type_: Type) -> Part:
    among = part.valid[rows]
    numbers, owner = part.values[rows[among]], owner[among]
    result, valid, counts = _reduce(function, numbers, owner, sets)
    if function in {"sum", "avg"} and part.type is Type.INT and _may_overflow(numbers):
        # A few broken clocks are enough. A sum beyond 64 bits is none, an average has one all the same.
        sums, _, _ = _reduce("sum", numbers.astype(np.float64), owner, sets)
        beyond = np.abs(sums) >= 2.0**63
        result, valid = (result, valid & ~beyond) if function == "sum" else (np.where(beyond, sums, result), valid)
    if function == "avg":
        with np.errstate(all="ignore"):
            result = result / counts
        if type_ is Type.DURATION and part.type is Type.INT:  # whole nanoseconds, cut off
            result = np.where(valid, np.clip(np.trunc(result), -(2.0**63), _MOST), 0).astype(np.int64)
    return Part(Type.INT if result.dtype.kind == "i" else Type.FLOAT, result, valid)


def _may_overflow(numbers: npt.NDArray[np.int64]) -> bool:
    """Whether some of them could sum up to more than 64 bits hold: hardly ever."""
    return len(numbers) > 0 and max(-int(numbers.min()), int(numbers.max())) * len(numbers) >= 2**63


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


def _reduce(
    function: str, numbers: npt.NDArray[Any], owner: Rows, sets: int
) -> tuple[npt.NDArray[Any], Mask, npt.NDArray[Any]]:
    """(sums, least or greatest numbers; which spansets have any; how many numbers each has)"""
    counts = np.bincount(owner, minlength=sets)
    order = np.argsort(owner, kind="stable")
    filled = counts > 0
    result = np.zeros(sets, numbers.dtype)
    if len(owner):
        operation = {"min": np.minimum, "max": np.maximum}.get(function, np.add)
        starts = (np.cumsum(counts) - counts)[filled]
        with np.errstate(invalid="ignore", over="ignore"):  # infinity less infinity is no number
            result[filled] = operation.reduceat(numbers[order], starts)
    return result, filled, counts
