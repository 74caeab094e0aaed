"""The entry point of a trace by its id: request and sources → its spans, all of them or a page."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from query import memory
from query.errors import TraceTooLarge
from query.requests import TraceRequest
from query.scan.source import Source
from query.trace.outline import matching_spans, trace_outline
from query.trace.pages import count_spans, trace_page
from query.trace.parts import filtered_trace
from query.trace.trace import find_trace
from tables.columns.in_memory import TableSource

# The least that a span takes as OTLP: its ids and times, and what stands around them.
_SPAN_BYTES_MIN: Final = 50


def trace_by_id(sources: Sequence[Source], request: TraceRequest) -> tuple[pa.Table | None, bool]:
    """The spans, as `find_trace` gives them, and whether the trace has more: behind a page, or that the filter leaves
    out. None: there are none. `bytes_max` concerns the whole trace, also with a filter.

    An outline is as `trace_outline` gives it, of any size; spans that match as `matching_spans` gives them.

    sources: all that may have a span of the trace
    Raises: TraceTooLarge where a whole trace is certainly larger than `bytes_max`, before its columns are read; a
        trace that is near the limit comes. OSError from a source
    """
    page = request.page
    if request.matching is not None:
        return matching_spans(sources, request.trace_id, request.matching), False
    if request.outline:
        return trace_outline(sources, request.trace_id), False
    if page is not None:
        return trace_page(sources, request.trace_id, page.after, page.spans_max)
    if request.bytes_max:
        check_spans(count_spans(sources, request.trace_id), request)
    if request.filter is not None:
        return filtered_trace(sources, request)
    return find_trace(sources, request.trace_id), False


def check_spans(spans: int, request: TraceRequest) -> None:
    """Raises: TraceTooLarge where a trace of so many spans is certainly larger than `bytes_max`"""
    if request.bytes_max and spans * _SPAN_BYTES_MIN > request.bytes_max:
        raise TraceTooLarge(request.trace_id, spans, f"at least {spans * _SPAN_BYTES_MIN} bytes", request.bytes_max)


def find_joined(tables: Sequence[pa.Table], trace_id: bytes) -> pa.Table | None:
    """Spans of one trace that several workers have, as `find_trace` gives them. Raises: MemoryExceeded"""
    memory.reserve(2 * sum(table.nbytes for table in tables), "the spans of the trace")
    return find_trace([TableSource(table.combine_chunks()) for table in tables], trace_id)
