"""Matches of many sources, and the traces chosen of them → what the answer says, each trace told once and whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa

from query.engine.choose import Chosen, Hits
from query.engine.plan import Shown
from query.engine.reader import (
    ROOT_PARENT,
    Ids,
    Mask,
    Reader,
    Rows,
    compact,
    find,
    fixed_bytes,
    raw_all,
    rows_of,
    to_numpy,
)
from query.engine.shown import show
from query.engine.spansets import Spansets
from query.language import ast
from query.results import Attributes, ServiceStats, SpanMatch, SpanSet, TraceMatch

_STATUS_ERROR: Final = 2
_NAME: Final = ast.Intrinsic("name")


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
    ids = chosen.ids[order]
    for reader in readers:
        hit, traces = find(reader.traces(), ids)
        if not len(hit):
            continue
        rows, owner = rows_of(reader.traces(), traces)
        found = reader.at(columns, rows)
        first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
        names, services = _strings(found, "root_name", first), _strings(found, "root_service", first)
        failed = to_numpy(found["status_code"]) == _STATUS_ERROR
        stats = _by_service(found.get("resource.service.name"), owner, failed, len(hit))
        for name, service, here, i in zip(names, services, stats, order[hit].tolist(), strict=True):
            fact = facts[i]
            if name is not None:
                if fact.root_name is not None:
                    contested.add(i)
                fact.root_name, fact.root_service = name, service
            fact.stats = _added(fact.stats, here) if fact.stats else here
    for i in contested:
        facts[i].root_name, facts[i].root_service = _earliest_root(chosen.ids[i : i + 1], readers)
    return facts


def _added(one: dict[str, ServiceStats], other: dict[str, ServiceStats]) -> dict[str, ServiceStats]:
    none = ServiceStats(0, 0)
    return {
        name: ServiceStats(a.span_count + b.span_count, a.error_count + b.error_count)
        for name in sorted({*one, *other})
        for a, b in [(one.get(name, none), other.get(name, none))]
    }


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
    values: list[str | None] = compact(columns[column].take(pa.array(rows))).to_pylist()
    return values


def _by_service(services: Any, owner: Rows, failed: Mask, traces: int) -> list[dict[str, ServiceStats]]:
    """For each trace the spans and failed spans of its services; "": spans without one. In: owner: ascending"""
    codes, names = _codes(services, len(owner))
    pairs = owner * len(names) + codes
    counts = np.bincount(pairs, minlength=traces * len(names))
    errors = np.bincount(pairs[failed], minlength=traces * len(names))
    used = np.flatnonzero(counts)
    # There are many times fewer different figures than pairs of trace and service.
    figures, which = np.unique(np.stack([counts[used], errors[used]]), axis=1, return_inverse=True)
    made = [ServiceStats(*figure) for figure in figures.T.tolist()]
    stats = [made[i] for i in which.tolist()]
    told = [names[i] for i in (used % len(names)).tolist()]
    ends = np.searchsorted(used, np.arange(1, traces + 1) * len(names)).tolist()
    return [
        dict(zip(told[start:end], stats[start:end], strict=True))
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    ]


def _codes(strings: Any, rows: int) -> tuple[Rows, list[str]]:
    """For each row the number of its value among the values that there are, which are in alphabetical order."""
    if strings is None:
        return np.zeros(rows, np.int64), [""]
    encoded = strings if pa.types.is_dictionary(strings.type) else strings.dictionary_encode()
    indices = to_numpy(encoded.indices.fill_null(-1)).astype(np.int64)
    # The dictionary of a whole source: only what these rows have.
    used = np.flatnonzero(np.bincount(indices + 1, minlength=len(encoded.dictionary) + 1))
    texts = ["" if i == 0 else encoded.dictionary[i - 1].as_py() for i in used.tolist()]
    names = sorted(set(texts))
    place = np.zeros(len(encoded.dictionary) + 1, np.int64)
    place[used] = [names.index(text) for text in texts]
    return place[indices + 1], names


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
    by_time = np.lexsort((span, start, sets))
    ordered = sets[by_time]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    kept = by_time[rank < spans_max]
    matches = _span_matches(hits, source[kept], rows[kept], shown)
    # Spansets in the order of their numbers; of each its first span, its spans, and where those told begin.
    firsts = by_time[rank == 0]
    matched = np.bincount(sets)[sets[firsts]].tolist()
    ends = np.cumsum(np.minimum(matched, spans_max)).tolist()
    begins, numbers, owners = [0, *ends[:-1]], sets[firsts].tolist(), owner[firsts].tolist()
    result: list[list[SpanSet]] = [[] for _ in order]
    for k in np.lexsort((span[firsts], start[firsts])).tolist():
        said: Attributes = ()
        if numbers[k] in attributes:
            of, one = attributes[numbers[k]]
            said = tuple((attribute.label, attribute.value(one)) for attribute in of.attributes)
        result[owners[k]].append(SpanSet(tuple(matches[begins[k] : ends[k]]), matched[k], said))
    return result


def _span_matches(hits: Sequence[Hits], source: Rows, rows: Rows, shown: Sequence[Shown]) -> list[SpanMatch]:
    """One per row, in the order given."""
    result: list[Any] = [None] * len(rows)
    for number in np.unique(source):
        mine = np.flatnonzero(source == number)
        reader, here = hits[number].reader, rows[mine]
        columns = reader.at(["span_id", "start_ns", "duration_ns"], here)
        ids = raw_all(fixed_bytes(columns["span_id"]))
        starts, durations = columns["start_ns"].to_pylist(), columns["duration_ns"].to_pylist()
        # A span's name is a field of its own in the answer, there only where the query names it.
        names = show(reader, here, [item for item in shown if item.field == _NAME])
        attributes = show(reader, here, [item for item in shown if item.field != _NAME])
        texts = [str(name[0][1]) if name else "" for name in names]
        told = map(SpanMatch, ids, texts, starts, durations, attributes)
        for i, match in zip(mine.tolist(), told, strict=True):
            result[i] = match
    return result
