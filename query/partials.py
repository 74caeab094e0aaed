"""What one source says to a metrics function, in a form that can be added up: over sources, workers, in any order."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from query.results import AttributeValue

# Label values with their type, so that 1, 1.0 and true stay three; None: no value.
Key = tuple[tuple[str, Any] | None, ...]
Floats = npt.NDArray[np.float64]

# How each kind of cell is added up, and what an empty one holds.
_OPERATIONS: Final = {
    "count": (np.add, 0.0),
    "sum": (np.add, 0.0),
    "min": (np.minimum, np.inf),
    "max": (np.maximum, -np.inf),
}
EMPTY: Final = {kind: empty for kind, (_, empty) in _OPERATIONS.items()}


def key_part(value: AttributeValue | None) -> tuple[str, Any] | None:
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


def merge(partials: Iterable[Partial], kinds: Iterable[str], intervals: int, exemplars_max: int) -> Partial:
    """The sum of the partials. Of the candidates those with the least trace ids, one per cell: the same choice
    however the spans are split.
    """
    parts = list(partials)
    number: dict[Key, int] = {}
    for part in parts:
        for key in part.keys:
            number.setdefault(key, len(number))
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
    chosen = sorted(candidates.items(), key=lambda item: _order(item[1]))[:exemplars_max]
    return Partial(list(number), cells, dict(chosen))


def _order(candidate: Candidate) -> tuple[bytes, int, float]:
    return candidate.trace_id, candidate.timestamp_ns, candidate.value
