"""The entry points of auto-completion: which tags there are, and which values a tag has."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final
from weakref import ref

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from query import memory
from query.engine.distinct import (
    CHILD_COUNT,
    KEYWORD,
    Distinct,
    TagValue,
    entry_keys,
    field_values,
    has_values,
    keywords,
)
from query.engine.spansets import ROW_BYTES, Spansets, evaluate
from query.errors import QueryCancelled
from query.language import ast
from query.language.check import check
from query.language.fields import ENTRY_COLUMNS, entry_column, field_columns
from query.language.parse import parse
from query.language.plan import Plan, plan
from query.language.text import expression
from query.results import Inspected
from query.scan.arrays import Mask
from query.scan.reader import Reader
from query.scan.source import KeyListing, Source, Sparse
from query.scan.stitch import UNKNOWN_NS, Piece, StitchedSource, given, shared_traces, whole_traces
from query.tags.tag_text import INTRINSIC, INTRINSIC_TAGS, SCOPES, usable_filter
from tables.schema import parse_attribute_column
from tables.storage.byte_cache import ByteCache
from tables.turns import as_list

VALUES_BYTES_MAX: Final = 10_000_000
KNOWN_BYTES_MAX: Final = 8 << 20
_VALUES_KEPT_BYTES_MAX: Final = 64 << 10
_KEY_BYTES: Final = 16  # an index, and the places of the lists around it
_ENTRY_BYTES: Final = 500  # what keeping anything at all takes
_COLUMNS_AT_ONCE: Final = 32
_OF_ROOTS: Final = (ast.Intrinsic("rootName"), ast.Intrinsic("rootServiceName"))
_EVERYTHING: Final = (ast.Filter(None),)

Window = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class TagNames:
    """scopes: those that have tags, with their names in order"""

    scopes: Mapping[str, tuple[str, ...]]
    inspected: Inspected


@dataclass(frozen=True, slots=True)
class TagValues:
    """Each once, by type and value."""

    values: tuple[TagValue, ...]
    inspected: Inspected


class Known:
    """What earlier calls found out about sources, which never change. One for a process; safe for threads."""

    def __init__(self, bytes_max: int = KNOWN_BYTES_MAX) -> None:
        # Weak, so that no source lives longer for it; what is known of one that is gone is soon the oldest.
        self._cache: ByteCache[tuple[ref[Source], str], Any] = ByteCache("tags", bytes_max)

    def entry_keys(self, reader: Reader, column: str) -> frozenset[str]:
        """The attribute keys of events or links. In: the column `events` or `links`, which the source has"""
        key = (ref(reader.source), column)
        known: frozenset[str] | None = self._cache.get(key)
        if known is None:
            known = _all_entry_keys(reader, column)
            self._cache.put(key, known, _ENTRY_BYTES + sum(map(len, known)))
        return known

    def values(self, reader: Reader, field: ast.Field) -> list[tuple[str, Any]]:
        """The distinct values of all rows, as `field_values`."""
        if not self._may_have(reader, field):
            return []
        key = (ref(reader.source), expression(field))
        known: list[tuple[str, Any]] | None = self._cache.get(key)
        if known is None:
            known = list(field_values(reader, field, None))
            size_bytes = _ENTRY_BYTES + sum(values.nbytes for _, values in known)
            if size_bytes <= _VALUES_KEPT_BYTES_MAX:
                self._cache.put(key, known, size_bytes)
        return known

    def _may_have(self, reader: Reader, field: ast.Field) -> bool:
        """The columns of events and links are large: they are not read for an attribute that they do not have."""
        column = entry_column(field)
        if column is None or not reader.has(column):
            return column is None
        return isinstance(field, ast.Intrinsic) or field.key in self.entry_keys(reader, column)


def tag_names(
    sources: Sequence[Source],
    *,
    scope: str | None = None,
    query: str = "",
    start_ns: int | None = None,
    end_ns: int | None = None,
    limit: int = 0,
    known: Known | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> TagNames:
    """The names of all attributes by scope, and of the intrinsics.

    Without a query the columns say it; with one only spans that match count. Where the time range cuts a source all
    of it counts.

    scope: one of `tag_text.SCOPES` or INTRINSIC; None: all
    query: TraceQL, also unfinished: `tag_text.usable_filter`
    limit: so many names of each scope; 0: all
    known: of earlier calls
    Raises: QueryCancelled; OSError from a source
    """
    found: dict[str, set[str]] = {name: set() for name in SCOPES if scope in {None, name}}
    read = _Read(sources, (start_ns, end_ns), cancelled)
    if found:
        compiled = _compiled(query)
        if compiled is None:
            _all_names(read, found, known or Known())
        else:
            _matching_names(read, compiled, found)
    scopes = {name: _first(tags, limit) for name, tags in found.items() if tags}
    if scope in {None, INTRINSIC}:
        scopes[INTRINSIC] = _first(INTRINSIC_TAGS, limit)
    return TagNames(dict(sorted(scopes.items())), read.inspected())


def tag_values(
    sources: Sequence[Source],
    fields: Sequence[ast.Field],
    *,
    query: str = "",
    start_ns: int | None = None,
    end_ns: int | None = None,
    limit: int = 0,
    bytes_max: int = VALUES_BYTES_MAX,
    known: Known | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> TagValues:
    """The values of some fields. Of those with a closed set (status, kind) without a query all that there may be.

    fields: of `tag_text.parse_tag`, `tag_text.parse_old_tag`
    query, times, known: as for `tag_names`
    limit: so many values; 0: no limit. bytes_max: so many bytes of text; what is more is left out
    Raises: QueryCancelled; OSError from a source
    """
    wanted = [field for field in fields if has_values(field)]
    found = Distinct(bytes_max)
    read = _Read(sources, (start_ns, end_ns), cancelled)
    compiled = _compiled(query)
    if compiled is None:
        closed = [field for field in wanted if keywords(field)]
        for field in closed:
            found.add(KEYWORD, pa.array(keywords(field)))
        wanted = [field for field in wanted if field not in closed]
    # Only a whole trace tells that it has no root, and how many children a span has.
    if any(field in _OF_ROOTS or field == CHILD_COUNT for field in wanted) and read.shares_traces():
        compiled = replace(compiled or plan(check(parse("{ }"))), whole_traces=True)
    columns = {column for field in wanted for column, _ in field_columns(field)}
    known = known or Known()
    for reader, rows in read.matching(compiled, columns) if wanted else ():
        for field in wanted:
            for type_, values in known.values(reader, field) if compiled is None else field_values(reader, field, rows):
                found.add(type_, values)
        if found.full:
            break
    return TagValues(found.values(limit), read.inspected())


def _all_entry_keys(reader: Reader, column: str) -> frozenset[str]:
    source = reader.source
    if not isinstance(source, KeyListing):
        # By rows, so that the source does not push useful columns out of its cache for this large one.
        return entry_keys(reader.at([column], np.arange(reader.rows))[column])
    count = source.entry_count(column)
    with memory.current().scratch(count * _KEY_BYTES, f"the keys of {column} of {reader.rows} spans"):
        keys = source.entry_keys(column)
        reader.bytes_read += keys.nbytes
        reader.read_columns[column] = None
        return frozenset(as_list(pc.unique(keys).drop_null()))


def _first(names: set[str] | tuple[str, ...], limit: int) -> tuple[str, ...]:
    return tuple(sorted(names)[: limit or None])


def _compiled(query: str) -> Plan | None:
    """None: every span counts."""
    text = usable_filter(query)
    if not text:
        return None
    compiled = plan(check(parse(text)))
    return None if compiled.root.stages == _EVERYTHING else compiled


class _Read:
    """The sources of the time range, and what was read of them."""

    def __init__(self, sources: Sequence[Source], window: Window, cancelled: Callable[[], bool]) -> None:
        self.all = [Reader(source) for source in sources if source.rows]
        self.inside = [_has_spans_in(reader, window) for reader in self.all]
        self._cancelled = cancelled
        self._worked_on: list[Reader] = []

    def shares_traces(self) -> bool:
        """Whether a trace has spans in several sources."""
        return len(shared_traces([reader.traces() for reader in self.all])) > 0

    def readers(self) -> Iterator[Reader]:
        """Those of the time range. Raises: QueryCancelled"""
        for reader, inside in zip(self.all, self.inside, strict=True):
            if inside:
                yield self._next(reader)
                reader.forget()

    def matching(self, compiled: Plan | None, columns: set[str]) -> Iterator[tuple[Reader, Mask | None]]:
        """Readers with rows that match, and which (None: all). In: columns: what will be read of the rows

        Raises: QueryCancelled
        """
        if compiled is None:
            for reader in self.readers():
                yield reader, None
            return
        for piece in self._pieces(compiled, compiled.columns | columns):
            reader, rows = self._matching(piece, compiled)
            if rows.any():
                yield reader, None if rows.all() else rows
            reader.discard()

    def matching_where_they_rest(self, compiled: Plan | None) -> Iterator[tuple[Reader, Mask | None]]:
        """As `matching`, for all columns of the rows: traces are put together only to see which match. Their rows come
        with those of the source that has them. Raises: QueryCancelled
        """
        if compiled is None:
            yield from self.matching(None, set())
            return
        later: dict[Reader, Mask] = {}
        pieces = self._pieces(compiled, compiled.columns)
        for piece in sorted(pieces, key=lambda piece: not piece.stitched):
            reader, rows = self._matching(piece, compiled)
            if isinstance(reader.source, StitchedSource):
                for origin, here, _ in reader.source.origins(np.flatnonzero(rows)):
                    if origin not in later:
                        memory.reserve(origin.rows, "matching spans")
                    later.setdefault(origin, np.zeros(origin.rows, bool))[here] = True
                reader.discard()
                continue
            reader.forget()  # what was read is the filter's
            rows = rows | later.pop(reader) if reader in later else rows
            if rows.any():
                yield reader, None if rows.all() else rows
            reader.forget()
        for reader, rows in later.items():
            yield self._next(reader), rows
            reader.forget()

    def _pieces(self, compiled: Plan, columns: Collection[str]) -> list[Piece]:
        if compiled.whole_traces:
            shared = shared_traces([reader.traces() for reader in self.all])
            return whole_traces(self.all, shared, columns, self.inside)
        return [
            Piece(UNKNOWN_NS, UNKNOWN_NS, False, partial(given, reader, None))
            for reader, here in zip(self.all, self.inside, strict=True)
            if here
        ]

    def _matching(self, piece: Piece, compiled: Plan) -> tuple[Reader, Mask]:
        """A piece, opened, and which of its rows match."""
        reader, among = piece.open()
        self._next(reader)
        with memory.current().scratch(reader.rows * ROW_BYTES, f"the evaluation of {reader.rows} spans"):
            state = evaluate(compiled.root, reader)
        if isinstance(state, Spansets):
            rows = np.zeros(reader.rows, bool)
            rows[state.rows] = True
        else:
            rows = state
        return reader, rows if among is None else rows & among

    def inspected(self) -> Inspected:
        read = {id(reader): reader for reader in [*self.all, *self._worked_on]}
        return Inspected(
            spans=sum(reader.rows for reader in self._worked_on),
            bytes=sum(reader.bytes_read for reader in read.values()),
            sources=len(self._worked_on),
        )

    def _next(self, reader: Reader) -> Reader:
        if self._cancelled():
            raise QueryCancelled
        self._worked_on.append(reader)
        return reader


def _all_names(read: _Read, found: dict[str, set[str]], known: Known) -> None:
    columns: set[str] = set()
    for reader in read.readers():
        columns |= reader.source.columns
        for scope, column in ENTRY_COLUMNS.items():
            if scope in found and reader.has(column):
                found[scope] |= known.entry_keys(reader, column)
    for scope, key, _ in _attributes(columns, found):
        found[scope].add(key)


def _matching_names(read: _Read, compiled: Plan, found: dict[str, set[str]]) -> None:
    for reader, mask in read.matching_where_they_rest(compiled):
        rows = np.arange(reader.rows) if mask is None else np.flatnonzero(mask)
        for scope, column in ENTRY_COLUMNS.items():
            if scope in found and reader.has(column):
                found[scope] |= entry_keys(reader.passing([column], rows)[column])
        # What is known already need not be read: after the first sources little is left.
        unknown = {
            column: (scope, key)
            for scope, key, column in _attributes(reader.source.columns, found)
            if key not in found[scope]
        }
        unknown = _without_sparse(reader, mask, unknown, found)
        columns = list(unknown)
        for first in range(0, len(columns), _COLUMNS_AT_ONCE):
            for column, array in reader.passing(columns[first : first + _COLUMNS_AT_ONCE], rows).items():
                if _any_value(array):
                    scope, key = unknown[column]
                    found[scope].add(key)


def _without_sparse(
    reader: Reader, mask: Mask | None, unknown: dict[str, tuple[str, str]], found: dict[str, set[str]]
) -> dict[str, tuple[str, str]]:
    """What is left when those attributes are looked for that few spans have, which are thousands."""
    source = reader.source
    hidden = source.sparse_columns() if isinstance(source, Sparse) else frozenset()
    if isinstance(source, Sparse) and not hidden.isdisjoint(unknown):
        reader.hold(2 * reader.decoded_bytes([next(iter(hidden))]), "attributes that few spans have")
        sparse = source.sparse()
        for column in hidden.intersection(unknown):
            rows, _ = sparse.column(column)
            if mask is None or mask[rows].any():
                scope, key = unknown[column]
                found[scope].add(key)
    return {column: of for column, of in unknown.items() if column not in hidden}


def _any_value(array: Any) -> bool:
    return bool(array.null_count < len(array))


def _attributes(columns: set[str] | frozenset[str], scopes: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(scope, key, column) of the attribute columns of the scopes."""
    for column in columns:
        attribute = parse_attribute_column(column)
        if attribute is not None and attribute.scope in scopes:
            yield attribute.scope, attribute.key, column


def _has_spans_in(reader: Reader, window: Window) -> bool:
    start_ns, end_ns = window
    if window == (None, None) or (starts := reader.bounds("start_ns")) is None:
        return True
    if end_ns is not None and starts[0] > end_ns:
        return False
    if start_ns is None or starts[1] >= start_ns:
        return True
    durations = reader.bounds("duration_ns")
    return durations is None or starts[1] + max(durations[1], 0) >= start_ns
