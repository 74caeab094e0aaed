"""Matches of many sources, and the traces chosen of them → what the answer says, each trace told once and whole."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, overload

import numpy as np

from query import memory
from query.language.plan import Shown
from query.results import TraceMatch
from query.scan.arrays import raw_all
from query.scan.reader import Reader
from query.scan.trace_lookup import Places
from query.search.span_sets import Matched, matched
from query.search.top_traces import Chosen, Hits
from query.search.trace_summaries import Facts, facts_of

# Told at once: few enough that nothing else waits long, whether for the GIL or for its garbage collector.
_TOGETHER: Final = 500
_TOGETHER_BYTES: Final = 8 << 20
_SPAN_BYTES: Final = 700
_TRACE_BYTES: Final = 300


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """What is known of some traces of an answer, in columns."""

    chosen: Chosen
    facts: Facts
    matched: Matched

    def told(self, first: int, end: int) -> list[TraceMatch]:
        """A range of them."""
        chosen, facts = self.chosen, self.facts
        start = chosen.start[first:end]
        told = zip(
            raw_all(chosen.ids[first:end]),
            facts.root_services.told(first, end),
            facts.root_names.told(first, end),
            start.tolist(),
            (chosen.end[first:end] - start).tolist(),
            self.matched.told(first, end),
            facts.service_stats(first, end),
            strict=True,
        )
        return [TraceMatch(*one) for one in told]


class Traces(Sequence[TraceMatch]):
    """The traces of an answer. They are kept in columns and made as often as they are looked at, some at a time: tens
    of thousands of them as objects take longer, and more memory, than all the rest of a search.

    parts: some of the traces of each, one after the other
    """

    def __init__(self, parts: Iterable[tuple[Described, range]] = ()) -> None:
        self._parts = tuple(parts)

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
        for described, places in self._parts:
            parts.append((described, places[max(0, first - before) : max(0, end - before)]))
            before += len(places)
        return Traces(parts)

    def __iter__(self) -> Iterator[TraceMatch]:
        budget = memory.current()
        for described, places in self._parts:
            traces = max(1, len(described.chosen.ids))
            # As objects, a span takes so much besides its values, which are there again as text.
            each = (2 * described.matched.nbytes + _SPAN_BYTES * int(described.matched.spans[-1])) // traces
            step = max(1, min(_TOGETHER, _TOGETHER_BYTES // max(1, each)))
            for first in places[::step]:
                end = min(first + step, places.stop)
                with budget.scratch(each * (end - first), f"{end - first} traces of the answer"):
                    yield from described.told(first, end)

    def and_those(self, described: Described) -> "Traces":
        """With more behind them."""
        return Traces((*self._parts, (described, range(len(described.chosen.ids)))))


def describe(
    chosen: Chosen,
    hits: Sequence[Hits],
    readers: Sequence[Reader],
    shown: Sequence[Shown],
    spans_max: int,
) -> Described:
    """The chosen traces, at least one, with their matched spans, roots and services. All is read now.

    readers: all sources, which know the whole traces; hits: where the matches are (stitched traces among them)
    """
    memory.reserve(len(chosen.ids) * _TRACE_BYTES, f"an answer of {len(chosen.ids)} traces", "a lower limit")
    order = np.argsort(chosen.ids)
    places = Places(chosen.ids[order])
    return Described(chosen, facts_of(places, order, readers), matched(places, order, hits, shown, spans_max))
