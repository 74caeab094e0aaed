"""How often each value of each attribute comes, in bounded memory: what `compare()` is made of.

Counts are exact as long as all attributes together have at most TRACKED_MAX values. Beyond it, each attribute keeps its
most frequent values, fewer and fewer as there are more: what is dropped and comes again begins at zero, so a count is
never too large, and too small by at most what the attribute's dropped values had. An attribute with more than
VALUES_MAX values is like an id: of no use in a comparison, and only counted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from query import memory
from query.metrics.partials import Key, Partial, check_size, key_part
from tables.columns.types import Floats, Int64s
from tables.turns import drop

META_ERROR_KEY: Final = "__too_many_values__"
VALUES_MAX: Final = 1000
TRACKED_MAX: Final = 200_000
KINDS: Final = ("baseline", "selection")

# Measured: what a value takes with its text, its places in dictionaries and its number.
_VALUE_BYTES: Final = 300
_SEEN_BYTES: Final = 70
# Counts that are not added up yet.
_LOOSE_MAX: Final = 1 << 20
_ALONE_MIN: Final = 4096
# Codes are sorted where less than one in so many numbers is a code.
_SPARSE: Final = 8


@dataclass(slots=True)
class _Attribute:
    """One attribute. total: number of its row of totals; values: the number of each value's row

    seen: hashes of all its values, once some were dropped; None: all are in `values`
    """

    total: int
    values: dict[Any, int] = field(default_factory=dict)
    seen: set[int] | None = None
    too_many: bool = False


class ValueCounts:
    """Counts by attribute, value, kind (0: baseline, 1: selection) and interval.

    Rows are numbered; a count's place is (row * 2 + kind) * intervals + interval. Only places with a count are kept.
    """

    def __init__(self, intervals: int, top_n: int, tracked_max: int = TRACKED_MAX) -> None:
        self._intervals, self._top_n = intervals, max(top_n, 1)
        self._tracked_max, self._values_max = tracked_max, VALUES_MAX
        self._attributes: dict[str, _Attribute] = {}
        self._rows = self._tracked = 0
        self._places = np.empty(0, np.int64)
        self._counts = np.empty(0, np.int64)
        self._loose: list[tuple[Int64s, Int64s]] = []
        self._loose_size = 0
        self._memory, self._reserved = memory.current(), 0

    def add_spans(self, label: str, cells: Int64s, codes: Int64s, values: Any) -> None:
        """Counts the spans of one source that have an attribute; see `add_attributes`."""
        self.add_attributes([label], np.zeros(len(cells), np.int64), cells, codes, values)

    def add_attributes(self, labels: Sequence[str], owners: Int64s, cells: Int64s, codes: Int64s, values: Any) -> None:
        """The spans of one source that have some attributes. An attribute comes here once for each source.

        owners: the number of the label, of each value; cells: kind * intervals + interval, of its span; codes: which of
        the values it is; values: pyarrow Array, of which no row need have all. Raises: memory.MemoryExceeded
        """
        if not len(cells):
            return
        attributes = [self._attribute(label) for label in labels]
        width = 2 * self._intervals
        self._count(np.array([one.total for one in attributes], np.int64)[owners] * width + cells)
        if all(one.too_many for one in attributes):
            return
        pairs, place = _numbered(owners * len(values) + codes, len(labels) * len(values))
        rows = self._value_rows(attributes, pairs // len(values), pairs % len(values), values)[place]
        has = rows >= 0
        self._count((rows * width + cells)[has])
        if self._tracked > self._tracked_max:
            self._drop_rare()

    def _attribute(self, label: str) -> _Attribute:
        attribute = self._attributes.get(label)
        if attribute is None:
            self._reserve(_VALUE_BYTES)
            attribute = self._attributes[label] = _Attribute(self._rows)
            self._rows += 1
        return attribute

    def _value_rows(self, attributes: Sequence[_Attribute], owners: Int64s, codes: Int64s, values: Any) -> Int64s:
        """The row of each value of each attribute; -1: the attribute has too many. In: owners ascending"""
        ends = np.cumsum(np.bincount(owners, minlength=len(attributes))).tolist()
        rows = np.full(len(owners), -1, np.int64)
        wanted = []
        for attribute, begin, end in zip(attributes, [0, *ends], ends):  # noqa: B905  (one begin more)
            if end - begin > VALUES_MAX and not attribute.too_many:
                self._give_up(attribute)
            if not attribute.too_many:
                wanted.append((attribute, begin, end))
        few, number = _numbered(np.concatenate([codes[:0], *(codes[b:e] for _, b, e in wanted)]), len(values))
        keys = [key_part(value) for value in values.take(few).to_pylist()]
        numbers, first = number.tolist(), 0
        for attribute, begin, end in wanted:
            of = [keys[at] for at in numbers[first : first + end - begin]]
            first += end - begin
            known, before = attribute.values, self._rows
            for key in of:
                if key not in known:
                    known[key] = self._rows
                    self._rows += 1
                    if attribute.seen is not None:
                        attribute.seen.add(hash(key))
            self._tracked += self._rows - before
            self._reserve((self._rows - before) * _VALUE_BYTES)
            if len(known if attribute.seen is None else attribute.seen) > VALUES_MAX:
                self._give_up(attribute)
            else:
                rows[begin:end] = [known[key] for key in of]
        return rows

    def _give_up(self, attribute: _Attribute) -> None:
        self._tracked -= len(attribute.values)
        self._forget_rows(attribute.values.values())
        attribute.values, attribute.seen, attribute.too_many = {}, None, True

    def _count(self, places: Int64s) -> None:
        if len(places) > _ALONE_MIN:
            found, counts = np.unique(places, return_counts=True)
            places, counts = found, counts.astype(np.int64)
        else:  # of attributes that few spans have: together with many others
            counts = np.ones(len(places), np.int64)
        self._loose.append((places, counts))
        self._loose_size += len(places)
        self._reserve(16 * len(places))
        if self._loose_size > max(_LOOSE_MAX, len(self._places)):
            self._add_up()

    def _add_up(self) -> None:
        """Adds up the loose counts, so that each place is there once."""
        if not self._loose:
            return
        places = np.concatenate([self._places, *(found for found, _ in self._loose)])
        counts = np.concatenate([self._counts, *(counts for _, counts in self._loose)])
        with self._memory.scratch(40 * len(places), "counts of attribute values"):
            self._places, inverse = np.unique(places, return_inverse=True)
            self._counts = np.bincount(inverse, counts, len(self._places)).astype(np.int64)
        self._loose, self._loose_size = [], 0
        self._reserve(16 * len(self._places) + _VALUE_BYTES * self._held_rows() - self._reserved)

    def _held_rows(self) -> int:
        seen = sum(len(one.seen) for one in self._attributes.values() if one.seen is not None)
        return len(self._attributes) + self._tracked + seen * _SEEN_BYTES // _VALUE_BYTES

    def _reserve(self, size: int) -> None:
        self._memory.reserve(size, "counts of attribute values", "a longer step, a shorter time range or a filter")
        self._reserved += size

    def _sums(self) -> npt.NDArray[np.float64]:
        """Of each row and kind how often it comes."""
        self._add_up()
        sums = np.bincount(self._places // self._intervals, self._counts, 2 * self._rows).astype(np.float64)
        return sums.reshape(-1, 2)

    def _drop_rare(self) -> None:
        """The rarest values of the attributes that have the most go, until half of what may be tracked is left."""
        sums = self._sums()
        gone: list[int] = []
        while self._tracked > self._tracked_max // 2 and self._values_max > self._top_n:
            self._values_max = max(self._values_max // 2, self._top_n)
            for attribute in self._attributes.values():
                if len(attribute.values) <= self._values_max:
                    continue
                kept = set().union(*(self._best(attribute, sums, kind, self._values_max // 2) for kind in (0, 1)))
                if attribute.seen is None:
                    attribute.seen = {hash(key) for key in attribute.values}
                gone += [row for key, row in attribute.values.items() if key not in kept]
                self._tracked -= len(attribute.values) - len(kept)
                attribute.values = {key: row for key, row in attribute.values.items() if key in kept}
        self._forget_rows(gone)
        # What cannot be dropped may grow on: the budget of memory is its limit.
        self._tracked_max = max(self._tracked_max, 2 * self._tracked)

    def _forget_rows(self, rows: Iterable[int]) -> None:
        gone = np.zeros(self._rows, bool)
        gone[list(rows)] = True
        if gone.any():
            self._add_up()
            keep = ~gone[self._places // (2 * self._intervals)]
            self._places, self._counts = self._places[keep], self._counts[keep]

    def _best(self, attribute: _Attribute, sums: npt.NDArray[np.float64], kind: int, count: int) -> list[Any]:
        """The keys of the most frequent values of one kind; of equally frequent ones the first by their text."""
        there = [key for key, row in attribute.values.items() if sums[row, kind]]
        there.sort(key=lambda key: (-sums[attribute.values[key], kind], str(key)))
        return there[: max(count, self._top_n)]

    def partial(self, top_n: int | None) -> Partial:
        """Of each attribute the totals, and the `top_n` most frequent values of either kind (None: all), as
        `compare_series` takes them. Raises: memory.MemoryExceeded; TooManyCells where all are wanted
        """
        sums = self._sums()
        keys: list[Key] = []
        rows: list[int] = []
        kinds: list[int] = []
        for name, attribute in self._attributes.items():
            label = key_part(name)
            for kind in (0, 1):
                if sums[attribute.total, kind]:
                    keys.append((key_part(f"{KINDS[kind]}_total"), label, None))
                    rows.append(attribute.total)
                    kinds.append(kind)
                best = self._best(attribute, sums, kind, VALUES_MAX if top_n is None else top_n)
                keys += [(key_part(KINDS[kind]), label, key) for key in best]
                rows += [attribute.values[key] for key in best]
                kinds += [kind] * len(best)
        marks: list[Key] = [
            (key_part(META_ERROR_KEY), key_part(name)) for name, one in self._attributes.items() if one.too_many
        ]
        if top_n is None:
            check_size(len(rows) + len(marks), self._intervals)
        cells = self._cells(np.array(rows, np.int64) * 2 + np.array(kinds, np.int64), len(marks))
        drop(self._attributes)
        self._loose = []
        self._places = self._counts = np.empty(0, np.int64)
        self._memory.release(self._reserved - cells.nbytes - _VALUE_BYTES * len(keys))
        return Partial([*keys, *marks], {"count": cells})

    def _cells(self, wanted: Int64s, more: int) -> Floats:
        """The counts of some rows, row * 2 + kind, by interval, and so many rows of zeros."""
        self._reserve((len(wanted) + more) * (8 * self._intervals + _VALUE_BYTES))
        number = np.full(2 * self._rows, -1, np.int64)
        number[wanted] = np.arange(len(wanted))
        of = number[self._places // self._intervals]
        there = of >= 0
        cells = np.zeros((len(wanted) + more, self._intervals))
        cells[of[there], self._places[there] % self._intervals] = self._counts[there]
        return cells


def _numbered(codes: Int64s, size: int) -> tuple[Int64s, Int64s]:
    """The distinct codes, ascending, and which of them each is. In: codes from 0, below size"""
    if size > _SPARSE * len(codes):
        found, number = np.unique(codes, return_inverse=True)
        return found, number
    found = np.flatnonzero(np.bincount(codes, minlength=size))
    place = np.zeros(size, np.int64)
    place[found] = np.arange(len(found))
    return found, place[codes]
