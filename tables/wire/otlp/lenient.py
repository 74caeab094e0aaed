"""Requests with strings that are not UTF-8: decodes the strings as bytes, then repairs them."""

from typing import Any

import pyarrow as pa

from tables.columns.arrays import list_offsets


def with_texts(array: Any, type_: Any) -> tuple[Any, int]:
    """`array` with strings where `type_` has strings, and the number of repaired ones: each invalid sequence becomes
    U+FFFD.
    """
    if array.type == type_:
        return array, 0
    mask = array.is_null() if array.null_count else None
    if pa.types.is_list(type_):
        values, repaired = with_texts(array.values, type_.value_type)
        return pa.ListArray.from_arrays(pa.array(list_offsets(array)), values, mask=mask), repaired
    if pa.types.is_struct(type_):
        children = [with_texts(array.field(i), field.type) for i, field in enumerate(type_)]
        names = [field.name for field in type_]
        struct = pa.StructArray.from_arrays([child for child, _ in children], names, mask=mask)
        return struct, sum(repaired for _, repaired in children)
    return _texts(array)


def _texts(array: Any) -> tuple[Any, int]:
    try:
        return array.cast(pa.string()), 0
    except pa.ArrowInvalid:
        pass
    texts, repaired = [], 0
    for value in array.to_pylist():
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            texts.append(value.decode(errors="replace"))
            repaired += 1
    return pa.array(texts, pa.string()), repaired
