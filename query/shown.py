"""What the answer shows of a matched span: the fields that the query names."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from query import ast
from query.ast import Comparison, Literal
from query.compare import compare_array, hexadecimal
from query.plan import Shown
from query.reader import ROOT_PARENT, Reader, Rows, field_columns, fixed_bytes
from query.results import AttributeValue
from query.traces import child_counts
from query.words import KIND, STATUS

_WORDS: Final = {
    "status": {number: word for word, number in STATUS.items()},
    "kind": {number: word for word, number in KIND.items()},
}
_NOT_SHOWABLE: Final = frozenset({"bytes", "any"})


def show(reader: Reader, rows: Rows, shown: Sequence[Shown]) -> list[dict[str, AttributeValue]]:
    """The shown fields of some rows under their plain names."""
    result: list[dict[str, AttributeValue]] = [{} for _ in range(len(rows))]
    columns = [column for item in shown for column, _ in field_columns(item.field)]
    arrays = reader.at(columns, rows)
    for item in shown:
        field = item.field
        label = field.name if isinstance(field, ast.Intrinsic) else field.key
        for i, value in enumerate(_values(reader, rows, item, arrays)):
            if value is not None:
                result[i].setdefault(label, value)
            elif item.or_nil:
                result[i].setdefault(label, "nil")
    return result


def _values(reader: Reader, rows: Rows, item: Shown, arrays: Mapping[str, Any]) -> list[AttributeValue | None]:
    field = item.field
    if isinstance(field, ast.Intrinsic):
        return _intrinsic(reader, rows, field, item.conditions, arrays)
    result: list[AttributeValue | None] = [None] * len(rows)
    for column, word in field_columns(field):
        if column in arrays and word not in _NOT_SHOWABLE:
            for i, value in enumerate(_satisfying(_plain(arrays[column]), word, item.conditions)):
                if result[i] is None:
                    result[i] = value
    return result


def _intrinsic(
    reader: Reader,
    rows: Rows,
    field: ast.Intrinsic,
    conditions: Sequence[Comparison],
    arrays: Mapping[str, Any],
) -> list[AttributeValue | None]:
    if field.name == "span:childCount":
        array = pa.array(child_counts(reader)[rows])
    else:
        ((column, _),) = field_columns(field)
        if column not in arrays:
            return [None] * len(rows)
        array = _plain(arrays[column])
    if pa.types.is_fixed_size_binary(array.type):
        absent = fixed_bytes(array) == ROOT_PARENT
        # Equality of ids was decided by bytes; the few spellings of one id need no condition here.
        return [None if none else text for none, text in zip(absent, hexadecimal(array).to_pylist(), strict=True)]
    values = _satisfying(array, "", conditions)
    words = _WORDS.get(field.name)
    return values if words is None else [words.get(value) if isinstance(value, int) else None for value in values]


def _plain(array: Any) -> Any:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _satisfying(array: Any, word: str, conditions: Sequence[Comparison]) -> list[AttributeValue | None]:
    """Values that satisfy one of the conditions, or all values if there are none; None for the others.

    Of an array only the elements that do, as Tempo shows it: one alone is shown as a plain value.
    """
    values: list[Any] = array.to_pylist()
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
    for owner, value, keep in zip(np.repeat(np.arange(len(values)), owners), elements.to_pylist(), kept, strict=True):
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
