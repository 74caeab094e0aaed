"""Which attributes sources have, scope by scope: of all spans, or of those that match."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from query import memory
from query.engine.distinct import entry_keys
from query.engine.spansets import matching_rows
from query.language.fields import ENTRY_COLUMNS
from query.language.plan import Plan
from query.scan.arrays import Mask
from query.scan.pieces import Piece
from query.scan.reader import Reader
from query.scan.scan import Scan
from query.scan.source import Sparse
from query.scan.stitch import StitchedSource
from query.tags.tag_cache import TagCache
from tables.schema import parse_attribute_column

_COLUMNS_AT_ONCE: Final = 32

Names = dict[str, set[str]]  # by scope


class AllNames:
    """Fold: the names of all spans, which the sources' columns say."""

    def __init__(self, found: Names, cache: TagCache) -> None:
        self._found, self._cache = found, cache
        self._seen: set[frozenset[str]] = set()
        self._of_wide: set[str] = set()  # columns of sources that have very many

    def add_piece(self, reader: Reader, _among: Mask | None) -> bool:
        columns = reader.source.columns
        if columns not in self._seen:  # most sources have the columns of others
            self._seen.add(columns)
            names = self._cache.names(columns)
            if names is None:
                self._of_wide |= columns
            else:
                for scope, found in self._found.items():
                    found |= names.get(scope, frozenset())
        for scope, column in ENTRY_COLUMNS.items():
            if scope in self._found and column in columns:
                self._found[scope] |= self._cache.entry_keys(reader, column)
        return False

    def ends_before(self, _piece: Piece, _left: int) -> bool:
        return False

    def may_need(self, _piece: Piece) -> bool:
        return True

    def finish(self) -> None:
        """Takes the names out of the columns of wide sources: each once for all, which have most in common."""
        for scope, key, _ in _attributes(self._of_wide, self._found):
            self._found[scope].add(key)


class MatchingNames:
    """Fold: the names of the spans that match. Traces are stitched only to see which spans match: the names are read
    where the spans rest, of each source once, so stitched pieces must come first.
    """

    def __init__(self, plan: Plan, found: Names, scan: Scan) -> None:
        self._plan, self._found, self._scan = plan, found, scan
        self._later: dict[Reader, Mask] = {}

    def add_piece(self, reader: Reader, among: Mask | None) -> bool:
        rows = matching_rows(self._plan.root, reader, among)
        if isinstance(reader.source, StitchedSource):
            for origin, here, _ in reader.source.origins(np.flatnonzero(rows)):
                if origin not in self._later:
                    memory.reserve(origin.rows, "matching spans")
                self._later.setdefault(origin, np.zeros(origin.rows, bool))[here] = True
            return False
        reader.forget()  # what was read is the filter's
        if reader in self._later:
            rows = rows | self._later.pop(reader)
        if rows.any():
            self._add_names(reader, None if rows.all() else rows)
        return False

    def ends_before(self, _piece: Piece, _left: int) -> bool:
        return False

    def may_need(self, _piece: Piece) -> bool:
        return True

    def finish(self) -> None:
        """Reads the sources in which only spans of stitched traces match. Raises: QueryCancelled, OSError"""
        for reader, rows in self._later.items():
            self._scan.check_cancelled()
            self._scan.count(reader)
            self._add_names(reader, rows)
            reader.forget()

    def _add_names(self, reader: Reader, mask: Mask | None) -> None:
        found = self._found
        rows = np.arange(reader.rows) if mask is None else np.flatnonzero(mask)
        for scope, column in ENTRY_COLUMNS.items():
            if scope in found and reader.has(column):
                found[scope] |= entry_keys(reader.read_passing([column], rows)[column])
        # What is known already need not be read: after the first sources little is left.
        unknown = {
            column: (scope, key)
            for scope, key, column in _attributes(reader.source.columns, found)
            if key not in found[scope]
        }
        if mask is None:  # each column has a value somewhere
            for scope, key in unknown.values():
                found[scope].add(key)
            return
        unknown = _without_sparse(reader, mask, unknown, found)
        columns = list(unknown)
        for first in range(0, len(columns), _COLUMNS_AT_ONCE):
            for column in reader.with_values(columns[first : first + _COLUMNS_AT_ONCE], rows):
                scope, key = unknown[column]
                found[scope].add(key)


def _without_sparse(
    reader: Reader, mask: Mask, unknown: dict[str, tuple[str, str]], found: Names
) -> dict[str, tuple[str, str]]:
    """What is left when those attributes are looked for that few spans have, which are thousands."""
    source = reader.source
    hidden = source.sparse_columns() if isinstance(source, Sparse) else frozenset()
    if isinstance(source, Sparse) and not hidden.isdisjoint(unknown):
        reader.hold(2 * reader.decoded_bytes([next(iter(hidden))]), "attributes that few spans have")
        sparse = source.sparse()
        for column in hidden.intersection(unknown):
            rows, _ = sparse.column(column)
            if mask[rows].any():
                scope, key = unknown[column]
                found[scope].add(key)
    return {column: name for column, name in unknown.items() if column not in hidden}


def _attributes(columns: set[str] | frozenset[str], scopes: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(scope, key, column) of the attribute columns of the scopes."""
    for column in columns:
        attribute = parse_attribute_column(column)
        if attribute is not None and attribute.scope in scopes:
            yield attribute.scope, attribute.key, column
