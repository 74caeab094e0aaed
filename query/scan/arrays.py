"""Arrays as the query engine uses them: rows, masks, trace ids, runs of equal values."""

import hashlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from query import memory
from tables.columns import arrays
from tables.columns.types import Bools, Int64s

Mask = Bools  # a truth value for each row
Rows = Int64s  # numbers of rows, or of traces
Ids = npt.NDArray[np.bytes_]  # trace ids, dtype S16

INT64: Final = np.iinfo(np.int64)


_SMALL_BYTES: Final = 1 << 20


def compact(array: Any) -> Any:
    """Strings without the dictionary of a whole source. Raises: memory.MemoryExceeded where each row has a long text"""
    if not pa.types.is_dictionary(array.type):
        return array
    # Even if all had the longest text. Not nbytes, which takes as long as decoding a few rows.
    if len(array) * array.dictionary.get_total_buffer_size() < _SMALL_BYTES:
        return array.dictionary_decode()
    with memory.current().scratch(plain_bytes(array), f"the texts of {len(array)} spans"):
        return array.dictionary_decode()


def plain_bytes(array: Any) -> int:
    """What a dictionary array of strings takes without its dictionary."""
    lengths = pc.binary_length(array.dictionary).cast(pa.int64())
    return int(pc.sum(lengths.take(array.indices)).as_py() or 0) + 5 * len(array)


def to_numpy(array: Any) -> npt.NDArray[Any]:
    """A pyarrow Array of numbers without nulls as numpy, without a copy."""
    result: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return result


def name_of(rows: Rows) -> str:
    """A name for some rows, which no others have."""
    return hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()


def taken(array: Any, rows: Rows) -> Any:
    """Some rows of a pyarrow Array."""
    return array.take(pa.array(rows))


def has_value(array: Any, rows: Rows) -> bool:
    """Whether a pyarrow Array has a value in one of some rows. In: at least one"""
    if array.null_count in {0, len(array)}:
        return not array.null_count
    return bool(to_numpy(array.is_valid())[rows].any())


def fixed_bytes(array: Any) -> Ids:
    """A fixed-size binary Array without nulls as numpy `S<width>`, without a copy."""
    return arrays.fixed_bytes(array).view(f"S{array.type.byte_width}").reshape(-1)


def raw(ids: Ids, i: int) -> bytes:
    """One id with all of its bytes: numpy itself cuts trailing zero bytes off."""
    return bytes(ids[i : i + 1].tobytes())


def raw_all(ids: Ids) -> list[bytes]:
    """Every id with all of its bytes: many times faster than one by one."""
    data, width = ids.tobytes(), ids.dtype.itemsize
    return [data[at : at + width] for at in range(0, len(data), width)]


def run_starts(ordered: npt.NDArray[Any]) -> Rows:
    """Where each value begins among values of which equal ones lie together."""
    first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return np.flatnonzero(first)


def spread(offsets: npt.NDArray[Any], which: Rows) -> tuple[Rows, Rows]:
    """The members of some groups, and for each the position of its group in `which`. In: where each group begins"""
    first, counts = offsets[which], offsets[which + 1] - offsets[which]
    owner = np.repeat(np.arange(len(which), dtype=np.int64), counts)
    before = np.cumsum(counts) - counts
    return np.arange(counts.sum(), dtype=np.int64) - before[owner] + first[owner], owner
