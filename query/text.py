"""Expressions and values as text: names of aggregates, groups and series in answers."""

import re
from typing import Final, assert_never

from query import ast
from query.ast import FieldExpr, Literal, Type
from query.words import KIND, STATUS

WORDS: Final = {
    Type.STATUS: {number: word for word, number in STATUS.items()},
    Type.KIND: {number: word for word, number in KIND.items()},
}
_PLAIN_KEY = re.compile(r'[^\s{}()=~!<>&|^,"]+')
_NS: Final = 10**9


def expression(expr: FieldExpr) -> str:
    """`span.a + 1`, `resource.service.name`: what compounds stand in has parentheses."""
    match expr:
        case Literal():
            return literal(expr)
        case ast.Attribute():
            quoted = expr.key.replace("\\", "\\\\").replace('"', '\\"')
            key = expr.key if _PLAIN_KEY.fullmatch(expr.key) else f'"{quoted}"'
            return f"{expr.scope or ''}.{key}"
        case ast.Intrinsic():
            return expr.name
        case ast.Unary():
            return f"{expr.op}{_operand(expr.operand)}"
        case ast.Arithmetic() | ast.Comparison():
            return f"{_operand(expr.left)} {expr.op} {_operand(expr.right)}"
        case ast.Logic():
            return f" {expr.op} ".join(map(_operand, expr.operands))
    assert_never(expr)


def aggregate(node: ast.Aggregate) -> str:
    """`count()`, `avg(duration)`."""
    return f"{node.function}({'' if node.of is None else expression(node.of)})"


def literal(node: Literal) -> str:
    """A constant as TraceQL writes it; strings in backticks."""
    value = node.value
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"`{value}`"
    if node.type in WORDS:
        return WORDS[node.type].get(int(value), str(value))
    if node.type is Type.DURATION:
        return duration(int(value))
    return repr(value).removesuffix(".0")


def duration(ns: int) -> str:
    """Nanoseconds as Go writes durations: 1m30.5s, 210.1ms, 670µs, 0s."""
    if ns == 0:
        return "0s"
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if ns < size * 1000:
            return f"{sign}{_decimal(ns, size)}{unit}"
    minutes, rest = divmod(ns, 60 * _NS)
    hours, minutes = divmod(minutes, 60)
    long = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{long}{_decimal(rest, _NS)}s"


def _decimal(number: int, size: int) -> str:
    """A quotient in decimals, without a fraction's noughts at the end."""
    whole, rest = divmod(number, size)
    return f"{whole}.{str(rest).zfill(len(str(size)) - 1)}".rstrip("0").rstrip(".") if rest else str(whole)


def _operand(expr: FieldExpr) -> str:
    text = expression(expr)
    return text if isinstance(expr, Literal | ast.Attribute | ast.Intrinsic) else f"({text})"
