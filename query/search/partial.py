"""What one worker answers to a search, in columns: mergeable in any order, and sendable as Arrow IPC.

The workers of a search have different sources. Each gives its first traces, ready to be shown. Traces of which several
workers have spans are left out of that: their rows travel, and whoever merges stitches and evaluates them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pyarrow as pa

from query.language.plan import Projection
from query.requests import SearchRequest
from query.results import Inspected
from query.scan.ipc import read_partial, write_partial
from query.scan.stitch import concat_rows
from query.search.top_traces import TopTraces, cut, order_of
from query.search.trace_columns import TraceColumns, TraceTables
from query.search.trace_pieces import TracePieces, concat_pieces

_KIND: Final = b"stretto.search"
_LEVELS: Final = 4  # tables of TraceTables


@dataclass(frozen=True, slots=True, eq=False)
class SearchPartial:
    """The first traces of some sources. It holds no reader.

    parts: of different traces, together in the order of the answer; more: further traces match behind them
    total: how many traces match in all; None: it was not asked
    shared_rows: of traces that several workers have, which are in no part; as of `Scan.shared_rows`
    pieces: of the same instead, where whoever merges can put them together
    """

    parts: tuple[TraceColumns, ...] = ()
    more: bool = False
    total: int | None = None
    inspected: Inspected = field(default_factory=Inspected)
    shared_rows: pa.Table | None = None
    pieces: TracePieces | None = None

    @property
    def last(self) -> TopTraces:
        """The last part's traces: the page ends with them."""
        ids = np.empty(0, "S16")
        top = self.parts[-1].top if self.parts else TopTraces(ids, np.empty(0, np.int64), np.empty(0, np.int64))
        return replace(top, more=self.more)

    def to_ipc(self) -> bytes:
        """As Arrow IPC: tables of traces, services, spansets and spans, where there are traces."""
        tables: list[pa.Table] = []
        if self.parts:
            parts = [TraceTables.from_columns(part) for part in self.parts]
            found = parts[0] if len(parts) == 1 else TraceTables.concat(parts)
            tables = found.levels
        if self.pieces is not None:
            tables = [*tables, *self.pieces.tables.levels]
        header = {"more": self.more, "total": self.total, "pieces": self.pieces is not None}
        return write_partial(_KIND, header, self.inspected, tables, self.shared_rows)

    @classmethod
    def from_ipc(cls, data: bytes, projections: Sequence[Projection]) -> "SearchPartial":
        """What `to_ipc` wrote. In: the projections of the same query. Raises: as `read_partial`"""
        header, inspected, levels, shared_rows = read_partial(_KIND, data)
        pieces = TracePieces(TraceTables(*levels[-_LEVELS:])) if header.get("pieces") else None
        own = levels if pieces is None else levels[:-_LEVELS]
        parts = (TraceTables(*own).to_columns(projections),) if own and own[0].num_rows else ()
        return cls(parts, header["more"], header["total"], inspected, shared_rows, pieces)


def merge(partials: Sequence[SearchPartial], request: SearchRequest) -> SearchPartial:
    """The first traces of all the partials' sources. In: partials of the same request over different sources

    Of shared traces the rows are only put below each other: `search.finish` evaluates them when all are there.
    """
    tables = [TraceTables.from_columns(part) for partial in partials for part in partial.parts]
    totals = [partial.total for partial in partials if partial.total is not None]
    merged = SearchPartial(
        more=any(partial.more for partial in partials),
        total=sum(totals) if totals else None,
        inspected=sum((partial.inspected for partial in partials), Inspected()),
        shared_rows=concat_rows(partial.shared_rows for partial in partials),
        pieces=concat_pieces([partial.pieces for partial in partials]),
    )
    if not tables:
        return merged
    projections = next(part.span_sets.projections for partial in partials for part in partial.parts)
    found = TraceTables.concat(tables)
    order = order_of(found.top, request)
    page = cut(replace(found.top, more=merged.more), request.limit)
    parts = (found.take(order[: len(page)]).to_columns(projections),) if len(page) else ()
    return replace(merged, parts=parts, more=page.more)
