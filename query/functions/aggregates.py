"""The aggregates of spansets: one number for each spanset. A new one is an entry of AGGREGATES, and a line in
tests/query/testdata; docs/traceql.md explains it.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from query.functions.signatures import ANY_SPAN, MEASURED, Signature
from tables.columns.types import Bools, Int64s

_MOST: Final = float(np.nextafter(2.0**63, 0))  # the greatest float that is an int64, too


class Runs(NamedTuple):
    """The spans of each spanset that count, none of them empty; spans of one spanset lie together.

    numbers: of each span its measured value, int64 or float64 without NaN; none where nothing is measured
    starts, counts: where the spans of each spanset begin among the numbers, and how many it has
    whole_ns: the numbers are durations in whole nanoseconds
    """

    numbers: npt.NDArray[Any]
    starts: Int64s
    counts: Int64s
    whole_ns: bool = False


# A number for each spanset, and which spansets have one.
Result = tuple[npt.NDArray[Any], Bools]


class AggregateFunction(NamedTuple):
    """kernel: takes runs, gives a number of type int64 or float64 for each spanset

    of_its_field: the result is shown as its field's values are, a duration as a duration; otherwise as a plain number
    doc: a half-sentence for people
    """

    name: str
    arguments: Signature
    of_its_field: bool
    kernel: Callable[[Runs], Result]
    doc: str


def _reduce(operation: np.ufunc, runs: Runs) -> npt.NDArray[Any]:
    with np.errstate(invalid="ignore", over="ignore"):  # infinity less infinity is no number
        result: npt.NDArray[Any] = operation.reduceat(runs.numbers, runs.starts)
    return result


def _every(runs: Runs) -> Bools:
    return np.ones(len(runs.starts), bool)


def _count(runs: Runs) -> Result:
    return runs.counts, _every(runs)


def _least(runs: Runs) -> Result:
    return _reduce(np.minimum, runs), _every(runs)


def _greatest(runs: Runs) -> Result:
    return _reduce(np.maximum, runs), _every(runs)


def _sum(runs: Runs) -> Result:
    """A sum of integers beyond 64 bits is none: a few broken clocks are enough for that."""
    sums = _reduce(np.add, runs)
    return sums, ~_beyond(runs) if _may_overflow(runs.numbers) else _every(runs)


def _average(runs: Runs) -> Result:
    """Of integers beyond 64 bits there is an average all the same."""
    sums = _reduce(np.add, runs)
    if _may_overflow(runs.numbers):
        sums = np.where(_beyond(runs), _float_sums(runs), sums)
    with np.errstate(all="ignore"):
        average = sums / runs.counts
    if runs.whole_ns:  # cut off
        average = np.clip(np.trunc(average), -(2.0**63), _MOST).astype(np.int64)
    return average, _every(runs)


def _may_overflow(numbers: npt.NDArray[Any]) -> bool:
    """Whether some of the integers could sum up to more than 64 bits hold: hardly ever."""
    if numbers.dtype.kind != "i" or not len(numbers):
        return False
    return max(-int(numbers.min()), int(numbers.max())) * len(numbers) >= 2**63


def _float_sums(runs: Runs) -> npt.NDArray[Any]:
    return _reduce(np.add, runs._replace(numbers=runs.numbers.astype(np.float64)))


def _beyond(runs: Runs) -> Bools:
    beyond: Bools = np.abs(_float_sums(runs)) >= 2.0**63
    return beyond


AGGREGATES: Final = {
    aggregate.name: aggregate
    for aggregate in (
        AggregateFunction("count", ANY_SPAN, False, _count, "how many spans the spanset has"),
        AggregateFunction("min", MEASURED, True, _least, "the least of its numbers"),
        AggregateFunction("max", MEASURED, True, _greatest, "the greatest of its numbers"),
        AggregateFunction("avg", MEASURED, True, _average, "the mean of its numbers"),
        AggregateFunction("sum", MEASURED, True, _sum, "the sum of its numbers"),
    )
}
