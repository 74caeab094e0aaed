"""Limits of attributes: whole columns are checked at once; only a column that exceeds one is made anew."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import list_offsets, ranges
from tables.columns.types import Int64s
from tables.errors import NeedsSlowPath
from tables.wire.otlp.clean import clean_nested, text_end
from tables.wire.otlp.nested import FitValues, fit_nested

# Of a span, an event or a link; SDKs stop at 128. The others are dropped and counted in dropped_attributes_count.
ATTRIBUTES_MAX: Final = 4096

# Of a batch that is decoded where others wait: tiny items take 50 ns each.
_QUICK_NESTED_BYTES_MAX: Final = 256 << 10

_TEXTS: Final = ("string_value",)
_NESTED: Final = ("array_value", "kvlist_value")


@dataclass(slots=True)
class Tally:
    """What was done to make requests fit. fast_path_only: it must not take long; fit_values: what is known of nested
    values
    """

    cut: int = 0  # values and keys
    repaired: int = 0  # texts that were not UTF-8
    dropped: int = 0  # attributes
    fast_path_only: bool = False
    fit_values: FitValues = field(default_factory=FitValues)


def limit_spans(spans: pa.StructArray, bytes_max: int, tally: Tally) -> pa.StructArray:
    """Spans whose attributes, and those of events and links, keep the limits; `spans` itself if they did.

    Raises: NeedsSlowPath
    """
    changed: dict[str, Any] = _limit_holder(spans, bytes_max, tally)
    for name in ("events", "links"):
        lists = spans.field(name)
        if len(lists.values) and (inner := _limit_holder(lists.values, bytes_max, tally)):
            items = _replaced(lists.values, inner)
            changed[name] = pa.ListArray.from_arrays(pa.array(list_offsets(lists)), items)
    return _replaced(spans, changed) if changed else spans


def limit_texts(texts: Any, bytes_max: int, tally: Tally) -> Any:
    """A string array without too long ones."""
    long = _too_long(texts, bytes_max)
    tally.cut += len(long)
    return _shortened(texts, long, bytes_max, text_end) if len(long) else texts


def _limit_holder(holder: pa.StructArray, bytes_max: int, tally: Tally) -> dict[str, Any]:
    """The fields of a span, event or link that change."""
    lists, changed = holder.field("attributes"), {}
    counts = np.diff(list_offsets(lists))
    if len(counts) and int(counts.max()) > ATTRIBUTES_MAX:
        lists = _first_of_each(lists, counts)
        excess = np.maximum(counts - ATTRIBUTES_MAX, 0).astype(np.int64)
        tally.dropped += int(excess.sum())
        dropped = holder.field("dropped_attributes_count").to_numpy() + excess
        changed["dropped_attributes_count"] = pa.array(np.minimum(dropped, 2**32 - 1).astype(np.uint32))
        changed["attributes"] = lists
    pairs = _limit_pairs(lists.values, bytes_max, tally)
    if pairs is not None:
        changed["attributes"] = pa.ListArray.from_arrays(pa.array(list_offsets(lists)), pairs)
    return changed


def _first_of_each(lists: pa.ListArray, counts: Any) -> pa.ListArray:
    kept = np.minimum(counts, ATTRIBUTES_MAX).astype(np.int64)
    starts = list_offsets(lists)[:-1].astype(np.int64)
    offsets = np.zeros(len(kept) + 1, np.int32)
    np.cumsum(kept, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), lists.values.take(pa.array(ranges(starts, kept))))


def _limit_pairs(pairs: pa.StructArray, bytes_max: int, tally: Tally) -> pa.StructArray | None:
    """Key-value structs without too long keys and values; None if they have none."""
    value = pairs.field("value")
    names = [field.name for field in value.type]
    long = {name: _too_long(value.field(name), bytes_max) for name in (*_TEXTS, *_NESTED, "bytes_value")}
    long_keys = _too_long(pairs.field("key"), bytes_max)
    if tally.fast_path_only and _is_much(value, long):
        raise NeedsSlowPath
    unfit = [name for name in _NESTED if not _all_fit(name, value.field(name), tally)]
    if unfit and tally.fast_path_only:
        raise NeedsSlowPath
    if not len(long_keys) and not any(map(len, long.values())) and not unfit:
        return None
    children = dict(zip(names, value.flatten(), strict=True))
    tally.cut += len(long_keys) + sum(len(rows) for name, rows in long.items() if name not in _NESTED)
    for name, end_of in (("string_value", text_end), ("bytes_value", _anywhere)):
        if len(long[name]):
            children[name] = _shortened(children[name], long[name], bytes_max, end_of)
    for name in _NESTED:
        if len(long[name]):
            _shorten_nested(children, name, long[name], bytes_max, tally)
        if name in unfit:
            _fit_nested(children, name, tally)
    values = pa.StructArray.from_arrays(
        list(children.values()), names, mask=value.is_null() if value.null_count else None
    )
    key = pairs.field("key")
    key = _shortened(key, long_keys, bytes_max, text_end) if len(long_keys) else key
    return pa.StructArray.from_arrays([key, values], ["key", "value"])


def _too_long(array: Any, bytes_max: int) -> Int64s:
    """Rows of a string or binary array with more bytes."""
    offsets = list_offsets(array)
    if int(offsets[-1]) - int(offsets[0]) <= bytes_max:
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.diff(offsets) > bytes_max)


def _anywhere(_: memoryview, end: int) -> int:
    return end


def _shortened(array: Any, rows: Int64s, bytes_max: int, end_of: Callable[[memoryview, int], int]) -> Any:
    """A string or binary array whose values in `rows` keep at most `bytes_max` bytes."""
    offsets = list_offsets(array).astype(np.int64)
    lengths = np.diff(offsets)
    data = memoryview(array.buffers()[2])
    pieces, done = [], int(offsets[0])
    for row in rows.tolist():
        begin, end = int(offsets[row]), int(offsets[row + 1])
        lengths[row] = end_of(data[begin:end], bytes_max)
        pieces.append(data[done : begin + lengths[row]])
        done = end
    pieces.append(data[done : int(offsets[-1])])
    new_offsets = np.zeros(len(array) + 1, np.int32)
    np.cumsum(lengths, out=new_offsets[1:])
    valid = None
    if array.null_count:
        packed = np.packbits(array.is_valid().to_numpy(zero_copy_only=False), bitorder="little")
        valid = pa.py_buffer(packed)
    return pa.Array.from_buffers(
        array.type, len(array), [valid, pa.py_buffer(new_offsets), pa.py_buffer(b"".join(pieces))], array.null_count
    )


def _shorten_nested(children: dict[str, Any], name: str, rows: Int64s, bytes_max: int, tally: Tally) -> None:
    """Cuts arrays or key-value lists; what cannot be read moves to the bytes values."""
    own, as_bytes = children[name].to_pylist(), children["bytes_value"].to_pylist()
    for row in rows.tolist():
        field, cleaned = clean_nested(name, own[row], bytes_max)
        tally.cut += cleaned.cut
        tally.repaired += cleaned.repaired
        own[row] = cleaned.data if field == name else None
        as_bytes[row] = None if field == name else cleaned.data
    children[name], children["bytes_value"] = pa.array(own, pa.binary()), pa.array(as_bytes, pa.binary())


def _is_much(value: pa.StructArray, long: dict[str, Int64s]) -> bool:
    """Whether looking at the nested values, or cutting them, takes more than some milliseconds."""
    taken = sum(int(offsets[-1]) - int(offsets[0]) for name in _NESTED for offsets in [list_offsets(value.field(name))])
    return taken > _QUICK_NESTED_BYTES_MAX or any(len(long[name]) for name in _NESTED)


def _all_fit(name: str, values: Any, tally: Tally) -> bool:
    """Whether every nested value can be kept as it is; each distinct one is looked at once."""
    if values.null_count == len(values):
        return True
    return tally.fit_values.all_fit(name, set(values.drop_null().to_pylist()))


def _fit_nested(children: dict[str, Any], name: str, tally: Tally) -> None:
    """Makes arrays or key-value lists such that they can be sealed; what cannot be read moves to the bytes values."""
    encoded = children[name].dictionary_encode()
    fit = [fit_nested(name, raw) for raw in encoded.dictionary.to_pylist()]
    tally.repaired += sum(one.repaired for one in fit)
    own = pa.array([one.data if one.field == name else None for one in fit], pa.binary())
    as_bytes = pa.array([None if one.field == name else one.data for one in fit], pa.binary())
    children[name] = own.take(encoded.indices)
    children["bytes_value"] = pc.coalesce(children["bytes_value"], as_bytes.take(encoded.indices))


def _replaced(struct: pa.StructArray, changed: dict[str, Any]) -> pa.StructArray:
    """A struct without nulls, with some of its fields replaced."""
    names = [field.name for field in struct.type]
    return pa.StructArray.from_arrays([changed.get(name, struct.field(name)) for name in names], names)
