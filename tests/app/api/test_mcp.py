"""The MCP server, asked by the SDK's own client through real sockets, over the real engine."""

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from app.api.backend import TraceAnswer
from app.api.mcp import server as mcp_server
from app.api.mcp.guides import GUIDES, URI, guide
from app.api.mcp.server import McpServer
from app.api.mcp.tools import TOOLS
from app.cli.vulture.known_trace import KnownTrace, known_trace
from app.errors import SettingsError
from query.engine.distinct import TagValue
from query.language.check import check
from query.language.parse import parse
from query.results import Inspected, MetricsResult, Series
from query.tags.tags import TagNames, TagValues
from tests.helpers.live.whole_way import Way
from tests.helpers.querying.api import CREDENTIALS, RESULT, TRACE_ID, FakeBackend, api_over, serving, spans
from tests.helpers.querying.engine import Engine

TIME_S = 1_795_259_580
TIMES = {"start": str(TIME_S - 100), "end": str(TIME_S + 100)}
Use = Callable[[ClientSession], Awaitable[Any]]


def asking(
    backend: Any, use: Use, *, headers: dict[str, str] | None = None, bytes_max: int = 64 << 10, **settings: Any
) -> Any:
    """What `use` of a session of the client gives."""

    async def run(url: str) -> Any:
        async with (
            httpx2.AsyncClient(headers=headers or {}, timeout=20) as http,
            streamable_http_client(f"{url}/api/mcp", http_client=http) as streams,
            ClientSession(*streams[:2]) as session,
        ):
            await session.initialize()
            return await use(session)

    async def main() -> Any:
        return await serving(api_over(backend, mcp=McpServer(bytes_max, "1.2.3"), **settings), run)

    return asyncio.run(main())


def called(backend: Any, tool: str, arguments: dict[str, Any], **settings: Any) -> tuple[bool, str, Any]:
    """Whether a call failed, its text, and what the answer says of itself."""

    async def use(session: ClientSession) -> Any:
        return await session.call_tool(tool, arguments)

    result = asking(backend, use, **settings)
    (content,) = result.content
    return result.is_error, content.text, result.meta


def answered(*arguments: Any, **settings: Any) -> Any:
    failed, text, _ = called(*arguments, **settings)
    assert not failed, text
    return json.loads(text)


@pytest.fixture(scope="module")
def trace() -> KnownTrace:
    return next(one for one in (known_trace("mcp", TIME_S - n) for n in range(20)) if one.writes == 3)


@pytest.fixture(scope="module")
def engine(trace: KnownTrace) -> Engine:
    return Engine([Way(trace.whole().SerializeToString()).source])


def test_tools_and_documents() -> None:
    """Tempo's tools, all of them only read; the documents as resources."""

    async def use(session: ClientSession) -> None:
        tools = (await session.list_tools()).tools
        assert [one.name for one in tools] == [one.name for one in TOOLS]
        assert {one.name for one in tools} >= {
            *("traceql-search", "traceql-metrics-instant", "traceql-metrics-range", "get-trace"),
            *("get-attribute-names", "get-attribute-values", "docs-traceql"),
        }
        assert all(one.annotations.read_only_hint for one in tools)
        assert tools[0].input_schema["required"] == ["query"]
        resources = (await session.list_resources()).resources
        assert {str(one.uri) for one in resources} == {URI + name for name in GUIDES}
        (text,) = (await session.read_resource(URI + "basic")).contents
        assert text.text == guide("basic")

    asking(FakeBackend(), use)


@pytest.mark.parametrize("name", GUIDES)
def test_examples_of_documents_are_queries(name: str) -> None:
    examples = [
        line for block in re.findall(r"```traceql\n(.*?)```", guide(name), re.DOTALL) for line in block.split("\n\n")
    ]
    assert examples
    for example in examples:
        check(parse(example.strip()))
    failed, text, meta = called(FakeBackend(), "docs-traceql", {"name": name})
    assert (failed, text, meta["type"], meta["encoding"]) == (False, guide(name), "documentation", "markdown")


def test_search_narrow_open(engine: Engine, trace: KnownTrace) -> None:
    """As an agent does it: which attributes, which values, how many, which traces, one of them."""
    names = answered(engine, "get-attribute-names", {"scope": "span", **TIMES})
    assert "vulture.word" in names["scopes"]["span"]
    values = answered(engine, "get-attribute-values", {"name": "resource.service.name", **TIMES})
    services = {trace.service_name(one) for one in trace.spans}
    assert set(values["tagValues"]["string"]) == services
    count = answered(
        engine, "traceql-metrics-instant", {"query": "{ } | count_over_time() by (resource.service.name)", **TIMES}
    )
    assert sum(one["value"] for one in count["series"]) == len(trace.spans)
    assert [one["value"] for one in count["series"]] == sorted((one["value"] for one in count["series"]), reverse=True)
    course = answered(engine, "traceql-metrics-range", {"query": "{ } | count_over_time()", "step": "10s", **TIMES})
    assert course["stepSeconds"] == 10
    assert sum(value or 0 for value in course["series"][0]["values"]) == len(trace.spans)
    found = answered(engine, "traceql-search", {"query": "{ status = error }", **TIMES})
    (one,) = found["traces"]
    assert one["traceId"] == trace.hex_id
    assert (one["durationMs"], one["startTime"][-1]) == (1999.0, "Z")
    opened = answered(engine, "get-trace", {"trace_id": one["traceId"]})
    assert "truncated" not in opened
    summary = opened["trace"]
    assert summary["spanCount"] == len(trace.spans)
    assert summary["errorCount"] == sum(known.span.status.code == 2 for known in trace.spans)
    assert (summary["rootTraceName"], summary["rootServiceName"]) == (
        trace.spans[0].span.name,
        trace.service_name(trace.spans[0]),
    )
    shown = all_spans(opened)
    assert {span["spanId"] for span in shown} == {known.span.span_id.hex() for known in trace.spans}
    failed = next(known.span for known in trace.spans if known.span.status.code == 2)
    (span,) = [span for span in shown if span["spanId"] == failed.span_id.hex()]
    assert span["status"] == f"error: {failed.status.message}"
    assert span["attributes"]["vulture.token"] == trace.token
    assert span["events"][0]["attributes"]["exception.type"] == "VultureError"
    only = answered(engine, "get-trace", {"trace_id": trace.hex_id, "filter-query": "{ status = error }"})
    assert all(span["status"].startswith("error") for span in all_spans(only))


def test_spans_of_a_search_say_what_and_where(engine: Engine, trace: KnownTrace) -> None:
    """Also where the query ends in a comment, or in a hint."""
    failed = {known.span.span_id.hex(): known for known in trace.spans if known.span.status.code == 2}
    for query in ("{ status = error }", "{ status = error } // failed"):
        (found,) = answered(engine, "traceql-search", {"query": query, **TIMES})["traces"]
        assert found["spanSets"][0]["matched"] == len(failed)
        for span in found["spanSets"][0]["spans"]:
            known = failed[span["spanId"]]
            assert (span["name"], span["attributes"]["service.name"]) == (known.span.name, trace.service_name(known))
    query = "{ status = error } with (most_recent=true)"
    assert answered(engine, "traceql-search", {"query": query, **TIMES})["traces"]


def test_a_comparison_says_what_is_different(engine: Engine, trace: KnownTrace) -> None:
    """Shares of the selected and of the other spans, the greatest differences first."""
    found = answered(engine, "traceql-metrics-instant", {"query": "{ } | compare({ status = error })", **TIMES})
    failed = [known for known in trace.spans if known.span.status.code == 2]
    others = len(trace.spans) - len(failed)
    assert found["spans"] == {"selection": len(failed), "baseline": others}
    rows = found["differences"]
    ordered = [abs(one["selectionShare"] - one["baselineShare"]) for one in rows]
    assert ordered == sorted(ordered, reverse=True)
    status = {one["value"]: one for one in rows if one["attribute"] == "status"}
    assert (status["error"]["selectionShare"], status["error"]["baselineShare"]) == (1.0, 0.0)


def all_spans(opened: Any) -> list[Any]:
    return [span for one in opened["trace"]["services"] for scope in one["scopes"] for span in scope["spans"]]


def test_a_large_trace_is_cut_and_says_so(engine: Engine, trace: KnownTrace) -> None:
    """Failed spans first, none without those above it, and not longer than allowed."""
    failed, text, _ = called(engine, "get-trace", {"trace_id": trace.hex_id}, bytes_max=6000)
    assert not failed
    assert len(text) <= 6000
    opened = json.loads(text)
    shown = all_spans(opened)
    assert 0 < len(shown) < len(trace.spans)
    assert f"{len(shown)} of {len(trace.spans)} spans are shown" in opened["truncated"]
    ids = {span["spanId"] for span in shown}
    assert all(span.get("parentSpanId", next(iter(ids))) in ids for span in shown)
    assert any(span.get("status", "").startswith("error") for span in shown)
    assert opened["trace"]["spanCount"] == len(trace.spans)


def test_other_large_answers_are_cut_and_say_so() -> None:
    backend = FakeBackend(
        result=type(RESULT)(RESULT.traces * 200, Inspected()),
        series=MetricsResult(
            [Series([("service", f"s{n}")], [(t * 10**9, float(n)) for t in range(10)]) for n in range(500)],
            Inspected(),
        ),
        names=TagNames({"span": tuple(f"key.{n}" for n in range(5000)), "resource": ("a",)}, Inspected()),
        values=TagValues(tuple(TagValue("string", f"value {n}") for n in range(5000)), Inspected()),
    )
    for tool, arguments, says in (
        ("traceql-search", {"query": "{ }", "limit": 1000}, "of 200 traces are shown"),
        ("traceql-metrics-instant", {"query": "{ } | rate()"}, "of 500 series are shown"),
        ("traceql-metrics-range", {"query": "{ } | rate()"}, "of 500 series are shown"),
        ("get-attribute-names", {}, "of 5001 are shown"),
        ("get-attribute-values", {"name": "span.x"}, "of 5000 are shown"),
    ):
        failed, text, _ = called(backend, tool, arguments, bytes_max=5000)
        assert not failed, text
        assert 2000 < len(text) <= 5000
        assert says in json.loads(text)["truncated"]
    series = answered(backend, "traceql-metrics-instant", {"query": "{ } | rate()"}, bytes_max=5000)["series"]
    assert [one["value"] for one in series][:2] == [499.0, 498.0]
    assert answered(backend, "get-attribute-names", {}, bytes_max=5000)["scopes"]["resource"] == ["a"]


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("traceql-search", {"query": "{ status = }"}, "docs-traceql explains"),
        ("traceql-search", {"query": "{ } | rate()"}, "use traceql-metrics-instant"),
        ("traceql-metrics-instant", {"query": "{ }"}, "use traceql-search"),
        ("traceql-metrics-range", {"query": "{ } | rate()", "step": "x"}, "invalid step"),
        ("traceql-search", {"query": "{ }", "start": "yesterday"}, "invalid start 'yesterday'"),
        ("traceql-search", {"query": "{ }", "limit": 5000}, "max_result_limit"),
        ("traceql-search", {"query": "x" * 30_000}, "max_query_expression_size_bytes"),
        ("traceql-search", {}, "argument query is missing"),
        ("traceql-search", {"query": "{ }", "q": "x"}, "unknown argument 'q'"),
        ("traceql-search", {"query": ["{ }"]}, "must be a string"),
        ("get-trace", {"trace_id": "xyz"}, "must be 1 to 32 hex digits"),
        ("get-trace", {"trace_id": "1"}, "there is no trace 1"),
        ("get-attribute-names", {"scope": "spans"}, "invalid scope"),
        ("docs-traceql", {"name": "all"}, "must be one of basic"),
        ("no-such-tool", {}, "there is no tool 'no-such-tool'; there are traceql-search"),
    ],
)
def test_wrong_questions(tool: str, arguments: dict[str, Any], says: str) -> None:
    """An error of the tool, whose text says what is wrong; it is counted."""
    before = {one: mcp_server.CALLS.labels(one)._value.get() for one in ("traceql-search",)}
    failed, text, _ = called(FakeBackend(), tool, arguments)
    assert failed
    assert says in text
    if tool == "traceql-search":
        assert mcp_server.CALLS.labels(tool)._value.get() == before[tool] + 1


def test_errors_of_the_backend() -> None:
    before = mcp_server.ERRORS.labels("traceql-search", "500")._value.get()
    failed, text, _ = called(FakeBackend(error=RuntimeError("/secret")), "traceql-search", {"query": "{ }"})
    assert (failed, "secret" in text, "internal error" in text) == (True, False, True)
    assert mcp_server.ERRORS.labels("traceql-search", "500")._value.get() == before + 1
    failed, text, _ = called(FakeBackend(error=TimeoutError()), "traceql-search", {"query": "{ }"})
    assert (failed, "query.timeout_s" in text) == (True, True)


def test_partial_answers_say_so() -> None:
    backend = FakeBackend(result=RESULT, missing_data=["partition 3"])
    found = answered(backend, "traceql-search", {"query": "{ }"}, headers={"X-Stretto-Partial": "allow"})
    assert (found["status"], found["message"]) == ("PARTIAL", "partition 3")
    backend = FakeBackend(answer=TraceAnswer(spans(2), complete=False, message="block away"))
    found = answered(backend, "get-trace", {"trace_id": TRACE_ID.hex()})
    assert (found["status"], found["message"]) == ("PARTIAL", "block away")


def test_without_times_it_asks_for_the_last_hour() -> None:
    backend = FakeBackend(result=RESULT)
    answered(backend, "traceql-search", {"query": "{ true }"})
    answered(backend, "traceql-search", {"query": "{ true }", "since": "5m", "limit": "7"})
    first, second = backend.asked
    assert first["start_ns"] is not None
    assert second["start_ns"] - first["start_ns"] >= 3300 * 10**9
    assert second["limit"] == 7


def test_tenants_and_tokens() -> None:
    """The rules of every endpoint: whose spans are asked for, and who may."""
    backend = FakeBackend(result=RESULT)
    for headers in (
        {"Authorization": "Bearer a1"},
        {"Authorization": "Bearer both", "X-Scope-OrgID": "gamma"},
    ):
        answered(
            backend,
            "traceql-search",
            {"query": "{ }"},
            headers=headers,
            multitenancy=True,
            credentials=CREDENTIALS,
        )
    assert [one["tenant"] for one in backend.asked] == ["acme", "gamma"]


@pytest.mark.parametrize(
    ("headers", "settings", "status"),
    [
        ({}, {"multitenancy": True}, 401),
        ({}, {"credentials": CREDENTIALS}, 401),
        ({"Authorization": "Bearer wrong"}, {"credentials": CREDENTIALS, "multitenancy": True}, 401),
        (
            {"Authorization": "Bearer a1", "X-Scope-OrgID": "beta"},
            {"credentials": CREDENTIALS, "multitenancy": True},
            403,
        ),
        ({"Origin": "http://evil.example"}, {}, 403),
    ],
)
def test_who_may_not_ask(headers: dict[str, str], settings: dict[str, Any], status: int) -> None:
    assert posted(headers, {"mcp": True, **settings})[0] == status


def posted(
    headers: dict[str, str], settings: dict[str, Any], body: bytes = b"{}", method: str = "POST"
) -> tuple[int, str]:
    async def main() -> tuple[int, str]:
        async def use(url: str) -> tuple[int, str]:
            accept = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, f"{url}/api/mcp", data=body, headers={**accept, **headers}) as reply,
            ):
                return reply.status, await reply.text()

        made = {**settings, "mcp": McpServer(4096, "1") if settings.get("mcp") else None}
        found: Any = await serving(api_over(FakeBackend(), **made), use)
        return found

    return asyncio.run(main())


def test_requests_of_no_client() -> None:
    assert posted({}, {"mcp": True}, b"no json")[0] == 400
    assert posted({}, {"mcp": True}, b"[" * 1000)[0] == 400
    assert posted({}, {"mcp": True}, b"x" * 100_000)[0] == 413
    # Streams of the server's own it has none.
    assert posted({}, {"mcp": True}, b"", "GET")[0] == 405
    status, text = posted({}, {})
    assert (status, "query_frontend.mcp_server.enabled" in text) == (404, True)


def test_a_client_that_goes_away_stops_its_query() -> None:
    backend = FakeBackend()

    async def main() -> None:
        backend.wait = asyncio.Event()

        async def use(url: str) -> None:
            call = {"name": "traceql-search", "arguments": {"query": "{ }"}}
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
            headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
            async with aiohttp.ClientSession() as session:
                asked = asyncio.ensure_future(session.post(f"{url}/api/mcp", json=message, headers=headers))
                async with asyncio.timeout(20):
                    while not backend.asked:
                        await asyncio.sleep(0.01)
                    asked.cancel()
                    assert backend.wait is not None
                    await backend.wait.wait()

        await serving(api_over(backend, mcp=McpServer(4096, "1")), use)

    asyncio.run(main())


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting needs the extra; the error says which."""
    monkeypatch.setitem(sys.modules, "mcp.server.streamable_http_manager", None)
    with pytest.raises(SettingsError, match=r"query_frontend\.mcp_server\.enabled: .*stretto\[mcp\]"):
        McpServer(4096, "1")


def test_the_package_is_loaded_only_if_it_is_on() -> None:
    for path in Path(mcp_server.__file__).parent.glob("*.py"):
        assert re.findall(r"^(?:import|from) (?:mcp|starlette|anyio)\b", path.read_text(), re.MULTILINE) == []
