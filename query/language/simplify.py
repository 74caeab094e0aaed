"""Constants worked out before any row is read, and `3 < .a` written as `.a > 3`."""

from collections.abc import Sequence
from typing import assert_never

import pyarrow as pa
import pyarrow.compute as pc

from query.functions.comparators import MIRRORED
from query.language import ast
from query.language.ast import FieldExpr, Literal, Type
from query.language.check import anchored
from query.language.constants import calculate, compare
from query.language.walk import fold


def simplify(expr: FieldExpr) -> FieldExpr:
    """An expression that yields the same for every span. It was checked before."""
    return fold(expr, _simple)


def _simple(expr: FieldExpr, operands: Sequence[FieldExpr]) -> FieldExpr:
    """The expression with its simplified operands."""
    match expr:
        case ast.Literal() | ast.Attribute() | ast.Intrinsic():
            return expr
        case ast.Unary():
            return _unary(expr.op, operands[0], expr.at)
        case ast.Arithmetic():
            left, right = operands
            if isinstance(left, Literal) and isinstance(right, Literal):
                value = calculate(expr.op, left, right)
                if value is not None:
                    return value
            # Constants without a value (division by 0) stay as they are: absent, as the evaluation finds.
            return ast.Arithmetic(expr.op, left, right, expr.at)
        case ast.Comparison():
            return _comparison(expr, *operands)
        case ast.Logic():
            return _logic(expr, operands)
    assert_never(expr)


def _unary(op: str, operand: FieldExpr, at: ast.At) -> FieldExpr:
    if isinstance(operand, Literal):
        if op == "!":
            return Literal(not operand.value, Type.BOOL, at)
        # -minInt has no value in 64 bits, and so stays as it is.
        if isinstance(operand.value, int | float) and operand.value != -(2**63):
            return Literal(-operand.value, operand.type, at)
    return ast.Unary(op, operand, at)


def _comparison(expr: ast.Comparison, left: FieldExpr, right: FieldExpr) -> FieldExpr:
    if isinstance(left, Literal) and isinstance(right, Literal):
        return Literal(_compare(expr.op, left, right), Type.BOOL, expr.at)
    if isinstance(left, Literal) and expr.op in MIRRORED:
        return ast.Comparison(MIRRORED[expr.op], right, left, expr.at)
    return ast.Comparison(expr.op, left, right, expr.at)


def _compare(op: str, left: Literal, right: Literal) -> bool:
    if op in {"=~", "!~"}:
        matched = pc.match_substring_regex(pa.array([left.value]), pattern=anchored(str(right.value)))
        return bool(matched[0].as_py()) == (op == "=~")
    return compare(op, left, right)


def _logic(expr: ast.Logic, simplified: Sequence[FieldExpr]) -> FieldExpr:
    """Without the constants that decide nothing; a constant where one decides all."""
    deciding = expr.op == "||"
    operands = []
    for operand in simplified:
        if not isinstance(operand, Literal):
            operands.append(operand)
        elif bool(operand.value) is deciding:
            return Literal(deciding, Type.BOOL, expr.at)
    if not operands:
        return Literal(not deciding, Type.BOOL, expr.at)
    return ast.Logic(expr.op, tuple(operands), expr.at)
