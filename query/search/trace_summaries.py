"""Roots and services of the traces of an answer, over all of their spans."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa

from query.language.words import STATUS
from query.results import ServiceStats
from query.scan.arrays import Ids, Rows, compact, run_starts, spread, to_numpy
from query.scan.reader import SERVICE_NAME, Reader
from query.scan.trace_lookup import TraceLookup, find, rows_of
from query.scan.traces import trace_numbers
from tables.columns.arrays import big_endian
from tables.columns.trace_facts import root_rows
from tables.columns.types import Codes
from tables.turns import as_list

_STATUS_ERROR: Final = STATUS["error"]
_KEPT_NAME: Final = "trace summaries"
# For one trace in so many not all are summarised: that takes several times as long as to decode the columns.
_FEW_SHARE: Final = 8
SUMMARY_COLUMNS: Final = ("root_name", "root_service", "status_code", SERVICE_NAME)


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """A text, or None, for each row. codes: the number of each row's word; -1: None"""

    codes: Codes
    words: list[str]

    @classmethod
    def from_strings(cls, strings: Any, count: int) -> "Texts":
        """In: Array of strings; None: all are null. Out: only the words in use, each once"""
        if strings is None:
            return cls(np.full(count, -1, np.int32), [])
        encoded = compact(strings).dictionary_encode()
        return cls(to_numpy(encoded.indices.fill_null(-1)), as_list(encoded.dictionary))

    def rows(self, first: int, end: int) -> list[str | None]:
        """The texts of a range of rows."""
        words = self.words
        return [words[code] if code >= 0 else None for code in self.codes[first:end].tolist()]

    def to_array(self) -> Any:
        """As a pyarrow Array of plain strings."""
        words = pa.array(self.words, pa.string())
        return words.take(pa.array(self.codes, mask=self.codes < 0))

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + sum(60 + len(word) for word in self.words)


@dataclass(frozen=True, slots=True, eq=False)
class SourceSummaries:
    """What a source knows of its traces. Kept with the source, some 80 bytes a trace: a quarter of the columns they
    are made of.

    root_names, root_services: of each trace's root; None where the root, or its service, is not here
    offsets: where the services of each trace begin, one more than traces
    services: of each pair of trace and service; "": spans without one. spans, errors: how many the pair has
    """

    root_names: Texts
    root_services: Texts
    offsets: Codes
    services: Texts
    spans: Codes
    errors: Codes

    @property
    def nbytes(self) -> int:
        parts = (self.root_names, self.root_services, self.offsets, self.services, self.spans, self.errors)
        return sum(part.nbytes for part in parts)


@dataclass(frozen=True, slots=True, eq=False)
class TraceSummaries:
    """Root and services of each trace of an answer. offsets, services: as those of SourceSummaries

    stats: for each pair of trace and service the number of its statistics in `distinct_stats`
    """

    root_names: Texts
    root_services: Texts
    offsets: Rows
    services: Texts
    stats: Rows
    distinct_stats: list[ServiceStats]

    def service_stats(self, first: int, end: int) -> list[dict[str, ServiceStats]]:
        """The services of a range of traces, in alphabetical order."""
        low, high = int(self.offsets[first]), int(self.offsets[end])
        words = self.services.words
        names = [words[code] for code in self.services.codes[low:high].tolist()]
        stats = [self.distinct_stats[code] for code in self.stats[low:high].tolist()]
        ends = (self.offsets[first : end + 1] - low).tolist()
        return [dict(zip(names[a:b], stats[a:b], strict=True)) for a, b in pairwise(ends)]


def trace_summaries(
    lookup: TraceLookup, order: Rows, readers: Sequence[Reader], repeated: Sequence[tuple[Reader, Rows]] = ()
) -> TraceSummaries:
    """Roots and services of the traces that are looked up, over all of their spans.

    order: the place of each trace in the answer; readers: all sources that may know a trace
    repeated: of some of the sources the rows, ascending, that do not count, because a client sent them again
    """
    ids = lookup.ids
    names, roots, services = _Words(), _Words(), _Words()
    root_name, root_service = np.full((2, len(ids)), -1, np.int32)
    contested: set[int] = set()
    pieces: list[tuple[Rows, Codes, Rows | Codes, Rows | Codes]] = []
    for reader in readers:
        hit, traces = lookup.find_in(reader)
        if not len(hit):
            continue
        summaries, numbers = _source_summaries(reader, traces)
        place = order[hit]
        name = names.number_all(summaries.root_names, numbers)
        here = name >= 0
        contested.update(place[here & (root_name[place] >= 0)].tolist())
        root_name[place[here]] = name[here]
        root_service[place[here]] = roots.number_all(summaries.root_services, numbers)[here]
        pairs, owner = spread(summaries.offsets, numbers)
        service = services.number_all(summaries.services, pairs)
        pieces.append((place[owner], service, summaries.spans[pairs], summaries.errors[pairs]))
    for reader, rows in repeated:
        rows, place = _looked_up(reader, rows, lookup, order)
        if len(rows):
            pieces.append(_taken_off(reader, rows, place, services))
    if contested:
        ids_by_place = ids[np.argsort(order)]
        for i in contested:
            root, root_of = _earliest_root(ids_by_place[i : i + 1], readers)
            root_name[i] = names.number(root)
            root_service[i] = -1 if root_of is None else roots.number(root_of)
    return TraceSummaries(names.texts(root_name), roots.texts(root_service), *_add_services(pieces, services, len(ids)))


def _looked_up(reader: Reader, rows: Rows, lookup: TraceLookup, order: Rows) -> tuple[Rows, Rows]:
    """Those of some rows of a source that are of the traces that are looked up, and the place of each one's trace."""
    hit, traces = lookup.find_in(reader)
    if not len(traces):
        return rows[:0], rows[:0]
    of_row = np.searchsorted(reader.traces().offsets, rows, side="right") - 1
    at = np.searchsorted(traces, of_row)
    at[at == len(traces)] = 0
    here = traces[at] == of_row
    return rows[here], order[hit[at[here]]]


def _taken_off(reader: Reader, rows: Rows, place: Rows, services: "_Words") -> tuple[Rows, Codes, Rows, Rows]:
    """What rows that do not count take off the statistics: place of the trace, service, spans and errors below 0."""
    columns = reader.read_few_rows(["status_code", SERVICE_NAME], rows)
    service = compact(columns[SERVICE_NAME]).fill_null("") if SERVICE_NAME in columns else pa.repeat("", len(rows))
    failed = to_numpy(columns["status_code"]) == _STATUS_ERROR
    codes = services.number_all(Texts.from_strings(service, len(rows)), np.arange(len(rows)))
    return place, codes, np.full(len(rows), -1), -failed.astype(np.int64)


def _add_services(
    pieces: Sequence[tuple[Rows, Codes, Rows | Codes, Rows | Codes]], services: "_Words", traces: int
) -> tuple[Rows, Texts, Rows, list[ServiceStats]]:
    """Pairs of trace and service, put together: those of one trace may come from several sources."""
    owner, service, spans, errors = (np.concatenate(column) for column in zip(*pieces, strict=True))
    words = services.texts(service).words
    alphabetical = sorted(range(len(words)), key=words.__getitem__)
    rank = np.empty(len(words), np.int64)
    rank[alphabetical] = np.arange(len(words))
    key = owner * len(words) + rank[service]
    sort = np.argsort(key, kind="stable")
    key = key[sort]
    first = run_starts(key)
    spans, errors = (np.add.reduceat(column[sort], first, dtype=np.int64) for column in (spans, errors))
    offsets = np.searchsorted(key[first], np.arange(traces + 1) * len(words))
    codes = service[sort[first]]
    return offsets, Texts(codes, words), *number_stats(spans, errors)


def add_services(
    place: Rows, services: Any, spans: Rows, errors: Rows, traces: int
) -> tuple[Rows, Texts, Rows, list[ServiceStats]]:
    """The fields of TraceSummaries about services. In: rows of any order: the place of a trace in the answer, a service
    (plain strings), how many spans it has there, and how many of them failed
    """
    texts, words = Texts.from_strings(services, len(services)), _Words()
    codes = words.number_all(texts, np.arange(len(services)))
    return _add_services([(place, codes, spans, errors)], words, traces)


def number_stats(spans: Rows, errors: Rows) -> tuple[Rows, list[ServiceStats]]:
    """For each pair the number of its statistics, and the statistics. There are many times fewer than pairs."""
    distinct, stats = np.unique((spans << 32) + errors, return_inverse=True)
    return stats, [ServiceStats(both >> 32, both & 0xFFFFFFFF) for both in distinct.tolist()]


def begin_summaries(reader: Reader, traces: Rows) -> None:
    """Begins to read what the summaries of some traces of a source need."""
    if _are_few(reader, traces):
        reader.begin_few_rows(SUMMARY_COLUMNS, rows_of(reader.traces(), traces)[0])
    else:
        reader.begin_kept(_KEPT_NAME, SUMMARY_COLUMNS)


def _are_few(reader: Reader, traces: Rows) -> bool:
    """Whether to look at these traces only, and not at all of the source once for every query."""
    cache = reader.derived_cache
    few = len(traces) * _FEW_SHARE <= len(reader.traces().ids)
    return cache is None or (few and cache.kept(_KEPT_NAME) is None)


def _source_summaries(reader: Reader, traces: Rows) -> tuple[SourceSummaries, Rows]:
    """What the source knows of some of its traces, and the number of each of them in it."""
    index, cache = reader.traces(), reader.derived_cache
    if cache is not None and not _are_few(reader, traces):
        made = cache.keep(_KEPT_NAME, lambda: _summarise(reader.read_whole(SUMMARY_COLUMNS), index.offsets))
        return made, traces
    rows, owner = rows_of(index, traces)
    offsets = np.searchsorted(owner, np.arange(len(traces) + 1))
    return _summarise(reader.read_few_rows(SUMMARY_COLUMNS, rows), offsets), np.arange(len(traces))


def _summarise(columns: dict[str, Any], offsets: Rows) -> SourceSummaries:
    """In: columns of all rows of some traces; offsets: where each trace begins, one more than traces"""
    first, traces = offsets[:-1], len(offsets) - 1
    root_names, root_services = (
        Texts.from_strings(columns[name].take(first) if name in columns else None, traces)
        for name in ("root_name", "root_service")
    )
    service = Texts.from_strings(columns.get(SERVICE_NAME), int(offsets[-1]))
    # One more for spans without a service, which may be called "", too.
    words, codes = ["", *service.words], service.codes.astype(np.int64) + 1
    pairs, row = np.unique(trace_numbers(offsets) * len(words) + codes, return_inverse=True)
    failed = to_numpy(columns["status_code"]) == _STATUS_ERROR
    return SourceSummaries(
        root_names,
        root_services,
        np.searchsorted(pairs, np.arange(traces + 1) * len(words)).astype(np.int32),
        Texts((pairs % len(words)).astype(np.int32), words),
        np.bincount(row, minlength=len(pairs)).astype(np.int32),
        np.bincount(row[failed], minlength=len(pairs)).astype(np.int32),
    )


def _earliest_root(ids: Ids, readers: Sequence[Reader]) -> tuple[str, str | None]:
    """Name and service of the root of one trace that has roots in several sources: there are hardly any."""
    wanted = ["parent_span_id", "start_ns", "span_id", "kind", "duration_ns", "name"]
    pieces = []
    for reader in readers:
        _, traces = find(reader.traces(), ids)
        rows, _ = rows_of(reader.traces(), traces)
        if len(rows):
            found = reader.read_rows([*wanted, SERVICE_NAME], rows)
            service = compact(found[SERVICE_NAME]) if SERVICE_NAME in found else pa.nulls(len(rows), pa.string())
            pieces.append([*(compact(found[name]) for name in wanted), service])
    parents, starts, span_ids, kinds, durations, names, services = (
        pa.concat_arrays(column) for column in zip(*pieces, strict=True)
    )
    trace, ids_of_spans = np.zeros(len(starts), np.int64), big_endian(span_ids)[:, 0]
    numbers = [to_numpy(column) for column in (starts, kinds, durations)]
    (row,) = root_rows(trace, 1, big_endian(parents)[:, 0], numbers[0], ids_of_spans, numbers[1], numbers[2])
    return names[row].as_py(), services[row].as_py()


class _Words:
    """The words of many sources, numbered."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, word: str) -> int:
        """The number of the word, a new one where it is new."""
        return self._numbers.setdefault(word, len(self._numbers))

    def number_all(self, texts: Texts, at: Rows) -> Codes:
        """The numbers of some of the texts; -1: no text. Words that none of them has get no number."""
        codes = texts.codes[at]
        used = np.flatnonzero(np.bincount(codes + 1, minlength=1)[1:])
        table = np.full(len(texts.words) + 1, -1, np.int32)
        table[used] = [self.number(texts.words[i]) for i in used.tolist()]
        return table[codes]

    def texts(self, codes: Codes) -> Texts:
        """The texts that these numbers stand for."""
        return Texts(codes, list(self._numbers))
