"""Events and links: OTLP's structs from ptars → the schema's structs, in row order."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import concat, list_offsets, take_lists
from tables.schema import EVENT, KEY_VALUE, LINK, VALUE_FIELDS
from tables.seal.order import Rows
from tables.wire.otlp.nested import all_fit, fit_nested


def event_columns(rows: Rows) -> dict[str, Any]:
    """The columns `events` and `links`, if any span has them."""
    columns: dict[str, Any] = {}
    for name, type_ in (("events", EVENT), ("links", LINK)):
        if rows.has(name):
            parts = [_part(batch, name, type_) for batch in rows.batches]
            columns[name] = take_lists(concat(parts), rows.order.order)
    return columns


def _part(batch: pa.RecordBatch, name: str, type_: Any) -> pa.ListArray:
    if name not in batch.schema.names:
        return pa.ListArray.from_arrays(pa.array(np.zeros(len(batch) + 1, np.int32)), pa.array([], type_))
    lists = batch.column(name)
    items = lists.values
    arrays = []
    for field in type_:
        if field.name == "time_ns":
            arrays.append(items.field("time_unix_nano").cast(pa.int64(), safe=False))
        elif field.name == "attributes":
            arrays.append(_attributes(items.field("attributes")))
        else:
            arrays.append(items.field(field.name))
    struct = pa.StructArray.from_arrays(arrays, fields=list(type_))
    return pa.ListArray.from_arrays(pa.array(list_offsets(lists)), struct)


def _attributes(lists: pa.ListArray) -> pa.ListArray:
    """list<struct<key, value: struct<…>>> → list<KEY_VALUE>."""
    pairs = lists.values
    value = pairs.field("value")
    names = [field.name for field in value.type]
    # `flatten` applies the nulls of the struct to its fields; `field` alone would not.
    children = value.flatten() if value.null_count else [value.field(i) for i in range(len(names))]
    by_name = dict(zip(names, children, strict=True))
    for field in ("array_value", "kvlist_value"):
        if by_name[field].null_count < len(pairs):
            _fit(by_name, field)
    arrays = [pairs.field("key"), *(by_name[name] for name in VALUE_FIELDS)]
    struct = pa.StructArray.from_arrays(arrays, fields=list(KEY_VALUE))
    return pa.ListArray.from_arrays(pa.array(list_offsets(lists)), struct)


def _fit(by_name: dict[str, Any], field: str) -> None:
    """Nested values that every reader can read. Unreadable ones become bytes values."""
    encoded = by_name[field].dictionary_encode()
    came = encoded.dictionary.to_pylist()
    if all_fit(field, [raw for raw in came if raw is not None]):
        return
    fit = [fit_nested(field, raw) for raw in came]
    own = pa.array([raw if kept == field else None for kept, raw, _ in fit], pa.binary())
    as_bytes = pa.array([None if kept == field else raw for kept, raw, _ in fit], pa.binary())
    by_name[field] = own.take(encoded.indices)
    by_name["bytes_value"] = pc.coalesce(by_name["bytes_value"], as_bytes.take(encoded.indices))
