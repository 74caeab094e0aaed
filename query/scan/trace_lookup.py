"""Looks traces up by id: where each of some traces lies in a source."""

from typing import Any

import numpy as np
import numpy.typing as npt

from query.scan.arrays import Ids, Rows, spread
from query.scan.reader import Reader
from tables.columns.trace_index import TraceIndex, id_keys


class TraceLookup:
    """Where sources have some traces, looked up once for each source. ids: ascending, without repeats"""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        self._keys = id_keys(ids)
        self._found: dict[int, tuple[Rows, Rows]] = {}

    def find_in(self, reader: Reader) -> tuple[Rows, Rows]:
        """As `find`. The readers must outlive this."""
        if id(reader) not in self._found:
            none = (np.empty(0, np.int64), np.empty(0, np.int64))
            lacks = reader.lacks_traces(self.ids)
            self._found[id(reader)] = none if lacks else _find(reader.traces(), self.ids, self._keys)
        return self._found[id(reader)]


def find(index: TraceIndex, ids: Ids) -> tuple[Rows, Rows]:
    """Which of `ids` the source has: positions in `ids`, and the trace's number in the source for each, both ascending.

    In: ids, ascending, without repeats
    """
    return _find(index, ids, id_keys(ids))


def _find(index: TraceIndex, ids: Ids, keys: npt.NDArray[np.uint64] | None) -> tuple[Rows, Rows]:
    own = index.ids
    if not len(own) or not len(ids):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    own_keys = None if keys is None else index.keys()
    wanted: npt.NDArray[Any] = ids
    known: npt.NDArray[Any] = own
    if keys is not None and own_keys is not None:
        wanted, known = keys, own_keys
    if len(ids) > len(own):  # the few are looked up among the many
        hit, there = _nearest(known, wanted), np.arange(len(own))
    else:
        hit, there = np.arange(len(ids)), _nearest(wanted, known)
    same = np.flatnonzero(ids[hit] == own[there])
    return hit[same], there[same]


def _nearest(few: npt.NDArray[Any], many: npt.NDArray[Any]) -> Rows:
    """Where each of the few is among the many, if it is there at all. In: both ascending"""
    position = np.searchsorted(many, few)
    position[position == len(many)] = 0
    return position


def rows_of(index: TraceIndex, traces: Rows) -> tuple[Rows, Rows]:
    """All rows of some traces, and for each row the position of its trace in `traces`."""
    return spread(index.offsets, traces)
