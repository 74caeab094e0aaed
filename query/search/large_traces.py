"""The spansets of a trace of which an answer shows very many spans, made some at a time.

As objects two hundred thousand spans take 150 MB, and no other thread can run while a single call makes or frees them.
"""

from collections.abc import Callable, Iterator, Sequence
from operator import eq
from typing import Final, TypeVar, overload

import numpy as np

from query.results import SpanMatch, SpanSet
from query.scan.arrays import Rows

T = TypeVar("T")

# More spans of a trace are made when they are looked at.
LARGE_SPANS: Final = 2000
# Made at once.
_TOGETHER: Final = 500


class _Range(Sequence[T]):
    """The items first … end of those that `make` gives. They are made each time they are looked at."""

    __slots__ = ("_end", "_first", "_make")

    def __init__(self, make: Callable[[int, int], list[T]], first: int, end: int) -> None:
        self._make, self._first, self._end = make, first, end

    def __len__(self) -> int:
        return self._end - self._first

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        if not isinstance(at, slice):
            number = self._first + range(len(self))[at]
            return self._make(number, number + 1)[0]
        begin, end, step = at.indices(len(self))
        if step != 1:
            raise ValueError("spans of an answer come in its order, without gaps")
        return self._part(self._first + begin, self._first + max(begin, end))

    def _part(self, first: int, end: int) -> Sequence[T]:
        return self._make(first, end)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # as a list's


class LargeSpans(_Range[SpanMatch]):
    """The spans of a spanset with more than `LARGE_SPANS` of them, made while they are looked at."""

    __slots__ = ()

    def __iter__(self) -> Iterator[SpanMatch]:
        for first in range(self._first, self._end, _TOGETHER):
            yield from self._make(first, min(first + _TOGETHER, self._end))


class LargeSpanSets(_Range[SpanSet]):
    """Spansets of one trace. begins: where the spans of each begin, one more than there are spansets"""

    __slots__ = ("_begins",)

    def __init__(self, make: Callable[[int, int], list[SpanSet]], begins: Rows, first: int, end: int) -> None:
        super().__init__(make, first, end)
        self._begins = begins

    @property
    def span_count(self) -> int:
        """How many spans they show together."""
        return int(self._begins[self._end] - self._begins[self._first])

    def __iter__(self) -> Iterator[SpanSet]:
        for first, end in runs(self._begins, self._first, self._end, _TOGETHER):
            yield from self._make(first, end)

    def _part(self, first: int, end: int) -> Sequence[SpanSet]:
        return LargeSpanSets(self._make, self._begins, first, end)


def runs(begins: Rows, first: int, end: int, spans_max: int) -> Iterator[tuple[int, int]]:
    """Cuts first … end so that each part has at most so many spans, or is a single one.

    begins: where the spans of each begin, one more than there are
    """
    while first < end:
        stop = int(np.searchsorted(begins[: end + 1], begins[first] + spans_max, side="right")) - 1
        stop = max(stop, first + 1)
        yield first, stop
        first = stop
