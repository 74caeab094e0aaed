"""Calls of TraceQL's functions: name and arguments → node."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from query.errors import did_you_mean
from query.functions.aggregates import AGGREGATES
from query.functions.metrics import METRICS_FUNCTIONS
from query.functions.signatures import Signature
from query.language import ast
from query.language.ast import At, Type
from query.language.faults import Fault, fault
from query.language.words import ALIASES, CONSTANTS, INTRINSICS

_COMPARE_TOP_N: Final = 10


@dataclass(frozen=True, slots=True)
class RankingCall:
    """`topk(n)` before it is known of what."""

    function: str
    n: int
    at: At


def call(name: str, arguments: Sequence[Any], at: At) -> Any:
    """Aggregate, Coalesce, Select, MetricsFunction, Compare or RankingCall."""
    name = str(name)
    if name in AGGREGATES:
        of, _ = _measured(name, AGGREGATES[name].arguments, arguments, at)
        return ast.Aggregate(name, of, at)
    if name in METRICS_FUNCTIONS:
        of, fractions = _measured(name, METRICS_FUNCTIONS[name].arguments, arguments, at)
        return ast.MetricsFunction(name, of, fractions, (), at)
    if name in _SYNTAX:
        return _SYNTAX[name](name, arguments, at)
    hint = f"{did_you_mean(name, list(FUNCTIONS))}Functions are {', '.join(FUNCTIONS)}."
    raise fault(f"unknown function {name}", At(at.start, at.start + len(name)), hint)


def _measured(
    name: str, takes: Signature, arguments: Sequence[Any], at: At
) -> tuple[ast.FieldExpr | None, tuple[float, ...]]:
    """What the function measures, and the numbers behind it."""
    if takes.fractions:
        return _quantiles(name, arguments, at)
    _count(name, arguments, 1 if takes.measures else 0, at)
    return (_field(name, arguments[0], at) if takes.measures else None), ()


def grouped(function: Any, by: Sequence[Any], at: At) -> ast.MetricsFunction:
    """The metrics function with its groups: `rate() by (a, b)`."""
    if not isinstance(function, ast.MetricsFunction):
        raise fault("only a metrics function takes by", at, "Group spansets in a stage: { } | by(name)")
    return replace(function, by=tuple(_field("by", part, at) for part in by), at=at)


def group_by(by: Sequence[Any], at: At) -> ast.GroupBy:
    """The stage `by(a)`, which splits spansets."""
    _count("by", by, 1, at)
    return ast.GroupBy(_field("by", by[0], at), at)


def unknown_field(name: str, at: At) -> Fault:
    near = did_you_mean(name, [*INTRINSICS, *ALIASES, *CONSTANTS])
    return fault(f"unknown field {name}", at, f"{near}For an attribute write .x, span.x or resource.x.")


def stray_word(word: str, at: At) -> Fault:
    """A name where a filter or a function's call should be."""
    if word in FUNCTIONS:
        return fault(f"{word} is a function", at, f"Write {word}() with its arguments.")
    hint = "A query is made of filters, { duration > 1s }, and stages, | count() > 2"
    if word in CONSTANTS or word in INTRINSICS or word in ALIASES:
        return fault(f"{word} cannot stand outside of braces", at, f"{hint}; numbers are compared with numbers.")
    return fault(f"unexpected {word}", at, f"{hint}.")


def _count(name: str, arguments: Sequence[Any], count: int, at: At) -> None:
    if len(arguments) != count:
        wanted = f"{count} argument{'s' if count != 1 else ''}" if count else "no arguments"
        raise fault(f"{name} takes {wanted}, not {len(arguments)}", at)


def _field(name: str, node: Any, at: At) -> ast.FieldExpr:
    if isinstance(node, ast.Filter):
        raise fault(f"{name} takes no filter", at, "Put the filter before it: { … } | …")
    expression: ast.FieldExpr = node
    return expression


def _whole_number(name: str, node: Any, at: At) -> int:
    if isinstance(node, ast.Literal) and node.type is Type.INT and isinstance(node.value, int) and node.value >= 0:
        return node.value
    raise fault(f"{name} takes whole numbers", at, f"Write for instance {name}(10).")


def _select(_name: str, arguments: Sequence[Any], at: At) -> ast.Select:
    if not arguments:
        raise fault("select needs at least one field", at, "Write for instance select(span.http.route).")
    for node in arguments:
        if not isinstance(node, ast.Field):
            raise fault("select takes fields only", node.at, "Write names like span.http.route, or duration.")
    return ast.Select(tuple(arguments), at)


def _quantiles(name: str, arguments: Sequence[Any], at: At) -> tuple[ast.FieldExpr, tuple[float, ...]]:
    if len(arguments) < 2:
        raise fault(f"{name} takes a field and quantiles", at, f"{name}(duration, .9)")
    numbers = []
    for node in arguments[1:]:
        value = _fraction(node)
        if value is None:
            raise fault("a quantile is a number from 0 to 1", node.at, f"{name}(duration, 0.9)")
        numbers.append(value)
    return _field(name, arguments[0], at), tuple(numbers)


def _fraction(node: Any) -> float | None:
    """A number from 0 to 1. `.9` without the zero is an attribute for the grammar; here it can only be a number."""
    value: object = node.value if isinstance(node, ast.Literal) else None
    if isinstance(node, ast.Attribute) and node.scope is None and node.key.isdecimal():
        value = float(f"0.{node.key}")
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    return None


def _compare(_name: str, arguments: Sequence[Any], at: At) -> ast.Compare:
    hint = "Write compare({ status = error }), or compare({ … }, 10, start, end)."
    if len(arguments) not in {1, 2, 4} or not isinstance(arguments[0], ast.Filter):
        raise fault("compare takes a filter, a number of values and two times", at, hint)
    numbers = [_whole_number("compare", node, at) for node in arguments[1:]]
    top_n = numbers[0] if numbers else _COMPARE_TOP_N
    start_ns, end_ns = numbers[1:] if len(numbers) == 3 else (0, 0)
    return ast.Compare(arguments[0], top_n, start_ns, end_ns, at)


def _coalesce(name: str, arguments: Sequence[Any], at: At) -> ast.Coalesce:
    _count(name, arguments, 0, at)
    return ast.Coalesce(at)


def _ranking(name: str, arguments: Sequence[Any], at: At) -> RankingCall:
    _count(name, arguments, 1, at)
    return RankingCall(name, _whole_number(name, arguments[0], at), at)


# What is written like a function, and is syntax of its own: nodes of the tree that the engine knows one by one.
_SYNTAX: Final[dict[str, Callable[[str, Sequence[Any], At], Any]]] = {
    "coalesce": _coalesce,
    "select": _select,
    "compare": _compare,
    "topk": _ranking,
    "bottomk": _ranking,
}
FUNCTIONS: Final = (
    *AGGREGATES,
    "by",
    *(name for name in _SYNTAX if name in {"coalesce", "select"}),
    *METRICS_FUNCTIONS,
    *(name for name in _SYNTAX if name not in {"coalesce", "select"}),
)
