"""The required columns of a record, checked once for each record that is read, whoever wrote it.

All later code relies on it: numpy reads the columns' buffers without checks.
"""

from typing import Any, Final

import pyarrow as pa

from tables.columns.arrow_types import alike
from tables.errors import WireError
from tables.schema import KEY_VALUE, VALUE_FIELDS

_TEXT, _BYTES, _COUNT = pa.string(), pa.binary(), pa.uint32()
_VALUE: Final = pa.struct([KEY_VALUE.field(name) for name in VALUE_FIELDS])
_PAIRS: Final = pa.list_(pa.struct([("key", _TEXT), ("value", _VALUE)]))
_NEEDED: Final[dict[str, Any]] = {
    "trace_id": pa.binary(16),
    "span_id": pa.binary(8),
    "parent_span_id": pa.binary(8),
    "name": pa.dictionary(pa.int32(), _TEXT),
    "kind": pa.int8(),
    "start_ns": pa.int64(),
    "duration_ns": pa.int64(),
    "status_code": pa.int8(),
    "status_message": _TEXT,
    "resource": pa.dictionary(pa.int32(), _BYTES),
    "scope": pa.dictionary(pa.int32(), _BYTES),
    "attributes": None,  # see `_is_attributes`
}
_OPTIONAL: Final[dict[str, Any]] = {
    "flags": _COUNT,
    "dropped_attributes_count": _COUNT,
    "dropped_events_count": _COUNT,
    "dropped_links_count": _COUNT,
    "trace_state": _TEXT,
    "resource_schema_url": pa.dictionary(pa.int32(), _TEXT),
    "scope_schema_url": pa.dictionary(pa.int32(), _TEXT),
    "events": pa.list_(
        pa.struct(
            [
                ("time_unix_nano", pa.uint64()),
                ("name", _TEXT),
                ("attributes", _PAIRS),
                ("dropped_attributes_count", _COUNT),
            ]
        )
    ),
    "links": pa.list_(
        pa.struct(
            [
                ("trace_id", _BYTES),
                ("span_id", _BYTES),
                ("trace_state", _TEXT),
                ("attributes", _PAIRS),
                ("dropped_attributes_count", _COUNT),
                ("flags", _COUNT),
            ]
        )
    ),
}


def checked(batch: pa.RecordBatch, schema_message: bytes = b"") -> pa.RecordBatch:
    """The batch with only the columns that a record defines. Raises: WireError that names the problem

    schema_message: what the schema was read from, if only equal schemas have the same; of those the first is checked
    """
    batch = typed(batch, schema_message)
    check_nulls(batch)
    return batch


def typed(batch: pa.RecordBatch, schema_message: bytes = b"") -> pa.RecordBatch:
    """As `checked`, but values may be null that must not be: `check_nulls` is for several batches at once."""
    global _right
    if not schema_message or schema_message not in _right:
        schema = batch.schema
        _check_types(schema)
        known = [name for name in schema.names if name in _NEEDED or name in _OPTIONAL]
        if len(known) < len(schema.names):
            batch = batch.select(known)
        elif schema_message:
            # The few schemas of records are the same in nearly all. Several threads read them: it is replaced as a
            # whole.
            _right = frozenset([*list(_right)[-_KNOWN_MAX:], schema_message])
    check_values(batch)
    return batch


def check_nulls(batch: pa.RecordBatch) -> None:
    """Only attribute values may be null. Raises: WireError"""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        _check_nulls(name, column)


_KNOWN_MAX: Final = 63
_right: frozenset[bytes] = frozenset()


def _check_types(schema: pa.Schema) -> None:
    names = schema.names
    if missing := _NEEDED.keys() - set(names):
        raise WireError(f"columns missing: {', '.join(sorted(missing))}")
    if len(set(names)) < len(names):
        raise WireError("a column is there twice")
    for name in names:
        if (name in _NEEDED or name in _OPTIONAL) and not _is_right(name, type_ := schema.field(name).type):
            raise WireError(f"column {name} is of type {str(type_)[:200]}")


def check_values(batch: pa.RecordBatch) -> None:
    """Checks offsets, dictionary indices and strings (0.06 µs per span), so that nothing reads beyond a buffer. Raises:
    WireError
    """
    try:
        batch.validate(full=True)
    except pa.ArrowException as err:
        raise WireError(f"columns that do not hold what they say: {err}") from err


def is_trace_ids(type_: Any) -> bool:
    """Whether it is the type of column trace_id."""
    return bool(type_ == _NEEDED["trace_id"])


def _check_nulls(name: str, column: Any) -> None:
    parts = [column]
    if pa.types.is_dictionary(column.type):
        parts.append(column.dictionary)
    elif pa.types.is_list(column.type):
        items = column.values
        parts += [items, *(items.field(f.name) for f in items.type if f.name == "key" or name != "attributes")]
        if name == "attributes":
            parts.append(items.field("key").dictionary)
        else:
            pairs = items.field("attributes").values
            parts += [pairs, pairs.field("key")]
    if any(part.null_count for part in parts):
        raise WireError(f"column {name} holds nulls")


def _is_right(name: str, type_: Any) -> bool:
    if name == "attributes":
        return _is_attributes(type_)
    return alike(type_, _NEEDED.get(name) or _OPTIONAL[name], _same)


def _is_attributes(type_: Any) -> bool:
    """Whether it is list<struct<key: dictionary of strings, the value fields in use>>."""
    if not pa.types.is_list(type_) or not pa.types.is_struct(type_.value_type):
        return False
    fields = {field.name: field.type for field in type_.value_type}
    key = fields.pop("key", None)
    return (
        type_.value_type.num_fields == 1 + len(fields)
        and key is not None
        and _same(key, _NEEDED["name"])
        and all(name in VALUE_FIELDS and field == KEY_VALUE.field(name).type for name, field in fields.items())
    )


def _same(type_: Any, wanted: Any) -> bool:
    """Whether the types are equal, except for the width of dictionary indices."""
    if pa.types.is_dictionary(wanted):
        return (
            pa.types.is_dictionary(type_)
            and type_.index_type in (pa.int16(), pa.int32())
            and bool(type_.value_type == wanted.value_type)
        )
    return bool(type_ == wanted)
