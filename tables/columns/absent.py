"""What rows have in a column that their file has not, since none of its rows has something there."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tables.schema import OPTIONAL

# Lists that most rows have nothing in.
MOSTLY_EMPTY: Final = frozenset({"events", "links"})
# Texts that are "" where nothing was sent; null in files of before December 2026.
EMPTY_TEXTS: Final = frozenset({"trace_state", "resource_schema_url", "scope_schema_url"})
_COUNTS: Final = frozenset(field.name for field in OPTIONAL if pa.types.is_uint32(field.type))
# What `filled` changes.
FILLED: Final = MOSTLY_EMPTY | EMPTY_TEXTS | _COUNTS


def filled(name: str, array: Any) -> Any:
    """The column as one seal of all rows makes it: with no items, "" and 0 instead of null, where these mean the same.
    In: any column of `tables.schema`
    """
    if array.null_count == 0:
        return array
    if name in MOSTLY_EMPTY:
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        offsets = np.r_[0, np.cumsum(lengths)].astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pc.list_flatten(array))
    if name in _COUNTS:
        return pc.fill_null(array, 0)
    return _with_empty_texts(array) if name in EMPTY_TEXTS else array


def _with_empty_texts(array: Any) -> Any:
    if not pa.types.is_dictionary(array.type):
        return pc.fill_null(array, "")
    values = array.dictionary
    codes = array.indices.cast(pa.int32()).fill_null(len(values))
    return pa.DictionaryArray.from_arrays(codes, pa.concat_arrays([values, pa.array([""], values.type)]))
