"""A flat column as the pages of a Parquet file."""

from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import fixed_bytes, numbers, value_slots
from tables.columns.types import Bools, Int64s
from tables.parquet import thrift
from tables.parquet.encode_pages import (
    DICTIONARY_VALUES_MAX,
    ChunkDraft,
    CodePacker,
    EncodedChunk,
    are_identifiers,
    plain_texts,
)
from tables.parquet.flat_levels import FlatLevels, PresentRows
from tables.parquet.layout import STORED_NUMBERS
from tables.parquet.write import hardly_repeats

# Readers of one page read the dictionary, too.
_DICTIONARY_BYTES_MAX: Final = 1 << 20
# A dictionary must not have more than this share of the values.
_DISTINCT_SHARE_MAX: Final = 0.5
_STATISTIC_BYTES_MAX: Final = 4096
# Numbers that change less often are hashed once for each run of equal ones.
_RUNS_SHARE_MAX: Final = 0.2


class _Values(Protocol):
    """The values of a column that are not null, from which pages take some.

    dictionary: body and number of values; None: the pages have no codes
    """

    @property
    def dictionary(self) -> tuple[bytes, int] | None:
        """Of the codes."""
        ...

    def body(self, first: int, end: int) -> bytes:
        """Values first to end, as a page has them."""
        ...


class _Codes:
    """Codes of texts, numbers or ids."""

    def __init__(self, codes: npt.NDArray[Any], dictionary: tuple[bytes, int]) -> None:
        self._codes, self.dictionary = codes, dictionary
        self._packer = CodePacker(dictionary[1])

    def body(self, first: int, end: int) -> bytes:
        return self._packer.pack(self._codes[first:end])


class _RunsOfCodes:
    """Of values of which equal ones lie together. begins: where there is another one"""

    def __init__(self, begins: Int64s, dictionary: tuple[bytes, int]) -> None:
        self._begins, self.dictionary = begins, dictionary
        self._packer = CodePacker(dictionary[1])

    def body(self, first: int, end: int) -> bytes:
        low = int(np.searchsorted(self._begins, first, side="right")) - 1
        high = int(np.searchsorted(self._begins, end))
        begins = self._begins[low:high] - first
        begins[:1] = 0
        return self._packer.pack_runs(begins, np.arange(low, high), end - first)


class _Plain:
    """Values of one width."""

    dictionary: Final = None

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self._values = values

    def body(self, first: int, end: int) -> bytes:
        return self._values[first:end].tobytes()


class _PlainTexts:
    """Texts one behind the other."""

    dictionary: Final = None

    def __init__(self, values: Any) -> None:
        self._values = values

    def body(self, first: int, end: int) -> bytes:
        return plain_texts(self._values[first:end])


class _Bits:
    """Booleans: a bit each."""

    dictionary: Final = None

    def __init__(self, values: Bools) -> None:
        self._values = values

    def body(self, first: int, end: int) -> bytes:
        return np.packbits(self._values[first:end], bitorder="little").tobytes()


def encode_flat(
    array: Any, levels: FlatLevels, *, with_statistics: bool, all_used: bool = False
) -> EncodedChunk | None:
    """The column's pages, as quick to write as can be; None: this column is better written by Arrow.

    levels: of the table; all_used: whether some row has each value of the column's dictionary
    """
    present = levels.of(array)
    made = _values_of(array, present)
    if made is None:
        return None
    values, distinct = made
    draft = ChunkDraft(values.dictionary)
    if with_statistics:
        if pa.types.is_dictionary(array.type) and not all_used:
            distinct = array.dictionary.take(pc.unique(array.indices).drop_null())
        draft.statistics = statistics(distinct, array.null_count)
    at = 0  # the first value of a page
    for page, (first, end) in enumerate(pairwise(levels.starts)):
        stop = present.ends[page]
        draft.pages.append((present.pages[page] + values.body(at, stop), end - first, first))
        at = stop
    return draft.encode()


def _values_of(array: Any, present: PresentRows) -> tuple[_Values, Any] | None:
    """The values, and an array that has each of them at least once."""
    type_ = array.type
    if pa.types.is_dictionary(type_):
        if array.dictionary.null_count:
            return None
        if type_.value_type == pa.int64():
            return _repeating_numbers(array, present)
        return _texts(array, present) if type_.value_type == pa.string() else None
    if type_ == pa.string():
        if not hardly_repeats(array):
            return _texts(array.dictionary_encode(), present)
        found = array.drop_null() if array.null_count else array
        return (_PlainTexts(found), found) if are_identifiers(found) else None
    if type_ == pa.bool_():
        found = array.drop_null() if array.null_count else array
        return _Bits(np.asarray(found.to_numpy(zero_copy_only=False))), found
    if pa.types.is_fixed_size_binary(type_):
        return _ids(array.drop_null() if array.null_count else array)
    if type_ not in STORED_NUMBERS:
        return None
    return _numbers(pa.array(present.some(value_slots(array))) if array.null_count else array)


def _texts(encoded: Any, present: PresentRows) -> tuple[_Values, Any] | None:
    dictionary = encoded.dictionary
    count = len(encoded) - encoded.null_count
    if not count:
        return _Plain(np.empty(0, np.uint8)), dictionary.slice(0, 0)
    if len(dictionary) > DICTIONARY_VALUES_MAX or dictionary.nbytes > _DICTIONARY_BYTES_MAX:
        return None
    return _Codes(present.some(value_slots(encoded.indices)), (plain_texts(dictionary), len(dictionary))), dictionary


def _repeating_numbers(encoded: Any, present: PresentRows) -> tuple[_Values, Any]:
    """Integers that have a dictionary already."""
    dictionary, codes = encoded.dictionary, present.some(value_slots(encoded.indices))
    values = numbers(dictionary).astype("<i8", copy=False)
    if not _pays(len(values), len(codes), values.itemsize):
        return _Plain(values[codes]), dictionary
    return _Codes(codes, (values.tobytes(), len(values))), dictionary


def _numbers(present: Any) -> tuple[_Values, Any]:
    stored = np.dtype(STORED_NUMBERS[present.type])
    if present.type == pa.int8():
        return _bytes(present)
    # Doubles by their bits: there are several zeros and not-a-numbers.
    bits = present.view(pa.int64()) if present.type == pa.float64() else present
    codes, dictionary = _repeats(bits)
    if not _pays(len(dictionary), len(present), stored.itemsize):
        return _Plain(numbers(present).astype(stored, copy=False)), present
    distinct = dictionary.view(present.type) if bits is not present else dictionary
    body = numbers(distinct).astype(stored, copy=False).tobytes()
    return _Codes(codes, (body, len(distinct))), distinct


def _bytes(present: Any) -> tuple[_Values, Any]:
    """Numbers of a byte are not hashed: each that may come is looked for."""
    values = value_slots(present)
    data = values.tobytes()
    least, most = (int(values.min()), int(values.max())) if len(values) else (0, -1)
    found = bytes(value & 0xFF for value in range(least, most + 1) if value & 0xFF in data)
    codes = data.translate(bytes(found.find(value) & 0xFF for value in range(256)))
    distinct = np.frombuffer(found, np.int8)
    if not _pays(len(distinct), len(values), 4):
        return _Plain(values.astype("<i4")), present
    return _Codes(np.frombuffer(codes, np.uint8), (distinct.astype("<i4").tobytes(), len(distinct))), pa.array(distinct)


def _repeats(array: Any) -> tuple[npt.NDArray[Any], Any]:
    """Codes of integers, and their dictionary. Facts of a trace are the same in all its rows, which lie together: then
    only one of these is hashed.
    """
    values = numbers(array)
    begins = np.flatnonzero(values[1:] != values[:-1]) + 1
    if len(begins) > _RUNS_SHARE_MAX * len(values):
        encoded = array.dictionary_encode()
        return numbers(encoded.indices), encoded.dictionary
    firsts = np.r_[np.zeros(min(len(values), 1), np.int64), begins]
    encoded = pa.array(values[firsts]).dictionary_encode()
    return np.repeat(numbers(encoded.indices), np.diff(firsts, append=len(values))), encoded.dictionary


def _ids(present: Any) -> tuple[_Values, Any]:
    """Equal ids lie together, if they repeat."""
    data = fixed_bytes(present)
    words = data.view(np.uint64) if data.shape[1] % 8 == 0 else data
    new = np.zeros(len(data), np.bool_)
    new[:1] = True
    for word in words.T:  # faster than any(axis=1)
        word = np.ascontiguousarray(word)
        new[1:] |= word[1:] != word[:-1]
    firsts = np.flatnonzero(new)
    if not _pays(len(firsts), len(data), data.shape[1]):
        return _Plain(data), present
    distinct = np.ascontiguousarray(data[firsts])
    dictionary = pa.Array.from_buffers(present.type, len(firsts), [None, pa.py_buffer(distinct)])
    return _RunsOfCodes(firsts, (distinct.tobytes(), len(firsts))), dictionary


def _pays(distinct: int, count: int, width: int) -> bool:
    """Whether values should be in a dictionary."""
    if distinct > DICTIONARY_VALUES_MAX or distinct * width > _DICTIONARY_BYTES_MAX:
        return False
    return 0 < distinct <= max(1, _DISTINCT_SHARE_MAX * count)


def statistics(values: Any, nulls: int) -> bytes:
    """A Statistics: null_count = 3, max_value = 5, min_value = 6; no bounds where Parquet has no order for them.

    values: each at least once
    """
    found = thrift.field(3, thrift.I64, thrift.number(nulls))
    if values.type == pa.float64():
        values = values.filter(pc.invert(pc.is_nan(values)))
    if len(values):
        bounds = pc.min_max(values)
        low = _stored(bounds["min"].as_py(), values.type, -0.0)
        high = _stored(bounds["max"].as_py(), values.type, 0.0)
        if max(len(low), len(high)) <= _STATISTIC_BYTES_MAX:
            found += thrift.field(2, thrift.BINARY, thrift.binary(high))
            found += thrift.field(1, thrift.BINARY, thrift.binary(low))
    return found + thrift.STOP


def _stored(value: Any, type_: Any, zero: float) -> bytes:
    """zero: which of the zeros stands for both, as Parquet wants it."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    return np.array(zero if value == 0 and type_ == pa.float64() else value, STORED_NUMBERS[type_]).tobytes()
