"""The entry points of auto-completion: which tags there are, and which values a tag has."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from query.engine.distinct import (
    CHILD_COUNT,
    KEYWORD,
    Distinct,
    TagValue,
    field_values,
    first_values,
    has_values,
    keywords,
)
from query.engine.spansets import matching_rows
from query.language import ast
from query.language.check import check
from query.language.fields import field_columns
from query.language.parse import parse
from query.language.plan import Plan, plan
from query.language.text import expression
from query.requests import TagNamesRequest, TagValuesRequest
from query.results import Inspected
from query.scan.arrays import Ids, Mask
from query.scan.pieces import NO_IDS, Piece
from query.scan.progress import QueryObserver
from query.scan.reader import Reader
from query.scan.scan import Scan, ScanPlan, shared_ids, stitched_first
from query.scan.source import Source
from query.scan.stitch import stitched_rows
from query.scan.window import SpanWindow
from query.tags.names import AllNames, MatchingNames
from query.tags.partial import TagPartial, merge
from query.tags.tag_cache import TagCache
from query.tags.tag_text import INTRINSIC, INTRINSIC_TAGS, SCOPES, usable_filter

VALUES_BYTES_MAX: Final = 10_000_000
_OF_ROOTS: Final = (ast.Intrinsic("rootName"), ast.Intrinsic("rootServiceName"))
_EVERYTHING: Final = (ast.Filter(None),)


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


def concerns_traces(request: TagNamesRequest | TagValuesRequest) -> bool:
    """Whether the answer depends on whole traces, so that workers must know which they share."""
    compiled = _compiled(request.query)
    if compiled is not None and compiled.whole_traces:
        return True
    return isinstance(request, TagValuesRequest) and _of_traces(request.fields)


def tag_names(
    sources: Sequence[Source],
    request: TagNamesRequest,
    *,
    cache: TagCache | None = None,
    observer: QueryObserver | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> TagNames:
    """The names of all attributes by scope, and of the intrinsics.

    Without a query the columns say it; with one only spans that match count. Where the time range cuts a source all
    of it counts.

    cache: of earlier calls
    observer: its profile is filled
    cancelled: asked between sources
    Raises: QueryCancelled; OSError from a source
    """
    names, scan = _find_names(sources, request, NO_IDS, cache, observer, cancelled)
    return _names_of(names, scan.finish(), request)


def tag_names_partial(
    sources: Sequence[Source],
    request: TagNamesRequest,
    *,
    elsewhere: Ids = NO_IDS,
    cache: TagCache | None = None,
    observer: QueryObserver | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> TagPartial:
    """What one of several workers answers from its sources. As `tag_names`, but for

    elsewhere: ids, ascending, of traces of which other workers have spans, too: their rows are in the partial where
        the query is about whole traces
    """
    names, scan = _find_names(sources, request, elsewhere, cache, observer, cancelled)
    texts = {scope: pa.array(sorted(of_scope), pa.string()) for scope, of_scope in names.items()}
    rows = scan.shared_rows(None)
    return TagPartial(texts, scan.finish(), rows)


def _find_names(
    sources: Sequence[Source],
    request: TagNamesRequest,
    elsewhere: Ids,
    cache: TagCache | None,
    observer: QueryObserver | None,
    cancelled: Callable[[], bool],
) -> tuple[dict[str, set[str]], Scan]:
    """The names by scope, of scopes that have any, and the scan that has found them."""
    profile = (observer or QueryObserver()).profile
    with profile.stage("compile"):
        compiled = _compiled(request.query)
    names: dict[str, set[str]] = {scope: set() for scope in SCOPES if request.scope in {None, scope}}
    scan = Scan(sources if names else (), _scan_plan(request, compiled, (), elsewhere), cancelled, profile)
    fold = AllNames(names, cache or TagCache()) if compiled is None else MatchingNames(compiled, names, scan)
    scan.run(fold, stitched_first)
    fold.finish()
    return {scope: of_scope for scope, of_scope in names.items() if of_scope}, scan


def _names_of(names: Mapping[str, Collection[str]], inspected: Inspected, request: TagNamesRequest) -> TagNames:
    scopes = {scope: _first(of_scope, request.limit) for scope, of_scope in names.items()}
    if request.scope in {None, INTRINSIC}:
        scopes[INTRINSIC] = _first(INTRINSIC_TAGS, request.limit)
    return TagNames(dict(sorted(scopes.items())), inspected)


def finish_names(partials: Sequence[TagPartial], request: TagNamesRequest) -> TagNames:
    """The answer of several workers, in any order."""
    merged = merge(partials)
    if merged.shared_rows is not None:
        merged = merge([merged, tag_names_partial([stitched_rows(merged.shared_rows)], request)])
    names = {scope: texts.to_pylist() for scope, texts in merged.distinct.items()}
    return _names_of(names, merged.inspected, request)


def tag_values(
    sources: Sequence[Source],
    request: TagValuesRequest,
    *,
    bytes_max: int = VALUES_BYTES_MAX,
    cache: TagCache | None = None,
    observer: QueryObserver | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> TagValues:
    """The values of some fields. Of those with a closed set (status, kind) without a query all that there may be.

    bytes_max: so many bytes of text; what is more is left out
    cache, observer, cancelled: as for `tag_names`
    Raises: QueryCancelled; OSError from a source
    """
    partial = tag_values_partial(
        sources, request, bytes_max=bytes_max, cache=cache, observer=observer, cancelled=cancelled
    )
    return finish_values([partial], request, bytes_max)


def tag_values_partial(  # noqa: PLR0913 (as tag_values, and one more)
    sources: Sequence[Source],
    request: TagValuesRequest,
    *,
    elsewhere: Ids = NO_IDS,
    bytes_max: int = VALUES_BYTES_MAX,
    cache: TagCache | None = None,
    observer: QueryObserver | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> TagPartial:
    """What one of several workers answers from its sources. As `tag_values`; elsewhere: as of `tag_names_partial`"""
    profile = (observer or QueryObserver()).profile
    fields = [field for field in request.fields if has_values(field)]
    found = Distinct(_allowed_bytes(request, bytes_max))
    with profile.stage("compile"):
        compiled = _compiled(request.query)
    if compiled is None:
        for field in fields:
            if keywords(field):
                words = pa.array(keywords(field))
                found.add_values(KEYWORD, words, words.nbytes)
        fields = [field for field in fields if not keywords(field)]
    if not fields:
        return TagPartial(found.arrays())
    if _of_traces(fields) and (len(elsewhere) or _are_shared(sources)):
        compiled = replace(compiled or plan(check(parse("{ }"))), whole_traces=True)
    columns = {column for field in fields for column, _ in field_columns(field)}
    scan = Scan(sources, _scan_plan(request, compiled, columns, elsewhere), cancelled, profile)
    scan.run(_Values(compiled, fields, found, cache or TagCache()), stitched_first)
    rows = scan.shared_rows(scan.plan.columns)
    return TagPartial(found.arrays(), scan.finish(), rows)


def finish_values(
    partials: Sequence[TagPartial], request: TagValuesRequest, bytes_max: int = VALUES_BYTES_MAX
) -> TagValues:
    """The answer of several workers, in any order."""
    merged = merge(partials)
    if merged.shared_rows is not None:
        stitched = tag_values_partial([stitched_rows(merged.shared_rows)], request, bytes_max=bytes_max)
        merged = merge([merged, stitched])
    values = first_values(merged.distinct, request.limit, _allowed_bytes(request, bytes_max))
    return TagValues(values, merged.inspected)


def _allowed_bytes(request: TagValuesRequest, bytes_max: int) -> int:
    return min(request.bytes_max or bytes_max, bytes_max)


class _Values:
    """Fold: the distinct values of some fields, of all spans or of those that match."""

    def __init__(self, compiled: Plan | None, fields: Sequence[ast.Field], found: Distinct, cache: TagCache) -> None:
        self._compiled, self._found, self._cache = compiled, found, cache
        self._fields = [(field, expression(field)) for field in fields]

    def add_piece(self, reader: Reader, among: Mask | None) -> bool:
        rows = None if self._compiled is None else matching_rows(self._compiled.root, reader, among)
        if rows is not None and not rows.any():
            return False
        mask = None if rows is None or rows.all() else rows
        for field, name in self._fields:
            if rows is None:
                for known in self._cache.values(reader, field, name):
                    self._found.add_values(*known)
            else:
                for type_, values in field_values(reader, field, mask):
                    self._found.add_values(type_, values, values.nbytes)
        return False

    def ends_before(self, _piece: Piece, _left: int) -> bool:
        return self._found.full

    def may_need(self, _piece: Piece) -> bool:
        return True


def _scan_plan(
    request: TagNamesRequest | TagValuesRequest, compiled: Plan | None, columns: Collection[str], elsewhere: Ids
) -> ScanPlan:
    """In: columns: what is read of matching rows besides those of the query"""
    window = SpanWindow(request.start_ns, request.end_ns)
    if compiled is None:
        return ScanPlan(window, evaluates=False, counts_traces=False, sorts=False)
    return ScanPlan(window, compiled.columns.union(columns), compiled.whole_traces, elsewhere, counts_traces=False)


def _are_shared(sources: Sequence[Source]) -> bool:
    """Whether traces lie in several of the sources."""
    return len(shared_ids([Reader(source) for source in sources if source.rows])) > 0


def _of_traces(fields: Collection[ast.Field]) -> bool:
    """Only a whole trace tells that it has no root, and how many children a span has."""
    return any(field in _OF_ROOTS or field == CHILD_COUNT for field in fields)


def _compiled(query: str) -> Plan | None:
    """The plan of the filter; None: every span counts."""
    text = usable_filter(query)
    if not text:
        return None
    compiled = plan(check(parse(text)))
    return None if compiled.root.stages == _EVERYTHING else compiled


def _first(names: Collection[str], limit: int) -> tuple[str, ...]:
    return tuple(sorted(names)[: limit or None])
