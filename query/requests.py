"""What can be asked of the engine: plain values, which go from the API to the engine as they are.

Times are unix nanoseconds; None leaves that end of the time range open. A request holds nothing of a process, neither
sources nor callbacks, so that it can be sent to another one.
"""

from dataclasses import dataclass
from typing import Final, Literal

from query.language import ast

Order = Literal["start", "duration"]
ORDERS: Final[tuple[Order, ...]] = ("start", "duration")

# Start in ns and id of a span: the order of a trace's spans, and of its pages.
SpanPosition = tuple[int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """Traces that match a TraceQL query, and whose whole time overlaps [start_ns, end_ns)."""

    query: str
    start_ns: int | None = None
    end_ns: int | None = None
    limit: int = 20  # traces
    spans_per_span_set: int = 3  # matched spans that the answer shows of each span set, the first by start; 0: all
    order: Order = "start"  # the newest traces first, or with "duration" those that took longest
    total: bool = False  # also count all traces that match
    # None: no pages; "": the first page; otherwise `SearchResult.next_cursor` of the page before.
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeRequest:
    """A TraceQL metrics query, with one sample of each series per step."""

    query: str
    start_ns: int
    end_ns: int
    step_ns: int
    exemplars: int = 0  # at most, of each metrics function; the query's hint `exemplars` goes before


@dataclass(frozen=True, slots=True, kw_only=True)
class InstantRequest:
    """A TraceQL metrics query, with one sample of each series about the whole time range."""

    query: str
    start_ns: int
    end_ns: int
    exemplars: int = 0  # as for RangeRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class TagNamesRequest:
    """The names of attributes by scope, and of the intrinsics."""

    scope: str | None = None  # one of `tag_text.SCOPES`, or `tag_text.INTRINSIC`; None: all
    query: str = ""  # TraceQL, also unfinished; "": of all spans
    start_ns: int | None = None
    end_ns: int | None = None
    limit: int = 0  # names of each scope; 0: all


@dataclass(frozen=True, slots=True, kw_only=True)
class TagValuesRequest:
    """The distinct values of some fields taken together."""

    fields: tuple[ast.Field, ...]  # of `tag_text.parse_tag` or `tag_text.parse_old_tag`
    query: str = ""  # as for TagNamesRequest
    start_ns: int | None = None
    end_ns: int | None = None
    limit: int = 0  # values; 0: all
    bytes_max: int = 0  # of their text; what is more is left out; 0: only as `tag_values` says


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a trace: the spans that follow another one, by start and then by span id."""

    after: SpanPosition | None  # the last span of the page before; None: the first page
    spans_max: int  # at least 1; spans that are equal in start and id stay together, and may make a page longer


@dataclass(frozen=True, slots=True)
class SpanMatching:
    """Asks only for the ids of those spans of a trace that match both; an empty one matches all."""

    query: str = ""  # one `{ … }` about single spans
    text: str = ""  # is in a value, or is the key of an attribute; upper and lower case are alike


@dataclass(frozen=True, slots=True)
class SpanSelection:
    """Asks only for those spans of a trace that match, with so many levels of spans below and above each; as
    `query.trace.filter.TraceFilter`.
    """

    query: str  # one `{ … }` about single spans
    below: int = 0
    above: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """One trace by its id, whole or a page of it. The times say where to look, not which spans to return."""

    trace_id: bytes  # 16
    start_ns: int | None = None
    end_ns: int | None = None
    bytes_max: int = 0  # of a whole trace as OTLP; 0: any
    page: Page | None = None  # None: all spans
    outline: bool = False  # of each span only `query.trace.outline.OUTLINE_COLUMNS`
    matching: SpanMatching | None = None  # only ids of spans
    filter: SpanSelection | None = None  # None: all spans
