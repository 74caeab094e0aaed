"""How large the traces of the last minutes are: a table of fixed size, looked up and changed for many traces at once.

It is a set-associative table in numpy: a trace has WAYS slots where it can be. If all are taken, it replaces the trace
that has had no spans for the longest time, which is then unknown again: a bounded table can forget, but it never counts
a trace's bytes for another one, but for equal hashes of 64 bits.
"""

import threading
from typing import Final, NamedTuple

import numpy as np

from tables.columns.types import Int64s, UInt64s

WAYS: Final = 8


class Charge(NamedTuple):
    """Bytes that traces have grown by. traces: each once"""

    traces: UInt64s
    sizes: Int64s


class TraceSizes:
    """Thread-safe. A slot takes 24 bytes."""

    def __init__(self, traces_max: int, idle_s: float) -> None:
        """traces_max: slots, rounded up; idle_s: a trace without spans for so long begins anew"""
        self._sets = 1 << max(0, (traces_max // WAYS - 1).bit_length())
        shape = (self._sets, WAYS)
        self._traces = np.zeros(shape, np.uint64)  # 0: free
        self._sizes = np.zeros(shape, np.int64)
        self._seen_s = np.zeros(shape)
        self._idle_s = idle_s
        self._lock = threading.Lock()

    def sizes(self, traces: UInt64s, now_s: float) -> Int64s:
        """The bytes of each trace so far, shape (traces,); 0 if it is not known. traces: each once, none 0"""
        with self._lock:
            sets, ways = self._find(traces, now_s)
            return np.where(ways >= 0, self._sizes[sets, ways], 0)

    def add(self, charge: Charge, now_s: float) -> None:
        """Adds bytes to traces. A negative number takes them back."""
        with self._lock:
            sets, ways = self._find(charge.traces, now_s)
            known = ways >= 0
            self._sizes[sets[known], ways[known]] += charge.sizes[known]
            self._seen_s[sets[known], ways[known]] = now_s
            new = np.flatnonzero(~known & (charge.sizes > 0))
            while len(new):
                # Of several new traces of a set one is added at a time, so that they take different slots.
                _, first = np.unique(sets[new], return_index=True)
                some = new[first]
                oldest = self._seen_s[sets[some]].argmin(axis=1)
                at = sets[some], oldest
                self._traces[at], self._sizes[at], self._seen_s[at] = charge.traces[some], charge.sizes[some], now_s
                new = np.delete(new, first)

    def _find(self, traces: UInt64s, now_s: float) -> tuple[Int64s, Int64s]:
        """Set and way of each trace; way -1 if it is not there."""
        sets = (traces & np.uint64(self._sets - 1)).astype(np.int64)
        found = (self._traces[sets] == traces[:, None]) & (self._seen_s[sets] > now_s - self._idle_s)
        return sets, np.where(found.any(axis=1), found.argmax(axis=1), -1)
