"""Looks traces up by id: where each of some traces lies in a source."""

from typing import Any

import numpy as np
import numpy.typing as npt

from query.scan.arrays import Ids, Rows, spread
from query.scan.reader import Reader
from tables.columns.trace_index import TraceIndex


class Places:
    """Where sources have some traces, looked up once for each. ids: ascending, without repeats"""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        self._keys = _keys(ids)
        self._found: dict[int, tuple[Rows, Rows]] = {}

    def of(self, reader: Reader) -> tuple[Rows, Rows]:
        """As `find`. The readers must outlive this."""
        if id(reader) not in self._found:
            self._found[id(reader)] = _find(reader.traces().ids, self.ids, self._keys)
        return self._found[id(reader)]


def find(index: TraceIndex, ids: Ids) -> tuple[Rows, Rows]:
    """Which of `ids` the source has: positions in `ids`, and the trace's number in the source for each, both ascending.

    In: ids, ascending, without repeats
    """
    return _find(index.ids, ids, _keys(ids))


def _find(own: Ids, ids: Ids, keys: npt.NDArray[np.uint64] | None) -> tuple[Rows, Rows]:
    if not len(own) or not len(ids):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    own_keys = None if keys is None else _keys(own)
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


def _keys(ids: Ids) -> npt.NDArray[np.uint64] | None:
    """The first halves as numbers, which are found several times faster; None where they are not distinct: ids of 64
    bits have noughts there. In: ids, ascending
    """
    keys = np.ascontiguousarray(ids).view(">u8")[::2].astype(np.uint64)
    return keys if bool((keys[1:] > keys[:-1]).all()) else None


def rows_of(index: TraceIndex, traces: Rows) -> tuple[Rows, Rows]:
    """All rows of some traces, and for each row the position of its trace in `traces`."""
    return spread(index.offsets, traces)
