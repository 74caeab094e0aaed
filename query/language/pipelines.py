"""Outside of braces: what the operators join, and in what order stages may follow each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from query.language import ast
from query.language.ast import At, Type
from query.language.constants import calculate
from query.language.faults import fault
from query.language.functions import RankingCall
from query.language.walk import fold, walk

SPANSET_OPS: Final = frozenset(
    "&& || > >> < << ~ !> !>> !< !<< !~ &> &>> &< &<< &~".split()  # noqa: SIM905 - easier to read
)
COMPARISONS: Final = frozenset({"=", "!=", "<", "<=", ">", ">="})
MATH: Final = frozenset({"+", "-", "*", "/"})

_MetricsCall = ast.MetricsFunction | ast.Compare | RankingCall


@dataclass(frozen=True, slots=True)
class Compared:
    """`rate() > 10` or `topk(5) > 10` before it is known which spans it is about."""

    call: Any
    op: str
    value: ast.Literal
    at: At


Operand = tuple[Any, bool]  # a node, and whether it stands in parentheses


def joined(operator: tuple[str, At], left: Operand, right: Operand, at: At) -> Any:
    """The node of `left operator right`. Raises: Fault where the operator does not join such things."""
    (op, op_at), (a, b) = operator, (left[0], right[0])
    if isinstance(a, ast.SpansetExpr) and isinstance(b, ast.SpansetExpr):
        return _spansets(operator, left, right, at)
    if isinstance(a, ast.Scalar) and isinstance(b, ast.Scalar):
        return _scalars(operator, a, b, at)
    if op in COMPARISONS and isinstance(a, ast.Metrics | Compared | _MetricsCall) and isinstance(b, ast.Scalar):
        value = _series_bound(b)
        return ast.MetricsFilter(a, op, value, at) if isinstance(a, ast.Metrics) else Compared(a, op, value, at)
    if isinstance(a, _MetricsCall) or isinstance(b, _MetricsCall):
        raise fault(f"{op} needs the whole metrics query in parentheses", op_at, "Write ({ } | rate()) * 100")
    sides = [isinstance(side, ast.Metrics) for side in (a, b)]
    if op in MATH and any(sides) and all(isinstance(side, ast.Metrics | ast.Scalar) for side in (a, b)):
        _wrapped_series(left, right)
        return ast.MetricsMath(op, _series_or_number(a), _series_or_number(b), at)
    raise fault(f"{op} does not join {_kind(a)} and {_kind(b)}", op_at, _HINTS.get(op, ""))


_HINTS: Final = {
    "&&": "&& joins filters: { … } && { … }; filters and counts follow each other: { … } | count() > 2",
    "||": "|| joins filters: { … } || { … }",
    "%": "Between series + - * / can be used.",
    "^": "Between series + - * / can be used.",
}


def negated(node: Any, at: At) -> ast.Scalar:
    """`-x` outside of braces: of numbers only."""
    if isinstance(node, ast.Literal) and node.type in ast.NUMERIC and isinstance(node.value, int | float):
        return ast.Literal(-node.value, node.type, at)
    if isinstance(node, ast.Aggregate | ast.ScalarOp):
        return ast.ScalarOp("-", ast.Literal(0, Type.INT, at), node, at)
    raise fault(f"- cannot stand before {_kind(node)}", at, "")


def make_pipeline(stages: Sequence[Operand], at: At) -> Any:
    """Pipeline or Metrics. Raises: Fault where a stage cannot stand where it does."""
    spans: list[ast.Stage] = []
    series: Any = None
    for node, _wrapped in stages:
        if isinstance(node, ast.Metrics):
            if spans or series is not None:
                raise fault("a metrics query starts with a filter", node.at, "")
            series = node
        elif isinstance(node, _MetricsCall | Compared):
            series = _attach(node, spans, series, at)
        elif series is not None:
            raise fault(f"{_kind(node)} cannot follow a metrics function", node.at, "Only topk and bottomk can.")
        elif isinstance(node, ast.Scalar):
            hint = "Compare it with a number: | count() > 2"
            raise fault("a stage must be a filter, not a number", node.at, hint)
        elif isinstance(node, ast.Coalesce) and not spans:
            raise fault("coalesce() has no spansets to join", node.at, "Put { … } | by(…) | before it.")
        else:
            spans.append(node)
    return ast.Pipeline(tuple(spans), at) if series is None else series


def _attach(node: Any, spans: list[ast.Stage], series: Any, at: At) -> ast.Metrics:
    compared: list[Compared] = []
    while isinstance(node, Compared):
        compared.append(node)
        node = node.call
    made = _attach_call(node, spans, series, at)
    for one in reversed(compared):
        made = ast.MetricsFilter(made, one.op, one.value, one.at)
    return made


def _attach_call(node: Any, spans: list[ast.Stage], series: Any, at: At) -> ast.Metrics:
    if isinstance(node, RankingCall):
        if series is None:
            raise fault(f"{node.function} needs series", node.at, "Write { } | rate() by (name) | topk(10)")
        return ast.Ranking(series, node.function, node.n, node.at)
    if series is not None:
        raise fault("a query has one metrics function", node.at, "Only topk and bottomk can follow it.")
    if not spans:
        raise fault("a metrics function needs spans", node.at, "Put a filter before it: { } | rate()")
    return ast.MetricsQuery(ast.Pipeline(tuple(spans), at), node, at)


def _spansets(operator: tuple[str, At], left: Operand, right: Operand, at: At) -> ast.SpansetOp:
    op, op_at = operator
    if op not in SPANSET_OPS:
        raise fault(f"{op} does not join spansets", op_at, "Between spansets write && || > >> < << or ~.")
    for node, other_wrapped in ((left[0], right[1]), (right[0], left[1])):
        if isinstance(node, ast.Pipeline) and not other_wrapped:
            hint = "Put the other side into parentheses, too."
            raise fault(f"{op} joins a pipeline only with parentheses on both sides", op_at, hint)
    return ast.SpansetOp(op, left[0], right[0], at)


def _scalars(operator: tuple[str, At], left: ast.Scalar, right: ast.Scalar, at: At) -> Any:
    op, op_at = operator
    for side in (left, right):
        if isinstance(side, ast.Literal) and side.type not in ast.NUMERIC:
            raise fault("outside of braces only numbers can be compared", side.at, 'Write { name = "x" }.')
    if op not in COMPARISONS:
        if op not in {"+", "-", "*", "/", "%", "^"}:
            raise fault(f"{op} does not join numbers", op_at, "")
        return ast.ScalarOp(op, left, right, at)
    if not has_aggregate(left):
        if has_aggregate(right):
            raise fault("the aggregate stands on the left", at, "Write count() > 2, not 2 < count().")
        raise fault("a comparison of two constants is no stage", at, "Compare an aggregate: | count() > 2")
    return ast.ScalarFilter(op, left, right, at)


def has_aggregate(node: ast.Scalar) -> bool:
    return any(isinstance(part, ast.Aggregate) for part in walk(node))


def _wrapped_series(left: Operand, right: Operand) -> None:
    for node, wrapped in (left, right):
        if isinstance(node, ast.Metrics) and not (wrapped or isinstance(node, ast.MetricsMath)):
            raise fault("series in arithmetic stand in parentheses", node.at, "Write ({ } | rate()) * 100")


def _series_or_number(node: Any) -> Any:
    if not isinstance(node, ast.Scalar):
        return node
    if _has_duration(node):
        raise fault("series cannot be combined with a duration", node.at, "Write a number of seconds.")
    return constant(node)


def _series_bound(node: ast.Scalar) -> ast.Literal:
    if _has_duration(node) and not isinstance(node, ast.Literal):
        raise fault("series cannot be compared with a sum of durations", node.at, "Write one duration: 20s")
    return constant(node)


def _has_duration(node: ast.Scalar) -> bool:
    return any(isinstance(part, ast.Literal) and part.type is Type.DURATION for part in walk(node))


def constant(node: ast.Scalar) -> ast.Literal:
    """The number that an expression without aggregates comes to."""
    return fold(node, _constant)


def _constant(node: ast.Scalar, operands: Sequence[ast.Literal]) -> ast.Literal:
    if isinstance(node, ast.Literal):
        if node.type not in ast.NUMERIC:
            raise fault("a number is wanted here", node.at, "")
        return node
    if isinstance(node, ast.Aggregate):
        raise fault(f"{node.function} cannot be combined with series", node.at, "")
    value = calculate(node.op, *operands, division_is_exact=True)
    if value is None:
        raise fault("this has no value", node.at, "Is there a division by 0?")
    return ast.Literal(value.value, value.type, node.at)


def _kind(node: Any) -> str:
    match node:
        case ast.Filter() | ast.SpansetOp():
            return "a spanset"
        case ast.Pipeline():
            return "a pipeline"
        case ast.Literal() | ast.ScalarOp():
            return "a number"
        case ast.Aggregate():
            return f"{node.function}(…)"
        case ast.ScalarFilter():
            return "a filter of spansets"
        case ast.GroupBy() | ast.Coalesce() | ast.Select():
            return f"a stage {type(node).__name__.lower()}"
        case _:
            return "series"
