"""A query that nobody waits for stops opening heads: of every kind, in one process and in several, HTTP and gRPC."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from app.api.call import ACCESS
from app.api.limits import LIMITS
from app.api.tempo.streaming import METHODS, SERVICE, build_streaming
from query.requests import (
    InstantRequest,
    Page,
    RangeRequest,
    SearchRequest,
    SpanSelection,
    TagNamesRequest,
    TagValuesRequest,
    TraceRequest,
)
from query.scan.progress import QueryObserver
from query.tags.tag_text import parse_tag
from tables.live.decode_together import GoOn, keep_going
from tables.live.head import Head
from tables.live.partition import CutPolicy
from tests.helpers.live.live_store import world
from tests.helpers.loops import in_loop
from tests.helpers.querying.api import api_over, serving
from tests.helpers.querying.filled_group import filled
from tests.helpers.querying.processes import Sent, cluster
from tests.helpers.querying.queriers import TRACE, loaded

# Heads stay open.
POLICY = CutPolicy(partitions=2, segment_age_ms=100_000, block_age_ms=5000)
RANGE: dict[str, Any] = {"start_ns": 0, "end_ns": 10**15}
COUNT = "{ } | count_over_time()"
# Of whom, and the id of a trace that is there.
Ask = Callable[[Any, bytes], Awaitable[Any]]
QUESTIONS: dict[str, Ask] = {
    "search": lambda asked, trace_id: asked.search("t", SearchRequest(query="{ }"), QueryObserver()),
    "structure": lambda asked, trace_id: asked.search("t", SearchRequest(query="{ } >> { }"), QueryObserver()),
    "instant": lambda asked, trace_id: asked.metrics_instant(
        "t", InstantRequest(query=COUNT, **RANGE), QueryObserver()
    ),
    "range": lambda asked, trace_id: asked.metrics_range(
        "t", RangeRequest(query=COUNT, step_ns=10**14, **RANGE), QueryObserver()
    ),
    "names": lambda asked, trace_id: asked.tag_names("t", TagNamesRequest(), QueryObserver()),
    "values": lambda asked, trace_id: asked.tag_values(
        "t", TagValuesRequest(fields=(parse_tag("name"),)), QueryObserver()
    ),
    "trace": lambda asked, trace_id: asked.trace("t", TraceRequest(trace_id=trace_id)),
    "page": lambda asked, trace_id: asked.trace("t", TraceRequest(trace_id=trace_id, page=Page(None, 5))),
    "outline": lambda asked, trace_id: asked.trace("t", TraceRequest(trace_id=trace_id, outline=True)),
    "filter": lambda asked, trace_id: asked.trace("t", TraceRequest(trace_id=trace_id, filter=SpanSelection("{ }"))),
}
PATHS = {
    "/api/search?q={}": None,
    "/api/search?tags=a%3Db": None,
    "/api/search/stream?q={}": None,
    f"/api/metrics/query_range?q={COUNT}&start=1&end=1000&step=100": None,
    f"/api/metrics/query?q={COUNT}&start=1&end=1000": None,
    "/api/search/tags": None,
    "/api/v2/search/tags": None,
    "/api/search/tag/name/values": None,
    "/api/v2/search/tag/name/values": None,
    f"/api/traces/{TRACE.hex()}": None,
    f"/api/v2/traces/{TRACE.hex()}": None,
    f"/api/v2/traces/{TRACE.hex()}?limit=3": None,
    "/api/service-map?start=1&end=1000": None,
    "/api/v2/traces/diff": {"base": {"traceId": TRACE.hex()}, "compare": {"traceId": TRACE.hex()}},
}


class Heads:
    """Heads that take forever to open, but for those who ask now and then whether to go on."""

    def __init__(self) -> None:
        self.begun, self.given_up = threading.Event(), threading.Event()

    def open(self, *_: Any, go_on: GoOn = keep_going) -> Any:
        self.begun.set()
        for _ in range(1000):  # without that: ten seconds, and nobody has been told
            try:
                go_on()
            except BaseException:
                self.given_up.set()
                raise
            time.sleep(0.01)
        return []


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch) -> Heads:
    made = Heads()

    def sources(_: Head, count: int, go_on: GoOn = keep_going) -> Any:
        return made.open(count, go_on=go_on)

    def trace_sources(_: Head, trace_id: bytes, count: int, go_on: GoOn = keep_going) -> Any:
        return made.open(trace_id, count, go_on=go_on)

    monkeypatch.setattr(Head, "sources", sources)
    monkeypatch.setattr(Head, "trace_sources", trace_sources)
    return made


async def leave(asking: Awaitable[Any], heads: Heads) -> None:
    """Asks, goes away as soon as heads are opened, and waits until that has ended."""
    task = asyncio.ensure_future(asking)
    begun = asyncio.ensure_future(asyncio.to_thread(heads.begun.wait, 20))
    await asyncio.wait([task, begun], return_when=asyncio.FIRST_COMPLETED)
    assert heads.begun.is_set(), task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await asyncio.to_thread(heads.given_up.wait, 5), "nobody told it to stop"


@pytest.mark.parametrize("question", QUESTIONS)
@in_loop
async def test_in_one_process(tmp_path: Path, heads: Heads, question: str) -> None:
    with world(tmp_path) as w:
        asked = await loaded(w)
        await leave(QUESTIONS[question](asked, TRACE), heads)
        asked.close()


@pytest.mark.parametrize("question", QUESTIONS)
@in_loop
async def test_in_several_processes(tmp_path: Path, heads: Heads, question: str) -> None:
    """The live store hears of it by its connection."""
    async with cluster(tmp_path, policy=POLICY) as group:
        await filled(group)
        await leave(QUESTIONS[question](group.frontend, Sent(1, 0, 0).trace_id), heads)


@pytest.mark.parametrize("path", PATHS)
@in_loop
async def test_over_http(tmp_path: Path, heads: Heads, path: str) -> None:
    with world(tmp_path) as w:
        asked = await loaded(w)

        async def use(base: str) -> None:
            async with aiohttp.ClientSession() as session:

                async def ask() -> None:
                    body = PATHS[path]
                    headers = {"X-Scope-OrgID": "t"}
                    async with session.request(
                        "GET" if body is None else "POST", base + path, headers=headers, json=body
                    ) as answer:
                        text = await answer.text()
                        assert answer.status == 200, text

                await leave(ask(), heads)

        await serving(api_over(asked, multitenancy=True), use)
        asked.close()


@pytest.mark.parametrize("method", METHODS)
@in_loop
async def test_over_grpc(tmp_path: Path, heads: Heads, method: str) -> None:
    with world(tmp_path) as w:
        asked = await loaded(w)
        api = api_over(asked, multitenancy=True)
        server = build_streaming(asked, api[LIMITS].now, api[ACCESS])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        message: Any = METHODS[method].message()
        fields = {"query": COUNT, "q": COUNT, "start": 1, "end": 1000, "tagName": "name"}
        for field in message.DESCRIPTOR.fields:
            if field.name in fields and not (field.name == "query" and "Search" in method):
                setattr(message, field.name, fields[field.name])
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

            async def ask() -> list[Any]:
                called = channel.unary_stream(
                    f"/{SERVICE}/{method}", request_serializer=lambda one: one.SerializeToString()
                )
                return [part async for part in called(message, metadata=[("x-scope-orgid", "t")], timeout=60)]

            await leave(ask(), heads)
        await server.stop(None)
        asked.close()
