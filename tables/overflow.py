"""The list column `overflow` of `tables.schema`: attributes without a column of their own, shown as if they had one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tables.lists import Int64s, list_parents, list_values, numbers
from tables.schema import ATTRIBUTE_TYPES, OVERFLOW, parse_attribute_column

COLUMN: Final = "overflow"

# A longer key never gets a column: Parquet's footer repeats each name several times.
KEY_CHARS_MAX: Final = 1024

_VALUE_FIELDS: Final = ("string_value", "bool_value", "int_value", "double_value", "bytes_value")
_LIST_FIELDS: Final = {
    "string[]": "string_value",
    "int[]": "int_value",
    "double[]": "double_value",
    "bool[]": "bool_value",
}


def value_field(word: str) -> str:
    """The field of an entry that holds values of an attribute type."""
    return f"{word}_value" if f"{word}_value" in _VALUE_FIELDS else "bytes_value"


def entries(columns: Any, word_field: str, values: Any) -> pa.StructArray:
    """Entries whose values are all of one field. columns: the name for each, a string array."""
    count = len(values)
    arrays = [columns]
    arrays += [values if f.name == word_field else pa.nulls(count, f.type) for f in list(OVERFLOW)[1:]]
    return pa.StructArray.from_arrays(arrays, fields=list(OVERFLOW))


def column_names(lists: pa.ListArray) -> frozenset[str]:
    """The columns that the entries stand for. Entries need only have the field `column`."""
    return frozenset(pc.unique(list_values(lists).field("column")).to_pylist())


def columns_of(lists: pa.ListArray, names: Sequence[str]) -> Mapping[str, Any]:
    """Columns by name, as `query.source.Source.read` gives them; one that no row has is all null.

    lists: the column `overflow`, or a slice of it
    """
    found = list_values(lists)
    encoded = found.field("column").dictionary_encode()
    number_of = {name: number for number, name in enumerate(encoded.dictionary.to_pylist())}
    wanted = np.zeros(len(number_of) + 1, np.bool_)
    wanted[[number_of[name] for name in names if name in number_of]] = True
    codes = numbers(encoded.indices)
    at = np.flatnonzero(wanted[codes])
    at = at[np.argsort(codes[at], kind="stable")]
    ends = np.cumsum(np.bincount(codes[at], minlength=len(number_of)))
    row = list_parents(lists)[at]
    ordered = found.take(pa.array(at))
    columns: dict[str, Any] = {}
    empty: dict[str, Any] = {}  # by type: made once, however many columns no row has
    for name in names:
        number = number_of.get(name)
        attribute = parse_attribute_column(name)
        word = attribute.type if attribute is not None else "string"
        if number is None:
            if word not in empty:
                empty[word] = _shown(pa.nulls(len(lists), ATTRIBUTE_TYPES[word]))
            columns[name] = empty[word]
            continue
        begin, end = int(ends[number - 1]) if number else 0, int(ends[number])
        values = _typed(ordered.slice(begin, end - begin).field(value_field(word)), word)
        index = np.full(len(lists), -1, np.int32)
        index[row[begin:end]] = np.arange(end - begin, dtype=np.int32)  # of a key that a span has twice, the last
        columns[name] = _shown(values.take(pa.array(index, mask=index < 0)))
    return columns


def _typed(values: Any, word: str) -> Any:
    field = _LIST_FIELDS.get(word)
    if field is None:
        return values
    lists = [
        [getattr(item, field) for item in AnyValue.FromString(raw).array_value.values] for raw in values.to_pylist()
    ]
    return pa.array(lists, ATTRIBUTE_TYPES[word])


def _shown(array: Any) -> Any:
    return array.dictionary_encode() if array.type == pa.string() else array


class Overflow:
    """Entries of the rows of a segment, collected in pieces."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._row: list[Any] = []
        self._entries: list[pa.StructArray] = []

    def add(self, row: Any, found: pa.StructArray) -> None:
        """Entries, and the row of each."""
        if len(found):
            self._row.append(row)
            self._entries.append(found)

    def columns(self) -> dict[str, Any]:
        """The column, if any row has an entry. Entries of a row stay in the order in which they were added."""
        if not self._row:
            return {}
        row = np.concatenate(self._row)
        order: Int64s = np.argsort(row, kind="stable")
        offsets = np.zeros(self._rows + 1, np.int32)
        np.cumsum(np.bincount(row, minlength=self._rows), out=offsets[1:])
        found = pa.concat_arrays(self._entries).take(pa.array(order))
        return {COLUMN: pa.ListArray.from_arrays(pa.array(offsets), found)}


def rarest(counts: Mapping[tuple[str, Any], int], columns_max: int) -> set[tuple[str, Any]]:
    """Which attributes, (key, type) each, go to the overflow: those with the fewest values, and very long keys.

    The same on every machine, whatever the order of the spans.
    """
    fit = [attribute for attribute in counts if len(attribute[0]) <= KEY_CHARS_MAX]
    fit.sort(key=lambda attribute: (-counts[attribute], attribute))
    return set(counts) - set(fit[: max(columns_max, 0)])


def visible(columns: Iterable[str], hidden: frozenset[str]) -> frozenset[str]:
    """A file's columns as readers see them."""
    return frozenset(name for name in columns if name != COLUMN) | hidden
