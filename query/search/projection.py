"""What the answer shows of a matched span: the fields that the query names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from query.engine.compare import compare_array, hexadecimal
from query.engine.events_and_links import Entries, is_absence, normal_id
from query.engine.groups import NIL, display_value
from query.language import ast
from query.language.ast import Comparison, Literal
from query.language.check import type_of
from query.language.fields import UNSCOPED, entry_column, field_columns
from query.language.plan import Projection
from query.results import Attributes, AttributeValue
from query.scan.arrays import fixed_bytes, to_numpy
from query.scan.reader import SERVICE_NAME
from tables.schema import NO_PARENT
from tables.turns import as_list

CHILD_COUNT: Final = "span:childCount"  # the field, and the column that is made for it
_SERVICE: Final = ast.Attribute("resource", "service.name")
_NOT_SHOWN_TYPES: Final = frozenset({"bytes", "any"})


def project(arrays: Mapping[str, Any], rows: int, projections: Sequence[Projection]) -> Sequence[Attributes]:
    """The fields that the answer shows of so many rows, under their plain names.

    arrays: the rows' columns, strings without dictionaries

    A name comes twice where the query names it without a scope, and the span and its resource have different values.
    """
    if not projections:
        return [()] * rows
    if len(projections) > 1 or len(_scoped(projections[0].field)) > 1:
        return _project_several(rows, projections, arrays)
    (item,) = projections
    label, default = _label(item.field), _default(item)
    none = () if default is None else ((label, default),)
    values = _values(rows, item.field, item, arrays)
    return [none if value is None else ((label, value),) for value in values]


def _label(field: ast.Field) -> str:
    return field.name if isinstance(field, ast.Intrinsic) else field.key


def _default(item: Projection) -> AttributeValue | None:
    """What is shown where the field has no value."""
    if item.field == ast.Intrinsic("event:name"):  # never nil
        constants = [(one.op, one.right) for one in item.conditions]
        absence = any(isinstance(right, Literal) and is_absence(item.field, op, right) for op, right in constants)
        return "" if item.or_nil or absence else None
    return NIL if item.or_nil else None


def _project_several(rows: int, projections: Sequence[Projection], arrays: Mapping[str, Any]) -> Sequence[Attributes]:
    result: list[dict[tuple[str, str], AttributeValue]] = [{} for _ in range(rows)]
    for item in projections:
        found = {scope: _values(rows, field, item, arrays) for scope, field in _scoped(item.field).items()}
        label, default = _label(item.field), _default(item)
        for i, row in enumerate(result):
            absent = True
            for scope, values in found.items():
                value = values[i]
                if value is not None and not (value == "" and not absent):
                    row.setdefault((scope, label), value)
                    absent = False
            if absent and default is not None:
                for scope in found:
                    row.setdefault((f"{scope} {NIL}" if len(found) > 1 else scope, label), default)
    return [_once(row) for row in result]


def _once(row: Mapping[tuple[str, str], AttributeValue]) -> Attributes:
    """The attributes, those of one name and value once. Where both the span and its resource have none, "nil" comes
    twice, as Tempo has it.
    """
    if len(row) == len({label for _, label in row}):
        return tuple((label, value) for (_, label), value in row.items())
    once: dict[tuple[str, str], tuple[str, AttributeValue]] = {}
    for (scope, label), value in row.items():
        apart = scope if scope.endswith(f" {NIL}") else ""
        once.setdefault((label, f"{apart} {type(value)} {value!r}"), (label, value))
    return tuple(once.values())


def _scoped(field: ast.Field) -> dict[str, ast.Field]:
    """What a field may stand for, by scope."""
    if isinstance(field, ast.Intrinsic):
        return {"": field}
    scopes = UNSCOPED if field.scope is None else (field.scope,)
    return {scope: ast.Attribute(scope, field.key) for scope in scopes}


def _values(rows: int, field: ast.Field, item: Projection, arrays: Mapping[str, Any]) -> list[AttributeValue | None]:
    """The first value of each row that satisfies one of the conditions."""
    if (column := entry_column(field)) is not None:
        return _entry(field, item.conditions, arrays, column, rows)
    if isinstance(field, ast.Intrinsic):
        return _intrinsic(rows, field, item.conditions, arrays)
    if field == _SERVICE:
        arrays = {**arrays, SERVICE_NAME: _filled(arrays, field, rows)}
    result: list[AttributeValue | None] = [None] * rows
    for column, word in field_columns(field):
        if column in arrays and word not in _NOT_SHOWN_TYPES:
            values = _satisfying(arrays[column], word, item.conditions)
            result = [new if old is None else old for old, new in zip(result, values, strict=True)]
    return result


def _filled(arrays: Mapping[str, Any], field: ast.Field, rows: int) -> Any:
    """service.name with "" where the resource has none of any type."""
    names = arrays.get(SERVICE_NAME, pa.nulls(rows, pa.string()))
    typed = [
        arrays[column].is_valid() for column, word in field_columns(field) if word != "string" and column in arrays
    ]
    filled = names.fill_null("")
    for other in typed:
        filled = pc.if_else(pc.and_(other, names.is_null()), None, filled)
    return filled


def _entry(
    field: ast.Field, conditions: Sequence[Comparison], arrays: Mapping[str, Any], column: str, count: int
) -> list[AttributeValue | None]:
    """Of each row's events or links the first that satisfies a condition."""
    result: list[AttributeValue | None] = [None] * count
    if column not in arrays:
        return result
    type_ = type_of(field)
    for part in Entries.from_lists(arrays[column], to_numpy(arrays["start_ns"])).values(field):
        wanted = [_with_normal_id(field, condition) for condition in conditions]
        for row, value in zip(part.rows.tolist(), _satisfying(part.values, part.word, wanted), strict=True):
            if result[row] is None and value is not None:
                result[row] = display_value(value, type_)
    return result


def _with_normal_id(field: ast.Field, condition: Comparison) -> Comparison:
    assert isinstance(condition.right, Literal)
    return replace(condition, right=normal_id(field, condition.op, condition.right))


def _intrinsic(
    rows: int,
    field: ast.Intrinsic,
    conditions: Sequence[Comparison],
    arrays: Mapping[str, Any],
) -> list[AttributeValue | None]:
    column = CHILD_COUNT if field.name == CHILD_COUNT else field_columns(field)[0][0]
    if column not in arrays:
        return [None] * rows
    array = arrays[column]
    if pa.types.is_fixed_size_binary(array.type):
        absent = fixed_bytes(array) == NO_PARENT
        # Equality of ids was decided by bytes; the few spellings of one id need no condition here.
        return [None if none else text for none, text in zip(absent, as_list(hexadecimal(array)), strict=True)]
    type_ = type_of(field)
    return [None if value is None else display_value(value, type_) for value in _satisfying(array, "", conditions)]


def _satisfying(array: Any, word: str, conditions: Sequence[Comparison]) -> list[AttributeValue | None]:
    """Values that satisfy one of the conditions, or all values if there are none; None for the others.

    Of an array only the elements that do, as Tempo shows it: one alone is shown as a plain value.
    """
    values = as_list(array)
    if not conditions:
        return values
    elements = array.flatten() if word.endswith("[]") else array
    kept = np.zeros(len(elements), bool)
    for condition in conditions:
        literal = condition.right
        assert isinstance(literal, Literal)
        if _comparable(elements.type, literal):
            kept |= compare_array(elements, condition.op, literal)
    if not word.endswith("[]"):
        return [value if keep else None for value, keep in zip(values, kept, strict=True)]
    lists: list[list[Any]] = [[] for _ in values]
    owners = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    for owner, value, keep in zip(np.repeat(np.arange(len(values)), owners), as_list(elements), kept, strict=True):
        if keep:
            lists[owner].append(value)
    return [(found[0] if len(found) == 1 else found) if found else None for found in lists]


def _comparable(type_: Any, literal: Literal) -> bool:
    match literal.value:
        case bool():
            return bool(pa.types.is_boolean(type_))
        case str():
            return bool(pa.types.is_string(type_))
        case float():
            # An int attribute equals no float literal; intrinsic ints are compared by their value.
            return bool(pa.types.is_floating(type_))
        case int():
            return bool(pa.types.is_integer(type_))
        case None:
            return False
