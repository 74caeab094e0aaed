"""Tempo's attributes → ours: lists of (key, values of each type) → keys and one column per type of AnyValue."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.json_format import Parse, ParseError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tables.columns.arrays import Int32s, concat, dictionary, list_offsets, list_values, numbers
from tables.columns.types import Int64s
from tables.schema import KEY_VALUE, VALUE_FIELDS
from tables.tempo.protobuf import array_values

# Tempo's columns of values → the field of AnyValue that they are.
_TYPED: Final = {
    "Value": "string_value",
    "ValueInt": "int_value",
    "ValueDouble": "double_value",
    "ValueBool": "bool_value",
}
# JSON of other values: an AnyValue as Protobuf writes it. Previews had another name for it.
_UNSUPPORTED: Final = ("ValueUnsupported", "ValueDropped")
_NESTED: Final = ("array_value", "kvlist_value")

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class TempoAttributes:
    """The attributes of some spans, resources, scopes, events or links.

    offsets: shape (owners + 1,): owner n has the entries from offsets[n] to offsets[n + 1]
    keys: of each entry, a dictionary of strings
    values: by field of AnyValue, a column with the entries' values; an entry without a value in any of them has none
    """

    offsets: Int32s
    keys: pa.DictionaryArray
    values: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class OneKey:
    """The values that owners have of one attribute. values: as in TempoAttributes, a row per owner, null: none"""

    key: str
    values: dict[str, Any]


def attributes_of(lists: pa.ListArray) -> TempoAttributes:
    """From Tempo's column `Attrs`."""
    offsets = list_offsets(lists)
    entries = list_values(lists)
    names = [field.name for field in entries.type]
    columns = {name: entries.field(name) for name in names}
    keys = encoded(columns["Key"])
    typed = {field: columns[name] for name, field in _TYPED.items() if name in columns}
    values = _values(typed, _is_array(columns, typed))
    for name in _UNSUPPORTED:
        if name in columns and columns[name].null_count < len(entries):
            _add(values, _unsupported(columns[name]))
    return TempoAttributes(offsets - offsets[0], keys, values)


def encoded(texts: Any) -> pa.DictionaryArray:
    """Strings as a dictionary with small indices. Its values need not be distinct, nor all in use."""
    found = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    return dictionary(numbers(found.indices), found.dictionary)


def _is_array(columns: dict[str, Any], typed: dict[str, Any]) -> Mask:
    if "IsArray" in columns:
        found: Mask = numbers(columns["IsArray"])
        return found
    # A preview of vParquet4 says it in another way: what has several values is an array.
    counts = [np.diff(list_offsets(lists)) for lists in typed.values()]
    several: Mask = np.max(counts, axis=0, initial=0) > 1
    return several


def one_key(key: str, column: Any) -> OneKey:
    """From a column with a value per owner, or with a list of values: none, one, or those of an array."""
    if not pa.types.is_list(column.type):
        return OneKey(key, {_field_of(column.type): column})
    return OneKey(key, _values({_field_of(column.type.value_type): column}, np.diff(list_offsets(column)) > 1))


def _field_of(type_: pa.DataType) -> str:
    return "string_value" if type_ == pa.string() else "int_value"


def _values(typed: dict[str, Any], is_array: Mask) -> dict[str, Any]:
    """Lists of values by field → one value each; those that are arrays, as a serialized ArrayValue."""
    values: dict[str, Any] = {}
    for field, lists in typed.items():
        if len(lists.values):
            offsets = list_offsets(lists)
            valid = (offsets[1:] > offsets[:-1]) & ~is_array
            if valid.any():
                values[field] = _singles(lists.values, offsets, valid)
    if is_array.any():
        values["array_value"] = _arrays(typed, is_array)
    return values


def _singles(items: Any, offsets: Int32s, valid: Mask) -> Any:
    """The first item of each list, null where it is not valid."""
    rows = len(valid)
    bits = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    nulls = rows - int(np.count_nonzero(valid))
    if items.type == pa.string():
        # Lists of at most one string: only the offsets are others. What arrays hold is not seen.
        bounds = pa.py_buffer(list_offsets(items)[offsets])
        return pa.Array.from_buffers(pa.string(), rows, [bits, bounds, items.buffers()[2]], nulls)
    if items.type == pa.bool_():
        return items.take(pa.array(offsets[:-1], mask=~valid))
    out = np.zeros(rows, items.type.to_pandas_dtype())
    out[valid] = numbers(items)[offsets[:-1][valid]]
    return pa.Array.from_buffers(items.type, rows, [bits, pa.py_buffer(out)], nulls)


def _arrays(typed: dict[str, Any], is_array: Mask) -> Any:
    """An ArrayValue for each entry that is an array, null for the others. Its items are of one type."""
    rows = pa.array(np.flatnonzero(is_array))
    parts = [array_values(field, lists.take(rows)) for field, lists in typed.items()]
    index = np.cumsum(is_array, dtype=np.int32) - 1
    whole = parts[0] if len(parts) == 1 else pa.compute.binary_join_element_wise(*parts, b"")
    return whole.take(pa.array(index, mask=~is_array))


def _unsupported(column: Any) -> dict[str, Any]:
    """JSON texts → values by field. Each distinct text is parsed once."""
    encoded = column.dictionary_encode()
    parsed = [_from_json(text) for text in encoded.dictionary.to_pylist()]
    found = {}
    for field in VALUE_FIELDS:
        if any(name == field for name, _ in parsed):
            distinct = pa.array(
                [value if name == field else None for name, value in parsed], KEY_VALUE.field(field).type
            )
            found[field] = distinct.take(encoded.indices)
    return found


def _from_json(text: str) -> tuple[str, Any]:
    """Field and value; ("", None) for an AnyValue without a value. A text that is none stays a string."""
    try:
        value = Parse(text, AnyValue())
    except (ParseError, json.JSONDecodeError, RecursionError):
        return "string_value", text
    field = value.WhichOneof("value") or ""
    if not field:
        return "", None
    found = getattr(value, field)
    return field, found.SerializeToString() if field in _NESTED else found


def _add(values: dict[str, Any], more: dict[str, Any]) -> None:
    for field, column in more.items():
        values[field] = pa.compute.coalesce(values[field], column) if field in values else column


def with_keys(attributes: TempoAttributes, more: Sequence[OneKey]) -> TempoAttributes:
    """The attributes, and behind those of each owner its values of further keys."""
    given = [(one.key, field, column) for one in more for field, column in one.values.items()]
    given = [(key, field, column) for key, field, column in given if column.null_count < len(column)]
    if not given:
        return attributes
    before = np.diff(attributes.offsets)
    rows = [np.flatnonzero(numbers(column.is_valid())) for _, _, column in given]
    added = np.bincount(np.concatenate(rows), minlength=len(before)).astype(np.int32)
    offsets = np.zeros(len(before) + 1, np.int32)
    np.cumsum(before + added, out=offsets[1:])
    # For each entry of the result where it is among the entries of the attributes and of the keys, one behind another.
    entries = len(attributes.keys)
    index = np.empty(int(offsets[-1]), np.int64)
    index[np.arange(entries) + np.repeat(offsets[:-1] - attributes.offsets[:-1], before)] = np.arange(entries)
    free, at = offsets[:-1] + before, entries
    for of_key in rows:
        index[free[of_key]] = np.arange(at, at + len(of_key))
        free[of_key] += 1
        at += len(of_key)
    return TempoAttributes(
        offsets, _keys(attributes.keys, given, rows, index), _columns(attributes, given, rows, index)
    )


Given = Sequence[tuple[str, str, Any]]


def _keys(keys: pa.DictionaryArray, given: Given, rows: Sequence[Int64s], index: Int64s) -> pa.DictionaryArray:
    first = len(keys.dictionary)
    codes = [numbers(keys.indices).astype(np.int32)]
    codes += [np.full(len(of_key), first + number, np.int32) for number, of_key in enumerate(rows)]
    names = concat([keys.dictionary, pa.array([key for key, _, _ in given], pa.string())])
    return dictionary(np.concatenate(codes)[index], names)


def _columns(attributes: TempoAttributes, given: Given, rows: Sequence[Int64s], index: Int64s) -> dict[str, Any]:
    entries, columns = len(attributes.keys), {}
    for field in VALUE_FIELDS:
        own = attributes.values.get(field)
        if own is None and all(name != field for _, name, _ in given):
            continue
        type_ = KEY_VALUE.field(field).type
        parts = [pa.nulls(entries, type_) if own is None else own]
        for (_, name, column), of_key in zip(given, rows, strict=True):
            parts.append(column.drop_null() if name == field else pa.nulls(len(of_key), type_))
        columns[field] = concat(parts).take(pa.array(index))
    return columns
