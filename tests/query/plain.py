"""A second, plain evaluator of filters: one span after the other, from the semantics and not from the engine.

In: rows as dicts by column names, as `pyarrow.Table.to_pylist` gives them. Used to check the vectorised engine.
"""

import json
import math
import operator
import re
from typing import Any

from query.language import ast
from query.language.ast import NUMERIC, Literal, Type
from query.language.check import type_of
from tables.schema import parse_attribute_column
from tests.query.plain_arithmetic import _calculate, _family

COLUMNS = {
    "name": "name",
    "status": "status_code",
    "statusMessage": "status_message",
    "kind": "kind",
    "duration": "duration_ns",
    "rootName": "root_name",
    "rootServiceName": "root_service",
    "traceDuration": "trace_duration_ns",
    "nestedSetParent": "nested_parent",
}
COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


Row = dict[str, Any]
Sets = list[list[Row]]


def pipeline(node: ast.Pipeline, sets: Sets) -> Sets:
    """The spansets of one trace after all stages. In: those before, each with its spans by start."""
    for stage in node.stages:
        match stage:
            case ast.Pipeline():
                sets = pipeline(stage, sets)
            case ast.Filter() | ast.SpansetOp():
                sets = [spanset(stage, rows) for rows in sets]
            case ast.GroupBy():
                sets = [group for rows in sets for group in _groups(stage.by, rows)]
            case ast.Coalesce():
                sets = [[row for rows in sets for row in rows]]
            case ast.ScalarFilter():
                sets = [rows for rows in sets if _kept(stage, rows)]
        sets = [rows for rows in sets if rows]
    return sets


def spanset(node: ast.SpansetExpr, rows: list[Row]) -> list[Row]:
    """The spans of one spanset that match, in the order given."""
    match node:
        case ast.Filter():
            return [row for row in rows if node.condition is None or holds(node.condition, row)]
        case ast.Pipeline():
            found = [row for group in pipeline(node, [rows]) for row in group]
        case ast.SpansetOp():
            found = _joined(node.op, spanset(node.left, rows), spanset(node.right, rows))
    return [row for row in rows if any(row is one for one in found)]


def _joined(op: str, left: list[Row], right: list[Row]) -> list[Row]:
    if op == "||" or (op == "&&" and left and right):
        return [*left, *right]
    if op == "&&":
        return []
    relation = _RELATIONS[op.lstrip("!&")]
    hits = [b for b in right if any(relation(a, b) for a in left)]
    if op.startswith("!"):
        return [b for b in right if not any(b is hit for hit in hits)]
    others = [a for a in left if any(relation(a, b) for b in right)]
    return [*hits, *others] if op.startswith("&") else hits


def _is_child(a: Row, b: Row) -> bool:
    """b of a"""
    return bool(b["nested_parent"] > 0 and b["nested_parent"] == a["nested_left"])


def _is_inside(a: Row, b: Row) -> bool:
    """b of a"""
    return bool(a["nested_left"] < b["nested_left"] and b["nested_right"] < a["nested_right"])


_RELATIONS = {
    ">": _is_child,
    "<": lambda a, b: _is_child(b, a),
    ">>": _is_inside,
    "<<": lambda a, b: _is_inside(b, a),
    "~": lambda a, b: a is not b and a["nested_parent"] == b["nested_parent"] > 0,
}


def _groups(by: ast.FieldExpr, rows: list[Row]) -> Sets:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(group_key(by, row), []).append(row)
    return list(groups.values())


def group_key(by: ast.FieldExpr, row: Row) -> Any:
    """The type of a value and the value, equal for values of one group; None: no value."""
    value = grouped(by, row)
    if isinstance(value, float):
        value = "NaN" if math.isnan(value) else value + 0.0
        return float, value
    return None if value is None else (type(value), value)


def grouped(by: ast.FieldExpr, row: Row) -> Any:
    """An array of one element is that element, any other is its JSON text; durations are whole nanoseconds."""
    if isinstance(by, ast.Attribute):
        for scope in ["span", "resource"] if by.scope is None else [by.scope]:
            for column, value in row.items():
                attribute = parse_attribute_column(column)
                if value is not None and attribute is not None and attribute[:2] == (scope, by.key):
                    if attribute.type.endswith("[]") and len(value) != 1:
                        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
                    return value[0] if attribute.type.endswith("[]") else value
    value = _value(by, row)
    if type_of(by) is Type.DURATION and isinstance(value, float) and abs(value) < 2**63:
        return int(value)
    return value


def _kept(stage: ast.ScalarFilter, rows: list[Row]) -> bool:
    left, right = _scalar(stage.left, rows), _scalar(stage.right, rows)
    return left is not None and right is not None and bool(COMPARE[stage.op](left, right))


def _scalar(node: ast.Scalar, rows: list[Row]) -> Any:
    match node:
        case Literal():
            return node.value
        case ast.ScalarOp():
            left, right = _scalar(node.left, rows), _scalar(node.right, rows)
            return None if left is None or right is None else _calculate(node.op, left, right)
        case ast.Aggregate():
            if node.of is None:
                return len(rows)
            found = [value for row in rows if _family(value := _value(node.of, row)) == "number" and value == value]
            if not found:
                return None
            if node.function == "avg":
                mean = sum(found) / len(found)
                return int(mean) if node.of == ast.Intrinsic("duration") else mean
            return {"min": min, "max": max, "sum": sum}[node.function](found)


def holds(expr: ast.FieldExpr, row: Row, entry: "Entry | None" = None) -> bool:
    """Whether a condition holds. entry: the event or link that it is about, where it is about a certain one."""
    match expr:
        case Literal():
            return expr.value is True
        case ast.Attribute():
            return any(value is True for _, value in values(expr, row, entry))
        case ast.Unary():
            if isinstance(expr.operand, ast.Attribute):
                return any(value is False for _, value in values(expr.operand, row, entry))
            return not holds(expr.operand, row, _still(entry, expr))
        case ast.Logic(op="||"):
            return any(holds(operand, row, _still(entry, operand)) for operand in expr.operands)
        case ast.Logic():
            return _all_hold(expr, row, entry)
        case ast.Comparison():
            return _comparison(expr, row, entry)
    raise AssertionError(expr)


Entry = tuple[str, dict[str, Any]]  # the scope, and one of the row's events or links


def _entries(scope: str, row: Row) -> list[Entry]:
    return [(scope, entry) for entry in row.get(f"{scope}s") or []]


def _still(entry: Entry | None, expr: ast.FieldExpr) -> Entry | None:
    """What says nothing about events is not about this event: what it says of links is about any link."""
    return entry if entry is not None and _about(expr, entry[0]) else None


def _all_hold(expr: ast.Logic, row: Row, entry: Entry | None) -> bool:
    """Of &&: conditions about events hold for one event, if one of them finds an event at all."""
    operands = _flat(expr)
    if entry is not None:
        outside = [operand for operand in operands if not _about(operand, entry[0])]
        inside = [operand for operand in operands if _about(operand, entry[0])]
        alone = not outside or holds(ast.Logic("&&", tuple(outside)), row)
        return alone and all(holds(operand, row, entry) for operand in inside)
    for scope in ("event", "link"):
        about = [operand for operand in operands if _about(operand, scope)]
        if len(about) > 1 and any(_finds(operand, scope) for operand in about):
            operands = [operand for operand in operands if operand not in about]
            if not any(all(holds(one, row, entry) for one in about) for entry in _entries(scope, row)):
                return False
    return all(holds(operand, row) for operand in operands)


def _flat(expr: ast.FieldExpr) -> list[ast.FieldExpr]:
    if isinstance(expr, ast.Logic) and expr.op == "&&":
        return [found for operand in expr.operands for found in _flat(operand)]
    return [expr]


def _about(expr: ast.FieldExpr, scope: str) -> bool:
    """Whether it names a field of events, or of links."""
    match expr:
        case ast.Attribute() | ast.Intrinsic():
            return _entry_scope(expr) == scope
        case ast.Unary():
            return _about(expr.operand, scope)
        case ast.Arithmetic() | ast.Comparison():
            return _about(expr.left, scope) or _about(expr.right, scope)
        case ast.Logic():
            return any(_about(operand, scope) for operand in expr.operands)
    return False


def _finds(expr: ast.FieldExpr, scope: str) -> bool:
    """Whether it holds for no span without events."""
    match expr:
        case ast.Comparison():
            literal = _constant(expr.right) or _constant(expr.left)
            nothing = literal is not None and (
                literal.type is Type.NIL
                or (literal.value == "" and ast.Intrinsic("event:name") in (expr.left, expr.right))
            )
            return _about(expr, scope) and not (nothing and expr.op == "=")
        case ast.Attribute() | ast.Unary(operand=ast.Attribute()):
            return _about(expr, scope)
        case ast.Logic(op="&&"):
            return any(_finds(operand, scope) for operand in expr.operands)
        case ast.Logic():
            return all(_finds(operand, scope) for operand in expr.operands)
    return False


def values(field: ast.Field, row: Row, entry: Entry | None = None) -> list[tuple[str, Any]]:
    """(type word, value) for everything that the field may stand for; of an array each element."""
    if (scope := _entry_scope(field)) is not None:
        entries = [entry] if entry is not None and entry[0] == scope else _entries(scope, row)
        return _entry_values(scope, field, row, [one for _, one in entries])
    if isinstance(field, ast.Intrinsic):
        value = _intrinsic(field.name, row)
        return [] if value is None else [("intrinsic", value)]
    if field.scope is None:  # the span's own, where it has it
        return _scoped("span", field.key, row) or _scoped("resource", field.key, row)
    return _scoped(field.scope, field.key, row)


def _scoped(scope: str, key: str, row: Row) -> list[tuple[str, Any]]:
    found = []
    for column, value in row.items():
        attribute = parse_attribute_column(column)
        if value is None or attribute is None or attribute[:2] != (scope, key):
            continue
        if attribute.type.endswith("[]"):
            found += [(attribute.type.removesuffix("[]"), item) for item in value]
        else:
            found.append((attribute.type, value))
    return found or ([("string", "")] if (scope, key) == ("resource", "service.name") else [])


def _intrinsic(name: str, row: Row) -> Any:
    if name == "duration":
        return _elapsed_ns(row["start_ns"], row["duration_ns"])
    value = row.get(COLUMNS[name])
    return "" if value is None and name in {"rootName", "rootServiceName"} else value


def _elapsed_ns(start_ns: int, elapsed_ns: int) -> int:
    """An end before the start, or no start: no time."""
    return elapsed_ns if start_ns != 0 and 0 <= elapsed_ns < 2**64 - start_ns % 2**64 else 0


def _entry_scope(field: ast.Field) -> str | None:
    scope = field.scope if isinstance(field, ast.Attribute) else field.name.partition(":")[0]
    return scope if scope in {"event", "link"} else None


def _entry_values(scope: str, field: ast.Field, row: Row, entries: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Of some events or links, in their order."""
    found: list[tuple[str, Any]] = []
    for entry in entries:
        if isinstance(field, ast.Attribute):
            pairs = [pair for pair in entry["attributes"] if pair["key"] == field.key]
            words = ("string", "int", "double", "bool")
            found += [(w, pair[f"{w}_value"]) for pair in pairs for w in words if pair.get(f"{w}_value") is not None]
        elif field.name == "event:timeSinceStart":
            since = (entry["time_ns"] - row["start_ns"] + 2**63) % 2**64 - 2**63
            found.append(("intrinsic", _elapsed_ns(row["start_ns"], since)))
        else:
            name = {"event:name": "name", "link:spanID": "span_id", "link:traceID": "trace_id"}[field.name]
            found.append(("intrinsic", entry[name].hex() if isinstance(entry[name], bytes) else entry[name]))
    return found


def _comparison(expr: ast.Comparison, row: Row, entry: Entry | None) -> bool:
    left, right, op = expr.left, expr.right, expr.op
    if isinstance(right, ast.Field) and _constant(left) is not None:
        left, right, op = right, left, MIRRORED.get(op, op)
    if isinstance(left, ast.Field) and (literal := _constant(right)) is not None:
        if literal.type is Type.NIL:
            return bool(values(left, row, entry)) == (op == "!=")
        if left == ast.Intrinsic("event:name") and op == "=" and literal.value == "" and not row.get("events"):
            return True
        return any(_strict(op, word, value, literal) for word, value in values(left, row, entry))
    for scope in ("event", "link"):
        if entry is None and _about(expr, scope):
            return any(_comparison(expr, row, one) for one in _entries(scope, row))
    a, b = _value(expr.left, row, _still(entry, expr.left)), _value(expr.right, row, _still(entry, expr.right))
    if a is None or b is None or _family(a) != _family(b):
        return False
    return bool(COMPARE[expr.op](a, b))


def _strict(op: str, word: str, value: Any, literal: Literal) -> bool:
    words = {
        Type.STRING: "string",
        Type.INT: "int",
        Type.DURATION: "int",
        Type.FLOAT: "double",
        Type.BOOL: "bool",
    }
    if word not in {"intrinsic", words.get(literal.type)}:
        return False
    if op in {"=~", "!~"}:
        return (re.fullmatch(str(literal.value), value) is not None) == (op == "=~")
    return bool(COMPARE[op](value, literal.value))


def _constant(expr: ast.FieldExpr) -> Literal | None:
    """The literal that an expression without fields comes to; None: it has fields, or no value."""
    if isinstance(expr, Literal):
        return expr
    if isinstance(expr, ast.Unary) and expr.op == "-" and (inner := _constant(expr.operand)) is not None:
        return Literal(-inner.value, inner.type)  # type: ignore[operator]
    if isinstance(expr, ast.Arithmetic):
        left, right = _constant(expr.left), _constant(expr.right)
        if left is not None and right is not None and {left.type, right.type} <= NUMERIC:
            value = _calculate(expr.op, left.value, right.value)
            return None if value is None else Literal(value, Type.FLOAT if isinstance(value, float) else Type.INT)
    return None


def _value(expr: ast.FieldExpr, row: Row, entry: Entry | None = None) -> Any:
    match expr:
        case Literal():
            return expr.value
        case ast.Attribute() | ast.Intrinsic() if _entry_scope(expr) is not None:
            found = [value for _, value in values(expr, row, entry)]
            return found[0] if found else "" if expr == ast.Intrinsic("event:name") and entry is None else None
        case ast.Intrinsic():
            return _intrinsic(expr.name, row)
        case ast.Attribute():
            scopes = [expr.scope]
            if expr.scope is None:
                scopes = ["span"] if _scoped("span", expr.key, row) else ["resource"]
            for word in ("", ":int", ":double", ":bool"):
                value = row.get(f"{scopes[0]}.{expr.key}{word}")
                if value is not None:
                    return value
            absent = (scopes[0], expr.key) == ("resource", "service.name") and _scoped("resource", expr.key, row)
            return "" if absent == [("string", "")] else None
        case ast.Unary() if expr.op == "-":
            value = _value(expr.operand, row, entry)
            return -value if _family(value) == "number" else None
        case ast.Arithmetic():
            left = _value(expr.left, row, _still(entry, expr.left))
            right = _value(expr.right, row, _still(entry, expr.right))
            if _family(left) != "number" or _family(right) != "number":
                return None
            return _calculate(expr.op, left, right)
    return holds(expr, row, entry)
