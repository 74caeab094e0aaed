"""What one source says to a metrics function, in a form that can be added up: over sources, workers, in any order."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from query.results import AttributeValue

# Label values with their type, so that 1, 1.0 and true stay three; None: no value.
Key = tuple[tuple[str, Any] | None, ...]
Floats = npt.NDArray[np.float64]

# A query's series times its samples: 32 MB for each kind of cell.
CELLS_MAX: Final = 1 << 22

# How each kind of cell is added up, and what an empty one holds.
_OPERATIONS: Final = {
    "count": (np.add, 0.0),
    "sum": (np.add, 0.0),
    "min": (np.minimum, np.inf),
    "max": (np.maximum, -np.inf),
}
EMPTY: Final = {kind: empty for kind, (_, empty) in _OPERATIONS.items()}


_KEY_BYTES: Final = 300


class TooManyCells(Exception):  # noqa: N818 - internal: query/metrics.py makes a TraceQLError of it
    """More series and samples than CELLS_MAX allows."""


def check_size(groups: int, intervals: int) -> None:
    if groups * intervals > CELLS_MAX:
        raise TooManyCells


def key_part(value: AttributeValue | None) -> tuple[str, Any] | None:
    if isinstance(value, float) and math.isnan(value):
        value = math.nan  # no other equals itself
    return None if value is None else (type(value).__name__, value)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A span that may become an exemplar. value NaN: what its sample has."""

    trace_id: bytes
    timestamp_ns: int
    value: float


@dataclass(slots=True, eq=False)
class Partial:
    """keys: one per group; cells: by kind, each of shape (groups, intervals); candidates: by group and interval"""

    keys: list[Key]
    cells: dict[str, Floats]
    candidates: dict[tuple[Key, int], Candidate] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """About what it takes, its keys as Python has them."""
        return _KEY_BYTES * len(self.keys) + sum(cells.nbytes for cells in self.cells.values())

    def since(self, interval: int) -> "Partial":
        """The cells of that interval and later ones, without candidates."""
        return Partial(self.keys, {kind: cells[:, interval:] for kind, cells in self.cells.items()})


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
    cells = {kind: np.full((len(number), intervals), EMPTY[kind]) for kind in kinds}
    candidates: dict[tuple[Key, int], Candidate] = {}
    for part in parts:
        if part.keys:
            rows = np.array([number[key] for key in part.keys])  # distinct within a partial
            for kind, values in cells.items():
                values[rows] = _OPERATIONS[kind][0](values[rows], part.cells[kind])
        for cell, candidate in part.candidates.items():
            old = candidates.get(cell)
            if old is None or _order(candidate) < _order(old):
                candidates[cell] = candidate
    return Partial(list(number), cells, _chosen(candidates, exemplars_max))


def _chosen(candidates: dict[tuple[Key, int], Candidate], exemplars_max: int) -> dict[tuple[Key, int], Candidate]:
    ordered = sorted(candidates.items(), key=lambda item: _order(item[1]))
    seen: set[bytes] = set()
    firsts: list[tuple[tuple[Key, int], Candidate]] = []
    others: list[tuple[tuple[Key, int], Candidate]] = []
    for item in ordered:
        (others if item[1].trace_id in seen else firsts).append(item)
        seen.add(item[1].trace_id)
    return dict([*firsts, *others][:exemplars_max])


def _order(candidate: Candidate) -> tuple[bytes, int, float]:
    return candidate.trace_id, candidate.timestamp_ns, candidate.value
