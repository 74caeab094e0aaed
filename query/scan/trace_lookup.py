"""Looks traces up by id: where each of some traces lies in a source."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from query.scan.arrays import Ids, Rows, spread
from query.scan.reader import Reader
from tables.columns.trace_index import TraceIndex, id_keys

# So many sources' trace ids are read at once.
_AHEAD_MAX: Final = 16


class TraceLookup:
    """Where sources have some traces, looked up once for each source. ids: ascending, without repeats"""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        self._keys = id_keys(ids)
        self._found: dict[int, tuple[Rows, Rows]] = {}
        self._lacking: dict[int, bool] = {}

    def find_in_all(self, readers: Sequence[Reader]) -> list[tuple[Reader, Rows, Rows]]:
        """The readers that have some of the traces, and what `find_in` says of each. What it needs is read of all at
        once.
        """
        for reader in readers:
            reader.begin_lookup(self.ids)
        for reader in readers:
            if not self._lacks(reader):
                reader.begin((), traces=True)
        found = [(reader, *self.find_in(reader)) for reader in readers]
        return [one for one in found if len(one[1])]

    def _lacks(self, reader: Reader) -> bool:
        if id(reader) not in self._lacking:
            self._lacking[id(reader)] = reader.lacks_traces(self.ids)
        return self._lacking[id(reader)]

    def find_in(self, reader: Reader) -> tuple[Rows, Rows]:
        """As `find`. The readers must outlive this."""
        if id(reader) not in self._found:
            none = (np.empty(0, np.int64), np.empty(0, np.int64))
            self._found[id(reader)] = none if self._lacks(reader) else _find(reader.traces(), self.ids, self._keys)
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


def with_traces_ahead(readers: Sequence[Reader]) -> Iterator[Reader]:
    """The readers, each while the trace ids of some behind it are being read."""
    for number, reader in enumerate(readers):
        for later in readers[number + _AHEAD_MAX if number else 0 : number + _AHEAD_MAX + 1]:
            later.begin((), traces=True)
        yield reader
