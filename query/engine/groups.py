"""The distinct values of an expression: a number per row, and what each number stands for."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from query.engine import arithmetic
from query.engine.array_text import any_texts, list_parts, message_texts
from query.engine.compare import hexadecimal
from query.engine.events_and_links import reader_entries
from query.engine.expressions import value
from query.language import ast
from query.language.ast import FieldExpr, Type
from query.language.check import type_of
from query.language.fields import entry_column, field_columns
from query.language.text import WORDS, duration
from query.results import AttributeValue
from query.scan.arrays import Rows, to_numpy
from query.scan.reader import Reader

NIL: Final = "nil"  # what answers show for no value
SCALARS: Final = frozenset({"", "string", "int", "double", "bool"})
_INT64_END: Final = 2.0**63


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
                return display_value(values[code - first].as_py(), self.type)
        return None


def display_value(value: Any, type_: Type) -> AttributeValue:
    """A value as answers have it: durations, statuses and kinds as text."""
    if type_ is Type.DURATION and isinstance(value, int | float) and math.isfinite(value):
        return duration(int(value))
    if type_ in WORDS:
        return WORDS[type_].get(value, str(value))
    found: AttributeValue = value.hex() if isinstance(value, bytes) else value
    return found


def group(expr: FieldExpr, reader: Reader) -> Groups:
    """The groups of all rows of a source. Values of which answers show the same are one group: 0.0 and -0.0, NaN of any
    form, durations of the same whole nanoseconds.

    An array of one element counts as that element, any other array as its JSON text.
    """
    type_ = type_of(expr)
    return _merge([encoded(array) for array in _arrays(expr, reader, type_)], reader.rows, type_)


def _arrays(expr: FieldExpr, reader: Reader, type_: Type) -> Iterator[Any]:
    """The values by type; of a row the first that is not null counts."""
    if not isinstance(expr, ast.Attribute | ast.Intrinsic):
        for part in value(expr, reader):
            yield from _by_duration(_nullable(part)) if type_ is Type.DURATION else [_nullable(part)]
    elif (column := entry_column(expr)) is not None and isinstance(expr, ast.Attribute):
        yield from _first_entries(expr, column, reader)
    elif column is None and _has_columns(expr) and not _hides(expr, reader):
        for name, word in field_columns(expr):
            if (array := reader.column(name)) is not None:
                yield from groupable(array, word)
    else:
        yield from map(_nullable, value(expr, reader))


def groupable(array: Any, word: str) -> Iterator[Any]:
    """The values of a column by which spans are grouped. word: the type of the column's attribute"""
    if word in SCALARS:
        yield array
    elif word.endswith("[]"):
        yield from list_parts(array)
    elif word == "any":
        yield any_texts(array)


def _first_entries(field: ast.Attribute, column: str, reader: Reader) -> Iterator[Any]:
    """Of several events or links in a row the first that has the attribute."""
    entries = reader_entries(reader, column)
    if entries is None or field.key not in entries.key_code:
        return
    own = np.flatnonzero(entries.keys == entries.key_code[field.key])
    found = [(part.word, part.values) for part in entries.values(field)]
    typed = np.zeros(len(own), bool)
    for _, values in found:
        typed |= to_numpy(values.is_valid())
    # What has no type: arrays of mixed types and empty ones, key-value lists.
    others = message_texts(entries.pairs.take(pa.array(own)))
    found += [("string", pc.if_else(pa.array(typed), None, texts)) for texts in others]
    # The parts are about the same entries, each of which has a value in one part at most.
    filled = np.flatnonzero(np.logical_or.reduce([to_numpy(values.is_valid()) for _, values in found]))
    owners, first = np.unique(entries.rows[entries.pair_entries[own]][filled], return_index=True)
    at = np.full(reader.rows, -1, np.int64)
    at[owners] = filled[first]
    places = pa.array(at, mask=at < 0)
    for word, values in found:
        yield from groupable(values.take(places), word)


def _by_duration(array: Any) -> list[Any]:
    """Whole nanoseconds, cut off as they are shown; what is beyond 64 bits by itself."""
    if not pa.types.is_floating(array.type):
        return [array]
    numbers, valid = to_numpy(array.fill_null(0.0)), to_numpy(array.is_valid())
    whole = np.abs(numbers) < _INT64_END  # not NaN
    cut = np.trunc(np.where(whole, numbers, 0)).astype(np.int64)
    return [pa.array(cut, mask=~(valid & whole)), pa.array(np.trunc(numbers), mask=~valid | whole)]


def _hides(field: ast.Field, reader: Reader) -> bool:
    """Whether a span's own attribute may hide its resource's, and yet have no value that makes a group."""
    own = (
        field_columns(ast.Attribute("span", field.key)) if isinstance(field, ast.Attribute) and not field.scope else ()
    )
    return any(word == "bytes" and reader.has(column) for column, word in own)


def _has_columns(field: ast.Field) -> bool:
    return not isinstance(field, ast.Intrinsic) or field.name not in {"span:childCount", "span:parentID"}


def _nullable(part: arithmetic.Part) -> Any:
    if part.type is Type.STRING:
        return pa.compute.if_else(pa.array(part.valid), part.values, None)
    return pa.array(part.values, mask=~part.valid)


def encoded(array: Any) -> tuple[Rows, Any]:
    """(codes from 0, -1 for null; the values that the codes stand for)"""
    if not pa.types.is_dictionary(array.type):
        array = (one_form(array) if pa.types.is_floating(array.type) else array).dictionary_encode()
    indices = array.indices if not array.indices.null_count else array.indices.fill_null(-1)
    values = array.dictionary
    return to_numpy(indices), hexadecimal(values) if pa.types.is_fixed_size_binary(values.type) else values


def one_form(floats: Any) -> Any:
    """Floats of an Array in which -0.0 is 0.0, and there is one NaN."""
    floats = pc.add(floats, 0.0)
    return pc.if_else(pc.is_nan(floats), math.nan, floats)


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
