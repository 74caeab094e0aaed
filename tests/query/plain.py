"""A second, plain evaluator of filters: one span after the other, from the semantics and not from the engine.

In: rows as dicts by column names, as `pyarrow.Table.to_pylist` gives them. Used to check the vectorised engine.
"""

import math
import operator
import re
from typing import Any

from query import ast
from query.ast import NUMERIC, Literal, Type
from tables.schema import parse_attribute_column

COLUMNS = {
    "name": "name",
    "status": "status_code",
    "statusMessage": "status_message",
    "kind": "kind",
    "duration": "duration_ns",
    "rootName": "root_name",
    "traceDuration": "trace_duration_ns",
    "nestedSetParent": "nested_parent",
}
COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def spanset(stage: ast.Stage, trace: list[dict[str, Any]]) -> set[bytes]:
    """Ids of the spans of one trace in the spanset."""
    match stage:
        case ast.Filter():
            condition = stage.condition
            return {row["span_id"] for row in trace if condition is None or holds(condition, row)}
        case ast.SpansetOp():
            left, right = spanset(stage.left, trace), spanset(stage.right, trace)
            return left | right if stage.op == "||" or (left and right) else set()
        case ast.Pipeline():
            found = {row["span_id"] for row in trace}
            for inner in stage.stages:
                found &= spanset(inner, trace)
            return found
    raise AssertionError(stage)


def holds(expr: ast.FieldExpr, row: dict[str, Any]) -> bool:
    match expr:
        case Literal():
            return expr.value is True
        case ast.Attribute():
            return any(value is True for _, value in values(expr, row))
        case ast.Unary():
            if isinstance(expr.operand, ast.Attribute):
                return any(value is False for _, value in values(expr.operand, row))
            return not holds(expr.operand, row)
        case ast.Logic():
            results = [holds(operand, row) for operand in expr.operands]
            return all(results) if expr.op == "&&" else any(results)
        case ast.Comparison():
            return _comparison(expr, row)
    raise AssertionError(expr)


def values(field: ast.Field, row: dict[str, Any]) -> list[tuple[str, Any]]:
    """(type word, value) for everything that the field may stand for; of an array each element."""
    if isinstance(field, ast.Intrinsic):
        value = row.get(COLUMNS[field.name])
        return [] if value is None else [("intrinsic", value)]
    found = []
    for scope in ["span", "resource"] if field.scope is None else [field.scope]:
        for column, value in row.items():
            attribute = parse_attribute_column(column)
            if value is None or attribute is None or attribute[:2] != (scope, field.key):
                continue
            if attribute.type.endswith("[]"):
                found += [(attribute.type.removesuffix("[]"), item) for item in value]
            else:
                found.append((attribute.type, value))
    return found


def _comparison(expr: ast.Comparison, row: dict[str, Any]) -> bool:
    left, right, op = expr.left, expr.right, expr.op
    if isinstance(right, ast.Field) and _constant(left) is not None:
        left, right, op = right, left, MIRRORED.get(op, op)
    if isinstance(left, ast.Field) and (literal := _constant(right)) is not None:
        if literal.type is Type.NIL:
            return bool(_all_values(left, row)) == (op == "!=")
        return any(_strict(op, word, value, literal) for word, value in values(left, row))
    a, b = _value(expr.left, row), _value(expr.right, row)
    if a is None or b is None or _family(a) != _family(b):
        return False
    return bool(COMPARE[expr.op](a, b))


def _all_values(field: ast.Field, row: dict[str, Any]) -> list[Any]:
    return values(field, row)


def _strict(op: str, word: str, value: Any, literal: Literal) -> bool:
    words = {
        Type.STRING: "string",
        Type.INT: "int",
        Type.DURATION: "int",
        Type.FLOAT: "double",
        Type.BOOL: "bool",
    }
    if word not in {"intrinsic", words.get(literal.type)}:
        return False
    if op in {"=~", "!~"}:
        return (re.fullmatch(str(literal.value), value) is not None) == (op == "=~")
    return bool(COMPARE[op](value, literal.value))


def _constant(expr: ast.FieldExpr) -> Literal | None:
    """The literal that an expression without fields comes to; None: it has fields, or no value."""
    if isinstance(expr, Literal):
        return expr
    if isinstance(expr, ast.Unary) and expr.op == "-" and (inner := _constant(expr.operand)) is not None:
        return Literal(-inner.value, inner.type)  # type: ignore[operator]
    if isinstance(expr, ast.Arithmetic):
        left, right = _constant(expr.left), _constant(expr.right)
        if left is not None and right is not None and {left.type, right.type} <= NUMERIC:
            value = _calculate(expr.op, left.value, right.value)
            return None if value is None else Literal(value, Type.FLOAT if isinstance(value, float) else Type.INT)
    return None


def _value(expr: ast.FieldExpr, row: dict[str, Any]) -> Any:
    match expr:
        case Literal():
            return expr.value
        case ast.Intrinsic():
            return row.get(COLUMNS[expr.name])
        case ast.Attribute():
            for scope in ["span", "resource"] if expr.scope is None else [expr.scope]:
                for word in ("", ":int", ":double", ":bool"):
                    value = row.get(f"{scope}.{expr.key}{word}")
                    if value is not None:
                        return value
            return None
        case ast.Unary() if expr.op == "-":
            value = _value(expr.operand, row)
            return -value if _family(value) == "number" else None
        case ast.Arithmetic():
            left, right = _value(expr.left, row), _value(expr.right, row)
            if _family(left) != "number" or _family(right) != "number":
                return None
            return _calculate(expr.op, left, right)
    return holds(expr, row)


def _family(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _calculate(op: str, a: Any, b: Any) -> Any:
    whole = isinstance(a, int) and isinstance(b, int)
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "^":
            return float(a) ** float(b)
    if b == 0:
        return None
    if op == "/":
        return int(a / b) if whole else a / b
    return int(math.fmod(a, b)) if whole else math.fmod(a, b)
