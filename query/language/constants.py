"""Arithmetic and comparison of constants: the same rules that arithmetic.py applies to columns."""

import math
from typing import Final

from query.language.ast import NUMERIC, Literal, Type

_INT_MAX: Final = 2**63 - 1


def calculate(op: str, left: Literal, right: Literal, *, division_is_exact: bool = False) -> Literal | None:
    """`left op right`; None where it has no value (division by 0, overflow).

    Between ints / and % cut towards 0, as in Go; `division_is_exact`: / gives a float (numbers beside series).
    """
    a, b = left.value, right.value
    assert isinstance(a, int | float)
    assert isinstance(b, int | float)
    whole = left.type is not Type.FLOAT and right.type is not Type.FLOAT
    try:
        value = _calculate(op, a, b, whole=whole and not (division_is_exact and op == "/"))
    except (ZeroDivisionError, OverflowError, ValueError):
        return None
    if isinstance(value, complex):
        return None
    if isinstance(value, float):
        return Literal(value, Type.FLOAT, left.at)
    if abs(value) > _INT_MAX:
        return None
    type_ = Type.DURATION if Type.DURATION in {left.type, right.type} else Type.INT
    return Literal(value, type_, left.at)


def _calculate(op: str, a: float, b: float, *, whole: bool) -> int | float | complex:
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/":
            return math.trunc(_divide(int(a), int(b))) if whole else a / b
        case "%":
            return int(a) - int(b) * _divide(int(a), int(b)) if whole else math.fmod(a, b)
        case _:
            power: int | float | complex = float(a) ** float(b)
            return power


def _divide(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def compare(op: str, left: Literal, right: Literal) -> bool:
    """`left op right` for every operator but =~ and !~; False where the types do not match."""
    a, b = left.value, right.value
    if left.type is not right.type and not {left.type, right.type} <= NUMERIC:
        # A value is not nil; different types are neither equal nor unequal.
        return op == "!=" and Type.NIL in {left.type, right.type}
    if op == "=":
        return a == b
    if op == "!=":
        return a != b
    assert isinstance(a, str | int | float)
    less, equal = a < b, a == b  # type: ignore[operator]  # the types match
    return {"<": less, "<=": less or equal, ">": not less and not equal, ">=": not less}[op]
