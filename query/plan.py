"""What a checked query needs: which fields, whether whole traces, what its answer shows."""

from dataclasses import dataclass, replace
from typing import Final, NoReturn, assert_never

from query import ast
from query.ast import Comparison, Field, FieldExpr, Literal, Query, Type
from query.errors import UnsupportedError
from query.reader import field_columns
from query.simplify import simplify

_FIELDS: Final = (ast.Attribute, ast.Intrinsic)

# A span's trace, or its place in it: right only where all of the trace's spans are together.
_WHOLE_TRACE: Final = frozenset(
    {
        "rootName",
        "rootServiceName",
        "traceDuration",
        "nestedSetLeft",
        "nestedSetRight",
        "nestedSetParent",
        "span:childCount",
    }
)
# Not among a span's attributes in an answer: it has them anyway, or (root, trace) its trace has.
_NOT_SHOWN: Final = frozenset({"duration", "rootName", "rootServiceName", "traceDuration", "span:id", "trace:id"})


@dataclass(frozen=True, slots=True)
class Shown:
    """A field among the attributes of matched spans.

    conditions: it is shown where its value satisfies one of them; empty: always
    or_nil: where it has no value, the word nil is shown
    """

    field: Field
    conditions: tuple[Comparison, ...]
    or_nil: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """A query ready to run.

    columns: all that the evaluation may read of a source, where the source has them
    whole_traces: a trace whose spans lie in several sources must be put together first
    """

    root: ast.Pipeline
    shown: tuple[Shown, ...]
    columns: frozenset[str]
    whole_traces: bool


def plan(query: Query) -> Plan:
    """Raises: UnsupportedError for what is not evaluated yet, never a silently empty answer."""
    planner = _Planner(query.text)
    if not isinstance(query.root, ast.Pipeline):
        planner.unsupported("a metrics function", query.root.at, "Search takes filters: { … }")
    # Hints ask for less than what is answered anyway: the true newest, without sampling.
    root = ast.Pipeline(tuple(planner.stage(stage) for stage in query.root.stages), query.root.at)
    columns = {column for field in planner.fields for column, _ in field_columns(field)}
    return Plan(root, tuple(planner.shown.values()), frozenset(columns), planner.whole_traces)


class _Planner:
    """Goes through the tree once: simplifies it and collects what the plan needs."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.fields: dict[Field, None] = {}
        self.shown: dict[Field, Shown] = {}
        self.whole_traces = False

    def unsupported(self, what: str, at: ast.At, hint: str = "") -> NoReturn:
        raise UnsupportedError(f"{what} is not supported yet", self.text, at.start, at.end, hint)

    def stage(self, stage: ast.Stage) -> ast.Filter | ast.SpansetOp | ast.Pipeline | ast.Select:
        match stage:
            case ast.Filter():
                return stage if stage.condition is None else self.filter(stage.condition, stage.at)
            case ast.SpansetOp():
                if stage.op not in {"&&", "||"}:
                    self.unsupported(f"the structural operator {stage.op}", stage.at)
                self.whole_traces |= stage.op == "&&"
                return replace(stage, left=self.operand(stage.left), right=self.operand(stage.right))
            case ast.Pipeline():
                return replace(stage, stages=tuple(self.stage(inner) for inner in stage.stages))
            case ast.Select():
                for field in stage.fields:
                    self.use(field)
                    self.show(Shown(field, (), or_nil=True))
                return stage
            case ast.ScalarFilter():
                self.unsupported("a filter by an aggregate", stage.at)
            case ast.GroupBy():
                self.unsupported("by()", stage.at)
            case ast.Coalesce():
                self.unsupported("coalesce()", stage.at)
        assert_never(stage)

    def operand(self, node: ast.SpansetExpr) -> ast.SpansetExpr:
        planned = self.stage(node)
        assert not isinstance(planned, ast.Select)
        return planned

    def filter(self, condition: FieldExpr, at: ast.At) -> ast.Filter:
        simple = simplify(condition)
        self.expression(simple)
        return ast.Filter(simple, at)

    def expression(self, expr: FieldExpr) -> None:
        match expr:
            case Literal():
                pass
            case ast.Attribute() | ast.Intrinsic():
                self.use(expr)
                self.show(Shown(expr, (), or_nil=False))
            case ast.Unary():
                self.expression(expr.operand)
            case ast.Comparison(left=ast.Attribute() | ast.Intrinsic() as field, right=Literal() as literal):
                self.use(field)
                is_nil = literal.type is Type.NIL
                self.show(Shown(field, () if is_nil else (expr,), or_nil=is_nil and expr.op == "="))
            case ast.Arithmetic() | ast.Comparison():
                if isinstance(expr, ast.Comparison) and expr.op in {"=~", "!~"}:
                    self.unsupported("a regular expression on a computed value", expr.at)
                self.expression(expr.left)
                self.expression(expr.right)
            case ast.Logic():
                for operand in expr.operands:
                    self.expression(operand)
            case _:
                assert_never(expr)

    def use(self, field: Field) -> None:
        if isinstance(field, ast.Attribute):
            if field.scope in {"event", "link"}:
                self.unsupported(f"the scope {field.scope}", field.at)
        else:
            if field.name.startswith(("event:", "link:")):
                self.unsupported(field.name, field.at)
            self.whole_traces |= field.name in _WHOLE_TRACE
        self.fields[field] = None

    def show(self, new: Shown) -> None:
        """Once always shown, always shown; otherwise under any of its conditions."""
        if isinstance(new.field, ast.Intrinsic) and new.field.name in _NOT_SHOWN:
            return
        old = self.shown.get(new.field)
        if old is not None:
            always = not old.conditions or not new.conditions
            conditions = () if always else old.conditions + new.conditions
            new = Shown(new.field, conditions, old.or_nil or new.or_nil)
        self.shown[new.field] = new
