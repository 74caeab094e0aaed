"""Values that are not simply a column against a constant: `.a + 1 > .b`, `-x`, attribute = attribute.

A value is a tuple of parts, one per type, because an attribute may have another type in every row. A row has a value
in one part at most. Rows without one yield nothing: whatever is computed from them is absent, whatever is compared
with them is false. Arrays have no value here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from query.engine.compare import hexadecimal, present, scopes
from query.engine.events_and_links import EntryValues, reader_entries
from query.functions.comparators import ARROW, NUMPY
from query.language import ast
from query.language.ast import Literal, Type
from query.language.fields import entry_column, field_columns
from query.language.words import INTRINSICS
from query.scan.arrays import INT64, Mask, Rows, to_numpy
from query.scan.reader import Reader
from query.scan.traces import child_counts
from tables.columns.arrays import plain

_TYPES: Final = {"string": Type.STRING, "int": Type.INT, "double": Type.FLOAT, "bool": Type.BOOL}
_NUMBERS: Final = frozenset({Type.INT, Type.FLOAT})


@dataclass(frozen=True, slots=True)
class Part:
    """Values of one type. `values` (numpy; strings: pyarrow) mean something only where `valid`."""

    type: Type
    values: Any
    valid: Mask


Value = tuple[Part, ...]


def constant(literal: Literal, rows: int) -> Value:
    """The same value in every row."""
    if literal.type is Type.NIL:
        return ()
    type_ = _plain(literal.type)
    value: Any = literal.value
    values = pa.repeat(value, rows) if type_ is Type.STRING else np.full(rows, value)
    return (Part(type_, values, np.ones(rows, bool)),)


def field(reader: Reader, node: ast.Field) -> Value:
    """What a field holds, by type."""
    if (column := entry_column(node)) is not None:
        entries = reader_entries(reader, column)
        found = [] if entries is None else entries.values(node)
        parts = list(first_of(found, [part.rows for part in found], reader.rows))
        if node == ast.Intrinsic("event:name"):  # never nil: "" of a span without events
            every = pa.repeat("", reader.rows)
            values, valid = (parts[0].values, parts[0].valid) if parts else (every, np.zeros(reader.rows, bool))
            parts = [Part(Type.STRING, pc.if_else(pa.array(valid), values, ""), np.ones(reader.rows, bool))]
        return tuple(parts)
    if isinstance(node, ast.Intrinsic):
        return _intrinsic(reader, node)
    return tuple(part for scoped, among in scopes(reader, node) for part in _scoped(reader, scoped, among))


def _scoped(reader: Reader, node: ast.Attribute, among: Callable[[], Mask] | None) -> Iterator[Part]:
    """The values of an attribute with a scope, by type. In: among: the rows that count; None: all"""
    columns = [(column, word) for column, word in field_columns(node) if word in _TYPES and reader.has(column)]
    if not columns:
        return
    taken = np.zeros(reader.rows, bool) if among is None else ~among()
    for column, word in columns:
        array = reader.column(column)
        part = _part(_TYPES[word], array, ~taken)
        taken |= part.valid
        yield part


def negative(value: Value) -> Value:
    """Of what is a number; the least integer has no opposite."""
    parts = (part for part in value if part.type in _NUMBERS)
    return tuple(
        Part(part.type, -part.values, part.valid & (part.values != INT64.min) if part.type is Type.INT else part.valid)
        for part in parts
    )


def calculate(op: str, left: Value, right: Value) -> Value:
    """`left op right` for each row in which both are numbers."""
    return tuple(_calculate(op, a, b) for a, b in _pairs(left, right) if a.type in _NUMBERS and b.type in _NUMBERS)


def compare(op: str, left: Value, right: Value, rows: int) -> Mask:
    """Rows in which both have a value, of types that compare, and `left op right` holds."""
    result = np.zeros(rows, bool)
    for a, b in _pairs(left, right):
        if a.type is b.type or {a.type, b.type} <= _NUMBERS:
            if a.type is Type.STRING:
                hits = to_numpy(ARROW[op](a.values, b.values).fill_null(False))
            else:
                hits = NUMPY[op](a.values, b.values)
            result |= hits & a.valid & b.valid
    return result


def _pairs(left: Value, right: Value) -> Iterator[tuple[Part, Part]]:
    return ((a, b) for a in left for b in right)


def _calculate(op: str, a: Part, b: Part) -> Part:
    valid = a.valid & b.valid
    whole = a.type is Type.INT and b.type is Type.INT
    with np.errstate(all="ignore"):
        match op:
            case "+":
                values = a.values + b.values
                if whole and not _fits(op, a, b):
                    valid = valid & (((a.values ^ values) & (b.values ^ values)) >= 0)
            case "-":
                values = a.values - b.values
                if whole and not _fits(op, a, b):
                    valid = valid & (((a.values ^ b.values) & (a.values ^ values)) >= 0)
            case "*":
                values = a.values * b.values
                if whole and not _fits(op, a, b):
                    valid = valid & _exact(a.values, b.values, values)
            case "^":
                values, whole = np.power(_floats(a), _floats(b)), False
                valid = valid & ~np.isnan(values)
            case "/" if whole:
                values, valid = _whole_quotient(a.values, b.values), valid & (b.values != 0)
                valid = valid & ~((a.values == INT64.min) & (b.values == -1))
            case "%" if whole:
                values, valid = np.fmod(a.values, b.values), valid & (b.values != 0)
            case "/":
                values, valid = _floats(a) / _floats(b), valid & (b.values != 0)
            case _:
                values, valid = np.fmod(_floats(a), _floats(b)), valid & (b.values != 0)
    return Part(Type.INT if whole else Type.FLOAT, values, valid)


def _fits(op: str, a: Part, b: Part) -> bool:
    """Whether no row's result can be beyond 64 bits: nearly always, and then no row is looked at."""
    if not len(a.values):
        return True
    most = [max(-int(part.values.min()), int(part.values.max())) for part in (a, b)]
    return (most[0] * most[1] if op == "*" else most[0] + most[1]) <= INT64.max


def _exact(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], product: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Where the product is what 64 bits hold of it, and all of it."""
    divisor = np.where((b == 0) | (b == -1), 1, b)
    exact: npt.NDArray[np.bool_] = np.where(
        b == -1, a != INT64.min, (b == 0) | ((product // divisor == a) & (product % divisor == 0))
    )
    return exact


def _whole_quotient(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Cut towards 0, as in Go; numpy's // rounds down."""
    quotient: npt.NDArray[np.int64] = (a - np.fmod(a, b)) // b
    return quotient


def _floats(part: Part) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = part.values.astype(np.float64)
    return values


def _intrinsic(reader: Reader, node: ast.Intrinsic) -> Value:
    if node.name == "span:childCount":
        return (Part(Type.INT, child_counts(reader), np.ones(reader.rows, bool)),)
    ((column, _),) = field_columns(node)
    array = reader.column(column)
    if array is None:
        return ()
    if pa.types.is_fixed_size_binary(array.type):
        array = hexadecimal(array)
    return (_part(_plain(INTRINSICS[node.name]), array, present(reader, node)),)


def first_of(found: Sequence[EntryValues], owners: Sequence[Rows], count: int) -> Value:
    """Of the values that each owner (a row, or an entry) has the first, by type. In: values of the same entries, each
    of which has a value in one part at most; of each part the owners, ascending
    """
    kept = [(part, of) for part, of in zip(found, owners, strict=True) if part.word in _TYPES]
    if not kept:
        return ()
    filled = np.flatnonzero(np.logical_or.reduce([to_numpy(part.values.is_valid()) for part, _ in kept]))
    having, first = np.unique(kept[0][1][filled], return_index=True)
    at = np.full(count, -1, np.int64)
    at[having] = filled[first]
    places = pa.array(at, mask=at < 0)
    every = np.ones(count, bool)
    return tuple(_part(_TYPES[part.word], part.values.take(places), every) for part, _ in kept)


def spread(found: Value, rows: Rows) -> Value:
    """The values of some rows; a row may come several times."""
    return tuple(
        Part(p.type, p.values.take(pa.array(rows)) if p.type is Type.STRING else p.values[rows], p.valid[rows])
        for p in found
    )


def _part(type_: Type, array: Any, among: Mask) -> Part:
    valid = to_numpy(array.is_valid()) & among
    if type_ is Type.STRING:
        return Part(type_, plain(array), valid)
    values = to_numpy(array.fill_null(False if type_ is Type.BOOL else 0) if array.null_count else array)
    # int8 statuses and kinds, int32 nested-set numbers: widened, so that arithmetic does not wrap round.
    return Part(type_, values.astype(np.int64) if values.dtype.kind == "i" else values, valid)


def _plain(type_: Type) -> Type:
    return Type.INT if type_ is Type.DURATION else type_
