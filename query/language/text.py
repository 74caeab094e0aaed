"""Expressions and values as text: names of aggregates, groups and series in answers."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Final, assert_never

from query.language import ast
from query.language.ast import FieldExpr, Literal, Type
from query.language.walk import fold, left_chain
from query.language.words import KIND, STATUS
from tables.units import NS_PER_MS, NS_PER_S

WORDS: Final = {
    Type.STATUS: {number: word for word, number in STATUS.items()},
    Type.KIND: {number: word for word, number in KIND.items()},
}
_PLAIN_KEY = re.compile(r'[^\s{}()=~!<>&|^,"]+')


def expression(expr: FieldExpr, *, exact: bool = False) -> str:
    """`span.a + 1`, `resource.service.name`: what compounds stand in has parentheses.

    exact: as TraceQL that means the same; otherwise as labels of answers have it, in which 1.0 is 1
    """
    rendered: str = fold(expr, partial(_expression, exact=exact))
    return rendered


def _expression(expr: FieldExpr, operands: Sequence[str], *, exact: bool) -> str:
    """In: the texts of the operands."""
    match expr:
        case Literal():
            return literal(expr, exact=exact)
        case ast.Attribute():
            key = expr.key if _PLAIN_KEY.fullmatch(expr.key) else quoted(expr.key)
            return f"{expr.scope or ''}.{key}"
        case ast.Intrinsic():
            return expr.name
        case ast.Unary():
            return f"{expr.op}{_wrapped(expr.operand, operands[0])}"
        case ast.Arithmetic() | ast.Comparison():
            return f"{_wrapped(expr.left, operands[0])} {expr.op} {_wrapped(expr.right, operands[1])}"
        case ast.Logic():
            return f" {expr.op} ".join(map(_wrapped, expr.operands, operands))
    assert_never(expr)


def aggregate(node: ast.Aggregate, *, exact: bool = False) -> str:
    """An aggregate as answers label it: `count()`, `avg(duration)`."""
    return f"{node.function}({'' if node.of is None else expression(node.of, exact=exact)})"


def scalar(node: ast.Scalar) -> str:
    """Arithmetic with aggregates as TraceQL: `count() * 2`."""
    return fold(node, _scalar)


def _scalar(node: ast.Scalar, operands: Sequence[str]) -> str:
    match node:
        case Literal():
            return literal(node, exact=True)
        case ast.Aggregate():
            return aggregate(node, exact=True)
        case ast.ScalarOp():
            left, right = (
                f"({rendered})" if isinstance(side, ast.ScalarOp) else rendered
                for side, rendered in zip((node.left, node.right), operands, strict=True)
            )
            return f"{left} {node.op} {right}"
    assert_never(node)


def pipeline(node: ast.Pipeline) -> str:
    """`{ status = error } | count() > 2`: whole stages."""
    return " | ".join(map(stage, node.stages))


def stage(node: ast.Stage) -> str:
    match node:
        case ast.Filter():
            return "{ }" if node.condition is None else f"{{ {expression(node.condition, exact=True)} }}"
        case ast.SpansetOp():
            first, chain = left_chain(node, ast.SpansetOp)
            rendered = _operand(first)
            for one in chain:
                rendered = f"{rendered if one is chain[0] else f'({rendered})'} {one.op} {_operand(one.right)}"
            return rendered
        case ast.Pipeline():
            return pipeline(node)
        case ast.ScalarFilter():
            return f"{scalar(node.left)} {node.op} {scalar(node.right)}"
        case ast.GroupBy():
            return f"by({expression(node.by, exact=True)})"
        case ast.Coalesce():
            return "coalesce()"
        case ast.Select():
            return f"select({', '.join(map(expression, node.fields))})"
    assert_never(node)


def function(node: ast.MetricsFunction | ast.Compare) -> str:
    """A metrics function as TraceQL: `quantile_over_time(duration, 0.9) by (name)`."""
    if isinstance(node, ast.Compare):
        times = f", {node.start_ns}, {node.end_ns}" if node.end_ns else ""
        return f"compare({stage(node.selection)}, {node.top_n}{times})"
    of = [] if node.of is None else [expression(node.of, exact=True)]
    by = f" by ({', '.join(expression(part, exact=True) for part in node.by)})" if node.by else ""
    return f"{node.name}({', '.join([*of, *map(str, node.numbers)])}){by}"


def literal(node: Literal, *, exact: bool = False) -> str:
    """A constant as TraceQL writes it; strings in backticks, if exact only where that is right."""
    value = node.value
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value) if exact and "`" in value else f"`{value}`"
    if node.type in WORDS:
        return WORDS[node.type].get(int(value), str(value))
    if node.type is Type.DURATION:
        return duration(int(value))
    if exact:
        return "minInt" if value == -(2**63) and isinstance(value, int) else repr(value)
    return repr(value).removesuffix(".0")


def quoted(value: str) -> str:
    """A string, or a part of an attribute's name, in double quotes."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def duration(ns: int) -> str:
    """Nanoseconds as Go writes durations: 1m30.5s, 210.1ms, 670µs, 0s."""
    if ns == 0:
        return "0s"
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", NS_PER_MS)):
        if ns < size * 1000:
            return f"{sign}{_decimal(ns, size)}{unit}"
    minutes, rest = divmod(ns, 60 * NS_PER_S)
    hours, minutes = divmod(minutes, 60)
    long = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{long}{_decimal(rest, NS_PER_S)}s"


def _decimal(number: int, size: int) -> str:
    """A quotient in decimals, without a fraction's zeros at the end."""
    whole, rest = divmod(number, size)
    return f"{whole}.{str(rest).zfill(len(str(size)) - 1)}".rstrip("0").rstrip(".") if rest else str(whole)


def _wrapped(expr: FieldExpr, rendered: str) -> str:
    return rendered if isinstance(expr, Literal | ast.Attribute | ast.Intrinsic) else f"({rendered})"


def _operand(node: ast.SpansetExpr) -> str:
    return stage(node) if isinstance(node, ast.Filter) else f"({stage(node)})"
