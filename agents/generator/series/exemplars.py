"""Exemplars: for each bucket of a table's histograms a span that fell into it lately."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tables.columns.types import Floats, Int64s

# One bucket's span.
EXEMPLAR: Final = np.dtype([("seconds", "<f8"), ("time_ms", "<i8"), ("trace_id", "<u8", (2,))])


class Exemplars:
    """Those of one table. slots: buckets of all its histograms."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._found = np.zeros((0, slots), EXEMPLAR)
        self._sent_ms: Int64s = np.zeros((0, slots), np.int64)  # of the one that was pushed last: others are younger

    def grow(self, rows: int) -> None:
        """Makes room for so many rows."""
        more = rows - len(self._found)
        if more > 0:
            self._found = np.concatenate([self._found, np.zeros((more, self._slots), EXEMPLAR)])
            self._sent_ms = np.concatenate([self._sent_ms, np.zeros((more, self._slots), np.int64)])

    def offer(
        self, rows: Int64s, slots: Int64s, seconds: Floats, times_ms: Int64s, trace_ids: npt.NDArray[np.uint64]
    ) -> None:
        """Takes spans that are younger than those which are there: receivers want times in order."""
        younger = times_ms > self._found["time_ms"][rows, slots]
        rows, slots = rows[younger], slots[younger]
        chosen = np.zeros(len(rows), EXEMPLAR)
        chosen["seconds"], chosen["time_ms"] = seconds[younger], times_ms[younger]
        chosen["trace_id"] = trace_ids[younger]
        self._found[rows, slots] = chosen

    def end(self, rows: Int64s) -> None:
        """Forgets rows that others may get."""
        self._found[rows], self._sent_ms[rows] = np.zeros((), EXEMPLAR), 0

    def collect(self, rows: Int64s) -> tuple[Int64s, Int64s, npt.NDArray[Any]]:
        """Those that are new since the last time: place in `rows`, slot, and the exemplar (`EXEMPLAR`)."""
        times_ms = self._found["time_ms"][rows]
        places, slots = np.nonzero(times_ms > self._sent_ms[rows])
        self._sent_ms[rows] = times_ms
        return places, slots, self._found[rows[places], slots]


def last_of_each(group: npt.NDArray[np.integer[Any]], groups: int) -> Int64s:
    """The last row of each group that has any."""
    last = np.full(groups, -1, np.int64)
    last[group] = np.arange(len(group))  # of equal places, the last write stays
    return last[last >= 0]
