"""Arrays as values to group by: one of a single element is that element, any other is its JSON text."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValueList

from query.scan.arrays import to_numpy
from tables.turns import as_list


def list_parts(lists: Any) -> list[Any]:
    """(the elements of lists that have one; the texts of the others), null in all other rows. In: a list column"""
    lengths = to_numpy(pc.list_value_length(lists).fill_null(-1))
    starts = np.cumsum(np.maximum(lengths, 0)) - np.maximum(lengths, 0)
    elements = lists.flatten()
    single = elements.take(pa.array(starts, mask=lengths != 1))
    others = np.flatnonzero((lengths >= 0) & (lengths != 1))
    if not len(others):
        return [single]
    rows = np.full(len(lists), -1, np.int64)
    rows[others] = np.arange(len(others))
    return [single, _texts(lists.take(pa.array(others))).take(pa.array(rows, mask=rows < 0))]


def _texts(lists: Any) -> Any:
    """Each distinct element is written once."""
    elements = lists.flatten()
    if not pa.types.is_dictionary(elements.type):
        elements = elements.dictionary_encode()
    written = pa.array([_json(item) for item in as_list(elements.dictionary)], pa.string())
    offsets = np.r_[0, np.cumsum(to_numpy(pc.list_value_length(lists)))].astype(np.int32)
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, written.take(elements.indices)), ",")
    return pc.binary_join_element_wise("[", joined, "]", "")


def any_texts(encoded: Any) -> Any:
    """The texts of arrays of mixed types, empty arrays and key-value lists; null where there is no value, or bytes.

    In: serialized AnyValues, each distinct one of which is read once
    """
    return _decoded(encoded, AnyValue.FromString)


def message_texts(pairs: Any) -> list[Any]:
    """The texts of arrays and of key-value lists. In: attributes as `tables.schema.KEY_VALUE`"""
    arrays, lists = pc.struct_field(pairs, "array_value"), pc.struct_field(pairs, "kvlist_value")
    return [
        _decoded(arrays, lambda raw: AnyValue(array_value=ArrayValue.FromString(raw))),
        _decoded(lists, lambda raw: AnyValue(kvlist_value=KeyValueList.FromString(raw))),
    ]


def _decoded(encoded: Any, decode: Callable[[bytes], AnyValue]) -> Any:
    codes = encoded if pa.types.is_dictionary(encoded.type) else encoded.dictionary_encode()
    texts = [_any_text(decode(raw)) for raw in as_list(codes.dictionary)]
    return pa.array(texts, pa.string()).take(codes.indices)


def _any_text(value: AnyValue) -> str | None:
    return _json(_plain(value)) if value.WhichOneof("value") in {"array_value", "kvlist_value"} else None


def _plain(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [_plain(item) for item in value.array_value.values]
        case "kvlist_value":
            return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
        case "bytes_value":
            return value.bytes_value.hex()
        case None:
            return None
        case name:
            return getattr(value, name)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
