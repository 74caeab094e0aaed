"""An index of the traces in rows that are sorted by trace."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tables.columns.arrays import fixed_bytes

Ids = npt.NDArray[np.bytes_]  # trace ids, dtype S16


@dataclass(slots=True, eq=False)
class TraceIndex:
    """The rows of each trace in a source.

    ids: the distinct trace ids, ascending, dtype `S16` (sorts and compares as the 16 bytes)
    offsets: int64, one more than ids: ids[i] has the rows from offsets[i] up to offsets[i + 1]
    """

    ids: npt.NDArray[np.bytes_]
    offsets: npt.NDArray[np.int64]
    _keys: npt.NDArray[np.uint64] | None = field(default=None, init=False, repr=False)
    _keyed: bool = field(default=False, init=False, repr=False)

    @property
    def nbytes(self) -> int:
        """With the keys, which are made when they are first needed."""
        return int(self.ids.nbytes + self.offsets.nbytes + 8 * len(self.ids))

    def keys(self) -> npt.NDArray[np.uint64] | None:
        """`id_keys` of the ids, made once."""
        if not self._keyed:
            self._keys = id_keys(self.ids)
            self._keyed = True
        return self._keys


def id_keys(ids: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint64] | None:
    """The first halves as numbers, which are found several times faster; None where they are not distinct: ids of 64
    bits have zeros there. In: ids, ascending
    """
    keys = np.ascontiguousarray(ids).view(">u8")[::2].astype(np.uint64)
    return keys if bool((keys[1:] > keys[:-1]).all()) else None


def trace_index(trace_ids: Any) -> TraceIndex:
    """The index of a trace_id column. In: binary[16] Array, ascending"""
    rows = len(trace_ids)
    data = fixed_bytes(trace_ids)
    halves = data.view(np.uint64)  # whatever their order of bytes: they are only compared for equality
    new = np.ones(rows, np.bool_)
    new[1:] = (halves[1:, 0] != halves[:-1, 0]) | (halves[1:, 1] != halves[:-1, 1])
    starts = np.flatnonzero(new)
    ids = np.ascontiguousarray(data[starts]).view("S16").reshape(-1)
    return TraceIndex(ids, np.r_[starts, rows].astype(np.int64))
