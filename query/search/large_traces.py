"""The spansets of a trace of which an answer shows very many spans, made some at a time.

As objects two hundred thousand spans take 150 MB, and no other thread can run while a single call makes or frees them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, overload

import numpy as np

from query.results import SpanMatch, SpanSet
from query.scan.arrays import Rows

# More spans of a trace are made when they are looked at.
LARGE_SPANS: Final = 2000
# Made at once.
_TOGETHER: Final = 500


class LargeSpans(Sequence[SpanMatch]):
    """The spans first … end of those that `make` gives. They are made each time they are looked at."""

    __slots__ = ("_end", "_first", "_make")

    def __init__(self, make: Callable[[int, int], list[SpanMatch]], first: int, end: int) -> None:
        self._make, self._first, self._end = make, first, end

    def __len__(self) -> int:
        return self._end - self._first

    @overload
    def __getitem__(self, at: int) -> SpanMatch: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[SpanMatch]: ...
    def __getitem__(self, at: int | slice) -> SpanMatch | Sequence[SpanMatch]:
        if isinstance(at, slice):
            first, end = _part(at, self._first, len(self))
            return self._make(first, end)
        number = self._first + range(len(self))[at]
        return self._make(number, number + 1)[0]

    def __iter__(self) -> Iterator[SpanMatch]:
        for first in range(self._first, self._end, _TOGETHER):
            yield from self._make(first, min(first + _TOGETHER, self._end))

    def __eq__(self, other: object) -> bool:
        return _same(self, other)

    __hash__ = None  # type: ignore[assignment]  # as a list's


class LargeSpanSets(Sequence[SpanSet]):
    """The spansets first … end of those that `make` gives. They are made each time they are looked at.

    begins: where the spans of each begin, one more than there are spansets
    """

    __slots__ = ("_begins", "_end", "_first", "_make")

    def __init__(self, make: Callable[[int, int], list[SpanSet]], begins: Rows, first: int, end: int) -> None:
        self._make, self._begins, self._first, self._end = make, begins, first, end

    @property
    def span_count(self) -> int:
        """How many spans they show together."""
        return int(self._begins[self._end] - self._begins[self._first])

    def __len__(self) -> int:
        return self._end - self._first

    @overload
    def __getitem__(self, at: int) -> SpanSet: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[SpanSet]: ...
    def __getitem__(self, at: int | slice) -> SpanSet | Sequence[SpanSet]:
        if isinstance(at, slice):
            return LargeSpanSets(self._make, self._begins, *_part(at, self._first, len(self)))
        number = self._first + range(len(self))[at]
        return self._make(number, number + 1)[0]

    def __iter__(self) -> Iterator[SpanSet]:
        for first, end in runs(self._begins, self._first, self._end, _TOGETHER):
            yield from self._make(first, end)

    def __eq__(self, other: object) -> bool:
        return _same(self, other)

    __hash__ = None  # type: ignore[assignment]  # as a list's


def runs(begins: Rows, first: int, end: int, spans_max: int) -> Iterator[tuple[int, int]]:
    """Cuts first … end so that each part has at most so many spans, or is a single one.

    begins: where the spans of each begin, one more than there are
    """
    while first < end:
        stop = int(np.searchsorted(begins[: end + 1], begins[first] + spans_max, side="right")) - 1
        stop = max(stop, first + 1)
        yield first, stop
        first = stop


def _part(at: slice, first: int, count: int) -> tuple[int, int]:
    begin, end, step = at.indices(count)
    if step != 1:
        raise ValueError("spans of an answer come in its order, without gaps")
    return first + begin, first + max(begin, end)


def _same(one: Sequence[object], other: object) -> bool:
    return isinstance(other, Sequence) and len(one) == len(other) and all(map(_equal, one, other))


def _equal(one: object, other: object) -> bool:
    return one == other
