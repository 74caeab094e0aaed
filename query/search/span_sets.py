"""The spansets of the traces of an answer, with their first spans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa

from query import memory
from query.engine.spansets import Spansets
from query.language import ast
from query.language.plan import Shown
from query.results import Attributes, SpanMatch, SpanSet
from query.scan.arrays import Rows, compact, fixed_bytes, raw_all, run_starts, to_numpy
from query.scan.trace_lookup import Places, rows_of
from query.scan.traces import child_counts
from query.search.projection import CHILD_COUNT, show
from query.search.top_traces import Hits

_NAME: Final = ast.Intrinsic("name")
# Where so many times more spans match than are shown, only those are read that may be shown.
_MANY: Final = 8
# What is read of each source is put below each other, then in order.
_COPIES: Final = 3
CHEAPER: Final = "a lower limit, fewer spans per span set (spss), or fewer fields in select()"


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """Spansets trace by trace, those of a trace in the order of their first spans; spans spanset by spanset, by start.

    sets: where the spansets of each trace begin, one more than traces; spans: where the spans of each spanset begin
    counts: how many spans match, of each spanset; columns: of the spans
    said: of spansets that have attributes: by(), count(): where those are
    """

    sets: Rows
    spans: Rows
    counts: Rows
    columns: Mapping[str, Any]
    shown: Sequence[Shown]
    said: Mapping[int, tuple[Spansets, int]]

    @property
    def nbytes(self) -> int:
        """Of its columns."""
        return memory.array_bytes(self.columns)

    def told(self, first: int, end: int) -> list[list[SpanSet]]:
        """Of a range of traces."""
        low, high = int(self.sets[first]), int(self.sets[end])
        spans = self._spans(int(self.spans[low]), int(self.spans[high]))
        begins = (self.spans[low : high + 1] - self.spans[low]).tolist()
        counts = self.counts[low:high].tolist()
        made = [
            SpanSet(tuple(spans[a:b]), count, self._attributes(number) if self.said else ())
            for number, (count, a, b) in enumerate(zip(counts, begins[:-1], begins[1:], strict=True), low)
        ]
        ends = (self.sets[first : end + 1] - low).tolist()
        return [made[a:b] for a, b in pairwise(ends)]

    def _spans(self, low: int, high: int) -> list[SpanMatch]:
        columns = {name: column.slice(low, high - low) for name, column in self.columns.items()}
        ids = raw_all(fixed_bytes(columns["span_id"]))
        # Starts are unsigned in OTLP, and told as they were sent.
        starts, durations = (
            to_numpy(columns["start_ns"]).view(np.uint64).tolist(),
            to_numpy(columns["duration_ns"]).tolist(),
        )
        # A span's name is a field of its own in the answer, there only where the query names it.
        names = show(columns, high - low, [item for item in self.shown if item.field == _NAME])
        attributes = show(columns, high - low, [item for item in self.shown if item.field != _NAME])
        texts = [str(name[0][1]) if name else "" for name in names]
        return list(map(SpanMatch, ids, texts, starts, durations, attributes))

    def _attributes(self, number: int) -> Attributes:
        if number not in self.said:
            return ()
        of, one = self.said[number]
        return tuple((attribute.label, attribute.value(one)) for attribute in of.attributes)


def matched(places: Places, order: Rows, hits: Sequence[Hits], shown: Sequence[Shown], spans_max: int) -> Matched:
    """The spansets of each trace: their first spans by start, and how many they have.

    In: traces, each with a match; order: the place of each in the answer
    """
    ids = places.ids
    owners, sets, pieces, counted = [], [], [], []
    said: dict[int, tuple[Spansets, int]] = {}
    number = len(ids)  # spansets of traces that have only one have the trace's number; others follow
    for hit in hits:
        found, traces = places.of(hit.reader)
        rows, owner = rows_of(hit.reader.traces(), traces)
        matching = np.zeros(hit.reader.rows, bool)
        matching[hit.rows] = True
        among = matching[rows]
        rows, owner = rows[among], order[found][owner[among]]
        if not len(rows):
            continue
        of = owner
        if hit.sets is not None:
            used, of = np.unique(hit.sets.owners(rows), return_inverse=True)
            said |= {number + i: (hit.sets, int(one)) for i, one in enumerate(used)}
            of = of + number
            number += len(used)
        counted.append(of)
        if len(rows) > _MANY * spans_max * len(found):
            kept = _first_spans(hit, rows, of, spans_max)
            rows, owner, of = rows[kept], owner[kept], of[kept]
        owners.append(owner)
        sets.append(of)
        pieces.append(_columns(hit, rows, shown))
        memory.reserve(_COPIES * memory.array_bytes(pieces[-1]), "matched spans of the answer", CHEAPER)
    counts = np.bincount(np.concatenate(counted))
    columns = _joined(pieces)
    return _in_order(np.concatenate(owners), np.concatenate(sets), counts, columns, len(ids), shown, spans_max, said)


def _first_spans(hit: Hits, rows: Rows, sets: Rows, spans_max: int) -> Rows:
    """Which of the rows are among the first of their spansets in this source, by start. Of those that start with the
    last of them all are: the span's id decides.
    """
    start = to_numpy(hit.reader.some(["start_ns"], rows)["start_ns"])
    order = np.lexsort((start, sets))
    first, counts = _runs(sets[order])
    last = start[order[first + np.minimum(counts, max(spans_max, 1)) - 1]]
    return np.sort(order[start[order] <= np.repeat(last, counts)])


def _runs(ordered: Rows) -> tuple[Rows, Rows]:
    """Where each value begins, and how often it comes."""
    first = run_starts(ordered)
    return first, np.diff(np.r_[first, len(ordered)])


def _columns(hit: Hits, rows: Rows, shown: Sequence[Shown]) -> dict[str, Any]:
    """What is told of some rows: their ids and times, and the fields that the query names."""
    names = [column for item in shown for column in item.columns]
    columns = hit.reader.some(["start_ns", "span_id", "duration_ns", *names], rows)
    if any(item.field == ast.Intrinsic(CHILD_COUNT) for item in shown):
        columns = columns | {CHILD_COUNT: pa.array(child_counts(hit.reader)[rows])}
    return {name: compact(column) for name, column in columns.items()}


def _joined(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One below the other; null where one has not the column."""
    types = {name: column.type for piece in pieces for name, column in piece.items()}
    rows = [len(piece["start_ns"]) for piece in pieces]
    return {
        name: pa.concat_arrays([piece.get(name, pa.nulls(n, type_)) for piece, n in zip(pieces, rows, strict=True)])
        for name, type_ in types.items()
    }


def _in_order(  # noqa: PLR0913 (columns of one table of matching spans, and what they belong to)
    owner: Rows,
    sets: Rows,
    counts: Rows,
    columns: Mapping[str, Any],
    traces: int,
    shown: Sequence[Shown],
    spans_max: int,
    said: Mapping[int, tuple[Spansets, int]],
) -> Matched:
    """In: of matching spans the trace's place, the number of the spanset, and what is told of it; and how many spans
    each spanset has
    """
    start, span = to_numpy(columns["start_ns"]), fixed_bytes(columns["span_id"]).view("S8").reshape(-1)
    by_time = np.lexsort((span, start, sets))
    ordered = sets[by_time]
    first, here = _runs(ordered)
    firsts = by_time[first]
    # Spansets by trace, then by their first span; of each its first spans.
    place = np.lexsort((span[firsts], start[firsts], owner[firsts]))
    told = np.minimum(here, spans_max)
    spans = np.r_[0, np.cumsum(told[place])]
    rows = np.arange(spans[-1]) - np.repeat(spans[:-1], told[place]) + np.repeat(first[place], told[place])
    wanted = pa.array(by_time[rows])
    numbers = ordered[first[place]].tolist() if said else []
    return Matched(
        sets=np.searchsorted(owner[firsts[place]], np.arange(traces + 1)),
        spans=spans,
        counts=counts[ordered[first[place]]],
        columns={name: column.take(wanted) for name, column in columns.items()},
        shown=shown,
        said={i: said[one] for i, one in enumerate(numbers) if one in said},
    )
