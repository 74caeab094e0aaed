"""What an answer says of some traces, in columns: times, roots, services, spansets and their first spans."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from query import memory
from query.language.plan import Projection
from query.results import TraceMatch
from query.scan.arrays import Rows, fixed_bytes, raw_all, spread, to_numpy
from query.scan.reader import Reader
from query.scan.stitch import StitchedSource
from query.scan.trace_lookup import TraceLookup
from query.search.span_sets import SetAttribute, SpanSetColumns, span_columns, span_set_columns
from query.search.top_traces import Hits, TopTraces
from query.search.trace_summaries import (
    SUMMARY_COLUMNS,
    Texts,
    TraceSummaries,
    begin_summaries,
    number_stats,
    trace_summaries,
)
from tables.columns.arrays import one_array

_TRACE_BYTES: Final = 300
# Between an attribute's place among those of a spanset, its label and the type of its values.
_SEPARATOR: Final = "\0"


@dataclass(frozen=True, slots=True, eq=False)
class TraceColumns:
    """Some traces of an answer, in its order."""

    top: TopTraces
    summaries: TraceSummaries
    span_sets: SpanSetColumns

    def __len__(self) -> int:
        return len(self.top)

    def to_matches(self, first: int, end: int) -> list[TraceMatch]:
        """A range of the traces as objects."""
        top, summaries = self.top, self.summaries
        start = top.start[first:end]
        columns = zip(
            raw_all(top.ids[first:end]),
            summaries.root_services.rows(first, end),
            summaries.root_names.rows(first, end),
            start.tolist(),
            (top.end[first:end] - start).tolist(),
            self.span_sets.to_matches(first, end),
            summaries.service_stats(first, end),
            strict=True,
        )
        return [TraceMatch(*values) for values in columns]


def begin_description(hits: Hits, projections: Sequence[Projection]) -> None:
    """Begins to read what `trace_columns` needs of a source whose columns were not here."""
    if hits.reader.was_cold:
        hits.reader.begin({*SUMMARY_COLUMNS, *span_columns(projections)})


def trace_columns(
    top: TopTraces,
    hits: Sequence[Hits],
    readers: Sequence[Reader],
    projections: Sequence[Projection],
    spans_max: int,
) -> TraceColumns:
    """The columns of some traces, at least one. Everything is read now: no reader is needed later.

    readers: all sources, which know the whole traces; hits: where the matches are (those of stitched traces, too)
    spans_max: so many spans of each spanset are shown
    """
    memory.reserve(len(top) * _TRACE_BYTES, f"an answer of {len(top)} traces", "a lower limit")
    order = np.argsort(top.ids)
    lookup = TraceLookup(top.ids[order])
    for reader, _, traces in lookup.find_in_all(readers):
        begin_summaries(reader, traces)
    span_sets = span_set_columns(lookup, order, hits, projections, spans_max)
    sources = [hit.reader.source for hit in hits]
    repeated = [one for source in sources if isinstance(source, StitchedSource) for one in source.repeated()]
    return TraceColumns(top, trace_summaries(lookup, order, readers, repeated), span_sets)


@dataclass(frozen=True, slots=True, eq=False)
class TraceTables:
    """The same as plain Arrow tables, each in the order of the answer: the form in which processes exchange traces.

    traces: a row per trace: trace_id, start_ns, end_ns, root_name, root_service; services, span_sets: how many rows
        of the other tables belong to it
    services: a row per trace and service: service ("": none), spans, errors
    span_sets: a row per spanset: matched: how many spans match; spans: how many are shown; its attributes
    spans: a row per span that is shown, with the columns of `tables.schema` that the query's fields need
    """

    traces: pa.Table
    services: pa.Table
    span_sets: pa.Table
    spans: pa.Table

    @classmethod
    def from_columns(cls, columns: TraceColumns) -> "TraceTables":
        """Without the projections, which follow from the query."""
        top, summaries, span_sets = columns.top, columns.summaries, columns.span_sets
        traces = {
            "trace_id": pa.array(raw_all(top.ids), pa.binary(16)),
            "start_ns": pa.array(top.start),
            "end_ns": pa.array(top.end),
            "root_name": summaries.root_names.to_array(),
            "root_service": summaries.root_services.to_array(),
            "services": pa.array(np.diff(summaries.offsets)),
            "span_sets": pa.array(np.diff(span_sets.sets)),
        }
        stats = [summaries.distinct_stats[number] for number in summaries.stats.tolist()]
        services = {
            "service": summaries.services.to_array(),
            "spans": pa.array([stat.span_count for stat in stats], pa.int64()),
            "errors": pa.array([stat.error_count for stat in stats], pa.int64()),
        }
        sets = {"matched": pa.array(span_sets.counts), "spans": pa.array(np.diff(span_sets.spans))}
        for place, attribute in enumerate(span_sets.attributes):
            for word, values in attribute.values.items():
                sets[_SEPARATOR.join((str(place), attribute.label, word))] = values
        return cls(pa.table(traces), pa.table(services), pa.table(sets), pa.table(dict(span_sets.columns)))

    @property
    def levels(self) -> list[pa.Table]:
        """The tables, in the order of the fields."""
        return [self.traces, self.services, self.span_sets, self.spans]

    @classmethod
    def concat(cls, parts: Sequence["TraceTables"]) -> "TraceTables":
        """The traces of several parts, one part after the other."""
        levels = zip(*((part.traces, part.services, part.span_sets, part.spans) for part in parts), strict=True)
        return cls(*(pa.concat_tables(level, promote_options="default").combine_chunks() for level in levels))

    def take(self, order: Rows) -> "TraceTables":
        """The traces with those numbers, in that order."""
        services, _ = spread(offsets_of(self.traces["services"]), order)
        sets, _ = spread(offsets_of(self.traces["span_sets"]), order)
        spans, _ = spread(offsets_of(self.span_sets["spans"]), sets)
        chosen = zip(
            (self.traces, self.services, self.span_sets, self.spans), (order, services, sets, spans), strict=True
        )
        return TraceTables(*(table.take(pa.array(rows)) for table, rows in chosen))

    @property
    def top(self) -> TopTraces:
        """Ids and times of the traces."""
        start_ns, end_ns = _numbers(self.traces, "start_ns", "end_ns")
        return TopTraces(fixed_bytes(_column(self.traces, "trace_id")), start_ns, end_ns)

    def to_columns(self, projections: Sequence[Projection]) -> TraceColumns:
        """What was made into tables. In: the projections of the same query"""
        traces = len(self.traces)
        spans, errors = _numbers(self.services, "spans", "errors")
        stats, distinct_stats = number_stats(spans, errors)
        summaries = TraceSummaries(
            Texts.from_strings(_column(self.traces, "root_name"), traces),
            Texts.from_strings(_column(self.traces, "root_service"), traces),
            offsets_of(self.traces["services"]),
            Texts.from_strings(_column(self.services, "service"), len(self.services)),
            stats,
            distinct_stats,
        )
        values: dict[str, dict[str, Any]] = {}
        named = [name.split(_SEPARATOR, 1) for name in self.span_sets.column_names if _SEPARATOR in name]
        for place, rest in sorted(named, key=lambda parts: int(parts[0])):
            label, _, word = rest.rpartition(_SEPARATOR)
            values.setdefault(label, {})[word] = _column(self.span_sets, place + _SEPARATOR + rest)
        span_sets = SpanSetColumns(
            sets=offsets_of(self.traces["span_sets"]),
            spans=offsets_of(self.span_sets["spans"]),
            counts=_numbers(self.span_sets, "matched")[0],
            columns={name: _column(self.spans, name) for name in self.spans.column_names},
            projections=projections,
            attributes=[SetAttribute(label, by_type) for label, by_type in values.items()],
        )
        return TraceColumns(self.top, summaries, span_sets)


def _column(table: pa.Table, name: str) -> Any:
    return one_array(table[name])


def _numbers(table: pa.Table, *names: str) -> list[npt.NDArray[np.int64]]:
    return [to_numpy(_column(table, name)) for name in names]


def offsets_of(counts: Any) -> Rows:
    """Where the rows of each of several things begin, one more than things. In: how many each has"""
    offsets: Rows = np.r_[0, np.cumsum(to_numpy(one_array(counts)))].astype(np.int64)
    return offsets
