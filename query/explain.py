"""How a query is run, as text: what it comes to, which columns it reads and when, what can be left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from query.engine.compare import TYPE_WORDS
from query.engine.expressions import cost
from query.language import ast, text
from query.language.ast import NUMERIC, FieldExpr, Literal, Type
from query.language.check import check
from query.language.fields import entry_column, field_columns
from query.language.parse import parse
from query.language.plan import MetricsPlan, Plan, plan, plan_metrics
from query.language.walk import left_chain, walk

_BOUNDED = NUMERIC | {Type.STATUS, Type.KIND}


@dataclass(frozen=True, slots=True)
class Step:
    """One condition or value, and what it reads: columns that a source may have.

    pruned_by: the columns whose least and greatest value, without reading them, may decide it
    """

    what: str
    columns: tuple[str, ...]
    pruned_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explained:
    """One pipeline of a query. steps: in the order of evaluation in each source"""

    query: str
    steps: tuple[Step, ...]
    whole_traces: bool
    time_columns: tuple[str, ...]


def explain(query: str) -> list[Explained]:
    """One for a search; for a metrics query one for each of its functions. Raises: TraceQLError"""
    checked = check(parse(query))
    if isinstance(checked.root, ast.Pipeline):
        return [_explained(plan(checked))]
    return [_explained(part) for part in plan_metrics(checked)]


def is_metrics(query: str) -> bool:
    """Whether it makes series. Raises: TraceQLError"""
    return not isinstance(check(parse(query)).root, ast.Pipeline)


def lines(explained: Sequence[Explained]) -> Iterator[str]:
    """The explanation as lines of text, for people."""
    for part in explained:
        yield f"query         {part.query}"
        yield f"whole traces  {_WHOLE[part.whole_traces]}"
        yield f"time range    a source is left out by the bounds of {' and '.join(part.time_columns)}"
        yield "reads         of each source, in this order, where it has them and while spans are left"
        for number, step in enumerate(part.steps, 1):
            yield f"  {number}. {step.what}"
            yield f"     {', '.join(step.columns) or 'no column'}"
            if step.pruned_by:
                yield f"     not read where the bounds of {', '.join(step.pruned_by)} decide it"
        if not part.steps:
            yield "  nothing: every span matches"


_WHOLE = {
    True: "needed: traces whose spans lie in several sources are put together first",
    False: "not needed: each source is evaluated by itself",
}


def _explained(of: Plan | MetricsPlan) -> Explained:
    steps = list(_stage_steps(of.root))
    query = text.pipeline(of.root)
    if isinstance(of, Plan):
        return Explained(query, tuple(steps), of.whole_traces, ("trace_start_ns", "trace_duration_ns"))
    function = of.function
    steps.append(Step("the spans' times", ("start_ns",)))
    if isinstance(function, ast.Compare):
        steps += _stage_steps(function.selection)
        steps.append(Step("values of every attribute", ("all columns of attributes",)))
    else:
        steps += [_value(expr) for expr in (*((function.of,) if function.of else ()), *function.by)]
    return Explained(f"{query} | {text.function(function)}", tuple(steps), of.whole_traces, ("start_ns",))


def _stage_steps(stage: ast.Stage) -> Iterator[Step]:
    match stage:
        case ast.Filter():
            if stage.condition is not None:
                yield from _condition_steps(stage.condition)
        case ast.SpansetOp():
            first, chain = left_chain(stage, ast.SpansetOp)
            yield from _stage_steps(first)
            for node in chain:
                yield from _stage_steps(node.right)
                if node.op not in {"&&", "||"}:
                    yield Step(f"the operator {node.op}", ("nested_left", "nested_right", "nested_parent"))
        case ast.Pipeline():
            for inner in stage.stages:
                yield from _stage_steps(inner)
        case ast.ScalarFilter():
            yield from _scalar_steps(stage.left)
            yield from _scalar_steps(stage.right)
        case ast.GroupBy():
            yield _value(stage.by)
        case ast.Coalesce() | ast.Select():
            pass
        case _:
            assert_never(stage)


def _scalar_steps(node: ast.Scalar) -> Iterator[Step]:
    for part in walk(node):
        if isinstance(part, ast.Aggregate) and part.of is not None:
            yield _value(part.of)


def _condition_steps(root: FieldExpr) -> Iterator[Step]:
    """Cheap operands first, as in `evaluate`."""
    stack = [root]
    while stack:
        expr = stack.pop()
        match expr:
            case ast.Logic():
                stack += sorted(expr.operands, key=cost)[::-1]
            case ast.Unary(op="!", operand=ast.Logic() | ast.Comparison() | ast.Unary() as inner):
                stack.append(inner)
            case ast.Comparison(left=ast.Attribute() | ast.Intrinsic() as field, right=Literal() as literal):
                columns = _compared_columns(field, literal)
                bounded = literal.type in _BOUNDED and expr.op not in {"=~", "!~"} and entry_column(field) is None
                yield Step(text.expression(expr, exact=True), columns, columns if bounded else ())
            case Literal():
                pass
            case _:
                yield _value(expr)


def _compared_columns(field: ast.Field, literal: Literal) -> tuple[str, ...]:
    """Of an attribute only those of the constant's type."""
    if isinstance(field, ast.Intrinsic) or entry_column(field) is not None or literal.type is Type.NIL:
        return tuple(column for column, _ in field_columns(field))
    return tuple(column for column, word in field_columns(field) if word in TYPE_WORDS.get(literal.type, ()))


def _value(expr: FieldExpr) -> Step:
    return Step(text.expression(expr, exact=True), tuple(dict.fromkeys(_fields_columns(expr))))


def _fields_columns(expr: FieldExpr) -> Iterator[str]:
    for part in walk(expr):
        if isinstance(part, ast.Attribute | ast.Intrinsic):
            yield from (column for column, _ in field_columns(part))
