"""The traces of a search's answer, which become objects when they are looked at."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, overload

from query import memory
from query.results import TraceMatch
from query.search.large_traces import LARGE_SPANS
from query.search.trace_columns import TraceColumns

# Made at once: few enough that nothing else waits long, whether for the GIL or for the garbage collector.
_TOGETHER: Final = 500
_TOGETHER_BYTES: Final = 8 << 20
_SPAN_BYTES: Final = 700


class Traces(Sequence[TraceMatch]):
    """The traces of an answer. They are kept in columns and made as often as they are looked at, some at a time: tens
    of thousands of them as objects take longer, and more memory, than all the rest of a search.

    parts: some of the traces of each, one after the other
    """

    def __init__(self, parts: Iterable[tuple[TraceColumns, range]] = ()) -> None:
        self._parts = tuple(parts)

    @classmethod
    def from_columns(cls, parts: Iterable[TraceColumns]) -> "Traces":
        """The traces of all parts, in the order of the answer."""
        return cls((part, range(len(part))) for part in parts)

    def __len__(self) -> int:
        return sum(len(places) for _, places in self._parts)

    @overload
    def __getitem__(self, at: int) -> TraceMatch: ...
    @overload
    def __getitem__(self, at: slice) -> "Traces": ...
    def __getitem__(self, at: int | slice) -> "TraceMatch | Traces":
        if not isinstance(at, slice):
            number = range(len(self))[at]
            (one,) = self[number : number + 1]
            return one
        first, end, step = at.indices(len(self))
        if step != 1:
            raise ValueError("traces of an answer come in its order, without gaps")
        parts, before = [], 0
        for columns, places in self._parts:
            parts.append((columns, places[max(0, first - before) : max(0, end - before)]))
            before += len(places)
        return Traces(parts)

    def __iter__(self) -> Iterator[TraceMatch]:
        budget = memory.current()
        for columns, places in self._parts:
            # As objects, a span takes so much besides its values, which are there again as text.
            spans = int(columns.span_sets.spans[-1])
            each = (2 * columns.span_sets.nbytes + _SPAN_BYTES * spans) // max(1, len(columns))
            step = max(1, min(_TOGETHER, _TOGETHER_BYTES // max(1, each)))
            # Of a trace with very many spans so many are there at a time.
            most = each * len(columns) // max(1, spans) * LARGE_SPANS
            for first in places[::step]:
                end = min(first + step, places.stop)
                size = each * (end - first) if end - first > 1 else min(each, most)
                with budget.scratch(size, f"{end - first} traces of the answer"):
                    yield from columns.to_matches(first, end)
