"""A trace of 200,000 spans, half in a block that a querier reads, half in a live store: what moves between processes
depends on what is wanted of it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from faust.types import TP
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.querying.frontend import Frontend
from app.rpc.frames import FrameReader
from query.requests import Page, SearchRequest, SpanFilter, SpanMatching, TraceRequest
from query.scan.progress import QueryObserver
from tables.live.partition import CutPolicy
from tables.wire import record
from tables.wire.split import partition_of
from tests.helpers.live_store import DECODER, TOPIC
from tests.helpers.loops import in_loop
from tests.helpers.processes import MS, Sent, cluster, with_queriers

SPANS: Final = 200_000
RECORD: Final = 10_000
FAILED: Final = 1000  # one span in so many
TRACE_ID: Final = Sent(7, 0, 0).trace_id
POLICY: Final = CutPolicy(
    partitions=2, segment_rows_max=50_000, segment_age_ms=100_000, block_rows_max=1 << 30, block_age_ms=5000
)
KB: Final = 1000


def span_id(number: int) -> bytes:
    return (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big")


def spans(first: int, end: int) -> bytes:
    """A tree with eight children a span, of one service."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "shop"
    scope = group.scope_spans.add()
    for number in range(first, end):
        span = scope.spans.add(
            trace_id=TRACE_ID,
            span_id=span_id(number),
            parent_span_id=span_id(number // 8) if number > 1 else b"",
            name=f"operation {number % 50}",
            start_time_unix_nano=(1000 + number) * MS,
            end_time_unix_nano=(1000 + number) * MS + number * 104729 % 50_000_000,
        )
        span.attributes.add(key="http.url").value.string_value = f"https://shop.example/{number * 7919 % 100_000}"
        if number % FAILED == 0:
            span.status.code = 2
    return request.SerializeToString()


@asynccontextmanager
async def filled(folder: Path) -> AsyncIterator[Frontend]:
    """The first half is flushed."""
    async with (
        cluster(folder, names=("a",), policy=POLICY, wait_s=5) as group,
        with_queriers(group, ["q"]) as front,
    ):
        process, number = group.processes["a"], partition_of(TRACE_ID, 2)
        await process.own({0, 1})
        records = group.log.records.setdefault(number, [])
        for first in range(1, SPANS + 1, RECORD):
            value, headers = record.encode(DECODER.decode([spans(first, first + RECORD)]).spans)
            records.append(
                SimpleNamespace(
                    partition=number,
                    tp=TP(TOPIC, number),
                    offset=len(records),
                    timestamp=100 if first <= SPANS // 2 else 110,  # another block
                    generation_id=1,
                    key=b"t",
                    value=value,
                    headers=headers,
                )
            )
            await process.read_all()
        await process.flush()
        group.blocks.poll(range(2))
        group.announce()
        assert group.blocks.flushed_offset(number) == len(records) // 2
        yield front.frontend


@in_loop
async def test_what_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of all frames between the processes, and the answers: of the whole trace, whoever has its spans."""
    moved = [0]
    take = FrameReader.take_message

    def counted(self: FrameReader, message: bytes) -> Any:
        moved[0] += len(message)
        return take(self, message)

    monkeypatch.setattr(FrameReader, "take_message", counted)

    async def asked(call: Callable[[], Awaitable[Any]], bytes_max: int) -> Any:
        moved[0] = 0
        found = await call()
        assert moved[0] <= bytes_max
        return found

    async with filled(tmp_path) as frontend:

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
        kept = await trace(100 * KB, filter=SpanFilter("{ status = error }"))
        assert (kept.table.num_rows, kept.more) == (SPANS // FAILED, True)
        family = await trace(25 * SPANS, filter=SpanFilter("{ status = error }", above=-1))
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
