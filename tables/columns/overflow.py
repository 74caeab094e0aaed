"""The list column `overflow` of `tables.schema`: attributes without their own column, shown as if they had one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue

from tables.columns.arrays import list_parents, list_values, numbers, one_array, ranges
from tables.columns.types import Int64s
from tables.schema import ATTRIBUTE_TYPES, OVERFLOW, parse_attribute_column
from tables.turns import as_list

COLUMN: Final = "overflow"
# Texts of its entries that come oftener than once: read as dictionaries, or the name of an attribute takes its length
# for each span that has it.
DICTIONARIES: Final = ("overflow.list.element.column", "overflow.list.element.string_value")
# Of bytes and lists: merges read them as dictionaries, too. Queries count them as often as rows have them.
BYTES: Final = "overflow.list.element.bytes_value"

# A longer key never gets a column: Parquet's footer repeats each name several times.
KEY_CHARS_MAX: Final = 1024

# Of a column made of entries: an index of int32, and the place of each value while it is made.
HIDDEN_VALUE_BYTES: Final = 8
_TEXTS: Final = (pa.string(), pa.binary())
_VALUE_FIELDS: Final = ("string_value", "bool_value", "int_value", "double_value", "bytes_value")
_LIST_FIELDS: Final = {
    "string[]": "string_value",
    "int[]": "int_value",
    "double[]": "double_value",
    "bool[]": "bool_value",
}


def value_field(word: str) -> str:
    """The field of an entry that holds values of this attribute type."""
    return f"{word}_value" if f"{word}_value" in _VALUE_FIELDS else "bytes_value"


def entries(columns: Any, word_field: str, values: Any) -> pa.StructArray:
    """Entries whose values are all in one field. columns: the column name of each entry; names and texts may be coded

    Names, texts and bytes become dictionaries: the rows of a resource have the same, of up to 64 KiB each.
    """
    count = len(values)
    given = {"column": columns, word_field: values}
    arrays = [_coded(given[f.name]) if f.name in given else pa.nulls(count, _coded_type(f.type)) for f in OVERFLOW]
    return _struct(arrays)


def joined_entries(parts: Sequence[pa.StructArray]) -> pa.StructArray:
    """Entries below each other. Arrow cannot join dictionaries within structs."""
    return _struct([joined_values([part.field(number) for part in parts]) for number in range(OVERFLOW.num_fields)])


def joined_values(arrays: Sequence[Any]) -> Any:
    """Values of one type below each other, some of them coded: texts and bytes as one DictionaryArray, others plain."""
    chunks = pa.chunked_array([_coded(array) for array in arrays])
    return one_array(chunks.unify_dictionaries() if pa.types.is_dictionary(chunks.type) else chunks)


def sorted_entries(lists: Any) -> Any:
    """Each row's entries by column, and of a column that a row has twice the last: equal rows have equal entries."""
    entries = lists.values
    encoded = entries.field("column").dictionary_encode()
    rank = np.empty(len(encoded.dictionary), np.int64)
    rank[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(rank))
    names = rank[encoded.indices.to_numpy()]
    lengths = np.diff(lists.offsets.to_numpy())
    rows = np.repeat(np.arange(len(lists)), lengths)
    order = np.lexsort((names, rows))
    names, rows = names[order], rows[order]
    last = np.r_[(names[1:] != names[:-1]) | (rows[1:] != rows[:-1]), True] if len(order) else np.ones(0, np.bool_)
    return _lists(rows[last], len(lists), entries.take(pa.array(order[last])))


def _lists(rows: Int64s, count: int, entries: Any) -> Any:
    """In: the row of each entry, ascending; how many rows there are"""
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(np.bincount(rows, minlength=count), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), entries)


def _struct(arrays: Sequence[Any]) -> pa.StructArray:
    fields = [pa.field(f.name, array.type) for f, array in zip(OVERFLOW, arrays, strict=True)]
    return pa.StructArray.from_arrays(arrays, fields=fields)


def _coded_type(type_: Any) -> Any:
    return pa.dictionary(pa.int32(), type_) if type_ in _TEXTS else type_


def _coded(array: Any) -> Any:
    """Texts and bytes as DictionaryArray, in which no value is twice; other values plain."""
    if array.type in _TEXTS:
        return array.dictionary_encode()
    if pa.types.is_dictionary(array.type):
        if array.type.value_type not in _TEXTS:
            return array.dictionary_decode()
        unique = array.dictionary.dictionary_encode()
        if len(unique.dictionary) < len(unique):
            return pa.DictionaryArray.from_arrays(unique.indices.take(array.indices), unique.dictionary)
        if array.type.index_type != pa.int32():
            return pa.DictionaryArray.from_arrays(array.indices.cast(pa.int32()), array.dictionary)
    return array


def column_names(lists: pa.ListArray) -> frozenset[str]:
    """The names of the columns that the entries hold. Entries need only the field `column`."""
    return frozenset(as_list(pc.unique(list_values(lists).field("column"))))


def columns_of(lists: pa.ListArray, names: Sequence[str]) -> Mapping[str, Any]:
    """Columns by name, as `query.scan.source.Source.read` returns them; a column without any row is all null.

    lists: the column `overflow`, or a slice of it
    """
    found = SparseColumns.of(lists, names)
    columns: dict[str, Any] = {}
    empty: dict[str, Any] = {}  # by type: made once, however many columns no row has
    for name in names:
        if name not in found.names:
            word = _word(name)
            if word not in empty:
                empty[word] = _shown(pa.nulls(len(lists), ATTRIBUTE_TYPES[word]))
            columns[name] = empty[word]
            continue
        rows, values = found.column(name)
        index = np.full(len(lists), -1, np.int32)
        index[rows] = np.arange(len(rows), dtype=np.int32)
        columns[name] = _shown(values.take(pa.array(index, mask=index < 0)))
    return columns


@dataclass(frozen=True, slots=True, eq=False)
class SparseColumns:
    """The entries of some rows, sorted by column: for thousands of attributes that few rows have.

    names: number of each column; ends: end of each column's entries; rows: of each entry; entries: structs as in
    OVERFLOW
    """

    names: Mapping[str, int]
    ends: Int64s
    rows: Any
    entries: Any

    @classmethod
    def of(cls, lists: pa.ListArray, wanted: Sequence[str] | None = None) -> "SparseColumns":
        """In: the column `overflow`, or a slice of it; the columns to keep (None: all)"""
        found = list_values(lists)
        encoded = found.field("column")
        if not pa.types.is_dictionary(encoded.type):
            encoded = encoded.dictionary_encode()
        codes = numbers(encoded.indices)
        # A dictionary may have names that no entry has.
        used = np.bincount(codes, minlength=len(encoded.dictionary)) > 0
        names = {name: number for number, name in enumerate(as_list(encoded.dictionary)) if used[number]}
        at = np.arange(len(codes))
        if wanted is not None:
            keep = np.zeros(len(used), np.bool_)
            keep[[names[name] for name in wanted if name in names]] = True
            at = np.flatnonzero(keep[codes])
        at = at[np.argsort(codes[at], kind="stable")]
        ends = np.cumsum(np.bincount(codes[at], minlength=len(used)))
        return cls(names, ends, list_parents(lists)[at], found.take(pa.array(at)))

    @property
    def nbytes(self) -> int:
        return int(self.ends.nbytes + self.rows.nbytes + self.entries.nbytes)

    def columns(self, names: Sequence[str], word: str) -> tuple[Any, Any, Any]:
        """Some columns whose values are of one type that is no list, below each other: of each value which of the names
        its column has, its row, and the value. As `column`; names that are not here have no values.
        """
        bounds = np.array([self._bounds(name) for name in names], np.int64).reshape(-1, 2)
        lengths = bounds[:, 1] - bounds[:, 0]
        at = ranges(bounds[:, 0], lengths)
        owners, rows = np.repeat(np.arange(len(names)), lengths), self.rows[at]
        if len(at):
            last = np.r_[(rows[1:] != rows[:-1]) | (owners[1:] != owners[:-1]), True]
            owners, rows, at = owners[last], rows[last], at[last]
        return owners, rows, _plain_bytes(self.entries.field(value_field(word)).take(pa.array(at)))

    def by_type(self) -> Iterator[tuple[list[str], Any, Any, Any]]:
        """All columns, those of one type below each other: their names, and the rest as of `columns`."""
        words: dict[str, list[str]] = {}
        for name in self.names:
            words.setdefault(_word(name), []).append(name)
        for word, names in words.items():
            if word not in _LIST_FIELDS:
                yield names, *self.columns(names, word)
                continue
            for name in names:
                rows, values = self.column(name)
                yield [name], np.zeros(len(rows), np.int64), rows, values

    def size(self, name: str) -> int:
        """How many entries a column has."""
        begin, end = self._bounds(name)
        return end - begin

    def _bounds(self, name: str) -> tuple[int, int]:
        number = self.names.get(name)
        if number is None:
            return 0, 0
        return int(self.ends[number - 1]) if number else 0, int(self.ends[number])

    def column(self, name: str) -> tuple[Any, Any]:
        """One column as (rows, values): rows are ascending and distinct. If a span has an attribute twice, the last
        value counts.
        """
        begin, end = self._bounds(name)
        rows, word = self.rows[begin:end], _word(name)
        values = _typed(self.entries.slice(begin, end - begin).field(value_field(word)), word)
        last = np.flatnonzero(np.r_[rows[1:] != rows[:-1], True]) if len(rows) else rows
        return (rows, values) if len(last) == len(rows) else (rows[last], values.take(pa.array(last)))


def _word(name: str) -> str:
    attribute = parse_attribute_column(name)
    return attribute.type if attribute is not None else "string"


def _typed(values: Any, word: str) -> Any:
    if pa.types.is_dictionary(values.type):
        # Of the dictionary of all columns together what is used here.
        used = values.indices.dictionary_encode()
        values = pa.DictionaryArray.from_arrays(used.indices, values.dictionary.take(used.dictionary))
    field = _LIST_FIELDS.get(word)
    if field is None:
        return _plain_bytes(values)
    coded = _coded(values)
    lists = [
        [getattr(item, field) for item in AnyValue.FromString(raw).array_value.values]
        for raw in as_list(coded.dictionary)
    ]
    return pa.array(lists, ATTRIBUTE_TYPES[word]).take(coded.indices)


def _plain_bytes(values: Any) -> Any:
    is_coded = pa.types.is_dictionary(values.type) and values.type.value_type == pa.binary()
    return values.dictionary_decode() if is_coded else values


def serialized_lists(values: Any, word: str) -> Any:
    """The inverse of what reading an entry of a list type does: each list as a serialized OTLP AnyValue."""
    field = _LIST_FIELDS[word]
    lists = [
        AnyValue(array_value=ArrayValue(values=[AnyValue(**{field: item}) for item in one]))
        for one in values.to_pylist()
    ]
    return pa.array([one.SerializeToString() for one in lists], pa.binary())


def _shown(array: Any) -> Any:
    return array.dictionary_encode() if array.type == pa.string() else array


class Overflow:
    """Collects the overflow entries of a segment's rows, piece by piece."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._row: list[Any] = []
        self._entries: list[pa.StructArray] = []

    def add(self, row: Any, found: pa.StructArray) -> None:
        """Adds entries, with the row of each."""
        if len(found):
            self._row.append(row)
            self._entries.append(found)

    def columns(self) -> dict[str, Any]:
        """The column `overflow`, if any row has an entry. A row's entries keep the order in which they were added."""
        if not self._row:
            return {}
        row = np.concatenate(self._row)
        order: Int64s = np.argsort(row, kind="stable")
        return {COLUMN: _lists(row, self._rows, joined_entries(self._entries).take(pa.array(order)))}


def rarest(counts: Mapping[tuple[str, Any], int], columns_max: int) -> set[tuple[str, Any]]:
    """The attributes, (key, type) each, that go to the overflow: those with the fewest values, and very long keys.

    The result does not depend on the machine or the order of the spans.
    """
    fit = [attribute for attribute in counts if len(attribute[0]) <= KEY_CHARS_MAX]
    fit.sort(key=lambda attribute: (-counts[attribute], attribute))
    return set(counts) - set(fit[: max(columns_max, 0)])


def visible(columns: Iterable[str], hidden: frozenset[str]) -> frozenset[str]:
    """A file's columns as readers see them, with those in the overflow."""
    return frozenset(name for name in columns if name != COLUMN) | hidden
