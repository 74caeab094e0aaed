"""The entry point of a trace by its id: request and sources → its spans, all of them or a page."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from query.errors import TraceTooLarge
from query.requests import TraceRequest
from query.scan.source import Source
from query.trace.outline import matching_spans, trace_outline
from query.trace.pages import count_spans, trace_page
from query.trace.trace import find_trace

# The least that a span takes as OTLP: its ids and times, and what stands around them.
_SPAN_BYTES_MIN: Final = 50


def trace_by_id(sources: Sequence[Source], request: TraceRequest) -> tuple[pa.Table | None, bool]:
    """The spans, as `find_trace` gives them, and whether more follow: only after a page. None: there are none.

    An outline is as `trace_outline` gives it, of any size; spans that match as `matching_spans` gives them.

    sources: all that may have a span of the trace
    Raises: TraceTooLarge where a whole trace is certainly larger than `bytes_max`, before its columns are read; a
        trace that is near the limit comes. OSError from a source
    """
    page, limit = request.page, request.bytes_max
    if request.matching is not None:
        return matching_spans(sources, request.trace_id, request.matching), False
    if request.outline:
        return trace_outline(sources, request.trace_id), False
    if page is not None:
        return trace_page(sources, request.trace_id, page.after, page.spans_max)
    if limit and (spans := count_spans(sources, request.trace_id)) * _SPAN_BYTES_MIN > limit:
        raise TraceTooLarge(request.trace_id, spans, f"at least {spans * _SPAN_BYTES_MIN} bytes", limit)
    return find_trace(sources, request.trace_id), False
