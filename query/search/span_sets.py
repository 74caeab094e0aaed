"""The spansets of the traces of an answer, with their first spans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from query import memory
from query.engine.spansets import Spansets
from query.language import ast
from query.language.plan import Projection
from query.results import Attributes, AttributeValue, SpanMatch, SpanSet
from query.scan.arrays import Rows, compact, fixed_bytes, raw_all, run_starts, to_numpy
from query.scan.trace_lookup import TraceLookup, rows_of
from query.scan.traces import child_counts
from query.search.large_traces import LARGE_SPANS, LargeSpans, LargeSpanSets, runs
from query.search.projection import CHILD_COUNT, project
from query.search.top_traces import Hits
from tables.turns import as_list

_NAME: Final = ast.Intrinsic("name")
# Where so many times more spans match than are shown, only those are read that may be shown.
_MANY: Final = 8
# What is read of each source is put below each other, then in order.
_COPIES: Final = 3
CHEAPER: Final = "a lower limit, fewer spans per span set (spss), or fewer fields in select()"


@dataclass(frozen=True, slots=True, eq=False)
class SetAttribute:
    """What each spanset has under one name: the value of a group, by(), or an aggregate, count().

    values: by type word, an Array each with a value or null for every spanset; a spanset has a value in one at most
    """

    label: str
    values: Mapping[str, Any]

    def to_list(self, first: int, end: int) -> list[AttributeValue | None]:
        """The values of a range of spansets."""
        found: list[AttributeValue | None] = [None] * (end - first)
        for array in self.values.values():
            found = [
                old if new is None else new
                for old, new in zip(found, as_list(array.slice(first, end - first)), strict=True)
            ]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class SpanSetColumns:
    """Spansets trace by trace, those of a trace in the order of their first spans; spans spanset by spanset, by start.

    sets: where the spansets of each trace begin, one more than traces
    spans: where the spans of each spanset begin, one more than spansets
    counts: how many spans match, of each spanset: those that are not shown, too
    columns: of the spans that are shown; projections: what is shown of them
    attributes: what is said of spansets
    """

    sets: Rows
    spans: Rows
    counts: Rows
    columns: Mapping[str, Any]
    projections: Sequence[Projection]
    attributes: Sequence[SetAttribute]

    @property
    def nbytes(self) -> int:
        """The memory that its columns take, in bytes."""
        return memory.array_bytes(self.columns)

    def to_matches(self, first: int, end: int) -> list[Sequence[SpanSet]]:
        """The spansets of each of a range of traces."""
        found: list[Sequence[SpanSet]] = []
        sets = self.sets[first : end + 1]
        for begin, stop in runs(self.spans[sets], 0, end - first, LARGE_SPANS):
            low, high = int(sets[begin]), int(sets[stop])
            if self.spans[high] - self.spans[low] > LARGE_SPANS:
                found.append(LargeSpanSets(self._span_sets, self.spans, low, high))
                continue
            made = self._span_sets(low, high)
            ends = (sets[begin : stop + 1] - low).tolist()
            found += [made[a:b] for a, b in pairwise(ends)]
        return found

    def _span_sets(self, low: int, high: int) -> list[SpanSet]:
        """The spansets low … high, whichever traces they belong to."""
        begins = (self.spans[low : high + 1] - self.spans[low]).tolist()
        counts = self.counts[low:high].tolist()
        attributes = self._set_attributes(low, high)
        if begins[-1] > LARGE_SPANS and high - low == 1:
            spans = LargeSpans(self._span_matches, int(self.spans[low]), int(self.spans[high]))
            return [SpanSet(spans, counts[0], attributes[0])]
        made = self._span_matches(int(self.spans[low]), int(self.spans[high]))
        return [
            SpanSet(tuple(made[a:b]), count, said)
            for count, a, b, said in zip(counts, begins[:-1], begins[1:], attributes, strict=True)
        ]

    def _span_matches(self, low: int, high: int) -> list[SpanMatch]:
        columns = {name: column.slice(low, high - low) for name, column in self.columns.items()}
        ids = raw_all(fixed_bytes(columns["span_id"]))
        # Starts are unsigned in OTLP, and answered as they were sent.
        starts, durations = (
            to_numpy(columns["start_ns"]).view(np.uint64).tolist(),
            to_numpy(columns["duration_ns"]).tolist(),
        )
        # A span's name is a field of its own in the answer, there only where the query names it.
        names = project(columns, high - low, [item for item in self.projections if item.field == _NAME])
        attributes = project(columns, high - low, [item for item in self.projections if item.field != _NAME])
        texts = [str(name[0][1]) if name else "" for name in names]
        return list(map(SpanMatch, ids, texts, starts, durations, attributes))

    def _set_attributes(self, low: int, high: int) -> Sequence[Attributes]:
        if not self.attributes:
            return [()] * (high - low)
        columns = [
            [(attribute.label, value) for value in attribute.to_list(low, high)] for attribute in self.attributes
        ]
        return [
            tuple((label, value) for label, value in row if value is not None) for row in zip(*columns, strict=True)
        ]


def span_set_columns(
    lookup: TraceLookup, order: Rows, hits: Sequence[Hits], projections: Sequence[Projection], spans_max: int
) -> SpanSetColumns:
    """The spansets of the traces that are looked up: their first spans by start, and how many they have.

    lookup: of traces that have a match each; order: the place of each in the answer
    """
    ids = lookup.ids
    owners, sets, counted = [], [], []
    wanted: list[tuple[Hits, Rows]] = []
    origins: list[_Origin] = []
    number = len(ids)  # spansets of traces that have only one have the trace's number; others follow
    for hit in hits:
        found, traces = lookup.find_in(hit.reader)
        rows, owner = rows_of(hit.reader.traces(), traces)
        matching = np.zeros(hit.reader.rows, bool)
        matching[hit.rows] = True
        among = matching[rows]
        rows, owner = rows[among], order[found][owner[among]]
        if not len(rows):
            continue
        of = owner
        if hit.sets is not None:
            used, of = np.unique(hit.sets.owners_of(rows), return_inverse=True)
            origins.append(_Origin(hit.sets, used, number))
            of = of + number
            number += len(used)
        counted.append(of)
        if len(rows) > _MANY * spans_max * len(found):
            kept = _first_spans(hit, rows, of, spans_max)
            rows, owner, of = rows[kept], owner[kept], of[kept]
        owners.append(owner)
        sets.append(of)
        wanted.append((hit, rows))
        hit.reader.begin_few_rows(span_columns(projections), rows)
    pieces = []
    for hit, rows in wanted:
        pieces.append(_read_columns(hit, rows, projections))
        memory.reserve(_COPIES * memory.array_bytes(pieces[-1]), "matched spans of the answer", CHEAPER)
    counts = np.bincount(np.concatenate(counted))
    spans = _Spans(np.concatenate(owners), np.concatenate(sets), _concat_columns(pieces))
    return _in_order(spans, counts, len(ids), spans_max, projections, origins)


class _Origin(NamedTuple):
    """Some spansets of one source, numbered from `first` on. used: their numbers in the source, ascending"""

    sets: Spansets
    used: Rows
    first: int


class _Spans(NamedTuple):
    """Matching spans. owner: the place of each one's trace in the answer; sets: the number of its spanset"""

    owner: Rows
    sets: Rows
    columns: Mapping[str, Any]


def _first_spans(hit: Hits, rows: Rows, sets: Rows, spans_max: int) -> Rows:
    """Which of the rows are among the first of their spansets in this source, by start. Of those that start with the
    last of them all are: the span's id decides.
    """
    start = to_numpy(hit.reader.read_few_rows(["start_ns"], rows)["start_ns"])
    order = np.lexsort((start, sets))
    first, counts = _runs(sets[order])
    last = start[order[first + np.minimum(counts, max(spans_max, 1)) - 1]]
    return np.sort(order[start[order] <= np.repeat(last, counts)])


def _runs(ordered: Rows) -> tuple[Rows, Rows]:
    """Where each value begins, and how often it comes."""
    first = run_starts(ordered)
    return first, np.diff(np.r_[first, len(ordered)])


def span_columns(projections: Sequence[Projection]) -> list[str]:
    """What is read of the spans that are shown."""
    return ["start_ns", "span_id", "duration_ns", *(column for item in projections for column in item.columns)]


def _read_columns(hit: Hits, rows: Rows, projections: Sequence[Projection]) -> dict[str, Any]:
    """What answers say of some rows: their ids and times, and the fields that the query names."""
    columns = hit.reader.read_few_rows(span_columns(projections), rows)
    if any(item.field == ast.Intrinsic(CHILD_COUNT) for item in projections):
        columns = columns | {CHILD_COUNT: pa.array(child_counts(hit.reader)[rows])}
    return {name: compact(column) for name, column in columns.items()}


def _concat_columns(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One below the other; null where one has not the column."""
    types = {name: column.type for piece in pieces for name, column in piece.items()}
    rows = [len(piece["start_ns"]) for piece in pieces]
    return {
        name: pa.concat_arrays([piece.get(name, pa.nulls(n, type_)) for piece, n in zip(pieces, rows, strict=True)])
        for name, type_ in types.items()
    }


def _in_order(
    found: _Spans,
    counts: Rows,
    traces: int,
    spans_max: int,
    projections: Sequence[Projection],
    origins: Sequence[_Origin],
) -> SpanSetColumns:
    """In: counts: how many spans match, by the number of their spanset; traces: how many there are"""
    owner, sets, columns = found
    start, span = to_numpy(columns["start_ns"]), fixed_bytes(columns["span_id"]).view("S8").reshape(-1)
    by_time = np.lexsort((span, start, sets))
    ordered = sets[by_time]
    first, here = _runs(ordered)
    firsts = by_time[first]
    # Spansets by trace, then by their first span; of each its first spans.
    place = np.lexsort((span[firsts], start[firsts], owner[firsts]))
    taken = np.minimum(here, spans_max)
    spans = np.r_[0, np.cumsum(taken[place])]
    rows = np.arange(spans[-1]) - np.repeat(spans[:-1], taken[place]) + np.repeat(first[place], taken[place])
    wanted = pa.array(by_time[rows])
    numbers = ordered[first[place]]
    return SpanSetColumns(
        sets=np.searchsorted(owner[firsts[place]], np.arange(traces + 1)),
        spans=spans,
        counts=counts[numbers],
        columns={name: column.take(wanted) for name, column in columns.items()},
        projections=projections,
        attributes=_attributes(numbers, origins) if origins else (),
    )


def _attributes(numbers: Rows, origins: Sequence[_Origin]) -> list[SetAttribute]:
    """What is said of the spansets with those numbers. Sources say it under the same names in the same order."""
    values: dict[str, list[AttributeValue | None]] = {}
    for sets, used, first in origins:
        here = np.flatnonzero((numbers >= first) & (numbers < first + len(used)))
        own = used[numbers[here] - first].tolist()
        for attribute in sets.attributes:
            column = values.setdefault(attribute.label, [None] * len(numbers))
            for place, number in zip(here.tolist(), own, strict=True):
                column[place] = attribute.value(number)
    return [SetAttribute(label, _by_type(column)) for label, column in values.items()]


def _by_type(values: Sequence[AttributeValue | None]) -> dict[str, Any]:
    found = {}
    for type_ in {type(value): None for value in values if value is not None}:
        word, arrow = _ATTRIBUTE_TYPES[type_]
        found[word] = pa.array([value if type(value) is type_ else None for value in values], arrow)
    return found


_ATTRIBUTE_TYPES: Final[dict[type, tuple[str, Any]]] = {
    str: ("string", pa.string()),
    int: ("int", pa.int64()),
    float: ("double", pa.float64()),
    bool: ("bool", pa.bool_()),
}
