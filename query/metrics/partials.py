"""What one source says to a metrics function, in a form that can be added up: over sources, workers, in any order."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np

from query.functions.metrics import CELL_KINDS
from query.metrics.quantile_sketch import QuantileSketch, merge_sketches
from query.results import AttributeValue
from tables.columns.types import Floats
from tables.turns import drop

# Label values with their type, so that 1, 1.0 and true stay three; None: no value.
Key = tuple[tuple[str, Any] | None, ...]

# A query's series times its samples: 32 MB for each kind of cell. Of quantiles twice as many buckets and single values.
CELLS_MAX: Final = 1 << 22
SKETCH_ENTRIES_MAX: Final = 2 * CELLS_MAX

_SKETCH_ENTRY_BYTES: Final = 16
_KEY_BYTES: Final = 300


class TooManyCells(Exception):  # noqa: N818 - internal: query/metrics/metrics.py makes a TraceQLError of it
    """More series and samples than CELLS_MAX allows."""


def check_size(groups: int, intervals: int, sketch_entries: int = 0) -> None:
    """Refuses what has more cells than CELLS_MAX, or more entries of sketches. Raises: TooManyCells"""
    if groups * intervals > CELLS_MAX or sketch_entries > SKETCH_ENTRIES_MAX:
        raise TooManyCells


def key_part(value: AttributeValue | None) -> tuple[str, Any] | None:
    """Equal for values of which answers show the same, and for no others."""
    if isinstance(value, float):
        value = math.nan if math.isnan(value) else value + 0.0  # no other NaN equals itself; -0.0 is 0.0
    return None if value is None else (type(value).__name__, value)


class Candidate(NamedTuple):
    """A span that may become an exemplar; the least is chosen. value NaN: what its sample has."""

    trace_id: bytes
    timestamp_ns: int
    value: float


@dataclass(slots=True, eq=False)
class Partial:
    """keys: one per group, distinct; cells: by kind, each of shape (groups, intervals)

    candidates: by group and interval; of quantiles with the power of two that the value lies below as one more part
    sketch: of quantiles, by group * intervals + interval
    """

    keys: list[Key]
    cells: dict[str, Floats]
    candidates: dict[tuple[Key, int], Candidate] = field(default_factory=dict)
    sketch: QuantileSketch | None = None

    @property
    def nbytes(self) -> int:
        """About what it takes, its keys as Python has them."""
        sketch_bytes = 0 if self.sketch is None else _SKETCH_ENTRY_BYTES * self.sketch.entries
        return _KEY_BYTES * len(self.keys) + sum(cells.nbytes for cells in self.cells.values()) + sketch_bytes

    def drop(self) -> None:
        """Forgets the groups, some at a time: a hundred thousand keys that go at once hold up all threads."""
        drop(self.keys)
        drop(self.candidates)

    def since(self, interval: int) -> "Partial":
        """The cells of that interval and later ones, without candidates. The keys are the same list."""
        cells = {kind: cells[:, interval:] for kind, cells in self.cells.items()}
        if self.sketch is None:
            return Partial(self.keys, cells)
        groups, intervals = self.cells["count"].shape
        left = np.full((groups, intervals), -1, np.int64)
        left[:, interval:] = np.arange(groups * (intervals - interval)).reshape(groups, intervals - interval)
        return Partial(self.keys, cells, sketch=self.sketch.moved(left.reshape(-1)))


def partial_size(parts: Iterable[Partial], intervals: int) -> int:
    """How many cells some partials have together, and entries of sketches."""
    return sum(len(part.keys) * intervals + (part.sketch.entries if part.sketch else 0) for part in parts)


def merge(partials: Iterable[Partial], kinds: Iterable[str], intervals: int, exemplars_max: int) -> Partial:
    """The sum of the partials. Of the candidates one per cell, and one per trace as long as there are others; those
    with the least trace ids. Raises: TooManyCells
    """
    parts = list(partials)
    number: dict[Key, int] = {}
    for part in parts:
        for key in part.keys:
            number.setdefault(key, len(number))
    check_size(len(number), intervals)
    cells = {kind: np.full((len(number), intervals), CELL_KINDS[kind].empty) for kind in kinds}
    candidates: dict[tuple[Key, int], Candidate] = {}
    sketches: list[QuantileSketch] = []
    for part in parts:
        if part.keys:
            # Distinct within a partial. By a generator: the GIL may go to another thread behind each of its items.
            rows = np.fromiter((number[key] for key in part.keys), np.int64, len(part.keys))
            for kind, values in cells.items():
                with np.errstate(invalid="ignore", over="ignore"):  # infinity less infinity is no number
                    values[rows] = CELL_KINDS[kind].merge(values[rows], part.cells[kind])
            if part.sketch is not None:
                places = rows[:, None] * intervals + np.arange(intervals)
                sketches.append(part.sketch.moved(places.reshape(-1)))
        for cell, candidate in part.candidates.items():
            old = candidates.get(cell)
            if old is None or candidate < old:
                candidates[cell] = candidate
    sketch = None
    if sketches:
        sketch = merge_sketches(sketches, cells["count"].reshape(-1).astype(np.int64))
        check_size(len(number), intervals, sketch.entries)
    keys = list(number)
    drop(number)
    return Partial(keys, cells, _chosen(candidates, exemplars_max), sketch)


def merge_equal(partial: Partial, keys: Sequence[Key]) -> Partial:
    """The same with other keys; groups whose new keys are equal become one.

    In: a partial without a sketch; the new key of each group
    """
    number: dict[Key, int] = {}
    rows = np.fromiter((number.setdefault(key, len(number)) for key in keys), np.int64, len(keys))
    if len(number) == len(keys):
        return partial
    intervals = next(iter(partial.cells.values())).shape[1]
    cells = {kind: np.full((len(number), intervals), CELL_KINDS[kind].empty) for kind in partial.cells}
    for kind, values in cells.items():
        with np.errstate(invalid="ignore", over="ignore"):
            CELL_KINDS[kind].merge.at(values, rows, partial.cells[kind])
    wanted = {key for key, _ in partial.candidates}
    new_key = {old: new for old, new in zip(partial.keys, keys, strict=True) if old in wanted}
    candidates = {(new_key[key], interval): one for (key, interval), one in partial.candidates.items()}
    merged = Partial(list(number), cells, candidates)
    drop(number)
    return merged


def _chosen(candidates: dict[tuple[Key, int], Candidate], exemplars_max: int) -> dict[tuple[Key, int], Candidate]:
    ordered = sorted(candidates.items(), key=itemgetter(1))
    seen: set[bytes] = set()
    firsts: list[tuple[tuple[Key, int], Candidate]] = []
    others: list[tuple[tuple[Key, int], Candidate]] = []
    for item in ordered:
        (others if item[1].trace_id in seen else firsts).append(item)
        seen.add(item[1].trace_id)
    return dict([*firsts, *others][:exemplars_max])
