"""Whether a decoded record can be counted: its columns' types, and that its bytes hold what they claim."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.types as pt

from tables.errors import WireError

Check = Callable[[Any], bool]


def _text(type_: Any) -> bool:
    return bool(pt.is_string(type_.value_type if pt.is_dictionary(type_) else type_))


def _id(width: int) -> Check:
    return lambda type_: bool(pt.is_fixed_size_binary(type_) and type_.byte_width == width)


def _is(wanted: Any) -> Check:
    return lambda type_: bool(type_ == wanted)


def _resource(type_: Any) -> bool:
    return bool(pt.is_dictionary(type_) and pt.is_binary(type_.value_type))


_VALUES: Final[Mapping[str, Any]] = {
    "string_value": pa.string(),
    "bool_value": pa.bool_(),
    "int_value": pa.int64(),
    "double_value": pa.float64(),
    "array_value": pa.binary(),
    "kvlist_value": pa.binary(),
    "bytes_value": pa.binary(),
}


def _attributes(type_: Any) -> bool:
    if not (pt.is_list(type_) and pt.is_struct(type_.value_type)):
        return False
    fields = {field.name: field.type for field in type_.value_type}
    key = fields.pop("key", None)
    return (
        key is not None
        and pt.is_dictionary(key)
        and pt.is_string(key.value_type)
        and all(_VALUES.get(name, value) == value for name, value in fields.items())
    )


_COLUMNS: Final[Mapping[str, Check]] = {
    "trace_id": _id(16),
    "span_id": _id(8),
    "parent_span_id": _id(8),
    "name": _text,
    "kind": _is(pa.int8()),
    "start_ns": _is(pa.int64()),
    "duration_ns": _is(pa.int64()),
    "status_code": _is(pa.int8()),
    "status_message": _text,
    "attributes": _attributes,
    "resource": _resource,
}
# Of columns that may be absent.
_OPTIONAL: Final[Mapping[str, Check]] = {
    "flags": pt.is_integer,
    "trace_state": _text,
    "events": pt.is_list,
    "links": pt.is_list,
}


def check_record(spans: pa.RecordBatch) -> None:
    """Raises: WireError if it cannot be counted; what would be read beyond a buffer's end is found here."""
    columns = {name: at for at, name in enumerate(spans.schema.names)}
    if len(columns) < spans.num_columns:
        raise WireError("several columns have one name")
    if missing := _COLUMNS.keys() - columns.keys():
        raise WireError(f"columns missing: {', '.join(sorted(missing))}")
    for name, fits in (*_COLUMNS.items(), *_OPTIONAL.items()):
        if name in columns:
            column = spans.column(columns[name])
            if not fits(column.type):
                raise WireError(f"column {name} holds {column.type}")
            if column.null_count:
                raise WireError(f"column {name} has {column.null_count} rows without a value")
    try:
        spans.validate(full=True)
    except pa.ArrowException as err:
        raise WireError(f"not what its columns claim: {err}") from err
