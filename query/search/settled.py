"""What is known of a search's answer before all workers have answered."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from query.requests import SearchRequest
from query.results import SearchResult
from query.scan.arrays import fixed_bytes, to_numpy
from query.scan.pieces import UNKNOWN_NS
from query.scan.shared_traces import Keys, keys_of_rows
from query.search.answer import Traces
from query.search.partial import SearchPartial, merge
from query.search.search import finish, finish_partial
from query.search.top_traces import enough, settles
from tables.columns.arrays import one_array
from tables.columns.sorted_sets import is_among


def may_be_settled(partials: Sequence[SearchPartial], request: SearchRequest, latest_ns: int) -> bool:
    """Whether it is worth asking `settled` for the whole answer: cheap. latest_ns: as there"""
    if not settles(request) or latest_ns == UNKNOWN_NS:
        return False
    own = sum(int(np.count_nonzero(part.top.start > latest_ns)) for partial in partials for part in partial.parts)
    shared = sum(_rows(partial.shared_rows) + len(partial.pieces or ()) for partial in partials)
    return own + shared >= enough(request)


def settled(
    partials: Sequence[SearchPartial], request: SearchRequest, latest_ns: int, unready: Keys
) -> tuple[SearchResult, bool]:
    """The first traces of the answer that the others cannot change, and whether these are the whole answer.

    latest_ns: no trace of those who have not answered begins later
    unready: keys of the traces of which some of those have spans; their rows do not count yet
    """
    if not settles(request) or latest_ns == UNKNOWN_NS:
        return SearchResult(Traces(), merge(partials, request).inspected), False
    ready = []
    for one in partials:
        rows, unready_ns = _ready(one.shared_rows, unready)
        pieces, waiting_ns = (None, 0) if one.pieces is None else one.pieces.ready(unready)
        ready.append(replace(one, shared_rows=rows, pieces=pieces))
        # What is missing of such a trace may have no time: it begins not later than the spans that are known.
        latest_ns = max(latest_ns, unready_ns, waiting_ns)
    wanted = enough(request)
    found = finish_partial(ready, replace(request, limit=wanted))
    starts = np.concatenate([part.top.start for part in found.parts]) if found.parts else np.empty(0, np.int64)
    count = int(np.count_nonzero(starts > latest_ns))
    if count >= wanted:
        return finish(ready, request), True
    return SearchResult(Traces.from_columns(found.parts)[:count], found.inspected), False


def _ready(rows: pa.Table | None, unready: Keys) -> tuple[pa.Table | None, int]:
    """The rows of traces that are there whole, and when the last span of the others starts."""
    if rows is None or not len(unready):
        return rows, 0
    waits = is_among(keys_of_rows(fixed_bytes(one_array(rows["trace_id"]))), unready)
    starts = to_numpy(one_array(rows["start_ns"]))[waits]
    kept = rows.filter(pa.array(~waits))
    return (kept if kept.num_rows else None), int(starts.max()) if len(starts) else 0


def _rows(table: pa.Table | None) -> int:
    return 0 if table is None else int(table.num_rows)
