"""A trace of 200,000 spans in two places: the first half in a block that a querier reads, the other in a live store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Final

from faust.types import TP
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.querying.frontend import Frontend, FrontendLimits
from tables.live.partition import CutPolicy
from tables.wire import record
from tables.wire.split import partition_of
from tests.helpers.live.live_store import DECODER, TOPIC
from tests.helpers.querying.processes import MS, Sent, cluster, with_queriers

SPANS: Final = 200_000
RECORD: Final = 10_000
FAILED: Final = 1000  # one span in so many
TRACE_ID: Final = Sent(7, 0, 0).trace_id
PATIENCE_S: Final = 120
POLICY: Final = CutPolicy(
    partitions=2, segment_rows_max=50_000, segment_age_ms=100_000, block_rows_max=1 << 30, block_age_ms=5000
)


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
async def large_trace(folder: Path) -> AsyncIterator[Frontend]:
    """A frontend that asks a querier and a live store."""
    async with cluster(folder, names=("a",), policy=POLICY) as group:
        # On a busy machine, too: what is looked at is how much moves, not how long it takes.
        group.limits = FrontendLimits(timeout_s=PATIENCE_S, live_store_wait_s=PATIENCE_S)
        for executor in (group.executor, group.processes["a"].executor):
            executor.limits = replace(executor.limits, timeout_s=PATIENCE_S)
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
        async with with_queriers(group, ["q"]) as front:
            yield front.frontend
