"""What became of every request. One byte a request, whatever the length of the soak."""

import threading
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.soak.template import Template

UNSENT: Final = 0
UNKNOWN: Final = 1  # sent, not (yet) acknowledged: its spans may be there, at most once
ACKNOWLEDGED: Final = 2  # its spans are there, exactly once

Counts = npt.NDArray[np.int64]


class Ledger:
    """By pass and request. Safe for threads."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.starts_ns: list[int] = []  # of the passes
        self._states: list[npt.NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    @property
    def passes(self) -> int:
        with self._lock:
            return len(self._states)

    def begin(self, start_ns: int) -> int:
        """A new pass, whose first span starts then. Returns its number."""
        with self._lock:
            self.starts_ns.append(start_ns)
            self._states.append(np.zeros(self.template.requests, np.uint8))
            return len(self._states) - 1

    def note(self, pass_number: int, index: int, state: int) -> None:
        with self._lock:
            self._states[pass_number][index] = state

    def states(self, pass_number: int) -> npt.NDArray[np.uint8]:
        """By request, as of now."""
        with self._lock:
            return self._states[pass_number].copy()

    def bounds(self, pass_number: int) -> tuple[Counts, Counts]:
        """How many spans of each trace must be there, and how many may."""
        states, parts = self.states(pass_number), self.template.parts
        least: Counts = parts[:, states == ACKNOWLEDGED].sum(1, dtype=np.int64)
        most: Counts = parts[:, states != UNSENT].sum(1, dtype=np.int64)
        return least, most

    def spans(self, state: int) -> int:
        """Spans of all requests in that state."""
        sizes = self.template.spans_per_request
        return sum(int(sizes[self.states(number) == state].sum()) for number in range(self.passes))

    def requests(self, state: int) -> int:
        return sum(int((self.states(number) == state).sum()) for number in range(self.passes))
