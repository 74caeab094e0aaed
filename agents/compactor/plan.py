"""Which blocks of a tenant are to be merged. Pure functions over columns: no storage, no clock.

Blocks belong to the time window in which the newest of their records was received. There are windows of several
lengths, each a multiple of the one before. When a window is over, its blocks become one. Within the current shortest
window, blocks are merged whenever 16 of one level are together. So a span is rewritten once for each length of window,
and the number of blocks grows with the logarithm of the number of flushes.

Small blocks are merged in one more window: to open one takes longer than to read it, so their number is what a query
pays for, and their bytes are hardly worth counting.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Hours, days, weeks, four weeks, where the first window is an hour.
_FACTORS: Final = (1, 24, 7, 4)
# Of so many first windows the blocks of at most so many bytes become one.
_SMALL_FACTOR: Final = 4
_SMALL_BYTES_MAX: Final = 256 << 10
_SHARE_OF_RETENTION: Final = 8
# Levels that a block has when it has been through the merges of an ordinary window: flushes that are merged 16 at a
# time twice, and then once for the window. What is above is the result of late blocks.
_LEVELS_FIRST: Final = 3
_LEVELS_MORE: Final = 2
_FUTURE: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class BlockColumns:
    """The visible blocks of a tenant, a row each.

    places: number of the Kafka cluster and partition, from 0; blocks of different places are never merged
    newest_ms: when the newest record was received, Unix ms
    """

    ids: Sequence[str]
    places: Ints
    newest_ms: Ints
    first_offsets: Ints
    size_bytes: Ints
    levels: Ints

    def __len__(self) -> int:
        return len(self.ids)


class WindowKind(NamedTuple):
    """A kind of window. length_ms: of each
    levels_max: a block of so many levels is not merged for a small late one
    input_bytes_max: larger blocks wait for the next kind; None: for none
    """

    length_ms: int
    levels_max: int
    input_bytes_max: int | None = None


@dataclass(frozen=True, slots=True)
class CompactionRules:
    """windows: by their lengths, ascending, each a multiple of the one before
    settle_ms: how long after its end a window counts as over; its last blocks are flushed later than that
    block_bytes_max: larger blocks are no input, and no merged block is larger than that by its inputs
    inputs_min: how many blocks of one level are merged before their window is over; inputs_max: most of one merge
    """

    windows: tuple[WindowKind, ...]
    settle_ms: int
    block_bytes_max: int
    inputs_min: int = 16
    inputs_max: int = 64


def windows_of(first_s: float, retention_s: float) -> tuple[WindowKind, ...]:
    """The windows, from one of `first_s` seconds on. None is longer than an eighth of the retention: a block is deleted
    when the newest of its spans is too old.
    """
    most = max(1, int(retention_s * 1000 / _SHARE_OF_RETENTION))
    first_ms = length = max(1, min(int(first_s * 1000), most))
    found = []
    for number, factor in enumerate(_FACTORS):
        length *= factor
        if length > most:
            break
        found.append(WindowKind(length, _LEVELS_FIRST + number * _LEVELS_MORE))
    if first_ms * _SMALL_FACTOR <= most:
        found.insert(1, WindowKind(first_ms * _SMALL_FACTOR, _LEVELS_FIRST + 1, _SMALL_BYTES_MAX))
    return tuple(found)


def plan_merges(blocks: BlockColumns, rules: CompactionRules, now_ms: int, busy: Collection[str] = ()) -> list[Ints]:
    """The merges that are due: the rows of each, by offset. No row is in two of them.

    busy: ids of blocks that are being merged. A window that is over waits until none of its blocks is busy
    """
    if len(blocks) < 2:
        return []
    taken = np.fromiter((one in busy for one in blocks.ids), bool, len(blocks)) if busy else np.zeros(len(blocks), bool)
    left = blocks.size_bytes < rules.block_bytes_max
    merges: list[Ints] = []
    for window in reversed(rules.windows):
        starts = blocks.newest_ms // window.length_ms * window.length_ms
        over = left & (starts <= now_ms - rules.settle_ms - window.length_ms)
        if window.input_bytes_max is not None:
            over &= blocks.size_bytes <= window.input_bytes_max
        left &= ~over
        for rows in _groups(blocks, np.flatnonzero(over), starts, 2):
            if not taken[rows].any():
                merges += _of_window(blocks, rules, rows, window.levels_max)
    first_ms = rules.windows[0].length_ms
    # Wrong clocks date blocks to many windows of the future: they count as one.
    starts = np.where(blocks.newest_ms > now_ms + first_ms, _FUTURE, blocks.newest_ms // first_ms * first_ms)
    for rows in _groups(blocks, np.flatnonzero(left & ~taken), starts, rules.inputs_min):
        merges += _by_level(blocks, rules, rows)
    return merges


def expired(blocks: BlockColumns, before_ms: int) -> Ints:
    """The rows of the blocks whose newest record was received before that time."""
    return np.flatnonzero(blocks.newest_ms < before_ms)


def _groups(blocks: BlockColumns, rows: Ints, starts: Ints, count_min: int) -> Iterator[Ints]:
    """The rows of each place and window, by offset, where there are so many."""
    if len(rows) < count_min:
        return
    places, starts = blocks.places[rows], starts[rows]
    order = np.lexsort((blocks.first_offsets[rows], starts, places))
    rows, places, starts = rows[order], places[order], starts[order]
    changes = np.flatnonzero((np.diff(places) != 0) | (np.diff(starts) != 0)) + 1
    bounds = np.concatenate(([0], changes, [len(rows)]))
    for index in np.flatnonzero(np.diff(bounds) >= count_min):
        yield rows[bounds[index] : bounds[index + 1]]


def _of_window(blocks: BlockColumns, rules: CompactionRules, rows: Ints, levels_max: int) -> Iterator[Ints]:
    """The merges of a window that is over. All of it becomes one block, if it fits.

    Late blocks keep coming where clocks are wrong. They are not merged with a large block of many merges each time, but
    with each other, until they are half as large as it.
    """
    for chunk in _chunks(blocks, rules, rows):
        sizes = blocks.size_bytes[chunk]
        largest = int(sizes.argmax())
        rest = int(sizes.sum() - sizes[largest])
        if blocks.levels[chunk[largest]] < levels_max or 2 * rest >= sizes[largest]:
            yield chunk
        else:
            yield from _by_level(blocks, rules, np.delete(chunk, largest))


def _by_level(blocks: BlockColumns, rules: CompactionRules, rows: Ints) -> Iterator[Ints]:
    """Merges of blocks of one level, where there are enough of them."""
    levels = blocks.levels[rows]
    values, counts = np.unique(levels, return_counts=True)
    for level in values[counts >= rules.inputs_min]:
        yield from _chunks(blocks, rules, rows[levels == level])


def _chunks(blocks: BlockColumns, rules: CompactionRules, rows: Ints) -> Iterator[Ints]:
    """Splits rows so that no merge has too many inputs or bytes; leaves out what would be alone."""
    for part in np.array_split(rows, -(-len(rows) // rules.inputs_max)):
        bounds, size = [0], 0
        for at, row_bytes in enumerate(blocks.size_bytes[part].tolist()):
            if size + row_bytes > rules.block_bytes_max and at > bounds[-1]:
                bounds.append(at)
                size = 0
            size += row_bytes
        for begin, end in pairwise([*bounds, len(part)]):
            if end - begin >= 2:
                yield part[begin:end]


def columns_of(rows: Iterable[tuple[str, int, int, int, int, int]]) -> BlockColumns:
    """Columns from rows of (id, place, newest_ms, first_offset, size_bytes, level)."""
    ids: list[str] = []
    numbers: list[Any] = []
    for name, *rest in rows:
        ids.append(name)
        numbers.append(rest)
    table = np.array(numbers, dtype=np.int64).reshape(-1, 5)
    return BlockColumns(ids, *(np.ascontiguousarray(column) for column in table.T))
