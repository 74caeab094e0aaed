"""A trace of 200,000 spans in two places: what moves between processes depends on what is wanted of it."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from query.requests import Page, SearchRequest, SpanMatching, SpanSelection, TraceRequest
from query.scan.progress import QueryObserver
from tests.helpers.loops import in_loop
from tests.helpers.querying.large_trace import FAILED, SPANS, TRACE_ID, large_trace, span_id
from tests.helpers.querying.moved_bytes import MovedBytes
from tests.helpers.querying.processes import MS

KB: Final = 1000


@in_loop
async def test_what_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of all frames between the processes, and the answers: of the whole trace, whoever has its spans."""
    moved = MovedBytes(monkeypatch)

    async def asked(call: Callable[[], Awaitable[Any]], bytes_max: int) -> Any:
        moved.bytes = 0
        found = await call()
        assert moved.bytes <= bytes_max
        return found

    async with large_trace(tmp_path) as frontend:

        async def trace(bytes_max: int, **what: Any) -> Any:
            return await asked(lambda: frontend.trace("t", TraceRequest(trace_id=TRACE_ID, **what)), bytes_max)

        async def search(query: str, bytes_max: int) -> list[Any]:
            request = SearchRequest(query=query, start_ns=0, end_ns=10**9 * MS)
            found = await asked(lambda: frontend.search("t", request, QueryObserver()), bytes_max)
            return [
                (one.root_name, one.start_ns, sum(sets.matched for sets in one.span_sets), one.service_stats["shop"][0])
                for one in found.traces
            ]

        page = await trace(400 * KB, page=Page(None, 1000))
        assert (page.table.num_rows, page.more) == (1000, True)
        assert page.table["span_id"][999].as_py() == span_id(1000)
        outline = (await trace(25 * SPANS, outline=True)).table
        assert outline.num_rows == SPANS
        assert outline["nested_left"][0].as_py() == 1
        found = await trace(50 * KB, matching=SpanMatching(query="{ status = error }"))
        assert found.table.num_rows == SPANS // FAILED
        kept = await trace(100 * KB, filter=SpanSelection("{ status = error }"))
        assert (kept.table.num_rows, kept.more) == (SPANS // FAILED, True)
        family = await trace(25 * SPANS, filter=SpanSelection("{ status = error }", above=-1))
        assert SPANS // FAILED < family.table.num_rows < SPANS // 100
        about = ("operation 1", 1001 * MS)
        assert await search("{ }", 50 * KB) == [(*about, SPANS, SPANS)]
        assert await search("{ status = error }", 50 * KB) == [(*about, SPANS // FAILED, SPANS)]
        assert await search('{ span.http.url = "nowhere" }', 50 * KB) == []
        # Where whole traces decide, what decides moves.
        count = SPANS // FAILED
        assert await search(f"{{ status = error }} | count() = {count}", 40 * SPANS) == [(*about, count, SPANS)]
        matched = await search("{ status = error } >> { status = error }", 40 * SPANS)
        assert [(name, start) for name, start, *_ in matched] == ([about] if matched else [])
