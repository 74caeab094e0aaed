"""What moves between processes for a trace of 200,000 spans, half in a block, half in a live store: `-m`, no arguments.

A frontend, a querier and a live store run in this one process, and speak over gRPC. For each question, asked twice, it
prints the bytes of all frames of the second time, the peak of Arrow's memory in all three, and CPU time.
"""

import asyncio
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa

from app.querying.frontend import Frontend
from app.rpc.frames import FrameReader, RpcFrame
from query.requests import Page, RangeRequest, SearchRequest, SpanMatching, SpanSelection, TraceRequest
from query.scan.progress import QueryObserver
from tests.helpers.querying.large_trace import TRACE_ID, large_trace

MB: Final = 1e6
NS: Final = 10**9
STEP_S: Final = 0.001
FAILED: Final = "{ status = error }"


class Moved:
    """Bytes of the frames that arrive anywhere in this process."""

    def __init__(self) -> None:
        self.bytes = 0
        take = FrameReader.take_message

        def counted(reader: FrameReader, message: bytes) -> RpcFrame | None:
            self.bytes += len(message)
            return take(reader, message)

        FrameReader.take_message = counted  # type: ignore[assignment,method-assign]


class Peak:
    """The most that Arrow has allocated within the `with`, beyond what it had before."""

    def __enter__(self) -> Self:
        self._base = self._most = pa.total_allocated_bytes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(STEP_S):
            self._most = max(self._most, pa.total_allocated_bytes())

    @property
    def bytes(self) -> int:
        return int(self._most - self._base)


def questions(frontend: Frontend) -> dict[str, Callable[[], Awaitable[Any]]]:
    """What is asked, by name."""

    def trace(**what: Any) -> Callable[[], Awaitable[Any]]:
        return lambda: frontend.trace("t", TraceRequest(trace_id=TRACE_ID, **what))

    def search(query: str) -> Callable[[], Awaitable[Any]]:
        request = SearchRequest(query=query, start_ns=0, end_ns=1000 * NS)
        return lambda: frontend.search("t", request, QueryObserver())

    rate = RangeRequest(query=f"{FAILED} >> {{ }} | rate() by (name)", step_ns=100 * NS, start_ns=0, end_ns=1000 * NS)
    return {
        "all spans": trace(),
        "a page of 1,000": trace(page=Page(None, 1000)),
        "its outline": trace(outline=True),
        "ids that match": trace(matching=SpanMatching(query=FAILED)),
        "ids with a text": trace(matching=SpanMatching(text="/777")),
        "q=": trace(filter=SpanSelection(FAILED)),
        "q= with ancestors": trace(filter=SpanSelection(FAILED, above=-1)),
        "search, all spans": search("{ }"),
        "search, one filter": search(FAILED),
        "search, no match": search('{ span.http.url = "nowhere" }'),
        "search, structure": search(f'{FAILED} > {{ name = "operation 1" }}'),
        "search, count()": search(f"{FAILED} | count() > 2"),
        "rate, structure": lambda: frontend.metrics_range("t", rate, QueryObserver()),
    }


async def measured(folder: Path) -> None:
    """Prints a line for each question."""
    moved = Moved()
    async with large_trace(folder) as frontend:
        for name, ask in questions(frontend).items():
            await ask()
            moved.bytes, cpu_s = 0, time.process_time()
            with Peak() as peak:
                await ask()
            cpu_s = time.process_time() - cpu_s
            print(f"{name:20} {moved.bytes / MB:7.2f} MB moved, {peak.bytes / MB:6.1f} MB at most, CPU {cpu_s:5.2f} s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="large-trace-") as name:
        asyncio.run(measured(Path(name)))
