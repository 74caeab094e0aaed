"""When the traces of a source begin and end."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from query.scan.arrays import INT64


@dataclass(frozen=True, slots=True, eq=False)
class TraceTimes:
    """ns since 1970, of shape (2, traces): starts and ends."""

    values: npt.NDArray[np.int64]

    @classmethod
    def of(cls, start: npt.NDArray[np.int64], duration: npt.NDArray[np.int64]) -> Self:
        """Of a trace without a time these are int64's greatest number and its least. In: as sources store them"""
        times = np.stack([start, start + duration])
        if len(start) and start.min() <= 0:
            times[:, start <= 0] = [[INT64.max], [INT64.min]]
        return cls(times)

    @property
    def nbytes(self) -> int:
        return self.values.nbytes
