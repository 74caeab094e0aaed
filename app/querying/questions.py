"""The kinds of questions, and what each needs to be answered by several workers: a table, a row for each.

A worker's answer is a partial. It travels as Arrow IPC; whoever asked merges the partials of all, in any order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from query.language.compile import compile_query
from query.metrics import metrics
from query.metrics.metrics import compile_metrics
from query.metrics.metrics_partial import MetricsPartial
from query.request_json import Request
from query.requests import InstantRequest, RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest
from query.scan.arrays import Ids
from query.scan.progress import QueryObserver
from query.search import search
from query.search.partial import SearchPartial
from query.search.partial import merge as merge_searches
from query.tags import tags
from query.tags.partial import TagPartial
from query.tags.partial import merge as merge_tags
from query.tags.tag_cache import TagCache

_TRACE_BYTES: Final = 500
Partial = Any  # SearchPartial, MetricsPartial or TagPartial
Cancelled = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker makes a partial of.

    elsewhere: ids, ascending, of the traces of which other workers have spans, too
    in_pieces: whether whoever asks can put pieces of those together
    """

    sources: Sequence[Any]
    elsewhere: Ids
    observer: QueryObserver
    cancelled: Cancelled
    tag_cache: TagCache
    in_pieces: bool = True


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of questions. Everything takes the request as its last argument.

    check: raises TraceQLError where the text is wrong
    concerns_traces: whether workers must know which traces they share
    partial: a worker's partial; decode: of the bytes of its `to_ipc`
    merge: one partial of several; finish: the answer
    size_bytes: about how much work `finish` has with a partial; drop: forgets a partial, if it is of many objects, some
        at a time, where it was made: the event loop would free them all at once
    """

    check: Callable[[Any], object]
    concerns_traces: Callable[[Any], bool]
    partial: Callable[[Work, Any], Partial]
    decode: Callable[[bytes, Any], Partial]
    merge: Callable[[Sequence[Any], Any], Partial]
    finish: Callable[[Sequence[Any], Any], Any]
    size_bytes: Callable[[Any], int]
    drop: Callable[[Any], None] = lambda _: None


def _search(work: Work, request: SearchRequest) -> SearchPartial:
    return search.search_partial(
        work.sources,
        request,
        elsewhere=work.elsewhere,
        in_pieces=work.in_pieces,
        observer=work.observer,
        cancelled=work.cancelled,
    )


def _metrics(work: Work, request: RangeRequest | InstantRequest) -> MetricsPartial:
    return metrics.metrics_partial(
        work.sources, request, elsewhere=work.elsewhere, observer=work.observer, cancelled=work.cancelled
    )


def _tags(partial: Callable[..., TagPartial]) -> Callable[[Work, Any], TagPartial]:
    def of_work(work: Work, request: Any) -> TagPartial:
        return partial(
            work.sources,
            request,
            elsewhere=work.elsewhere,
            cache=work.tag_cache,
            observer=work.observer,
            cancelled=work.cancelled,
        )

    return of_work


def _rows_bytes(partial: Partial) -> int:
    """Rows that must be stitched and evaluated are much work."""
    return 0 if partial.shared_rows is None else 1000 * int(partial.shared_rows.nbytes)


def _search_bytes(partial: SearchPartial) -> int:
    traces = sum(map(len, partial.parts)) + len(partial.pieces or ())
    return traces * _TRACE_BYTES + _rows_bytes(partial)


def _tag_bytes(partial: TagPartial) -> int:
    return sum(int(array.nbytes) for array in partial.distinct.values()) + _rows_bytes(partial)


_SEARCH: Final = Kind(
    check=lambda request: compile_query(request.query),
    concerns_traces=lambda _: True,
    partial=_search,
    decode=lambda data, request: SearchPartial.from_ipc(data, compile_query(request.query).projections),
    merge=merge_searches,
    finish=search.finish,
    size_bytes=_search_bytes,
)
_METRICS: Final = Kind(
    check=lambda request: compile_metrics(request.query),
    concerns_traces=lambda request: metrics.concerns_traces(request.query),
    partial=_metrics,
    decode=lambda data, _: MetricsPartial.from_ipc(data),
    merge=metrics.merge,
    finish=metrics.finish,
    size_bytes=lambda partial: sum(each.nbytes for each in partial.functions) + _rows_bytes(partial),
    drop=MetricsPartial.drop,
)
_NAMES: Final = Kind(
    check=lambda _: None,
    concerns_traces=tags.concerns_traces,
    partial=_tags(tags.tag_names_partial),
    decode=lambda data, _: TagPartial.from_ipc(data),
    merge=lambda partials, _: merge_tags(partials),
    finish=tags.finish_names,
    size_bytes=_tag_bytes,
)
_VALUES: Final = Kind(
    check=lambda _: None,
    concerns_traces=tags.concerns_traces,
    partial=_tags(tags.tag_values_partial),
    decode=lambda data, _: TagPartial.from_ipc(data),
    merge=lambda partials, _: merge_tags(partials),
    finish=tags.finish_values,
    size_bytes=_tag_bytes,
)
_KINDS: Final[Mapping[type, Kind]] = {
    SearchRequest: _SEARCH,
    RangeRequest: _METRICS,
    InstantRequest: _METRICS,
    TagNamesRequest: _NAMES,
    TagValuesRequest: _VALUES,
}


def kind_of(request: Request) -> Kind:
    """The kind of a request. A trace by its id is none: its spans are put together, not merged (`live_service`)."""
    return _KINDS[type(request)]
