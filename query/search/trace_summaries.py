"""Roots and services of the traces of an answer, over all of their spans."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from query.results import ServiceStats
from query.scan.arrays import Ids, Rows, compact, run_starts, spread, to_numpy
from query.scan.reader import Reader
from query.scan.trace_lookup import Places, find, rows_of
from query.scan.traces import trace_numbers
from tables.columns.arrays import big_endian
from tables.columns.trace_facts import root_rows
from tables.turns import as_list

_STATUS_ERROR: Final = 2
_SERVICE: Final = "resource.service.name"
_COLUMNS: Final = ("root_name", "root_service", "status_code", _SERVICE)
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """A text, or None, for each of many things. codes: numbers of words; -1: None"""

    codes: Codes
    words: list[str]

    @classmethod
    def of(cls, strings: Any, count: int) -> "Texts":
        """In: Array of strings; None: all null. Out: of the words only those in use, each once."""
        if strings is None:
            return cls(np.full(count, -1, np.int32), [])
        encoded = compact(strings).dictionary_encode()
        return cls(to_numpy(encoded.indices.fill_null(-1)), as_list(encoded.dictionary))

    def told(self, first: int, end: int) -> list[str | None]:
        """A range of them."""
        words = self.words
        return [words[code] if code >= 0 else None for code in self.codes[first:end].tolist()]

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + sum(60 + len(word) for word in self.words)


@dataclass(frozen=True, slots=True, eq=False)
class SourceFacts:
    """What a source knows of traces. Kept with the source, some 80 bytes a trace: a quarter of the columns behind it.

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
class Facts:
    """Of each trace of an answer. offsets, services: as those of SourceFacts

    stats: of each pair the number of its figures
    """

    root_names: Texts
    root_services: Texts
    offsets: Rows
    services: Texts
    stats: Rows
    figures: list[ServiceStats]

    def service_stats(self, first: int, end: int) -> list[dict[str, ServiceStats]]:
        """The services of a range of traces, in alphabetical order."""
        low, high = int(self.offsets[first]), int(self.offsets[end])
        words = self.services.words
        names = [words[code] for code in self.services.codes[low:high].tolist()]
        stats = [self.figures[code] for code in self.stats[low:high].tolist()]
        ends = (self.offsets[first : end + 1] - low).tolist()
        return [dict(zip(names[a:b], stats[a:b], strict=True)) for a, b in pairwise(ends)]


def facts_of(places: Places, order: Rows, readers: Sequence[Reader]) -> Facts:
    """In: traces; order: the place of each in the answer; readers: all that may know a trace"""
    ids = places.ids
    names, roots, services = _Words(), _Words(), _Words()
    root_name, root_service = np.full((2, len(ids)), -1, np.int32)
    contested: set[int] = set()
    pieces = []
    for reader in readers:
        hit, traces = places.of(reader)
        if not len(hit):
            continue
        facts, numbers = _source_facts(reader, traces)
        place = order[hit]
        name = names.take(facts.root_names, numbers)
        here = name >= 0
        contested.update(place[here & (root_name[place] >= 0)].tolist())
        root_name[place[here]] = name[here]
        root_service[place[here]] = roots.take(facts.root_services, numbers)[here]
        pairs, owner = spread(facts.offsets, numbers)
        pieces.append((place[owner], services.take(facts.services, pairs), facts.spans[pairs], facts.errors[pairs]))
    if contested:
        ids_by_place = ids[np.argsort(order)]
        for i in contested:
            told_name, told_service = _earliest_root(ids_by_place[i : i + 1], readers)
            root_name[i] = names.number(told_name)
            root_service[i] = -1 if told_service is None else roots.number(told_service)
    return Facts(names.texts(root_name), roots.texts(root_service), *_added(pieces, services, len(ids)))


def _added(
    pieces: Sequence[tuple[Rows, Codes, Codes, Codes]], services: "_Words", traces: int
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
    # There are many times fewer different figures than pairs.
    figures = (np.add.reduceat(spans[sort], first, dtype=np.int64) << 32) + np.add.reduceat(errors[sort], first)
    distinct, stats = np.unique(figures, return_inverse=True)
    made = [ServiceStats(figure >> 32, figure & 0xFFFFFFFF) for figure in distinct.tolist()]
    offsets = np.searchsorted(key[first], np.arange(traces + 1) * len(words))
    codes = service[sort[first]]
    return offsets, Texts(codes, words), stats, made


def _source_facts(reader: Reader, traces: Rows) -> tuple[SourceFacts, Rows]:
    """What the source knows of some of its traces, and the number of each there."""
    if reader.keeping is not None:
        index = reader.traces()
        made = reader.keeping.keep("facts", lambda: _made(reader.all_once(_COLUMNS), index.offsets))
        return made, traces
    rows, owner = rows_of(reader.traces(), traces)
    offsets = np.searchsorted(owner, np.arange(len(traces) + 1))
    return _made(reader.at(_COLUMNS, rows), offsets), np.arange(len(traces))


def _made(columns: dict[str, Any], offsets: Rows) -> SourceFacts:
    """In: columns of whole traces; offsets: where each trace begins"""
    first, traces = offsets[:-1], len(offsets) - 1
    root_names, root_services = (
        Texts.of(columns[name].take(first) if name in columns else None, traces)
        for name in ("root_name", "root_service")
    )
    service = Texts.of(columns.get(_SERVICE), int(offsets[-1]))
    # One more for spans without a service, which may be called "", too.
    words, codes = ["", *service.words], service.codes.astype(np.int64) + 1
    pairs, row = np.unique(trace_numbers(offsets) * len(words) + codes, return_inverse=True)
    failed = to_numpy(columns["status_code"]) == _STATUS_ERROR
    return SourceFacts(
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
            found = reader.at([*wanted, _SERVICE], rows)
            service = compact(found[_SERVICE]) if _SERVICE in found else pa.nulls(len(rows), pa.string())
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
        return self._numbers.setdefault(word, len(self._numbers))

    def take(self, texts: Texts, at: Rows) -> Codes:
        """The numbers of some of the texts. Words that none of them has get no number."""
        codes = texts.codes[at]
        used = np.flatnonzero(np.bincount(codes + 1, minlength=1)[1:])
        table = np.full(len(texts.words) + 1, -1, np.int32)
        table[used] = [self.number(texts.words[i]) for i in used.tolist()]
        return table[codes]

    def texts(self, codes: Codes) -> Texts:
        return Texts(codes, list(self._numbers))
