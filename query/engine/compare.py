"""One column against one constant: the inner loop of every search.

Semantics, as a running Tempo shows them: a comparison with an absent value is false, != and !~ too. An attribute is
compared only if it has the constant's own type: 404.0 matches no int, "500" neither. Of an array one element that
holds is enough, for = and != alike. Intrinsic numbers compare with ints and floats.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from query.functions.comparators import ARROW, NUMPY
from query.language import ast
from query.language.ast import NUMERIC, Literal, Type
from query.language.check import anchored
from query.language.fields import UNSCOPED, field_columns
from query.scan.arrays import Mask, to_numpy
from query.scan.reader import Reader
from query.scan.traces import child_counts
from tables.schema import NO_PARENT

# The attribute types that a constant is compared with; the same and its array.
TYPE_WORDS: Final = {
    Type.STRING: ("string", "string[]"),
    Type.INT: ("int", "int[]"),
    Type.DURATION: ("int", "int[]"),
    Type.FLOAT: ("double", "double[]"),
    Type.BOOL: ("bool", "bool[]"),
}


def compare_field(reader: Reader, field: ast.Field, op: str, literal: Literal) -> Mask:
    """Rows for which `field op literal` holds."""
    if literal.type is Type.NIL:
        return _compare_nil(reader, field, op)
    if isinstance(field, ast.Intrinsic):
        return _compare_intrinsic(reader, field, op, literal)
    result = np.zeros(reader.rows, bool)
    for scoped, among in scopes(reader, field):
        for column, word in field_columns(scoped):
            if word not in TYPE_WORDS.get(literal.type, ()) or not reader.has(column):
                continue
            if _decided_by_bounds(reader, column, op, literal) is not False:
                hits = compare_array(reader.column(column), op, literal)
                result |= hits if among is None or not hits.any() else hits & among()
    return result


def scopes(reader: Reader, field: ast.Attribute) -> list[tuple[ast.Attribute, Callable[[], Mask] | None]]:
    """What an attribute stands for, and in which rows; None: in all. Without a scope it is the span's own where the
    span has it, of whatever type, and else the resource's.
    """
    if field.scope is not None:
        return [(field, None)]
    own, others = (ast.Attribute(scope, field.key) for scope in UNSCOPED)
    if not any(reader.has(column) for column, _ in field_columns(own)):
        return [(others, None)]
    return [(own, None), (others, lambda: ~present(reader, own))]


def compare_array(array: Any, op: str, literal: Literal) -> Mask:
    """Elements of a column (dictionary, plain, or list) for which `op literal` holds; null: False."""
    if pa.types.is_dictionary(array.type):
        return _compare_dictionary(array, op, literal)
    if pa.types.is_list(array.type):
        result = np.zeros(len(array), bool)
        hits = compare_array(array.flatten(), op, literal)
        result[to_numpy(pc.list_parent_indices(array))[hits]] = True
        return result
    if op in {"=~", "!~"}:
        matched = pc.match_substring_regex(array, pattern=anchored(str(literal.value)))
        return _mask(matched if op == "=~" else pc.invert(matched))
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        found: Mask
        if not array.null_count:
            found = NUMPY[op](to_numpy(array), literal.value)
            return found
        # Under nulls lies any number: what it says does not count.
        numbers = np.frombuffer(array.buffers()[1], array.type.to_pandas_dtype())
        found = NUMPY[op](numbers[array.offset : array.offset + len(array)], literal.value)
        return found & to_numpy(array.is_valid()) if found.any() else found
    return _mask(ARROW[op](array, pa.scalar(literal.value, array.type)))


def present(reader: Reader, field: ast.Field) -> Mask:
    """Rows in which the field has a value of any type."""
    if field == ast.Intrinsic("span:parentID") and (parents := reader.column("parent_span_id")) is not None:
        return _mask(pc.not_equal(parents, pa.scalar(NO_PARENT, parents.type)))
    if isinstance(field, ast.Intrinsic):
        return np.ones(reader.rows, bool)
    result = np.zeros(reader.rows, bool)
    for column, _ in field_columns(field):
        if (array := reader.column(column)) is not None:
            result |= to_numpy(array.is_valid())
    return result


def id_bytes(text: str, width: int) -> bytes | None:
    """A hexadecimal id as bytes, zeros added at the left (as trace ids are often shown without them)."""
    try:
        return bytes.fromhex(text.zfill(2 * width)) if len(text) <= 2 * width else None
    except ValueError:
        return None


def _compare_dictionary(array: Any, op: str, literal: Literal) -> Mask:
    """The constant against the dictionary, then codes: strings are looked at once per distinct value."""
    hits = compare_array(array.dictionary, op, literal)
    if not hits.any():
        return np.zeros(len(array), bool)
    # One more place, False, at the end: where the codes of nulls point to.
    table = np.append(hits, False)
    codes = array.indices if not array.indices.null_count else array.indices.fill_null(-1)
    result: Mask = table[to_numpy(codes)]
    return result


def _compare_nil(reader: Reader, field: ast.Field, op: str) -> Mask:
    mask = present(reader, field)
    return mask if op == "!=" else ~mask


def _compare_intrinsic(reader: Reader, field: ast.Intrinsic, op: str, literal: Literal) -> Mask:
    if field.name == "span:childCount":
        mask: Mask = NUMPY[op](child_counts(reader), literal.value)
        return mask
    ((column, _),) = field_columns(field)
    if not reader.has(column):
        return np.zeros(reader.rows, bool)
    decided = _decided_by_bounds(reader, column, op, literal)
    if decided is not None:
        return np.full(reader.rows, decided)
    array = reader.column(column)
    assert array is not None
    return (
        _compare_id(array, op, literal)
        if pa.types.is_fixed_size_binary(array.type)
        else compare_array(array, op, literal)
    )


def _compare_id(array: Any, op: str, literal: Literal) -> Mask:
    """Ids compare by their bytes with = and !=; otherwise as lower-case hexadecimal text. A root has no parent."""
    width = array.type.byte_width
    if op in {"=", "!="}:
        wanted = id_bytes(str(literal.value), width)
        if wanted is None:
            equal = np.zeros(len(array), bool)
        else:
            equal = _mask(pc.equal(array, pa.scalar(wanted, array.type)))
        mask = equal if op == "=" else ~equal
    else:
        mask = compare_array(hexadecimal(array), op, literal)
    if width == len(NO_PARENT):
        mask &= _mask(pc.not_equal(array, pa.scalar(NO_PARENT, array.type)))
    return mask


def hexadecimal(array: Any) -> Any:
    """Fixed-size binary as a string Array of lower-case hexadecimal digits."""
    width = array.type.byte_width
    data = np.frombuffer(array.buffers()[1], np.uint8)[array.offset * width : (array.offset + len(array)) * width]
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    text = np.empty((len(data), 2), np.uint8)
    text[:, 0], text[:, 1] = digits[data >> 4], digits[data & 15]
    offsets = np.arange(len(array) + 1, dtype=np.int32) * (2 * width)
    return pa.StringArray.from_buffers(len(array), pa.py_buffer(offsets), pa.py_buffer(text))


def _decided_by_bounds(reader: Reader, column: str, op: str, literal: Literal) -> bool | None:
    """Whether the column's bounds say that no row holds (False) or, for a column without nulls, that all do."""
    if literal.type not in NUMERIC | {Type.STATUS, Type.KIND} or (bounds := reader.bounds(column)) is None:
        return None
    value: Any = literal.value
    least, greatest = bounds
    none, every = {
        "=": (value < least or value > greatest, least == greatest == value),
        "!=": (least == greatest == value, value < least or value > greatest),
        "<": (least >= value, greatest < value),
        "<=": (least > value, greatest <= value),
        ">": (greatest <= value, least > value),
        ">=": (greatest < value, least >= value),
    }[op]
    if none:
        return False
    return True if every and "." not in column else None


def _mask(array: Any) -> Mask:
    mask: npt.NDArray[np.bool_] = to_numpy(array.fill_null(False) if array.null_count else array)
    return mask
