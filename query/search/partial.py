"""What one worker answers to a search, in columns: mergeable in any order, and sendable as Arrow IPC.

The workers of a search have different sources. Each gives its first traces, ready to be shown. Traces of which several
workers have spans are left out of that: their rows travel, and whoever merges stitches and evaluates them.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pyarrow as pa

from query.language.plan import Projection
from query.requests import SearchRequest
from query.results import Inspected
from query.scan.stitch import concat_rows
from query.search.top_traces import TopTraces, cut, order_of
from query.search.trace_columns import TraceColumns, TraceTables

_HEADER = b"stretto.search"


@dataclass(frozen=True, slots=True, eq=False)
class SearchPartial:
    """The first traces of some sources. It holds no reader.

    parts: of different traces, together in the order of the answer; more: further traces match behind them
    total: how many traces match in all; None: it was not asked
    shared_rows: of traces that several workers have, which are in no part; as of `Scan.shared_rows`
    """

    parts: tuple[TraceColumns, ...] = ()
    more: bool = False
    total: int | None = None
    inspected: Inspected = field(default_factory=Inspected)
    shared_rows: pa.Table | None = None

    @property
    def last(self) -> TopTraces:
        """The last part's traces: the page ends with them."""
        ids = np.empty(0, "S16")
        top = self.parts[-1].top if self.parts else TopTraces(ids, np.empty(0, np.int64), np.empty(0, np.int64))
        return replace(top, more=self.more)

    def to_ipc(self) -> bytes:
        """As Arrow IPC streams, one after the other: traces, services, spansets and spans, then the shared rows."""
        header = {"more": self.more, "total": self.total, "inspected": asdict(self.inspected)}
        sink = pa.BufferOutputStream()
        tables = [pa.table({}).replace_schema_metadata({_HEADER: json.dumps(header)})]
        if self.parts:
            found = TraceTables.concat([TraceTables.from_columns(part) for part in self.parts])
            tables += [found.traces, found.services, found.span_sets, found.spans]
        else:
            tables += [pa.table({})] * 4
        tables.append(pa.table({}) if self.shared_rows is None else self.shared_rows)
        for table in tables:
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
        return bytes(sink.getvalue())

    @classmethod
    def from_ipc(cls, data: bytes, projections: Sequence[Projection]) -> "SearchPartial":
        """What `to_ipc` wrote. In: the projections of the same query. Raises: pa.ArrowInvalid where it is damaged"""
        source = pa.BufferReader(data)
        head, *levels, shared_rows = [pa.ipc.open_stream(source).read_all() for _ in range(6)]
        header = json.loads(head.schema.metadata[_HEADER])
        parts = (TraceTables(*levels).to_columns(projections),) if levels[0].num_rows else ()
        return cls(
            parts,
            header["more"],
            header["total"],
            Inspected(**header["inspected"]),
            shared_rows if shared_rows.num_columns else None,
        )


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
    )
    if not tables:
        return merged
    projections = next(part.span_sets.projections for partial in partials for part in partial.parts)
    found = TraceTables.concat(tables)
    order = order_of(found.top, request)
    page = cut(replace(found.top, more=merged.more), request.limit)
    parts = (found.take(order[: len(page)]).to_columns(projections),) if len(page) else ()
    return replace(merged, parts=parts, more=page.more)
