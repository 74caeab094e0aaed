"""Distinct values of fields: of one source, and of many together within a limit of bytes."""

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from query.engine.compare import scopes
from query.engine.events_and_links import reader_entries
from query.engine.groups import one_form
from query.language import ast
from query.language.ast import Type
from query.language.check import type_of
from query.language.fields import entry_column, field_columns
from query.language.text import WORDS
from query.scan.arrays import Mask, to_numpy
from query.scan.reader import Reader
from query.scan.traces import child_counts
from tables.columns.sorted_sets import unique
from tables.turns import as_list

# Words of attribute columns → types of values, as answers name them. Bytes and nested values are not shown.
_TYPES: Final = {"string": "string", "int": "int", "double": "float", "bool": "bool"}
_FEW_VALUES: Final = 256  # Arrow's sorting and taking has a cost that more values make up for
_PLAIN_DIGITS: Final = 6  # before the point; larger numbers are written with an exponent
KEYWORD: Final = "keyword"  # what status and kind are
_NEVER_NIL: Final = {"rootName", "rootServiceName"}  # of a trace without a root they are "", and can be asked for
CHILD_COUNT: Final = ast.Intrinsic("span:childCount")
_IDS: Final = {"span:id", "span:parentID", "trace:id", "link:traceID", "link:spanID"}


class TagValue(NamedTuple):
    """type: string, int, float, bool or keyword. text: the value as TraceQL writes it, without quotes"""

    type: str
    text: str


def has_values(field: ast.Field) -> bool:
    """Whether its values can be picked from a list: ids, durations and numbers of the nested set cannot."""
    if isinstance(field, ast.Attribute) or field == CHILD_COUNT:
        return True
    return type_of(field) in {Type.STRING, Type.STATUS, Type.KIND} and field.name not in _IDS


def keywords(field: ast.Field) -> tuple[str, ...]:
    """All values of a field that has a closed set of them; else none."""
    words = WORDS.get(type_of(field), {}) if isinstance(field, ast.Intrinsic) else {}
    return tuple(words.values())


def field_values(reader: Reader, field: ast.Field, rows: Mask | None) -> Iterator[tuple[str, Any]]:
    """(type, distinct values) of the rows in the mask; None: of all rows. Of arrays their elements."""
    if (column := entry_column(field)) is not None:
        entries = reader_entries(reader, column)
        for part in () if entries is None else entries.values(field):
            chosen = part.values if rows is None else part.values.filter(pa.array(rows[part.rows]))
            yield from _typed(part.word, distinct(chosen), field)
        return
    if field == CHILD_COUNT:
        counts = child_counts(reader)
        yield "int", pa.array(unique(counts if rows is None else counts[rows]))
        return
    for scoped, among in [(field, None)] if isinstance(field, ast.Intrinsic) else scopes(reader, field):
        chosen_rows = rows
        for column, word in field_columns(scoped):
            if word not in {"bytes", "any"} and (array := reader.column(column)) is not None:
                if among is not None:  # asked for only now: few sources have it in both scopes
                    chosen_rows, among = among() if rows is None else rows & among(), None
                chosen = array if chosen_rows is None else array.filter(pa.array(chosen_rows))
                yield from _typed(word or "string", distinct(chosen), field)


def _typed(word: str, values: Any, field: ast.Field) -> Iterator[tuple[str, Any]]:
    if isinstance(field, ast.Intrinsic):
        if keywords(field):
            words = WORDS[type_of(field)]
            yield KEYWORD, pa.array([words.get(number, str(number)) for number in values.to_pylist()], pa.string())
        elif field.name in _NEVER_NIL:
            yield "string", values
        else:  # "" says that there is none
            yield "string", values.filter(pc.not_equal(values, ""))
    elif (type_ := _TYPES.get(word.removesuffix("[]"))) is not None:
        yield type_, values


def distinct(array: Any) -> Any:
    """The values that come in an array or in its lists, each once, without null. Strings: the dictionary is enough."""
    if pa.types.is_list(array.type):
        array = pc.list_flatten(array)
    if not pa.types.is_dictionary(array.type):
        return pc.unique(one_form(array) if pa.types.is_floating(array.type) else array).drop_null()
    codes = array.indices.drop_null() if array.indices.null_count else array.indices
    # A dictionary may have values that no row has.
    used = np.bincount(to_numpy(codes), minlength=len(array.dictionary)) > 0
    found = array.dictionary if used.all() else array.dictionary.filter(pa.array(used))
    return found.drop_null()


def entry_keys(lists: Any) -> frozenset[str]:
    """The attribute keys in a list column of events or links."""
    pairs = pc.list_flatten(pc.struct_field(pc.list_flatten(lists), "attributes"))
    return frozenset(as_list(pc.unique(pc.struct_field(pairs, "key")).drop_null()))


class Distinct:
    """Values of many sources. `full`: they take more than `bytes_max`, so that no more is kept."""

    def __init__(self, bytes_max: int) -> None:
        self.full = False
        self._bytes_max = bytes_max
        self._arrays: dict[str, list[Any]] = {}
        self._bytes = 0

    def add_values(self, type_: str, values: Any, size_bytes: int) -> None:
        """In: distinct values of one type, as a pyarrow Array of this size"""
        self._arrays.setdefault(type_, []).append(values)
        self._bytes += size_bytes
        if self._bytes > 2 * self._bytes_max:
            self._compact()
            self.full = self._bytes > self._bytes_max

    def arrays(self) -> dict[str, Any]:
        """The values of each type, each once, in no order."""
        return {type_: _once_each(arrays) for type_, arrays in self._arrays.items()}

    def _compact(self) -> None:
        self._arrays = {type_: [array] for type_, array in self.arrays().items()}
        self._bytes = sum(array.nbytes for (array,) in self._arrays.values())


def _once_each(arrays: list[Any]) -> Any:
    """In: arrays of distinct values"""
    return arrays[0] if len(arrays) == 1 else pc.unique(pa.concat_arrays(arrays))


def first_values(distinct: Mapping[str, Any], limit: int, bytes_max: int) -> tuple[TagValue, ...]:
    """By type and value, at most `limit`; 0: all whose texts fit into `bytes_max`.

    distinct: the values of each type, without repeats, as pyarrow Arrays
    """
    out: list[TagValue] = []
    left_bytes = bytes_max
    for type_, array in sorted(distinct.items()):
        left = limit - len(out) if limit else len(array)
        for value in _smallest(array, left):
            text = value_text(value)
            left_bytes -= len(text)
            if left_bytes < 0:
                return tuple(out)
            out.append(TagValue(type_, text))
    return tuple(out)


def _smallest(array: Any, count: int) -> list[Any]:
    """The first of the values in order."""
    if len(array) <= _FEW_VALUES and pa.types.is_string(array.type):
        return sorted(array.to_pylist())[:count]  # in the order of code points, as UTF-8 bytes are ordered
    return as_list(array.take(pc.array_sort_indices(array)).slice(0, count))


def value_text(value: str | float | bool) -> str:  # noqa: FBT001 (one of the values)
    """As TraceQL writes it, without quotes; floats as Go's shortest form: 0.1, 132.0, 1e+09."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _float_text(value) if isinstance(value, float) else str(value)


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    first = len(digits) + int(exponent) - 1  # the power of ten of the first digit
    if value == 0 or -4 <= first < _PLAIN_DIGITS:
        text = format(Decimal(repr(value)).normalize(), "f")
        return text if "." in text else f"{text}.0"
    rest = "".join(map(str, digits[1:]))
    return f"{'-' if sign else ''}{digits[0]}{'.' + rest if rest else ''}e{first:+03d}"
