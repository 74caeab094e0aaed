"""What queries of whole traces cost where blocks and live stores share no traces, or traces, or retries: `-m` alone.

A frontend, a querier and two live stores run in this one process, and speak over gRPC. Of 2,000 traces of 10 spans one
half of each lies in blocks, the other in live stores, or, where none are shared, of 4,000 traces all 5 spans; and some
spans of the blocks again, because their client sent them twice. For each question it prints the least CPU time of some
runs, and how many spans it counts.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Final

from faust.types import TP
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.querying.frontend import Frontend
from query.requests import InstantRequest, SearchRequest
from query.scan.progress import QueryObserver
from tables.live.partition import CutPolicy
from tables.wire import record
from tables.wire.split import partition_of
from tests.helpers.live.live_store import DECODER, TOPIC
from tests.helpers.querying.processes import MS, ProcessGroup, Sent, cluster, with_queriers

TRACES: Final = 2_000
HALF: Final = 5  # spans
RUNS: Final = 15
ATTRIBUTES: Final = 10
POLICY: Final = CutPolicy(
    partitions=2, segment_rows_max=1 << 16, segment_age_ms=1000, block_rows_max=1 << 20, block_age_ms=5000
)
# Name, whether blocks and live stores share traces, and of what share of the traces spans are sent twice.
CASES: Final = (
    ("no shared traces", False, 0.0),
    ("shared traces", True, 0.0),
    ("1 % sent twice", True, 0.01),
    ("all sent twice", True, 1.0),
)


def half(traces: Sequence[int], second: int) -> Iterator[Sent]:
    """The first or the second half of the spans of each trace."""
    for trace in traces:
        for number in range(second * HALF, (second + 1) * HALF):
            first = trace * 2 * HALF + 1
            yield Sent(trace, first + number, 1000 + number, f"op {number}", first if number else 0)


def append(group: ProcessGroup, spans: Sequence[Sent], seconds: float) -> None:
    """Appends a record of spans with ten attributes each to each partition of the log."""
    for partition in range(2):
        request = ExportTraceServiceRequest()
        scope = request.resource_spans.add().scope_spans.add()
        for one in spans:
            if partition_of(one.trace_id, 2) == partition:
                span = scope.spans.add(
                    trace_id=one.trace_id,
                    span_id=one.number.to_bytes(8, "big"),
                    parent_span_id=one.parent.to_bytes(8, "big") if one.parent else b"",
                    name=one.name,
                    start_time_unix_nano=one.at_ms * MS,
                    end_time_unix_nano=(one.at_ms + 1) * MS,
                )
                for number in range(ATTRIBUTES):
                    text = f"value {one.number % (10 ** (number % 5))}"
                    span.attributes.add(key=f"key{number}").value.string_value = text
        value, headers = record.encode(DECODER.decode([request.SerializeToString()]).spans)
        kept = group.log.records.setdefault(partition, [])
        kept.append(
            SimpleNamespace(
                partition=partition,
                tp=TP(TOPIC, partition),
                offset=len(kept),
                timestamp=seconds,
                generation_id=1,
                key=b"t",
                value=value,
                headers=headers,
            )
        )


async def fill(group: ProcessGroup, *, shared: bool, twice: float) -> None:
    """One half of the spans as blocks, the other in live stores, with those that are sent twice."""
    await group.processes["a"].own({0})
    await group.processes["b"].own({1})
    first = list(half(range(1, TRACES + 1), 0))
    append(group, first, 100)
    for process in group.processes.values():
        await process.read_all()
    others = range(1, TRACES + 1) if shared else range(TRACES + 1, 2 * TRACES + 1)
    append(group, [*half(others, int(shared)), *first[: int(TRACES * twice) * HALF]], 110)
    for process in group.processes.values():
        await process.read_all()
        await process.flush()
    group.blocks.poll(range(2))
    group.announce()


def questions(frontend: Frontend) -> dict[str, Callable[[], Awaitable[int]]]:
    """What is asked, by name: gives how many spans count."""

    def search(query: str) -> Callable[[], Awaitable[int]]:
        async def ask() -> int:
            result = await frontend.search("t", SearchRequest(query=query), QueryObserver())
            return sum(spans.matched for trace in result.traces for spans in trace.span_sets)

        return ask

    def count(query: str) -> Callable[[], Awaitable[int]]:
        async def ask() -> int:
            request = InstantRequest(query=query, start_ns=0, end_ns=1000 * 1000 * MS)
            result = await frontend.metrics_instant("t", request, QueryObserver())
            return round(sum(value for series in result.series for _, value in series.samples))

        return ask

    return {
        "search, structure": search('{ name = "op 0" } > { name =~ "op .*" }'),
        "search, count()": search("{ } | count() > 1"),
        "search, one filter": search('{ name = "op 3" }'),
        "metrics, roots": count("{ } | count_over_time() by (rootName)"),
        "metrics, single spans": count("{ } | count_over_time() by (name)"),
    }


async def measure(name: str, folder: Path, *, shared: bool, twice: float) -> None:
    """Prints a line for each question."""
    async with cluster(folder, policy=POLICY, retention_s=600) as group, with_queriers(group, ["q"]) as front:
        await fill(group, shared=shared, twice=twice)
        asked = questions(front.frontend)
        least = dict.fromkeys(asked, float("inf"))
        spans = {}
        for _ in range(RUNS):
            for question, ask in asked.items():
                begun_s = time.process_time()
                spans[question] = await ask()
                least[question] = min(least[question], time.process_time() - begun_s)
        for question, least_s in least.items():
            print(f"{name:18} {question:22} {1000 * least_s:8.1f} ms CPU {spans[question]:8} spans", flush=True)


def main() -> None:
    """Prints the CPU time of each question, for each case."""
    for name, shared, twice in CASES:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(name, Path(folder), shared=shared, twice=twice))


if __name__ == "__main__":
    main()
