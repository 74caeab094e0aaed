"""The API over a fake backend: what it answers, and what it was asked."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields, replace

import pyarrow as pa
from aiohttp import web

from app.api.backend import TraceAnswer
from app.api.limits import ApiLimits
from app.api.server import api_runner, build_api
from app.api.status.process import Configs, Process
from app.net.access import Access
from query.results import Inspected, MetricsResult, SearchResult, ServiceStats, SpanMatch, SpanSet, TraceMatch
from query.tags.tags import TagNames, TagValues
from query.trace.by_id import trace_by_id
from tables.columns.in_memory import TableSource
from tables.schema import FIXED

TRACE_ID = bytes.fromhex("000f2ba9cc8f6a098a30a7aec2cbeadb")

WEEK_S = 7 * 24 * 3600


def spans(count: int = 1) -> pa.Table:
    """A trace of `count` spans."""
    return pa.table(
        {
            "trace_id": pa.array([TRACE_ID] * count, pa.binary(16)),
            "span_id": pa.array([number.to_bytes(8, "big") for number in range(1, count + 1)], pa.binary(8)),
            "parent_span_id": pa.array([bytes(8)] * count, pa.binary(8)),
            "name": [f"op {number}" for number in range(count)],
            "kind": pa.array([2] * count, pa.int8()),
            "start_ns": pa.array([1_795_259_580_000_000_000 + number for number in range(count)]),
            "duration_ns": pa.array([1_000_000] * count),
            "status_code": pa.array([0] * count, pa.int8()),
            "status_message": [""] * count,
            "scope_name": ["lib"] * count,
            "scope_version": ["1.0"] * count,
            "nested_left": pa.array([1] * count, FIXED.field("nested_left").type),
            "nested_parent": pa.array([-1] * count, FIXED.field("nested_parent").type),
            "root_name": ["op 0"] * count,
            "root_service": ["checkout"] * count,
            "resource.service.name": ["checkout"] * count,
            "span.http.response.status_code:int": [500] * count,
        }
    )


@dataclass
class FakeBackend:
    """Answers what the test says, remembers what it was asked."""

    result: SearchResult = field(default_factory=lambda: SearchResult([], Inspected()))
    series: MetricsResult = field(default_factory=lambda: MetricsResult([], Inspected()))
    names: TagNames = field(default_factory=lambda: TagNames({}, Inspected()))
    values: TagValues = field(default_factory=lambda: TagValues((), Inspected()))
    answer: TraceAnswer = field(default_factory=lambda: TraceAnswer(None, complete=True, message=""))
    error: Exception | None = None
    reasons: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    missing_data: list[str] = field(default_factory=list)  # told to whom asks for partial answers
    asked: list[dict] = field(default_factory=list)
    wait: asyncio.Event | None = None  # a query that never ends; set when it was cancelled
    early: list = field(default_factory=list)  # told before the answer
    closed: bool = False

    async def search(self, tenant, request, observer) -> SearchResult:
        for result in self.early:
            observer.progress.tell(result)
            await asyncio.sleep(0)
        if self.wait is not None:
            self._note(tenant, request, observer)
            try:
                await asyncio.sleep(60)
            finally:
                self.wait.set()
        return self._answer(self.result, tenant, request, observer)

    async def trace(self, tenant, request) -> TraceAnswer:
        found = self._answer(self.answer, tenant, request)
        if request.filter is None or found.table is None:
            return found
        table, more = trace_by_id([TableSource(found.table)], request)
        return replace(found, table=table, more=more)

    async def metrics_range(self, tenant, request, observer) -> MetricsResult:
        own = replace(self.series, series=list(self.series.series))  # whoever answers empties it
        return self._answer(own, tenant, request, observer)

    metrics_instant = metrics_range

    async def tag_names(self, tenant, request, observer) -> TagNames:
        return self._answer(self.names, tenant, request, observer)

    async def tag_values(self, tenant, request, observer) -> TagValues:
        return self._answer(self.values, tenant, request, observer)

    def _answer(self, answer, tenant, request, observer=None):
        self._note(tenant, request, observer)
        if self.error is not None:
            raise self.error
        return answer

    def _note(self, tenant, request, observer) -> None:
        self.asked.append({"tenant": tenant} | {one.name: getattr(request, one.name) for one in fields(request)})
        if observer is not None and observer.missing_data is not None:
            observer.missing_data.extend(self.missing_data)

    async def run_in_thread(self, make):
        """What `make` gives, made on a thread."""
        return await asyncio.to_thread(make)

    def close(self) -> None:
        self.closed = True

    def not_ready(self) -> list[str]:
        return self.reasons

    def damage(self) -> list[str]:
        return self.damaged


@dataclass(frozen=True)
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


LIMITS = ApiLimits(
    max_result_limit=1000,
    max_query_expression_size_bytes=20_000,
    max_search_duration_s=WEEK_S,
    max_metrics_duration_s=WEEK_S,
)


def api_over(
    backend,
    *,
    multitenancy=False,
    credentials=None,
    target="all",
    configs=None,
    rings=None,
    profiling=False,
    tenants=None,
    mcp=None,
    **limits,
) -> web.Application:
    """The API over a backend, with the settings of LIMITS where `limits` does not say otherwise."""
    return build_api(
        backend,
        replace(LIMITS, **limits),
        Access(multitenancy=multitenancy, credentials=credentials),
        process=Process(target, configs or Configs()),
        rings=rings,
        profiling=profiling,
        tenants=tenants,
        mcp=mcp,
    )


async def serving(app: web.Application, use: Callable[[str], Awaitable[object]]) -> object:
    """Serves the app on a free port of the loopback while `use(its address)` runs."""
    runner = api_runner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        return await use(f"http://{host}:{port}")
    finally:
        await runner.cleanup()


def hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def in_auth_file(token: str) -> str:
    """The token as the file of `server.auth_file` has it."""
    return f"sha256:{hashed(token).hex()}"


CREDENTIALS = {"acme": [hashed("a1"), hashed("a2")], "beta": [hashed("b1"), hashed("both")], "gamma": [hashed("both")]}
SPAN = SpanMatch(b"\x00\x01\x02\x03\x04\x05\x06\x07", "op", 1_000_000_001, 5, [("service.name", "a")])
TRACE = TraceMatch(
    trace_id=TRACE_ID,
    root_service="frontend",
    root_name="GET /",
    start_ns=1_000_000_000,
    duration_ns=50_999_999,
    span_sets=[SpanSet([SPAN], 3, [("count()", 3)]), SpanSet([], 1)],
    service_stats={"frontend": ServiceStats(2, 1), "cart": ServiceStats(4, 0)},
)
RESULT = SearchResult([TRACE], Inspected(traces=4, spans=50, bytes=2**40, sources=2))
