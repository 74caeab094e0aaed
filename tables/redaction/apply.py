"""Applies redactions to spans: to columns as readers see them, and to whole tables as files have them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from tables.columns import overflow
from tables.columns.arrays import fixed_bytes, list_offsets, list_parents, list_values, numbers, one_array, plain
from tables.columns.types import Bools, Int64s
from tables.redaction.rules import EVERY_SCOPE, Redaction
from tables.schema import parse_attribute_column

_TEXTS: Final = ("string_value",)
_NUMBERS: Final = ("bool_value", "int_value", "double_value")
_NESTED: Final = ("array_value", "kvlist_value", "bytes_value")
_START: Final = ("trace_id", "start_ns")


def spans_of(redaction: Redaction, trace_ids: Any, start_ns: Int64s) -> Bools:
    """Which spans the redaction is about, by trace and time."""
    about = np.ones(len(start_ns), np.bool_)
    if redaction.trace_id:
        wanted = np.frombuffer(bytes.fromhex(redaction.trace_id), np.uint64)
        halves = np.ascontiguousarray(fixed_bytes(trace_ids)).view(np.uint64)
        about &= (halves[:, 0] == wanted[0]) & (halves[:, 1] == wanted[1])
    if redaction.since_ns is not None:
        about &= start_ns >= redaction.since_ns
    if redaction.until_ns is not None:
        about &= start_ns < redaction.until_ns
    return about


def redacted_table(table: pa.Table, redactions: Sequence[Redaction]) -> pa.Table:
    """The table of a file without what the redactions remove; the same object if that is nothing. Columns that become
    empty are left out.
    """
    for redaction in redactions:
        trace_ids, start_ns = (one_array(table[name]) for name in _START)
        about = spans_of(redaction, trace_ids, numbers(start_ns))
        if not about.any():
            continue
        table = _without_values(table, redaction, about) if redaction.attribute else table.filter(pa.array(~about))
    return table


def _without_values(table: pa.Table, redaction: Redaction, about: Bools) -> pa.Table:
    for number, name in enumerate(table.column_names):
        hidden = name == overflow.COLUMN
        if not hidden and not redaction.concerns_column(name):
            continue
        before = one_array(table[name])
        after = _overflow(before, redaction, about) if hidden else redacted_column(name, before, redaction, about)
        if after is not before:
            table = table.set_column(number, table.schema.field(name), after)
    empty = [name for name in table.column_names if _is_empty(name, table[name])]
    return table.drop_columns(empty) if empty else table


def _is_empty(name: str, column: Any) -> bool:
    """Whether a file leaves the column out: an attribute without a value, lists without an entry."""
    if parse_attribute_column(name) is not None:
        return bool(column.null_count == len(column))
    return name == overflow.COLUMN and len(list_values(one_array(column))) == 0


def redacted_column(name: str, array: Any, redaction: Redaction, about: Bools) -> Any:
    """A column without the values that a redaction removes; the same object if there are none.

    about: which rows the redaction is about. In: a column that it concerns, as files or sources have it
    """
    if name in ("events", "links"):
        return _events(array, redaction, about)
    if name == "raw":
        return _parsed(array, about, functools.partial(_raw_span, redaction))
    if name == "raw_owner":
        return _parsed(array, about, functools.partial(_raw_owner, redaction))
    gone = about & ~_null(array)
    if redaction.value is not None and gone.any():
        gone &= _equal(array, redaction.value)
    if not gone.any():
        return array
    if pa.types.is_dictionary(array.type):
        left = pc.if_else(pa.array(gone), pa.scalar(None, array.type.index_type), array.indices)
        return pa.DictionaryArray.from_arrays(left, array.dictionary)
    return pc.if_else(pa.array(gone), pa.scalar(None, array.type), array)


def _null(array: Any) -> Bools:
    nulls: Bools = pc.is_null(array).to_numpy(zero_copy_only=False)
    return nulls


def _equal(array: Any, text: str) -> Bools:
    """Which values a text stands for: as a string, a number or a truth value; of lists those with such an item; of
    nested values and bytes those that have the text in them.
    """
    if pa.types.is_dictionary(array.type):
        codes = pc.fill_null(array.indices, len(array.dictionary)).to_numpy(zero_copy_only=False)
        of_codes: Bools = np.r_[_equal(array.dictionary, text), False]
        equal: Bools = of_codes[codes]
        return equal
    if pa.types.is_list(array.type):
        equal = np.zeros(len(array), np.bool_)
        equal[list_parents(array)[_equal(list_values(array), text)]] = True
        return equal
    if pa.types.is_string(array.type):
        found = pc.equal(array, text)
    elif pa.types.is_binary(array.type):
        found = pc.match_substring(array.cast(pa.large_binary()), text.encode())
    else:
        try:
            found = pc.equal(array, pa.scalar(text, pa.string()).cast(array.type))
        except pa.ArrowInvalid:  # no such number: equal to none
            return np.zeros(len(array), np.bool_)
    equal = pc.fill_null(found, fill_value=False).to_numpy(zero_copy_only=False)
    return equal


def _without_entries(lists: Any, gone: Bools) -> Any:
    """Lists without some of their entries, numbered as in `list_values`."""
    if not gone.any():
        return lists
    counts = np.bincount(list_parents(lists)[~gone], minlength=len(lists))
    offsets = np.zeros(len(lists) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    nulls = lists.is_null() if lists.null_count else None
    return pa.ListArray.from_arrays(pa.array(offsets), list_values(lists).filter(pa.array(~gone)), mask=nulls)


def _overflow(lists: Any, redaction: Redaction, about: Bools) -> Any:
    entries = list_values(lists)
    names = entries.field("column")
    names = names if pa.types.is_dictionary(names.type) else names.dictionary_encode()
    concerned = np.array([redaction.concerns_column(name) for name in names.dictionary.to_pylist()], np.bool_)
    if not concerned.any():
        return lists
    gone: Bools = concerned[numbers(names.indices)] & about[list_parents(lists)]
    if redaction.value is not None:
        gone &= _has_value(entries, (*_TEXTS, *_NUMBERS, "bytes_value"), redaction.value)
    return _without_entries(lists, gone)


def _has_value(entries: Any, fields: Sequence[str], text: str) -> Bools:
    """Which entries have the value in one of their fields."""
    found = np.zeros(len(entries), np.bool_)
    for field in fields:
        found |= _equal(entries.field(field), text)
    return found


def _events(lists: Any, redaction: Redaction, about: Bools) -> Any:
    """Events or links without some of their attributes."""
    items = list_values(lists)
    if not len(items):
        return lists
    attributes = items.field("attributes")
    pairs = list_values(attributes)
    gone: Bools = pc.fill_null(pc.equal(pairs.field("key"), redaction.key), fill_value=False).to_numpy(
        zero_copy_only=False
    )
    if not gone.any():
        return lists
    gone = gone & about[list_parents(lists)][list_parents(attributes)]
    if redaction.value is not None:
        gone &= _has_value(pairs, (*_TEXTS, *_NUMBERS, *_NESTED), redaction.value)
    kept = _without_entries(attributes, gone)
    if kept is attributes:
        return lists
    fields = list(items.type)
    arrays = [kept if field.name == "attributes" else items.field(field.name) for field in fields]
    struct = pa.StructArray.from_arrays(arrays, fields=fields)
    offsets = list_offsets(lists)
    nulls = lists.is_null() if lists.null_count else None
    return pa.ListArray.from_arrays(pa.array(offsets - offsets[0]), struct, mask=nulls)


# ---- spans that are stored whole: few, and so one by one


def _parsed(array: Any, about: Bools, change: Callable[[bytes], bytes]) -> Any:
    values_of_rows = plain(array)
    rows = np.flatnonzero(about & ~_null(values_of_rows))
    if not len(rows):
        return array
    values = values_of_rows.to_pylist()
    for row in rows.tolist():
        values[row] = change(values[row])
    changed = pa.array(values, values_of_rows.type)
    return changed.dictionary_encode() if pa.types.is_dictionary(array.type) else changed


def _raw_span(redaction: Redaction, data: bytes) -> bytes:
    span = Span.FromString(data)
    if redaction.scope in (EVERY_SCOPE, "span"):
        _drop(redaction, span.attributes)
    if redaction.scope in (EVERY_SCOPE, "event"):
        for event in span.events:
            _drop(redaction, event.attributes)
    if redaction.scope in (EVERY_SCOPE, "link"):
        for link in span.links:
            _drop(redaction, link.attributes)
    return span.SerializeToString()


def _raw_owner(redaction: Redaction, data: bytes) -> bytes:
    owner = ResourceSpans.FromString(data)
    if redaction.scope in (EVERY_SCOPE, "resource"):
        _drop(redaction, owner.resource.attributes)
    if redaction.scope in (EVERY_SCOPE, "instrumentation"):
        for scope in owner.scope_spans:
            _drop(redaction, scope.scope.attributes)
    return owner.SerializeToString()


def _drop(redaction: Redaction, attributes: Any) -> None:
    kept = [pair for pair in attributes if pair.key != redaction.key or not _has_text(pair, redaction.value)]
    if len(kept) < len(attributes):
        copies = [KeyValue.FromString(pair.SerializeToString()) for pair in kept]
        del attributes[:]
        attributes.extend(copies)


def _has_text(pair: KeyValue, text: str | None) -> bool:
    return text is None or _value_has(pair.value, text)


def _value_has(value: AnyValue, text: str) -> bool:
    kind = value.WhichOneof("value")
    if kind is None:
        return False
    found = getattr(value, kind)
    if kind == "array_value":
        return any(_value_has(item, text) for item in found.values)
    if kind == "kvlist_value":
        return text.encode() in value.SerializeToString()
    if kind == "bytes_value":
        return text.encode() in found
    if kind == "bool_value":
        return text == str(found).lower()
    try:
        return bool(found == type(found)(text))
    except ValueError:
        return False
