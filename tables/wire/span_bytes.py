"""Size of a span as OTLP in bytes, from the columns of a record."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tables.columns.arrays import fixed_bytes, list_offsets, numbers
from tables.wire.span_attributes import SpanAttributes

Bytes = npt.NDArray[np.int64]

# Tag and length in front of a field; ids with theirs; two times of nine bytes; the kind.
_FIELD: Final = 2
_FIXED: Final = 18 + 10 + 2 * 9 + 2
_PARENT: Final = 10
_STATUS: Final = 4
_FLAGS: Final = 5
_EVENT: Final = 9 + 2 * _FIELD
_LINK: Final = 18 + 10 + 5 + _FIELD
_PAIR: Final = 3 * _FIELD  # of a key and its value: KeyValue, key, AnyValue
_NUMBERS: Final = {"int_value": np.int32(2), "double_value": np.int32(7)}  # more than the tag and length of a text
_TEXTS: Final = ("string_value", "array_value", "kvlist_value", "bytes_value")


def span_bytes(spans: pa.RecordBatch, attributes: SpanAttributes) -> Bytes:
    """Encoded size of each span in bytes, shape (rows,), within some percent: integer attributes count 4 bytes, links
    have no attributes. attributes: of the same spans
    """
    out: Bytes = np.full(len(spans), _FIXED, np.int64)
    out += _texts(spans.column("name")) + _texts(spans.column("status_message"))
    out += np.where(_parents(spans)[:, 0] != 0, _PARENT, 0)
    out += np.where(numbers(spans.column("status_code")) != 0, _STATUS, 0)
    out += _attribute_bytes(attributes)
    names = spans.schema.names
    if "flags" in names:
        out += np.where(spans.column("flags").to_numpy(zero_copy_only=False) != 0, _FLAGS, 0)
    if "trace_state" in names:
        out += _texts(spans.column("trace_state"))
    if "events" in names:
        out += _event_bytes(spans.column("events"))
    if "links" in names:
        out += _LINK * np.diff(list_offsets(spans.column("links")))
    return out


def _parents(spans: pa.RecordBatch) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(fixed_bytes(spans.column("parent_span_id"))).view(np.uint64)


def _texts(column: Any) -> Bytes:
    """Bytes of a string field with tag and length; 0 if it is empty."""
    if pa.types.is_dictionary(column.type):
        of_row: Bytes = _texts(column.dictionary)[numbers(column.indices)]
        return of_row
    lengths = np.diff(list_offsets(column)).astype(np.int64)
    return lengths + np.where(lengths > 0, _FIELD, 0) + (lengths > 127)


def _attribute_bytes(attributes: SpanAttributes) -> Bytes:
    """Bytes of each span's attributes. Strings are contiguous, so a span's strings are the bytes between two
    offsets.
    """
    offsets = attributes.offsets
    keys = np.array([len(key.encode()) + _PAIR + _FIELD for key in attributes.keys], np.int32)
    per_entry = keys[attributes.key_codes()] if len(keys) else np.zeros(0, np.int32)
    texts = np.zeros(attributes.rows, np.int64)
    for field in attributes.pairs.type:
        values = attributes.pairs.field(field.name)
        if values.null_count == len(values) or field.name == "key":
            continue
        if field.name in _TEXTS:
            texts += np.diff(list_offsets(values)[offsets])
        elif field.name in _NUMBERS:
            there = values.slice(attributes.first, attributes.end - attributes.first).is_valid()
            per_entry += _NUMBERS[field.name] * there.to_numpy(zero_copy_only=False)
    return texts + _per_row(per_entry, offsets)


def _event_bytes(lists: Any) -> Bytes:
    offsets = list_offsets(lists)
    first, end = int(offsets[0]), int(offsets[-1])
    events = lists.values.slice(first, end - first)
    if not len(events):
        return np.zeros(len(lists), np.int64)
    names = np.diff(list_offsets(events.field("name")))
    attributes = events.field("attributes")
    pairs = np.diff(list_offsets(attributes))
    # The pairs of an event are an exception's mostly; their text is what counts.
    values = attributes.values
    value = values.field("value") if "value" in [f.name for f in values.type] else values
    texts = value.field("string_value").cast(pa.binary()) if value.type.get_field_index("string_value") >= 0 else None
    key_bytes = _binary_lengths(values.field("key"))
    text_bytes = _binary_lengths(texts) if texts is not None else np.zeros(len(values), np.int64)
    per_event = _per_row(key_bytes + text_bytes, list_offsets(attributes), whole=True)
    return _per_row(_EVENT + names + _PAIR * pairs + per_event, offsets)


def _binary_lengths(column: Any) -> Bytes:
    if pa.types.is_dictionary(column.type):
        of_row: Bytes = _binary_lengths(column.dictionary)[numbers(column.indices.fill_null(0))]
        return of_row
    return np.diff(list_offsets(column)).astype(np.int64)


def _per_row(entries: Any, offsets: npt.NDArray[np.int32], *, whole: bool = False) -> Bytes:
    """Sum of each row's entries. entries: from the first offset on; or whole: all entries that offsets refer to"""
    sums = np.zeros(len(entries) + 1, np.int64)
    np.cumsum(entries, out=sums[1:])
    based = offsets if whole else offsets - offsets[0]
    out: Bytes = np.diff(sums[based])
    return out
