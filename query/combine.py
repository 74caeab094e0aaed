"""Matches of many sources → the newest traces, each told once and whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa

from query import ast
from query.plan import Shown
from query.reader import ROOT_PARENT, Ids, Mask, Reader, Rows, find, fixed_bytes, raw_all, rows_of, to_numpy
from query.results import ServiceStats, SpanMatch, SpanSet, TraceMatch
from query.shown import show
from query.spansets import Spansets, State

_STATUS_ERROR: Final = 2
_NAME: Final = ast.Intrinsic("name")
_NONE: Final = np.iinfo(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What matched in one source.

    rows: ascending; traces: the number of each trace with a match, ascending
    sets: the spansets of the rows; None: one per trace
    """

    reader: Reader
    rows: Rows
    traces: Rows
    sets: Spansets | None = None

    @classmethod
    def of(cls, reader: Reader, state: State, among: Mask | None = None) -> "Hits | None":
        """None where nothing matched. In: among: the rows that count, of whole traces or of one spanset per trace."""
        if isinstance(state, Spansets):
            sets = state if among is None else state.among(among[state.rows])
            traces = sets.traces
            return cls(reader, sets.rows, _without_repeats(traces), sets) if len(traces) else None
        rows = np.flatnonzero(state if among is None else state & among)
        if not len(rows):
            return None
        return cls(reader, rows, _without_repeats(np.searchsorted(reader.traces().offsets, rows, side="right") - 1))


def _without_repeats(ordered: Rows) -> Rows:
    return ordered[np.r_[True, ordered[1:] != ordered[:-1]]]


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The traces of the answer, newest first. start and end in ns, of the whole traces."""

    ids: Ids
    start: Rows
    end: Rows


def newest(
    hits: Sequence[Hits], readers: Sequence[Reader], limit: int, window: tuple[int | None, int | None]
) -> Chosen:
    """The newest `limit` traces that have a match and overlap the window [start, end).

    A trace begins when its earliest span does, in whatever source that is. Its piece in a source begins then or
    later: that bound orders the candidates, so that only the first ones need be looked up everywhere.
    """
    if not hits or limit < 1:
        return Chosen(np.empty(0, "S16"), np.empty(0, np.int64), np.empty(0, np.int64))
    ids = np.concatenate([hit.reader.traces().ids[hit.traces] for hit in hits])
    latest = np.concatenate([_first_rows(hit.reader, hit.traces)[0] for hit in hits])
    count = max(64, 2 * limit)
    while True:
        if count >= len(ids):
            threshold = rest = _NONE.min
        else:
            threshold = int(np.partition(latest, len(latest) - count)[len(latest) - count])
            below = latest[latest < threshold]
            rest = int(below.max()) if len(below) else _NONE.min
        candidates = np.unique(ids[latest >= threshold])
        start, end = _whole(candidates, readers)
        keep = np.ones(len(candidates), bool)
        if window[0] is not None:
            keep &= end >= window[0]
        if window[1] is not None:
            keep &= start < window[1]
        candidates, start, end = candidates[keep], start[keep], end[keep]
        order = np.lexsort((candidates, -start))[:limit]
        if rest == _NONE.min or (len(order) == limit and start[order[-1]] > rest):
            return Chosen(candidates[order], start[order], end[order])
        count *= 4


def describe(
    chosen: Chosen,
    hits: Sequence[Hits],
    readers: Sequence[Reader],
    shown: Sequence[Shown],
    spans_max: int,
) -> list[TraceMatch]:
    """The chosen traces with their matched spans, roots and services.

    readers: all sources, which know the whole traces; hits: where the matches are (stitched traces among them)
    """
    if not len(chosen.ids):
        return []
    order = np.argsort(chosen.ids)
    facts, trace_ids = _facts(chosen, order, readers), raw_all(chosen.ids)
    span_sets = _span_sets(chosen, order, hits, shown, spans_max)
    return [
        TraceMatch(
            trace_id=trace_ids[i],
            root_service=fact.root_service,
            root_name=fact.root_name,
            start_ns=int(chosen.start[i]),
            duration_ns=int(chosen.end[i] - chosen.start[i]),
            span_sets=tuple(span_sets[i]),
            service_stats=fact.stats,
        )
        for i, fact in enumerate(facts)
    ]


def _first_rows(reader: Reader, traces: Rows) -> tuple[Rows, Rows]:
    """Start and end in ns of some traces, as far as the source knows them."""
    rows = reader.traces().offsets[traces]
    columns = reader.at(["trace_start_ns", "trace_duration_ns"], rows)
    start = to_numpy(columns["trace_start_ns"])
    return start, start + to_numpy(columns["trace_duration_ns"])


def _whole(ids: Ids, readers: Sequence[Reader]) -> tuple[Rows, Rows]:
    """Start and end in ns over all sources. In: ids, ascending."""
    start, end = np.full(len(ids), _NONE.max), np.full(len(ids), _NONE.min)
    for reader in readers:
        hit, traces = find(reader.traces(), ids)
        if len(hit):
            piece_start, piece_end = _first_rows(reader, traces)
            start[hit] = np.minimum(start[hit], piece_start)
            end[hit] = np.maximum(end[hit], piece_end)
    return start, end


@dataclass(slots=True)
class _Fact:
    root_name: str | None = None
    root_service: str | None = None
    stats: dict[str, ServiceStats] = field(default_factory=dict)


def _facts(chosen: Chosen, order: Rows, readers: Sequence[Reader]) -> list[_Fact]:
    """Root and services of each chosen trace, over all of its spans."""
    facts = [_Fact() for _ in order]
    contested: set[int] = set()
    columns = ("root_name", "root_service", "status_code", "resource.service.name")
    for reader in readers:
        hit, traces = find(reader.traces(), chosen.ids[order])
        if not len(hit):
            continue
        rows, owner = rows_of(reader.traces(), traces)
        found = reader.at(columns, rows)
        first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
        names, services = _strings(found, "root_name", first), _strings(found, "root_service", first)
        for name, service, i in zip(names, services, order[hit].tolist(), strict=True):
            if name is not None:
                fact = facts[i]
                if fact.root_name is not None:
                    contested.add(i)
                fact.root_name, fact.root_service = name, service
        failed = to_numpy(found["status_code"]) == _STATUS_ERROR
        for i, service, count, errors in _by_service(found.get("resource.service.name"), owner, failed):
            stats = facts[order[hit[i]]].stats
            old = stats.get(service, ServiceStats(0, 0))
            stats[service] = ServiceStats(old.span_count + count, old.error_count + errors)
    for i in contested:
        facts[i].root_name, facts[i].root_service = _earliest_root(chosen.ids[i : i + 1], readers)
    return facts


def _earliest_root(ids: Ids, readers: Sequence[Reader]) -> tuple[str, str | None]:
    """Name and service of the root of one trace that has roots in several sources: there are hardly any."""
    service = "resource.service.name"
    roots = []
    for reader in readers:
        _, traces = find(reader.traces(), ids)
        rows, _ = rows_of(reader.traces(), traces)
        found = reader.at(["parent_span_id", "start_ns", "span_id", "name", service], rows)
        if len(rows):
            services = found[service].to_pylist() if service in found else [None] * len(rows)
            told = zip(*(found[name].to_pylist() for name in ("start_ns", "span_id", "name")), services, strict=True)
            parents = found["parent_span_id"].to_pylist()
            roots += [root for parent, root in zip(parents, told, strict=True) if parent == ROOT_PARENT]
    _, _, name, of = min(roots, key=lambda root: root[:2])
    return name, of


def _strings(columns: Mapping[str, Any], column: str, rows: Rows) -> list[str | None]:
    if column not in columns:
        return [None] * len(rows)
    values: list[str | None] = columns[column].take(pa.array(rows)).to_pylist()
    return values


def _by_service(services: Any, owner: Rows, failed: Mask) -> list[tuple[int, str, int, int]]:
    """(trace, service, spans, failed spans) for each pair that there is; service "" where a span has none."""
    if services is None:
        codes, names = np.zeros(len(owner), np.int64), [""]
    else:
        # The dictionary of a whole source, or none: only what these rows have.
        small = services.dictionary_decode() if pa.types.is_dictionary(services.type) else services
        encoded = small.fill_null("").dictionary_encode()
        codes, names = to_numpy(encoded.indices).astype(np.int64), encoded.dictionary.to_pylist()
    pairs, inverse = np.unique(owner * len(names) + codes, return_inverse=True)
    counts = np.bincount(inverse, minlength=len(pairs))
    errors = np.bincount(inverse[failed], minlength=len(pairs))
    return [
        (int(pair) // len(names), names[int(pair) % len(names)], int(count), int(error))
        for pair, count, error in zip(pairs, counts, errors, strict=True)
    ]


def _span_sets(
    chosen: Chosen, order: Rows, hits: Sequence[Hits], shown: Sequence[Shown], spans_max: int
) -> list[list[SpanSet]]:
    """The spansets of each chosen trace: their first spans by start, and how many they have."""
    pieces = []
    attributes: dict[int, tuple[Spansets, int]] = {}
    number = len(order)  # spansets of traces that have only one have the trace's number; others follow
    for place, hit in enumerate(hits):
        found, traces = find(hit.reader.traces(), chosen.ids[order])
        rows, owner = rows_of(hit.reader.traces(), traces)
        among = np.isin(rows, hit.rows, assume_unique=True)
        rows, owner = rows[among], order[found][owner[among]]
        if not len(rows):
            continue
        columns = hit.reader.at(["start_ns", "span_id"], rows)
        start, span = to_numpy(columns["start_ns"]), fixed_bytes(columns["span_id"])
        sets = owner
        if hit.sets is not None:
            used, sets = np.unique(hit.sets.owners(rows), return_inverse=True)
            attributes |= {number + i: (hit.sets, int(one)) for i, one in enumerate(used)}
            sets = sets + number
            number += len(used)
        pieces.append((owner, sets, start, span, np.full(len(rows), place), rows))
    owner, sets, start, span, source, rows = (np.concatenate(column) for column in zip(*pieces, strict=True))
    matched = np.bincount(sets)
    by_time = np.lexsort((span, start, sets))
    ordered = sets[by_time]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    kept = by_time[rank < spans_max]
    spans: dict[int, list[SpanMatch]] = {}
    for i, match in zip(sets[kept].tolist(), _span_matches(hits, source[kept], rows[kept], shown), strict=True):
        spans.setdefault(i, []).append(match)
    result: list[list[SpanSet]] = [[] for _ in order]
    firsts = by_time[rank == 0]
    for one in firsts[np.lexsort((span[firsts], start[firsts]))]:
        i = int(sets[one])
        said = (
            tuple((a.label, a.value(attributes[i][1])) for a in attributes[i][0].attributes) if i in attributes else ()
        )
        result[owner[one]].append(SpanSet(tuple(spans.get(i, ())), int(matched[i]), said))
    return result


def _span_matches(hits: Sequence[Hits], source: Rows, rows: Rows, shown: Sequence[Shown]) -> list[SpanMatch]:
    """One per row, in the order given."""
    result: list[SpanMatch | None] = [None] * len(rows)
    for number in np.unique(source):
        mine = np.flatnonzero(source == number)
        reader, here = hits[number].reader, rows[mine]
        columns = reader.at(["span_id", "start_ns", "duration_ns"], here)
        ids = raw_all(fixed_bytes(columns["span_id"]))
        starts, durations = columns["start_ns"].to_pylist(), columns["duration_ns"].to_pylist()
        # A span's name is a field of its own in the answer, there only where the query names it.
        names = show(reader, here, [item for item in shown if item.field == _NAME])
        attributes = show(reader, here, [item for item in shown if item.field != _NAME])
        for k, i in enumerate(mine.tolist()):
            name = str(names[k][0][1]) if names[k] else ""
            result[i] = SpanMatch(ids[k], name, starts[k], durations[k], tuple(attributes[k]))
    return [match for match in result if match is not None]
