"""Sets of numbers or ids as sorted arrays.

In place of numpy's `unique`, `union1d`, `intersect1d` and `setdiff1d`, which hash the values since numpy 2.3: of
100,000 different numbers that takes forty times as long as to sort them, and holds the GIL all the while.
"""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tables.columns.types import Bools

T = TypeVar("T", bound=np.generic)


def unique(values: npt.NDArray[T]) -> npt.NDArray[T]:
    """The values ascending, each once. In: shape (n,), without NaN"""
    ordered = np.sort(values)
    if len(ordered) < 2:
        return ordered
    first = np.empty(len(ordered), np.bool_)
    first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def twice(values: npt.NDArray[T]) -> npt.NDArray[T]:
    """The values that come more than once, ascending, each once."""
    ordered = np.sort(values)
    return unique(ordered[1:][ordered[1:] == ordered[:-1]])


def union(one: npt.NDArray[T], other: npt.NDArray[T]) -> npt.NDArray[T]:
    """What is in one of them, ascending, each once."""
    return unique(np.concatenate([one, other]))


def intersection(one: npt.NDArray[T], other: npt.NDArray[T]) -> npt.NDArray[T]:
    """What is in both, ascending, each once."""
    some = unique(one)
    return some[is_among(some, unique(other))]


def is_among(values: npt.NDArray[T], some: npt.NDArray[Any]) -> Bools:
    """For each of the values whether it is one of some others. In: those ascending, each once"""
    if not len(some):
        return np.zeros(len(values), np.bool_)
    at = np.searchsorted(some, values)
    at[at == len(some)] = 0
    return np.asarray(some[at] == values, np.bool_)
