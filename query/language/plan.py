"""What a checked query needs: which fields, whether whole traces, what its answer shows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NoReturn, assert_never

from query.errors import UnsupportedError
from query.language import ast
from query.language.ast import Comparison, Field, FieldExpr, Literal, Query, Type
from query.language.constants import calculate
from query.language.fields import entry_column, field_columns
from query.language.simplify import simplify
from query.language.walk import children, fold, left_chain, walk

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
ALTERNATIONS_MAX: Final = 50
# Not among a span's attributes in an answer: it has them anyway, or (root, trace) its trace has.
_NOT_SHOWN: Final = frozenset({"duration", "rootName", "rootServiceName", "traceDuration", "span:id", "trace:id"})


@dataclass(frozen=True, slots=True)
class Projection:
    """A field that answers show among the attributes of matched spans.

    conditions: it is shown where its value satisfies one of them; empty: always
    or_nil: where it has no value, the word nil is shown
    """

    field: Field
    conditions: tuple[Comparison, ...]
    or_nil: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that may hold the field's values."""
        return tuple(column for column, _ in field_columns(self.field))


@dataclass(frozen=True, slots=True)
class Plan:
    """A query ready to run.

    columns: all that the evaluation may read of a source, where the source has them
    whole_traces: a trace whose spans lie in several sources must be put together first
    """

    root: ast.Pipeline
    projections: tuple[Projection, ...]
    columns: frozenset[str]
    whole_traces: bool

    @property
    def by_spans(self) -> bool:
        """Whether each span matches or not by what it is itself, wherever it lies."""
        return not self.whole_traces and all(isinstance(stage, ast.Filter | ast.Select) for stage in self.root.stages)


@dataclass(frozen=True, slots=True)
class MetricsPlan:
    """One metrics function ready to run; fields as those of Plan."""

    root: ast.Pipeline
    function: ast.MetricsFunction | ast.Compare
    columns: frozenset[str]
    whole_traces: bool


def plan(query: Query) -> Plan:
    """Of a metrics query its spans, as Tempo answers it in a search.

    Raises: UnsupportedError for what is not evaluated, never a silently empty answer
    """
    planner = _Planner(query.text)
    # Hints ask for less than what is answered anyway: the true newest, without sampling.
    root = planner.pipeline(_spans(query.root))
    return Plan(root, tuple(planner.projections.values()), planner.all_columns(), planner.whole_traces)


def plan_metrics(query: Query) -> "tuple[MetricsPlan, ...]":
    """One plan for each metrics function of the query, from left to right. In: a checked metrics query"""
    assert not isinstance(query.root, ast.Pipeline)
    return tuple(_plan_function(leaf, query.text) for leaf in metrics_functions(query.root))


def metrics_functions(node: ast.Metrics | Literal) -> tuple[ast.MetricsQuery, ...]:
    """The parts of a metrics query that read spans, from left to right."""
    match node:
        case Literal():
            return ()
        case ast.MetricsQuery():
            return (node,)
        case ast.Ranking() | ast.MetricsFilter():
            return metrics_functions(left_chain(node, ast.CHOICES)[0])
        case ast.MetricsMath():
            first, chain = left_chain(node, ast.MetricsMath)
            sides = (first, *(math.right for math in chain))
            return tuple(function for side in sides for function in metrics_functions(side))
    assert_never(node)


def _plan_function(node: ast.MetricsQuery, text: str) -> "MetricsPlan":
    planner = _Planner(text)
    root, function = planner.pipeline(node.spans), node.function
    if isinstance(function, ast.Compare):
        selection = planner.stage(function.selection)
        assert isinstance(selection, ast.Filter)
        function = replace(function, selection=selection)
        # What it compares are all attributes: of stitched traces those must be there, too.
        planner.whole_traces = True
    else:
        for expr in (*function.by, *(() if function.of is None else (function.of,))):
            planner.expression(expr)
    return MetricsPlan(root, function, planner.all_columns(), planner.whole_traces)


def _spans(root: ast.Pipeline | ast.Metrics | Literal) -> ast.Pipeline:
    """Of several series those of the first that there are."""
    match root:
        case ast.Pipeline():
            return root
        case ast.MetricsQuery():
            return root.spans
        case ast.Ranking() | ast.MetricsFilter():
            return _spans(left_chain(root, ast.CHOICES)[0])
        case ast.MetricsMath():
            first, chain = left_chain(root, ast.MetricsMath)
            return _spans(chain[0].right if isinstance(first, Literal) else first)
        case Literal():
            raise AssertionError("numbers alone are no query")
    assert_never(root)


def _is(field: Field, *, value: bool) -> Comparison:
    return Comparison("=", field, Literal(value, Type.BOOL))


def _asked(condition: FieldExpr) -> FieldExpr:
    """`event.a` asks for an event whose `a` is true: that one is shown, not the first that has it."""
    if isinstance(condition, ast.Attribute) and entry_column(condition) is not None:
        return _is(condition, value=True)
    return condition


class _Planner:
    """Goes through the tree once: simplifies it and collects what the plan needs."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.fields: dict[Field, None] = {}
        self.projections: dict[Field, Projection] = {}
        self.columns: set[str] = set()
        self.whole_traces = False

    def all_columns(self) -> frozenset[str]:
        return frozenset(self.columns | {column for field in self.fields for column, _ in field_columns(field)})

    def unsupported(self, what: str, at: ast.At, hint: str = "") -> NoReturn:
        raise UnsupportedError(f"{what} is not supported yet", self.text, at.start, at.end, hint)

    def stage(self, stage: ast.Stage) -> ast.Stage:
        match stage:
            case ast.Filter():
                return stage if stage.condition is None else self.filter(stage.condition, stage.at)
            case ast.SpansetOp():
                first, chain = left_chain(stage, ast.SpansetOp)
                left = self.operand(first)
                for node in chain:
                    self.whole_traces |= node.op != "||"
                    if node.op not in {"&&", "||"}:
                        self.columns |= {"nested_left", "nested_right", "nested_parent"}
                    left = replace(node, left=left, right=self.operand(node.right))
                return left
            case ast.Pipeline():
                return self.pipeline(stage)
            case ast.Select():
                for field in stage.fields:
                    self.use(field)
                    # Without a scope it may be anybody's: what a span lacks is not said.
                    scoped = isinstance(field, ast.Intrinsic) or field.scope is not None
                    self.project(Projection(field, (), or_nil=scoped))
                return stage
            case ast.ScalarFilter():
                self.whole_traces = True
                return replace(stage, left=self.scalar(stage.left), right=self.scalar(stage.right))
            case ast.GroupBy():
                self.whole_traces = True
                # As it was written: its text is part of the answer.
                self.expression(stage.by)
                return stage
            case ast.Coalesce():
                return stage
        assert_never(stage)

    def pipeline(self, node: ast.Pipeline) -> ast.Pipeline:
        return replace(node, stages=tuple(map(self.stage, node.stages)))

    def scalar(self, node: ast.Scalar) -> ast.Scalar:
        """Arithmetic between constants is done here."""
        return fold(node, self._scalar)

    def _scalar(self, node: ast.Scalar, operands: Sequence[ast.Scalar]) -> ast.Scalar:
        match node:
            case ast.Literal():
                pass
            case ast.Aggregate():
                if node.of is not None:
                    self.expression(node.of)
            case ast.ScalarOp():
                left, right = operands
                if isinstance(left, Literal) and isinstance(right, Literal):
                    return calculate(node.op, left, right) or node
                return replace(node, left=left, right=right)
            case _:
                assert_never(node)
        return node

    def operand(self, node: ast.SpansetExpr) -> ast.SpansetExpr:
        planned = self.stage(node)
        assert isinstance(planned, ast.SpansetExpr)
        return planned

    def filter(self, condition: FieldExpr, at: ast.At) -> ast.Filter:
        simple = simplify(condition)
        self.alternations(simple, at)
        self.expression(_asked(simple))
        return ast.Filter(simple, at)

    def expression(self, root: FieldExpr) -> None:
        """Collects the fields of an expression. Below a `!` a condition does not hold, and its field is shown."""
        stack: list[tuple[FieldExpr, bool]] = [(root, False)]
        while stack:
            expr, below_not = stack.pop()
            match expr:
                case Literal():
                    pass
                case ast.Attribute() | ast.Intrinsic():
                    self.use(expr)
                    self.project(Projection(expr, (), or_nil=False))
                case ast.Comparison(left=ast.Attribute() | ast.Intrinsic() as field, right=Literal() as literal):
                    self.use(field)
                    is_nil = literal.type is Type.NIL
                    always = is_nil or below_not
                    or_nil = is_nil and expr.op == "=" and not below_not
                    self.project(Projection(field, () if always else (expr,), or_nil))
                case ast.Unary(op="!", operand=ast.Attribute() as field) if not below_not:
                    self.use(field)
                    self.project(Projection(field, (_is(field, value=False),), or_nil=False))
                case ast.Comparison(op="=~" | "!~"):
                    self.unsupported("a regular expression on a computed value", expr.at)
                case ast.Unary() | ast.Arithmetic() | ast.Comparison() | ast.Logic():
                    inside = below_not or (isinstance(expr, ast.Unary) and expr.op == "!")
                    operands = map(_asked, children(expr)) if isinstance(expr, ast.Logic) else children(expr)
                    stack.extend((operand, inside) for operand in reversed([*operands]))
                case _:
                    assert_never(expr)

    def alternations(self, condition: FieldExpr, at: ast.At) -> None:
        """Raises: UnsupportedError where too much would have to be known of one event together"""
        _, chain = left_chain(condition, ast.Logic)
        if len(chain) <= ALTERNATIONS_MAX:
            return
        if any(isinstance(node, ast.Field) and entry_column(node) is not None for node in walk(condition)):
            what = f"a filter on events or links that alternates && and || more than {ALTERNATIONS_MAX} times"
            self.unsupported(what, at, "Put parentheses around what belongs together, or write several filters.")

    def use(self, field: Field) -> None:
        if isinstance(field, ast.Intrinsic):
            self.whole_traces |= field.name in _WHOLE_TRACE
        self.fields[field] = None

    def project(self, new: Projection) -> None:
        """Once always shown, always shown; otherwise under any of its conditions."""
        if isinstance(new.field, ast.Intrinsic) and new.field.name in _NOT_SHOWN:
            return
        old = self.projections.get(new.field)
        if old is not None:
            always = not old.conditions or not new.conditions
            conditions = () if always else old.conditions + new.conditions
            new = Projection(new.field, conditions, old.or_nil or new.or_nil)
        self.projections[new.field] = new
