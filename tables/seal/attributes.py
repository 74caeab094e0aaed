"""Span attributes: key-value lists per span → one nullable column per key and type.

All entries of all spans are put in the final row order and grouped by key with one stable sort; each column is then a
slice of the values. There is no loop per span and no `take` per column.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tables.columns.arrays import concat, index_type, list_offsets, ranges
from tables.columns.overflow import KEY_CHARS_MAX, Overflow, rarest, value_field
from tables.columns.overflow import entries as overflow_entries
from tables.columns.types import Int64s
from tables.schema import ATTRIBUTE_TYPES, attribute_column
from tables.seal.order import Numbers, Rows
from tables.seal.values import nested_value, overflow_value

_TYPE_OF_FIELD = {
    "string_value": "string",
    "bool_value": "bool",
    "int_value": "int",
    "double_value": "double",
    "bytes_value": "bytes",
}
_FIELDS = (*_TYPE_OF_FIELD, "array_value", "kvlist_value")
_NO_VALUE = "no value"
# Values of these may come to one column, `any` or `bytes`: they go to columns or to the overflow together.
_OTHER = "other"
_OTHERS = ("bytes_value", "array_value", "kvlist_value", _NO_VALUE)
_NUMPY = {"int_value": np.int64, "double_value": np.float64}


@dataclass(frozen=True, slots=True, eq=False)
class _Entries:
    """Attribute entries grouped by key; within a key in row order.

    entry: index of each in the joined values; row: its span; key: the number of its key
    """

    entry: Int64s
    row: npt.NDArray[np.int32]
    key: npt.NDArray[Any]
    names: list[str]

    def where(self, mask: npt.NDArray[np.bool_]) -> "_Entries":
        return _Entries(self.entry[mask], self.row[mask], self.key[mask], self.names)

    def runs(self) -> list[tuple[str, int, int]]:
        """(key, first, end) of each key that has entries."""
        counts = np.bincount(self.key, minlength=len(self.names))
        ends = np.cumsum(counts)
        return [(self.names[k], int(ends[k] - counts[k]), int(ends[k])) for k in np.flatnonzero(counts).tolist()]


def attribute_columns(rows: Rows, columns_max: int, overflow: Overflow) -> dict[str, Any]:
    """Columns `span.<key>[:type]` of all spans, in the order of `rows`. The rarest go to the overflow.

    If a span has a key twice, the last value counts. A value without a type becomes an empty `any`.
    """
    entries = _entries(rows)
    if not len(entries.entry):
        return {}
    columns: dict[str, Any] = {}
    rare = _rare(rows, entries, columns_max)
    valued = np.zeros(len(entries.entry), np.bool_)
    for field in _FIELDS:
        values = _joined_field(rows, field)
        if values is None:
            continue
        valid = values.is_valid().to_numpy(zero_copy_only=False)[entries.entry]
        if not valid.any():
            continue
        valued |= valid
        chosen = entries.where(valid)
        if field in rare:
            mask = rare[field][chosen.key]
            _overflow(overflow, field, values, chosen.where(mask))
            chosen = chosen.where(~mask)
        if field in _TYPE_OF_FIELD:
            columns |= _scalar_columns(rows.order.rows, field, values, chosen)
        else:
            _add_nested(columns, rows.order.rows, field, values, chosen)
    if not valued.all():
        empty = entries.where(~valued)
        if _NO_VALUE in rare:
            mask = rare[_NO_VALUE][empty.key]
            _overflow_plain(overflow, "any", empty.where(mask), pa.array([b""] * int(mask.sum()), pa.binary()))
            empty = empty.where(~mask)
        for key, first, end in empty.runs():
            column = attribute_column("span", key, "any")
            new = _scatter(rows.order.rows, empty.row[first:end], pa.array([b""] * (end - first), pa.binary()))
            columns[column] = _merge(columns.get(column), new)
    return columns


def _rare(rows: Rows, entries: _Entries, columns_max: int) -> dict[str, npt.NDArray[np.bool_]]:
    """For each field, the keys that go to the overflow: usually none, because most segments have few keys."""
    names = entries.names
    few = len(names) * (len(_FIELDS) + 1) <= columns_max
    if few and max(map(len, names)) <= KEY_CHARS_MAX:
        return {}
    counts: dict[tuple[str, str], int] = {}
    rest = np.ones(len(entries.entry), np.bool_)
    for field in (*_FIELDS, _NO_VALUE):
        mask = rest
        if field != _NO_VALUE:
            values = _joined_field(rows, field)
            if values is None:
                continue
            mask = values.is_valid().to_numpy(zero_copy_only=False)[entries.entry]
            rest = rest & ~mask
        found = np.bincount(entries.key[mask], minlength=len(names))
        for number in np.flatnonzero(found).tolist():
            attribute = (names[number], _OTHER if field in _OTHERS else field)
            counts[attribute] = counts.get(attribute, 0) + int(found[number])
    rare: dict[str, npt.NDArray[np.bool_]] = {}
    number_of = {name: number for number, name in enumerate(names)}
    for key, kind in rarest(counts, columns_max):
        for field in _OTHERS if kind == _OTHER else (kind,):
            rare.setdefault(field, np.zeros(len(names), np.bool_))[number_of[key]] = True
    return rare


def _overflow(overflow: Overflow, field: str, values: Any, chosen: _Entries) -> None:
    taken = values.take(pa.array(chosen.entry))
    if field in _TYPE_OF_FIELD:
        _overflow_plain(overflow, _TYPE_OF_FIELD[field], chosen, taken)
        return
    encoded = taken.dictionary_encode()
    typed = [overflow_value(field, raw) for raw in encoded.dictionary.to_pylist()]
    codes = encoded.indices.to_numpy()
    for word in dict.fromkeys(word for word, _ in typed):
        mine = np.array([w == word for w, _ in typed], np.bool_)[codes]
        data = pa.array([data for _, data in typed], pa.binary()).take(pa.array(codes[mine]))
        _overflow_plain(overflow, word, chosen.where(mine), data)


def _overflow_plain(overflow: Overflow, word: str, chosen: _Entries, values: Any) -> None:
    used, dense = np.unique(chosen.key, return_inverse=True)
    columns = [attribute_column("span", chosen.names[number], word) for number in used.tolist()]
    named = pa.DictionaryArray.from_arrays(pa.array(dense, pa.int32()), pa.array(columns, pa.string()))
    overflow.add(chosen.row, overflow_entries(named, value_field(word), values))


def _entries(rows: Rows) -> _Entries:
    starts, counts, keys, numbers, base = [], [], [], Numbers(), 0
    for batch in rows.batches:
        lists = batch.column("attributes")
        offsets = list_offsets(lists).astype(np.int64)
        starts.append(offsets[:-1] + base)
        counts.append(np.diff(offsets))
        keys.append(numbers.codes(lists.values.field("key")))
        base += len(lists.values)
    order = rows.order.order
    count = np.concatenate(counts)[order]
    entry = ranges(np.concatenate(starts)[order], count)
    row = np.repeat(np.arange(len(order), dtype=np.int32), count)
    names = numbers.values
    # numpy sorts 16-bit numbers with a radix sort, several times faster than wider ones.
    key = np.concatenate(keys)[entry].astype(index_type(len(names)), copy=False)
    by_key = np.argsort(key, kind="stable")
    return _Entries(entry[by_key], row[by_key], key[by_key], names)


def _joined_field(rows: Rows, field: str) -> Any:
    """A value field over all batches; None if no batch has it."""
    parts, type_ = [], None
    for batch in rows.batches:
        struct = batch.column("attributes").values
        at = struct.type.get_field_index(field)
        parts.append(struct.field(at) if at >= 0 else len(struct))
        type_ = struct.type.field(at).type if at >= 0 else type_
    if type_ is None:
        return None
    return concat([pa.nulls(part, type_) if isinstance(part, int) else part for part in parts])


def _scalar_columns(rows: int, field: str, values: Any, entries: _Entries) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    number = _NUMPY.get(field)
    if number is not None:
        flat = np.frombuffer(values.buffers()[1], number)[values.offset : values.offset + len(values)]
        data = flat[entries.entry]
        for key, first, end in entries.runs():
            name = attribute_column("span", key, _TYPE_OF_FIELD[field])
            columns[name] = _number_column(rows, values.type, entries.row[first:end], data[first:end])
        return columns
    taken = values.take(pa.array(entries.entry))
    text = field == "string_value"
    offsets = list_offsets(taken) if text else None
    for key, first, end in entries.runs():
        row = entries.row[first:end]
        column = _text_column(rows, taken, offsets, row, first, end) if offsets is not None else None
        if column is None:
            column = _scatter(rows, row, taken.slice(first, end - first))
        columns[attribute_column("span", key, _TYPE_OF_FIELD[field])] = column
    return columns


def _validity(rows: int, row: npt.NDArray[np.int32]) -> tuple[pa.Buffer, int]:
    """A validity bitmap with the given rows set, and the number of unset rows."""
    mask = np.zeros(rows, np.uint8)
    mask[row] = 1
    return pa.py_buffer(np.packbits(mask, bitorder="little")), rows - int(np.count_nonzero(mask))


def _number_column(rows: int, type_: Any, row: npt.NDArray[np.int32], data: npt.NDArray[Any]) -> Any:
    out = np.zeros(rows, data.dtype)
    out[row] = data  # of a key that a span has twice, the last stays
    valid, nulls = _validity(rows, row)
    return pa.Array.from_buffers(type_, rows, [valid, pa.py_buffer(out)], nulls)


def _text_column(
    rows: int, taken: Any, offsets: npt.NDArray[np.int32], row: npt.NDArray[np.int32], first: int, end: int
) -> Any:
    """Strings first … end of `taken` as a column. Only the offsets are new; the text is shared.

    None if a span has the key twice, because its texts could not be shared
    """
    valid, nulls = _validity(rows, row)
    if rows - nulls != end - first:
        return None
    out = np.zeros(rows + 1, np.int32)
    out[row + 1] = np.diff(offsets[first : end + 1])
    np.cumsum(out, out=out)
    begin = int(offsets[first])
    text = taken.buffers()[2].slice(begin, int(offsets[end]) - begin)
    return pa.Array.from_buffers(pa.string(), rows, [valid, pa.py_buffer(out), text], nulls)


def _scatter(rows: int, row: npt.NDArray[np.int32], values: Any) -> Any:
    """A column with `values` in the given rows, nulls elsewhere."""
    index = np.full(rows, -1, np.int32)
    index[row] = np.arange(len(row), dtype=np.int32)
    return values.take(pa.array(index, mask=index < 0))


def _merge(existing: Any, new: Any) -> Any:
    return new if existing is None else pa.compute.coalesce(existing, new)


def _add_nested(columns: dict[str, Any], rows: int, field: str, values: Any, entries: _Entries) -> None:
    """Adds arrays and key-value lists. Each distinct value is decoded once."""
    encoded = values.take(pa.array(entries.entry)).dictionary_encode()
    typed = [nested_value(field, raw) for raw in encoded.dictionary.to_pylist()]
    words = list(dict.fromkeys(word for word, _ in typed))
    word_of = np.array([words.index(word) for word, _ in typed], np.int32)
    codes = encoded.indices.to_numpy()
    for word_number, word in enumerate(words):
        dense = np.cumsum(word_of == word_number) - 1
        distinct = pa.array([value for w, value in typed if w == word], ATTRIBUTE_TYPES[word])
        mine = word_of[codes] == word_number
        chosen, chosen_codes = entries.where(mine), dense[codes[mine]]
        for key, first, end in chosen.runs():
            column = attribute_column("span", key, word)
            new = _scatter(rows, chosen.row[first:end], distinct.take(pa.array(chosen_codes[first:end])))
            columns[column] = _merge(columns.get(column), new)
