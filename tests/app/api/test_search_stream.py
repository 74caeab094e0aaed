"""GET /api/search/stream: the same traces as /api/search, as soon as they are known; errors before and within."""

import asyncio
import json

import pytest

from query.errors import TraceQLError
from query.results import Inspected, SearchResult
from tests.helpers.querying.api import RESULT, TRACE


def lines(answer) -> list[dict]:
    return [json.loads(line) for line in answer.text.splitlines()]


def test_one_line_where_all_is_there_at_once(ask, backend):
    backend.result = RESULT
    answer = ask("/api/search/stream?q={}")
    (only,) = lines(answer)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert only.pop("done") is True
    assert only == json.loads(ask("/api/search?q={}").text)


def test_early_traces_come_first_and_only_once(ask, backend):
    more = TRACE._replace(trace_id=bytes(15) + b"\x07")
    backend.early = [SearchResult([TRACE], Inspected(traces=1, sources=1, left=3))]
    backend.result = SearchResult([TRACE, more], Inspected(traces=2, sources=4), next_cursor="next")
    found = lines(ask("/api/search/stream?q={}&cursor="))
    ids = [trace["traceID"] for line in found for trace in line["traces"]]
    assert ids == ["f2ba9cc8f6a098a30a7aec2cbeadb", "7"]
    assert [line.get("done", False) for line in found] == [False] * (len(found) - 1) + [True]
    assert found[-1]["nextCursor"] == "next"


def test_a_line_of_megabytes(ask, backend):
    """It is sent in pieces, and is one line of JSON all the same."""
    traces = [TRACE._replace(trace_id=n.to_bytes(16, "big")) for n in range(1, 5001)]
    backend.result = SearchResult(traces, Inspected(traces=5000, sources=1))
    answer = ask("/api/search/stream?q={}")
    (only,) = lines(answer)
    assert len(answer.body) > 1 << 20
    assert only["done"] is True
    assert [trace["traceID"] for trace in only["traces"]] == [f"{n:x}" for n in range(1, 5001)]


def test_an_error_before_the_first_line_has_its_status(ask, backend):
    backend.error = TraceQLError("unknown field x", "{ x = 1 }", 2, 3)
    answer = ask("/api/search/stream?q={x=1}")
    assert (answer.status, answer.text.splitlines()[0]) == (400, "1:3: unknown field x")
    assert ask("/api/search/stream?limit=0").status == 400


def test_an_error_within_is_the_last_line(ask, backend, monkeypatch):
    async def fails(_tenant, _request, observer):
        observer.progress.tell(RESULT)
        await asyncio.sleep(0.05)
        raise TimeoutError

    monkeypatch.setattr(backend, "search", fails)
    first, last = lines(ask("/api/search/stream?q={}"))
    assert len(first["traces"]) == 1
    assert last["error"]["status"] == 504
    assert "query.timeout_s" in last["error"]["message"]


@pytest.mark.parametrize("allow", ["true", "false"])
def test_what_is_missing_is_said(ask, backend, allow):
    backend.missing_data = ["partition 3 is away"]
    (only,) = lines(ask(f"/api/search/stream?q={{}}&allow_partial={allow}"))
    assert only.get("status") == ("PARTIAL" if allow == "true" else None)
    assert only.get("message") == ("partition 3 is away" if allow == "true" else None)


def test_a_silent_search_says_that_it_runs(ask, backend, monkeypatch):
    from app.api.page import search_stream

    monkeypatch.setattr(search_stream, "PROGRESS_S", 0.01)

    async def slow(*_):
        await asyncio.sleep(0.1)
        return RESULT

    monkeypatch.setattr(backend, "search", slow)
    found = lines(ask("/api/search/stream?q={}"))
    assert found[0] == {"traces": []}
    assert found[-1]["done"] is True


def test_a_client_that_goes_away_stops_the_search(serve, backend):
    import aiohttp

    backend.wait = asyncio.Event()

    async def use(base: str) -> None:
        backend.wait = asyncio.Event()
        async with aiohttp.ClientSession() as session:
            asking = asyncio.ensure_future(session.get(f"{base}/api/search/stream", params={"q": "{ }"}))
            async with asyncio.timeout(10):
                while not backend.asked:
                    await asyncio.sleep(0.01)
            asking.cancel()
        async with asyncio.timeout(10):
            await backend.wait.wait()

    serve(use)
