"""Types and names of a query, before anything is read."""

from collections.abc import Sequence
from typing import Final, NoReturn, assert_never

import pyarrow as pa
import pyarrow.compute as pc

from query.errors import TraceQLError, UnsupportedError, did_you_mean
from query.language import ast
from query.language.ast import NUMERIC, FieldExpr, Query, Type
from query.language.pipelines import has_aggregate
from query.language.walk import fold, left_chain, walk
from query.language.words import INTRINSICS

HINTS: Final = ("most_recent", "sample", "span_sample", "trace_sample", "exemplars", "extrapolate")

_ANY: Final = Type.ATTRIBUTE
_ORDERED: Final = NUMERIC | {Type.STRING, _ANY}


def check(query: Query) -> Query:
    """The same query, once every operator fits its operands. Raises: TraceQLError"""
    _Checker(query.text).query(query)
    return query


def type_of(expr: FieldExpr) -> Type:
    """The type of an expression that was checked before."""
    return _Checker("").type_of(expr)


def anchored(pattern: str) -> str:
    """TraceQL's regular expressions match whole values."""
    return f"^(?:{pattern})$"


def references_span(expr: FieldExpr) -> bool:
    """Whether the value depends on the span."""
    return any(isinstance(node, ast.Field) for node in walk(expr))


class _Checker:
    def __init__(self, text: str) -> None:
        self.text = text

    def fail(self, problem: str, at: ast.At, hint: str = "") -> NoReturn:
        raise TraceQLError(problem, self.text, at.start, at.end, hint)

    # --- queries and stages

    def query(self, query: Query) -> None:
        for hint in query.hints:
            if hint.name not in HINTS:
                advice = f"{did_you_mean(hint.name, list(HINTS))}Known hints are {', '.join(HINTS)}."
                self.fail(f"unknown hint {hint.name}", hint.at, advice)
        if isinstance(query.root, ast.Pipeline):
            self.stage(query.root)
        else:
            self.metrics(query.root)

    def stage(self, stage: ast.Stage) -> None:
        match stage:
            case ast.Filter():
                self.filter(stage)
            case ast.SpansetOp():
                first, chain = left_chain(stage, ast.SpansetOp)
                self.stage(first)
                for node in chain:
                    self.stage(node.right)
            case ast.Pipeline():
                for inner in stage.stages:
                    self.stage(inner)
            case ast.ScalarFilter():
                self.scalar(stage.left)
                self.scalar(stage.right)
                if has_aggregate(stage.right):
                    problem = "comparing an aggregate with an aggregate is not supported"
                    at = stage.right.at
                    raise UnsupportedError(problem, self.text, at.start, at.end, "Compare it with a number.")
            case ast.GroupBy():
                self.group(stage.by)
            case ast.Select():
                for field in stage.fields:
                    self.type_of(field)
            case ast.Coalesce():
                pass
            case _:
                assert_never(stage)

    def filter(self, node: ast.Filter) -> None:
        if node.condition is not None:
            self.boolean(node.condition, "a filter")

    def group(self, expr: FieldExpr) -> None:
        self.type_of(expr)
        if not references_span(expr):
            self.fail("by needs something that differs from span to span", expr.at, "Write by(name).")

    def scalar(self, node: ast.Scalar) -> None:
        for part in walk(node):
            if isinstance(part, ast.Aggregate) and part.of is not None:
                self.measured(part.function, part.of)

    def measured(self, function: str, expr: FieldExpr) -> None:
        type_ = self.type_of(expr)
        if type_ not in NUMERIC and type_ is not _ANY:
            self.fail(f"{function} needs a number, not {_a(type_)}", expr.at, f"Write {function}(duration).")
        if not references_span(expr):
            self.fail(f"{function} needs something that differs from span to span", expr.at)

    def metrics(self, node: ast.Metrics | ast.Literal) -> None:
        match node:
            case ast.Literal():
                pass
            case ast.MetricsQuery():
                self.stage(node.spans)
                if isinstance(node.function, ast.Compare):
                    self.filter(node.function.selection)
                    return
                if node.function.of is not None:
                    self.measured(node.function.name, node.function.of)
                for expr in node.function.by:
                    self.group(expr)
            case ast.Ranking() | ast.MetricsFilter():
                first, chosen = left_chain(node, ast.CHOICES)
                for part in chosen:
                    if isinstance(part, ast.Ranking) and part.n < 1:
                        self.fail(f"{part.function} needs a number greater than 0", part.at)
                self.no_compare(first)
                self.metrics(first)
            case ast.MetricsMath():
                first, chain = left_chain(node, ast.MetricsMath)
                for side in (first, *(math.right for math in chain)):
                    self.no_compare(side)
                    self.metrics(side)
            case _:
                assert_never(node)

    def no_compare(self, node: ast.Metrics | ast.Literal) -> None:
        if isinstance(node, ast.MetricsQuery) and isinstance(node.function, ast.Compare):
            self.fail("nothing can follow compare()", node.function.at, "Use its answer as it is.")

    # --- field expressions

    def boolean(self, expr: FieldExpr, what: str) -> None:
        self.true_or_false(expr, self.type_of(expr), what)

    def true_or_false(self, expr: FieldExpr, type_: Type, what: str) -> None:
        if type_ is not Type.BOOL and type_ is not _ANY:
            hint = "Compare it with something: { duration > 1s }"
            self.fail(f"{what} needs true or false, not {_a(type_)}", expr.at, hint)

    def type_of(self, expr: FieldExpr) -> Type:
        return fold(expr, self._type)

    def _type(self, expr: FieldExpr, operands: Sequence[Type]) -> Type:
        """Of an expression whose operands have those types."""
        match expr:
            case ast.Literal():
                return expr.type
            case ast.Attribute():
                if expr.scope == "parent":
                    problem = "attributes of the parent span are not supported"
                    hint = "Match parent and child: { span.a = 1 } > { }"
                    raise UnsupportedError(problem, self.text, expr.at.start, expr.at.end, hint)
                return _ANY
            case ast.Intrinsic():
                return INTRINSICS[expr.name]
            case ast.Unary():
                return self.unary(expr, operands[0])
            case ast.Arithmetic():
                return self.arithmetic(expr, operands)
            case ast.Comparison():
                self.comparison(expr, *operands)
                return Type.BOOL
            case ast.Logic():
                for operand, type_ in zip(expr.operands, operands, strict=True):
                    self.true_or_false(operand, type_, expr.op)
                return Type.BOOL
        assert_never(expr)

    def unary(self, expr: ast.Unary, type_: Type) -> Type:
        allowed = {Type.BOOL, _ANY} if expr.op == "!" else NUMERIC | {_ANY}
        if type_ not in allowed:
            wanted = "true or false" if expr.op == "!" else "a number"
            hint = "! binds tighter than comparisons: write !(a = b)." if expr.op == "!" else ""
            self.fail(f"{expr.op} needs {wanted}, not {_a(type_)}", expr.operand.at, hint)
        return Type.BOOL if expr.op == "!" else type_

    def arithmetic(self, expr: ast.Arithmetic, types: Sequence[Type]) -> Type:
        for type_, side in zip(types, (expr.left, expr.right), strict=True):
            if type_ not in NUMERIC and type_ is not _ANY:
                self.fail(f"{expr.op} needs numbers, not {_a(type_)}", side.at)
        if Type.DURATION in types:
            return Type.DURATION
        return Type.INT if set(types) == {Type.INT} else Type.FLOAT

    def comparison(self, expr: ast.Comparison, left: Type, right: Type) -> None:
        if expr.op in {"=~", "!~"}:
            self.regex(expr, left)
            return
        if Type.NIL in {left, right}:
            self.nil(expr)
            return
        if left is not right and not {left, right} <= NUMERIC and _ANY not in {left, right}:
            hint = _MISMATCH_HINTS.get(right, "") or _MISMATCH_HINTS.get(left, "")
            self.fail(f"{_a(left)} cannot be compared with {_a(right)}", expr.at, hint)
        if expr.op not in {"=", "!="}:
            for type_ in (left, right):
                if type_ not in _ORDERED:
                    self.fail(f"{expr.op} does not order {_a(type_)}", expr.at, "Use = or !=.")

    def nil(self, expr: ast.Comparison) -> None:
        if expr.op not in {"=", "!="}:
            self.fail(f"{expr.op} does not compare with nil", expr.at, "Use = or !=.")
        for side in (expr.left, expr.right):
            always = isinstance(side, ast.Intrinsic) and side.name != "span:parentID"
            if always or side == ast.Attribute("resource", "service.name"):
                if expr.op == "=":
                    self.fail("this field is never nil", expr.at, _empty_hint(side))
            elif isinstance(side, ast.Intrinsic):
                pass
            elif not isinstance(side, ast.Attribute | ast.Literal):
                self.fail("only an attribute can be nil", side.at)

    def regex(self, expr: ast.Comparison, left: Type) -> None:
        pattern = expr.right
        if isinstance(pattern, ast.Attribute):
            problem = "a regular expression must be a constant"
            raise UnsupportedError(problem, self.text, pattern.at.start, pattern.at.end, 'Write =~ "a.*".')
        if left not in {Type.STRING, _ANY}:
            self.fail(f"{expr.op} matches strings, not {_a(left)}", expr.left.at)
        if not isinstance(pattern, ast.Literal) or not isinstance(pattern.value, str):
            self.fail(f"{expr.op} needs a string", pattern.at, 'Write =~ "a.*".')
        try:
            # The bare pattern: one like a)(?:b is wrong, but would be right inside of the anchors.
            pc.match_substring_regex(pa.array([""]), pattern=pattern.value)
        except pa.ArrowInvalid as err:
            reason = str(err).partition(": ")[2] or str(err)
            self.fail(f"bad regular expression: {reason}", pattern.at, "The syntax is RE2's.")


def _empty_hint(field: FieldExpr) -> str:
    """How to ask for the empty value of a field that is never nil."""
    if isinstance(field, ast.Intrinsic):
        if field.name.startswith(("event:", "link:")):
            return f"Of spans without any: {{ !({field.name} != nil) }}"
        if field.name in {"span:id", "trace:id"} or INTRINSICS[field.name] in NUMERIC:
            return "Every span has it."
    words = {"status": "unset", "kind": "unspecified"}
    empty = words.get(field.name, '""') if isinstance(field, ast.Intrinsic) else '""'
    return f"Compare with {empty} for an empty value."


_MISMATCH_HINTS: Final = {
    Type.STATUS: "Statuses are the words ok, error and unset, without quotes.",
    Type.KIND: "Kinds are the words server, client, producer, consumer and internal, without quotes.",
    Type.DURATION: "Durations are written without quotes: 100ms, 1.5s.",
}


def _a(type_: Type) -> str:
    return f"{'an' if type_[0] in 'aeiou' else 'a'} {type_}"
