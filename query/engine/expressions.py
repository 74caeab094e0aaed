"""Field expressions over the rows of one source: which match, and what they come to. No loop over spans anywhere.

Conditions on events (or links) that && joins are about one and the same of them. A row is then looked at once for each
of its events: `EachEntry`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

import numpy as np

from query.engine import arithmetic
from query.engine.compare import compare_field
from query.engine.events_and_links import Entries, compare_entries, is_absence, reader_entries
from query.language import ast
from query.language.ast import FieldExpr, Literal, Type
from query.language.fields import ENTRY_COLUMNS, entry_column
from query.language.walk import fold, left_chain, walk
from query.scan.arrays import Mask
from query.scan.reader import Reader

_TRUE = Literal(True, Type.BOOL)
_FALSE = Literal(False, Type.BOOL)
# `a || b && c || …` of more alternations is evaluated in the order in which it is written.
_ALTERNATIONS: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class EachEntry:
    """The events, or links, of a source's spans, one after the other. column: of the span table"""

    reader: Reader
    column: str
    entries: Entries

    @property
    def rows(self) -> int:
        return len(self.entries.rows)


Over = Reader | EachEntry


def matches(expr: FieldExpr, over: Over) -> Mask:
    """Rows for which a boolean expression holds. An absent attribute is not true, and `!` of it neither."""
    if isinstance(over, EachEntry) and not mentions(expr, over.column):
        return matches(expr, over.reader)[over.entries.rows]
    match expr:
        case Literal():
            return np.full(over.rows, expr.value is True)
        case ast.Attribute() | ast.Intrinsic():
            return _compare(over, expr, "=", _TRUE)
        case ast.Unary():
            if isinstance(expr.operand, ast.Attribute):
                return _compare(over, expr.operand, "=", _FALSE)
            return ~matches(expr.operand, over)
        case ast.Comparison():
            return _comparison(expr, over)
        case ast.Logic():
            return _logic(expr, over)
        case ast.Arithmetic():
            return np.zeros(over.rows, bool)  # a number is never true
    assert_never(expr)


def cost(expr: FieldExpr) -> int:
    """Roughly what an operand costs, so that cheap ones can spare the rest."""
    return _cost(expr, ()) if isinstance(expr, ast.Comparison) else fold(expr, _cost)


def _cost(expr: FieldExpr, operands: Sequence[int]) -> int:
    match expr:
        case ast.Comparison(left=ast.Intrinsic(), right=Literal(value=value)) if not isinstance(value, str):
            return 1
        case ast.Comparison(op=op, left=ast.Attribute() | ast.Intrinsic(), right=Literal()):
            return 4 if op in {"=~", "!~"} else 2
        case ast.Attribute() | ast.Unary(operand=ast.Attribute()):
            return 2
        case ast.Unary() | ast.Logic():
            return sum(operands)
        case _:
            return 8


def mentions(expr: FieldExpr, column: str) -> bool:
    """Whether a field of the expression is in the entries of the list column."""
    if isinstance(expr, ast.Comparison) and isinstance(expr.right, Literal) and isinstance(expr.left, ast.Field):
        return entry_column(expr.left) == column  # as nearly all are
    return any(isinstance(node, ast.Field) and entry_column(node) == column for node in walk(expr))


def finds(expr: FieldExpr, column: str) -> bool:
    """Whether the expression holds for no span without entries in the column: whether it finds one of them."""
    match expr:
        case ast.Comparison(op=op, left=ast.Attribute() | ast.Intrinsic() as field, right=Literal() as literal):
            return entry_column(field) == column and not is_absence(field, op, literal)
        case ast.Comparison() | ast.Attribute() | ast.Unary(operand=ast.Attribute()):
            return mentions(expr, column)
        case ast.Logic(op="&&"):
            return any(finds(operand, column) for operand in expr.operands)
        case ast.Logic():
            return all(finds(operand, column) for operand in expr.operands)
        case _:
            return False


def _logic(expr: ast.Logic, over: Over) -> Mask:
    first, chain = left_chain(expr, ast.Logic)
    if len(chain) <= _ALTERNATIONS or any(mentions(expr, column) for column in ENTRY_COLUMNS.values()):
        return _decided(expr.op, None, _steps(expr, over), over.rows)
    result = matches(first, over)
    for node in chain:
        steps = [_Step(cost(operand), _matching(operand, over)) for operand in node.operands[1:]]
        result = _decided(node.op, result, steps, over.rows)
    return result


@dataclass(frozen=True, slots=True)
class _Step:
    cost: int
    rows: Callable[[], Mask]


def _matching(expr: FieldExpr, over: Over) -> Callable[[], Mask]:
    return lambda: matches(expr, over)


def _steps(expr: ast.Logic, over: Over) -> list[_Step]:
    """What the operands ask. Of && those that concern the same event together, as soon as one of them finds it."""
    if isinstance(over, Reader):
        return [
            _Step(
                part.cost,
                _matching(part.operands[0], over)
                if part.column is None
                else _one_entry(part.operands, over, part.column),
            )
            for part in _arranged(expr)
        ]
    operands = list(expr.operands) if expr.op == "||" else _flat(expr)
    if expr.op == "&&":
        outside = [operand for operand in operands if not mentions(operand, over.column)]
        if len(outside) > 1:
            operands = [operand for operand in operands if mentions(operand, over.column)]
            operands.append(ast.Logic("&&", tuple(outside)))
    return [_Step(cost(operand), _matching(operand, over)) for operand in operands]


@dataclass(frozen=True, slots=True)
class _Together:
    """One operand; or, with a column of entries, those that concern the same of them."""

    cost: int
    operands: tuple[FieldExpr, ...]
    column: str | None = None


# What was found out about expressions, by identity: the sources of a query ask it one after the other.
_KEPT: Final[dict[int, tuple[ast.Logic, list[_Together]]]] = {}
_KEPT_MAX: Final = 256
_KEPT_COST_MAX: Final = 256  # larger ones take more memory than time


def _arranged(expr: ast.Logic) -> list[_Together]:
    """The operands as they are evaluated over whole spans, in no order yet."""
    kept = _KEPT.get(id(expr))
    if kept is not None and kept[0] is expr:
        return kept[1]
    made = _arrange(expr)
    if sum(part.cost for part in made) <= _KEPT_COST_MAX:
        if len(_KEPT) >= _KEPT_MAX:
            _KEPT.clear()
        _KEPT[id(expr)] = expr, made
    return made


def _arrange(expr: ast.Logic) -> list[_Together]:
    if expr.op == "||":
        return [_Together(cost(operand), (operand,)) for operand in expr.operands]
    rest, found = _flat(expr), []
    for column in ENTRY_COLUMNS.values():
        about = [operand for operand in rest if mentions(operand, column)]
        if len(about) > 1 and any(finds(operand, column) for operand in about):
            rest = [operand for operand in rest if not mentions(operand, column)]
            found.append(_Together(sum(map(cost, about)), tuple(about), column))
    return found + [_Together(cost(operand), (operand,)) for operand in rest]


def _flat(expr: ast.Logic) -> list[FieldExpr]:
    """The operands of &&, those of another && among them."""
    found, stack = [], [*reversed(expr.operands)]
    while stack:
        operand = stack.pop()
        if isinstance(operand, ast.Logic) and operand.op == "&&":
            stack += reversed(operand.operands)
        else:
            found.append(operand)
    return found


def _one_entry(conditions: Sequence[FieldExpr], reader: Reader, column: str) -> Callable[[], Mask]:
    """Rows with an entry for which all the conditions hold."""

    def rows() -> Mask:
        result = np.zeros(reader.rows, bool)
        entries = reader_entries(reader, column)
        if entries is not None:
            each = EachEntry(reader, column, entries)
            steps = [_Step(cost(condition), _matching(condition, each)) for condition in conditions]
            result[entries.rows[_decided("&&", None, steps, each.rows)]] = True
        return result

    return rows


def _decided(op: str, result: Mask | None, steps: Sequence[_Step], rows: int) -> Mask:
    """Cheap operands first; as soon as nothing (&&) or everything (||) is decided the rest is not read."""
    for step in sorted(steps, key=lambda step: step.cost):
        if result is None:
            result = step.rows()
        elif op == "&&":
            if not result.any():
                break
            result = result & step.rows()
        else:
            if result.all():
                break
            result = result | step.rows()
    return np.full(rows, op == "&&") if result is None else result


def _comparison(expr: ast.Comparison, over: Over) -> Mask:
    if isinstance(expr.left, ast.Attribute | ast.Intrinsic) and isinstance(expr.right, Literal):
        return _compare(over, expr.left, expr.op, expr.right)
    if isinstance(over, Reader):
        for column in ENTRY_COLUMNS.values():
            if mentions(expr, column):
                return _one_entry([expr], over, column)()
    return arithmetic.compare(expr.op, value(expr.left, over), value(expr.right, over), over.rows)


def _compare(over: Over, field: ast.Field, op: str, literal: Literal) -> Mask:
    if isinstance(over, EachEntry):
        return over.entries.compare(field, op, literal)
    if entry_column(field) is not None:
        return compare_entries(over, field, op, literal)
    return compare_field(over, field, op, literal)


def value(expr: FieldExpr, over: Over) -> arithmetic.Value:
    """What an expression comes to in each row, by type."""
    if isinstance(over, EachEntry) and not mentions(expr, over.column):
        return arithmetic.spread(value(expr, over.reader), over.entries.rows)
    first, chain = left_chain(expr, ast.Arithmetic)
    # The first operand, too, may be the span's own: then the entries are not asked for it.
    result = value(first, over) if chain else _operand_value(first, over)
    for node in chain:
        result = arithmetic.calculate(node.op, result, value(node.right, over))
    return result


def _operand_value(expr: FieldExpr, over: Over) -> arithmetic.Value:
    match expr:
        case Literal():
            return arithmetic.constant(expr, over.rows)
        case ast.Attribute() | ast.Intrinsic():
            if isinstance(over, Reader):
                return arithmetic.field(over, expr)
            found = over.entries.values(expr)
            return arithmetic.first_of(found, [part.entries for part in found], over.rows)
        case ast.Unary(op="-"):
            return arithmetic.negative(value(expr.operand, over))
        case ast.Arithmetic():
            raise AssertionError("value() takes chains apart")
        case ast.Unary() | ast.Comparison() | ast.Logic():
            held = matches(expr, over)
            return (arithmetic.Part(Type.BOOL, held, np.ones(over.rows, bool)),)
    assert_never(expr)
