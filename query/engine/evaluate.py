"""Field expressions over the rows of one source: which match, and what they come to. No loop over spans anywhere."""

from typing import assert_never

import numpy as np

from query.engine import arithmetic
from query.engine.compare import compare_field
from query.engine.entries import compare_entries
from query.engine.reader import Mask, Reader, entry_column
from query.language import ast
from query.language.ast import FieldExpr, Literal, Type

_TRUE = Literal(True, Type.BOOL)
_FALSE = Literal(False, Type.BOOL)


def matches(expr: FieldExpr, reader: Reader) -> Mask:
    """Rows for which a boolean expression holds. An absent attribute is not true, and `!` of it neither."""
    match expr:
        case Literal():
            return np.full(reader.rows, expr.value is True)
        case ast.Attribute() | ast.Intrinsic():
            return _compare(reader, expr, "=", _TRUE)
        case ast.Unary():
            if isinstance(expr.operand, ast.Attribute):
                return _compare(reader, expr.operand, "=", _FALSE)
            return ~matches(expr.operand, reader)
        case ast.Comparison():
            return _comparison(expr, reader)
        case ast.Logic():
            return _logic(expr, reader)
        case ast.Arithmetic():
            return np.zeros(reader.rows, bool)  # a number is never true
    assert_never(expr)


def cost(expr: FieldExpr) -> int:
    """Roughly what an operand costs, so that cheap ones can spare the rest."""
    match expr:
        case ast.Comparison(left=ast.Intrinsic(), right=Literal(value=value)) if not isinstance(value, str):
            return 1
        case ast.Comparison(op=op, left=ast.Attribute() | ast.Intrinsic(), right=Literal()):
            return 4 if op in {"=~", "!~"} else 2
        case ast.Attribute() | ast.Unary(operand=ast.Attribute()):
            return 2
        case ast.Unary():
            return cost(expr.operand)
        case ast.Logic():
            return sum(map(cost, expr.operands))
        case _:
            return 8


def _logic(expr: ast.Logic, reader: Reader) -> Mask:
    """Cheap operands first; as soon as nothing (&&) or everything (||) is decided the rest is not read."""
    operands = sorted(expr.operands, key=cost)
    result = matches(operands[0], reader)
    for operand in operands[1:]:
        if expr.op == "&&":
            if not result.any():
                break
            result = result & matches(operand, reader)
        else:
            if result.all():
                break
            result = result | matches(operand, reader)
    return result


def _comparison(expr: ast.Comparison, reader: Reader) -> Mask:
    if isinstance(expr.left, ast.Attribute | ast.Intrinsic) and isinstance(expr.right, Literal):
        return _compare(reader, expr.left, expr.op, expr.right)
    return arithmetic.compare(expr.op, value(expr.left, reader), value(expr.right, reader), reader.rows)


def _compare(reader: Reader, field: ast.Field, op: str, literal: Literal) -> Mask:
    if entry_column(field) is not None:
        return compare_entries(reader, field, op, literal)
    return compare_field(reader, field, op, literal)


def value(expr: FieldExpr, reader: Reader) -> arithmetic.Value:
    """What an expression comes to in each row, by type."""
    match expr:
        case Literal():
            return arithmetic.constant(expr, reader.rows)
        case ast.Attribute() | ast.Intrinsic():
            return arithmetic.field(reader, expr)
        case ast.Unary(op="-"):
            return arithmetic.negative(value(expr.operand, reader))
        case ast.Arithmetic():
            return arithmetic.calculate(expr.op, value(expr.left, reader), value(expr.right, reader))
        case ast.Unary() | ast.Comparison() | ast.Logic():
            held = matches(expr, reader)
            return (arithmetic.Part(Type.BOOL, held, np.ones(reader.rows, bool)),)
    assert_never(expr)
