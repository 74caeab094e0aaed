"""Grammar's matches → syntax tree, and which kinds of things an operator may join.

Lark calls a method here for each rule, from the inside out. The grammar is one for spansets, numbers and series;
the kinds are known here, so that the error can say "+ does not join spansets" and not just "unexpected +".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from lark import Token, v_args
from lark.tree import Meta
from lark.visitors import Transformer_NonRecursive

from query.language import ast, functions
from query.language.ast import At, Type
from query.language.faults import fault
from query.language.pipelines import Compared, joined, make_pipeline, negated
from query.language.words import ALIASES, CONSTANTS, INTRINSICS, attribute_name, duration_ns, unquote

NESTING_MAX: Final = 100  # levels of parentheses, signs and powers: what evaluates them is recursive
OPERANDS_MAX: Final = 10_000  # of a whole query: each takes time for each source


class Part(NamedTuple):
    """A finished piece of the tree, and what the pieces around it must know.

    depth: levels of parentheses, signs and powers in it. Operands of a flat chain lie beside each other.
    """

    node: Any
    at: At
    depth: int
    wrapped: bool = False  # it stands in parentheses


@dataclass(frozen=True, slots=True)
class Arguments:
    parts: tuple[Part, ...]


def _at(meta: Meta) -> At:
    return At(meta.start_pos, meta.end_pos)


def _part(node: Any, at: At, children: Sequence[Part], *, wrapped: bool = False, levels: int = 1) -> Part:
    depth = levels + max((child.depth for child in children), default=0)
    if depth > NESTING_MAX:
        raise fault(f"nested more than {NESTING_MAX} levels deep", at, "Write it as several queries.")
    return Part(node, at, depth, wrapped)


def _span(left: Part, right: Part) -> At:
    return At(left.at.start, right.at.end)


@v_args(meta=True)
class Builder(Transformer_NonRecursive):  # type: ignore[misc]  # lark is untyped here
    """One method per rule or alias of grammar.lark."""

    def __init__(self) -> None:
        super().__init__()
        self._operands = 0

    def _operand(self, at: At) -> None:
        self._operands += 1
        if self._operands > OPERANDS_MAX:
            hint = "Shorten it, for instance with a regular expression."
            raise fault(f"the query has more than {OPERANDS_MAX} fields and filters", at, hint)

    # --- constants and fields

    def number(self, meta: Meta, children: list[Token]) -> Part:
        (token,) = children
        at = _at(meta)
        if token.type == "DURATION":
            value: int | float = duration_ns(token)
            type_ = Type.DURATION
        elif token.type == "FLOAT":
            value, type_ = float(token), Type.FLOAT
        else:
            # int() of a very long text is slow and refused by Python itself.
            value, type_ = int(token) if len(token) < 20 else 2**64, Type.INT
        if abs(value) >= 2**63 and type_ is not Type.FLOAT:
            raise fault(f"{token[:40]} does not fit into 64 bits", at, "The largest integer is maxInt.")
        return _part(ast.Literal(value, type_, at), at, ())

    def string(self, meta: Meta, children: list[Token]) -> Part:
        at = _at(meta)
        try:
            return _part(ast.Literal(unquote(children[0]), Type.STRING, at), at, ())
        except ValueError as err:
            raise fault(f"bad string: {err}", at, r"Write a backslash as \\, or use backticks.") from None

    def word(self, meta: Meta, children: list[Token]) -> Part:
        at, text = _at(meta), str(children[0])
        self._operand(at)
        if text in CONSTANTS:
            value, type_ = CONSTANTS[text]
            return _part(ast.Literal(value, type_, at), at, ())
        name = ALIASES.get(text, text)
        if name not in INTRINSICS:
            raise functions.unknown_field(text, at)
        return _part(ast.Intrinsic(name, at), at, ())

    def attribute(self, meta: Meta, children: list[Token]) -> Part:
        scope, key = attribute_name(children[0])
        at = _at(meta)
        self._operand(at)
        if not key:
            raise fault("an attribute's name is missing", at, 'Write for instance span."a b".')
        return _part(ast.Attribute(scope, key, at), at, ())

    # --- field expressions

    def parentheses(self, meta: Meta, children: list[Part]) -> Part:
        return _part(children[0].node, _at(meta), children, wrapped=True)

    def unary(self, meta: Meta, children: list[Any]) -> Part:
        op, operand = children
        at, node = _at(meta), operand.node
        # Not -minInt: it does not fit into 64 bits.
        if op == "-" and ast.is_number(node) and node.value != -(2**63):
            return _part(ast.Literal(-node.value, node.type, at), at, ())
        return _part(ast.Unary(str(op), node, at), at, [operand])

    def arithmetic(self, _meta: Meta, children: list[Any]) -> Part:
        return _fold(children, ast.Arithmetic)

    def comparison(self, _meta: Meta, children: list[Any]) -> Part:
        return _fold(children, ast.Comparison)

    def logic(self, _meta: Meta, children: list[Any]) -> Part:
        """Runs of one operator become one node; && and || bind equally: a || b && c is (a || b) && c."""
        result: Part = children[0]
        run = [result]
        for i in range(1, len(children), 2):
            run.append(children[i + 1])
            if i + 2 == len(children) or children[i + 2] != children[i]:
                at = _span(run[0], run[-1])
                node = ast.Logic(str(children[i]), tuple(part.node for part in run), at)
                result = _part(node, at, run, levels=0)
                run = [result]
        return result

    def filter(self, meta: Meta, children: list[Part | None]) -> Part:
        at, inside = _at(meta), children[0]
        self._operand(at)
        return _part(ast.Filter(inside.node if inside else None, at), at, [inside] if inside else ())

    # --- outside of braces

    def arguments(self, _meta: Meta, children: list[Part]) -> Arguments:
        return Arguments(tuple(children))

    def call(self, meta: Meta, children: list[Any]) -> Part:
        name, arguments = children
        parts = arguments.parts if arguments else ()
        at = _at(meta)
        return _part(functions.call(name, [part.node for part in parts], at), at, parts)

    def grouped(self, meta: Meta, children: list[Any]) -> Part:
        function, _, arguments = children
        at, by = _at(meta), [part.node for part in arguments.parts]
        return _part(functions.grouped(function.node, by, at), at, [function, *arguments.parts])

    def group_by(self, meta: Meta, children: list[Any]) -> Part:
        at, parts = _at(meta), children[1].parts if children[1] else ()
        return _part(functions.group_by([part.node for part in parts], at), at, parts)

    def set_word(self, meta: Meta, children: list[Token]) -> Part:
        raise functions.stray_word(children[0], _at(meta))

    def set_minus(self, meta: Meta, children: list[Any]) -> Part:
        at = _at(meta)
        return _part(negated(children[1].node, at), at, [children[1]])

    def set_arithmetic(self, _meta: Meta, children: list[Any]) -> Part:
        return _join(children)

    def set_compare(self, _meta: Meta, children: list[Any]) -> Part:
        return _join(children)

    def set_logic(self, _meta: Meta, children: list[Any]) -> Part:
        return _join(children)

    def wrapped(self, meta: Meta, children: list[Part]) -> Part:
        (inside,) = children
        node = inside.node
        if isinstance(node, ast.Pipeline) and len(node.stages) == 1:
            node = node.stages[0]
        return _part(node, _at(meta), children, wrapped=True)

    def pipeline(self, meta: Meta, children: list[Part]) -> Part:
        at = _at(meta)
        # Numbers and aggregates in parentheses, as in (1 + 2) * …: no pipeline yet.
        if len(children) == 1 and isinstance(children[0].node, ast.Scalar):
            return children[0]
        stages = [(child.node, child.wrapped) for child in children]
        return _part(make_pipeline(stages, at), at, children)

    # --- the whole

    def hint(self, meta: Meta, children: list[Any]) -> ast.Hint:
        value = children[1].node
        if not isinstance(value, ast.Literal):
            raise fault("a hint's value must be a constant", _at(meta), "Write for instance with(sample=true).")
        return ast.Hint(str(children[0]), value, _at(meta))

    def start(self, meta: Meta, children: list[Any]) -> tuple[Any, tuple[ast.Hint, ...]]:
        root = children[0].node
        if isinstance(root, ast.Scalar | Compared):
            raise fault("a number is not a query", _at(meta), "Start with a filter: { } | count() > 2")
        return root, tuple(child for child in children if isinstance(child, ast.Hint))


def _fold(children: list[Any], node: type[ast.Arithmetic] | type[ast.Comparison]) -> Part:
    result: Part = children[0]
    for i in range(1, len(children), 2):
        right = children[i + 1]
        at = _span(result, right)
        op = str(children[i])
        # Powers come one by one, the right one first; comparisons of comparisons nobody writes.
        levels = 1 if node is ast.Comparison or op == "^" else 0
        result = _part(node(op, result.node, right.node, at), at, [result, right], levels=levels)
    return result


def _join(children: list[Any]) -> Part:
    left: Part = children[0]
    for i in range(1, len(children), 2):
        op, right = children[i], children[i + 1]
        at = _span(left, right)
        operator = (str(op), At(op.start_pos, op.end_pos))
        node = joined(operator, (left.node, left.wrapped), (right.node, right.wrapped), at)
        # Of pipelines in parentheses a chain may have as many as one likes.
        wrapped = isinstance(node, ast.SpansetOp) and left.wrapped and right.wrapped
        left = _part(node, at, [left, right], wrapped=wrapped, levels=1 if op == "^" else 0)
    return left
