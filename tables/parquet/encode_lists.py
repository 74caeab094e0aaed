"""A column of lists that most rows have nothing in, as the pages of a Parquet file.

Arrow's writer takes as long for a row without events as for one with some, for each leaf of the column: 24 leaves of
events and links take a quarter of its time. Here work is in proportion to what is in the lists.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tables.columns.arrays import list_offsets, numbers, plain, ranges, spread_bytes
from tables.columns.types import Int64s
from tables.parquet.encode_pages import (
    DICTIONARY_VALUES_MAX,
    ChunkDraft,
    CodePacker,
    EncodedChunk,
    SparseLevels,
    plain_texts,
)

# With more items Arrow is as fast: it makes the levels of each leaf anew, here most have those of their siblings.
_ITEMS_PER_ROW_MAX: Final = 0.5
_ITEMS_PER_ROW_MAX_ALONE: Final = 0.1
_DICTIONARY_BYTES_MAX: Final = 1 << 20
# Arrow begins a page where large values need it. Here pages begin at the same rows in all columns.
_PAGE_BYTES: Final = 4 << 20
_STORED: Final[dict[Any, npt.DTypeLike]] = {
    pa.int64(): "<i8",
    pa.uint32(): "<u4",
    pa.float64(): "<f8",
}
_TEXTS: Final = (pa.string(), pa.binary())
# Definition levels of rows without items.
_NULL: Final = 0
_EMPTY: Final = 1


@dataclass(frozen=True, slots=True, eq=False)
class _Entries:
    """What the rows with items have at one place of the schema, in their order.

    rows: of each; repetition, definition: its levels so far; at: its place in the array there, -1: it ends above
    """

    rows: Int64s
    repetition: npt.NDArray[np.uint8]
    definition: npt.NDArray[np.uint8]
    at: Int64s


def encode_sparse_lists(lists: Any, starts: Sequence[int]) -> list[EncodedChunk] | None:
    """The pages of each leaf; None: this column is better written by Arrow.

    lists: ListArray of any depth; starts: the first row of each page, and the number of rows, at least 1
    """
    bytes_max = _PAGE_BYTES * (len(starts) - 1)
    lists = _without_codes(lists, bytes_max)
    if not _is_known(lists.type) or lists.nbytes > bytes_max:
        return None
    offsets = list_offsets(lists)
    # All other rows are alike: null, or empty lists.
    rows, others = np.flatnonzero(np.diff(offsets)), _EMPTY
    if lists.null_count:
        rows, others = np.flatnonzero(lists.is_valid().to_numpy(zero_copy_only=False)), _NULL
    most = _ITEMS_PER_ROW_MAX if pa.types.is_struct(lists.type.value_type) else _ITEMS_PER_ROW_MAX_ALONE
    if max(int(offsets[-1]) - int(offsets[0]), len(rows)) > most * len(lists):
        return None
    none = np.zeros(len(rows), np.uint8)
    found: list[EncodedChunk] = []
    encoder = _LevelEncoder(starts, others)
    for values, entries, defined in _leaves(lists, _Entries(rows, none, none, rows), 0, 0):
        levels = encoder.encode(entries)
        make = partial(_encode, values, entries, defined, starts, levels)
        found.append(
            make() if len(values) else encoder.nothing(levels, make, has_bits=pa.types.is_boolean(values.type))
        )
    return found


class _Levels(NamedTuple):
    """Encoded levels of a leaf, of each page. places: where its entries are"""

    places: SparseLevels
    repetition: list[bytes]
    definition: list[bytes]


class _LevelEncoder:
    """Encodes the levels of one leaf after the other. Siblings share their entries, and most their definition levels.

    others: the definition level of rows without entries
    """

    def __init__(self, starts: Sequence[int], others: int) -> None:
        self._starts, self._others = starts, others
        self._rows: Int64s | None = None
        self._made: dict[bytes, _Levels] = {}  # by the definition levels of these rows' entries
        self._nothing: dict[tuple[int, bool], EncodedChunk] = {}

    def encode(self, entries: _Entries) -> _Levels:
        """Those of a leaf."""
        if entries.rows is not self._rows:
            self._rows, self._made = entries.rows, {}
            self._nothing.clear()
        key = entries.definition.tobytes()
        made = self._made.get(key)
        if made is None:
            if self._made:
                places, repetition, _ = next(iter(self._made.values()))
            else:
                places = SparseLevels(entries.rows, self._starts)
                repetition = places.encode(entries.repetition, 0)
            made = self._made[key] = _Levels(places, repetition, places.encode(entries.definition, self._others))
        return made

    def nothing(self, levels: _Levels, make: Callable[[], EncodedChunk], *, has_bits: bool) -> EncodedChunk:
        """A leaf without values, made once: most of a list's are alike, whatever they have no values of, but booleans,
        of which there are no dictionaries.
        """
        key = id(levels), has_bits
        found = self._nothing.get(key)
        if found is None:
            found = self._nothing[key] = make()
        return found


def _without_codes(lists: Any, bytes_max: int) -> Any:
    """Lists of structs whose texts are coded with plain ones; as they are where these would be too large."""
    items = lists.values
    if not pa.types.is_struct(items.type) or items.null_count:
        return lists
    fields = [items.field(number) for number in range(items.type.num_fields)]
    if not any(pa.types.is_dictionary(field.type) for field in fields) or sum(map(spread_bytes, fields)) > bytes_max:
        return lists
    made = pa.StructArray.from_arrays(list(map(plain, fields)), [field.name for field in items.type])
    type_ = pa.list_(pa.field(lists.type.value_field.name, made.type))
    return pa.Array.from_buffers(type_, len(lists), lists.buffers()[:2], offset=lists.offset, children=[made])


def _is_known(type_: Any) -> bool:
    if pa.types.is_list(type_):
        return _is_known(type_.value_type)
    if pa.types.is_struct(type_):
        return all(_is_known(field.type) for field in type_)
    return type_ in _STORED or type_ in _TEXTS or pa.types.is_boolean(type_)


def _leaves(array: Any, entries: _Entries, defined: int, repeated: int) -> Iterator[tuple[Any, _Entries, int]]:
    """The values of each leaf, its levels, and the definition level that says that there is a value.

    defined, repeated: the levels of an entry whose parent is there
    """
    alive = np.flatnonzero(entries.at >= 0)
    if array.null_count:
        valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False))
        alive = alive[valid[entries.at[alive]]]
    definition = entries.definition.copy()
    definition[entries.at >= 0] = defined
    definition[alive] = defined + 1
    at = np.full(len(entries.at), -1, np.int64)
    at[alive] = entries.at[alive]
    here = _Entries(entries.rows, entries.repetition, definition, at)
    if pa.types.is_struct(array.type):
        for number in range(array.type.num_fields):
            yield from _leaves(array.field(number), here, defined + 1, repeated)
    elif pa.types.is_list(array.type):
        yield from _leaves(array.values, _items(array, here, repeated + 1), defined + 2, repeated + 1)
    else:
        yield array.take(pa.array(at[alive])), here, defined + 1


def _items(lists: Any, entries: _Entries, repeated: int) -> _Entries:
    """An entry for each item, and one for each entry without items."""
    offsets = list_offsets(lists).astype(np.int64)
    lengths = np.zeros(len(entries.at), np.int64)
    alive = np.flatnonzero(entries.at >= 0)
    begins = offsets[entries.at[alive]]
    lengths[alive] = offsets[entries.at[alive] + 1] - begins
    counts = np.maximum(lengths, 1)
    parents = np.repeat(np.arange(len(counts)), counts)
    firsts = np.cumsum(counts) - counts
    repetition = np.full(len(parents), repeated, np.uint8)
    repetition[firsts] = entries.repetition
    at = np.full(len(parents), -1, np.int64)
    at[lengths[parents] > 0] = ranges(begins, lengths[alive])
    return _Entries(entries.rows[parents], repetition, entries.definition[parents], at)


def _encode(
    values: Any,
    entries: _Entries,
    defined: int,
    starts: Sequence[int],
    levels: _Levels,
) -> EncodedChunk:
    codes, packer, dictionary = _codes_of(values)
    draft = ChunkDraft(dictionary)
    bounds = np.r_[0, np.cumsum(entries.definition == defined)][levels.places.entries].tolist()
    counts = np.diff(levels.places.pages).tolist()
    for page, first in enumerate(starts[:-1]):
        some = slice(bounds[page], bounds[page + 1])
        if some.start == some.stop:
            body = packer.pack(codes[some]) if packer is not None else b""
        else:
            body = _plain(values[some]) if packer is None else packer.pack(codes[some])
        draft.pages.append((levels.repetition[page] + levels.definition[page] + body, counts[page], first))
    return draft.encode()


def _codes_of(values: Any) -> tuple[Any, CodePacker | None, tuple[bytes, int] | None]:
    """Codes, what packs them, and the dictionary, for texts that repeat. Where there are no values an empty dictionary
    says so: a merge does not read such leaves.
    """
    if not len(values) and not pa.types.is_boolean(values.type):
        return np.empty(0, np.int32), CodePacker(0), (b"", 0)
    if values.type in _TEXTS and len(values):
        encoded = values.dictionary_encode()
        distinct = encoded.dictionary
        small = len(distinct) <= DICTIONARY_VALUES_MAX and distinct.nbytes <= _DICTIONARY_BYTES_MAX
        if small and 2 * len(distinct) <= len(values):
            return numbers(encoded.indices), CodePacker(len(distinct)), (plain_texts(distinct), len(distinct))
    return None, None, None


def _plain(values: Any) -> bytes:
    if values.type in _TEXTS:
        return plain_texts(values)
    if pa.types.is_boolean(values.type):
        return np.packbits(values.to_numpy(zero_copy_only=False), bitorder="little").tobytes()
    return numbers(values).astype(_STORED[values.type], copy=False).tobytes()
