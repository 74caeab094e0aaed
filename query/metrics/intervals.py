"""The samples of a metrics query: which spans each of them is about."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from query.scan.arrays import INT64


@dataclass(frozen=True, slots=True)
class Intervals:
    """Sample i is about the spans that start after start_ns + (i - 1) * step_ns, and not after start_ns + i * step_ns.

    Of those only the ones count that start after `after_ns`, and not after `until_ns`: the range that was asked for.
    So a span counts in one of two adjacent ranges. Samples stand at multiples of the step: the first and the last may
    be about less than a whole step. An instant query has one sample, at its end, about its whole range.
    """

    start_ns: int
    end_ns: int
    step_ns: int
    after_ns: int
    until_ns: int
    instant: bool = False

    @classmethod
    def over(cls, start_ns: int, end_ns: int, step_ns: int) -> "Intervals":
        """Of the range (start_ns, end_ns]; samples from start to end, moved outwards to multiples of the step.

        Raises: ValueError
        """
        if step_ns <= 0:
            raise ValueError(f"the step must be greater than 0, not {step_ns} ns")
        if end_ns < start_ns:
            raise ValueError("the end of the range is before its start")
        return cls(start_ns // step_ns * step_ns, -(-end_ns // step_ns) * step_ns, step_ns, start_ns, end_ns)

    @classmethod
    def at_end(cls, start_ns: int, end_ns: int) -> "Intervals":
        """One sample about (start_ns, end_ns]. Raises: ValueError"""
        if end_ns <= start_ns:
            raise ValueError("the end of the range is not after its start")
        return cls(start_ns, end_ns, end_ns - start_ns, start_ns, end_ns, instant=True)

    @property
    def count(self) -> int:
        return 1 if self.instant else (self.end_ns - self.start_ns) // self.step_ns + 1

    @property
    def timestamps_ns(self) -> list[int]:
        if self.instant:
            return [self.end_ns]
        # The last one may be moved beyond what a time can be.
        return [min(self.start_ns + i * self.step_ns, int(INT64.max)) for i in range(self.count)]

    def sample_of(self, times_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The number of the sample that each time belongs to. In: times of (after_ns, until_ns]"""
        if self.instant:
            return np.zeros(len(times_ns), np.int64)
        return (times_ns - (self.start_ns - self.step_ns + 1)) // self.step_ns
