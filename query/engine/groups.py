"""The distinct values of an expression: a number per row, and what each number stands for."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from query.engine import arithmetic
from query.engine.compare import hexadecimal
from query.engine.evaluate import value
from query.engine.reader import Reader, Rows, entry_column, field_columns, to_numpy
from query.language import ast
from query.language.ast import FieldExpr, Type
from query.language.check import type_of
from query.language.text import WORDS, duration
from query.results import AttributeValue

NIL: Final = "nil"  # what answers show for no value
_GROUPABLE: Final = frozenset({"", "string", "int", "double", "bool"})


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """codes: one per row of the source; 0: no value. chunks: (first code, distinct values) one after the other."""

    codes: npt.NDArray[np.int64]
    chunks: tuple[tuple[int, Any], ...]
    type: Type

    @property
    def size(self) -> int:
        """One more than the greatest code."""
        return self.chunks[-1][0] + len(self.chunks[-1][1]) if self.chunks else 1

    def label(self, code: int) -> AttributeValue | None:
        """What a code stands for; None for 0."""
        for first, values in self.chunks:
            if first <= code < first + len(values):
                return shown(values[code - first].as_py(), self.type)
        return None


def shown(value: Any, type_: Type) -> AttributeValue:
    """A value as answers have it: durations, statuses and kinds as text."""
    if type_ is Type.DURATION and isinstance(value, int | float):
        return duration(int(value))
    if type_ in WORDS:
        return WORDS[type_].get(value, str(value))
    found: AttributeValue = value.hex() if isinstance(value, bytes) else value
    return found


def group(expr: FieldExpr, reader: Reader) -> Groups:
    """The groups of all rows of a source. Arrays count as no value."""
    type_ = type_of(expr)
    if isinstance(expr, ast.Attribute | ast.Intrinsic) and entry_column(expr) is None and _has_columns(expr):
        columns = [column for column, word in field_columns(expr) if word in _GROUPABLE]
        arrays = [array for column in columns if (array := reader.column(column)) is not None]
    else:
        arrays = [_nullable(part) for part in value(expr, reader)]
    return _merge(list(map(encoded, arrays)), reader.rows, type_)


def _has_columns(field: ast.Field) -> bool:
    return not isinstance(field, ast.Intrinsic) or field.name not in {"span:childCount", "span:parentID"}


def _nullable(part: arithmetic.Part) -> Any:
    if part.type is Type.STRING:
        return pa.compute.if_else(pa.array(part.valid), part.values, None)
    return pa.array(part.values, mask=~part.valid)


def encoded(array: Any) -> tuple[Rows, Any]:
    """(codes from 0, -1 for null; the values that the codes stand for)"""
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    indices = array.indices if not array.indices.null_count else array.indices.fill_null(-1)
    values = array.dictionary
    return to_numpy(indices), hexadecimal(values) if pa.types.is_fixed_size_binary(values.type) else values


def _merge(parts: list[tuple[Rows, Any]], rows: int, type_: Type) -> Groups:
    """The first array that has a value in a row gives its code; equal values of two arrays have one code."""
    code_of: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)] * len(parts)
    chunks, first = [], 1
    for kind in dict.fromkeys(values.type for _, values in parts):
        alike = [i for i, (_, values) in enumerate(parts) if values.type == kind]
        values = parts[alike[0]][1]
        place = np.arange(len(values))
        if len(alike) > 1:
            joined = pa.concat_arrays([parts[i][1] for i in alike]).dictionary_encode()
            values, place = joined.dictionary, to_numpy(joined.indices)
        start = 0
        for i in alike:
            end = start + len(parts[i][1])
            # One more place, 0, at the end: where the codes of nulls point to.
            code_of[i] = np.append(place[start:end] + first, 0)
            start = end
        chunks.append((first, values))
        first += len(values)
    codes: npt.NDArray[np.int64] | None = None
    for of, (indices, _) in zip(code_of, parts, strict=True):
        codes = of[indices] if codes is None else np.where(codes == 0, of[indices], codes)
    return Groups(np.zeros(rows, np.int64) if codes is None else codes, tuple(chunks), type_)
