"""GET /api/v2/traces/{id}/outline and /matches, read as a browser reads them."""

import asyncio
import json
from typing import Any

import aiohttp
import numpy as np
import pyarrow as pa
import pytest

from app.api.backend import TraceAnswer
from app.api.trace_view.outline import outline_parts
from app.api.trace_view.packed import MEDIA_TYPE, pack
from query.requests import SpanMatching
from query.scan.stitch import whole
from query.trace.outline import trace_outline
from tables.columns.in_memory import TableSource
from tests.helpers.querying.api import FakeBackend, api_over, serving
from tests.helpers.querying.engine import Engine
from tests.query.golden import START_NS, load_table

ID = "7431"  # t1
T1 = b"t1".rjust(16, b"\0")
TRACE = """load
  t1 a    name=a start=1s kind=server duration=2s resource.service.name=web
  t1 b<a  name=b start=2s status=error event=boom@5ms link=t1/a link=t9/a
  t1 c<b  name=a start=3s resource.service.name=db
  t1 o<9  name=orphan start=4s
  t1 p<q  name=p start=5s
  t1 q<p  name=q start=6s
"""
_DTYPES = {"float64": "<f8", "int32": "<i4", "uint32": "<u4", "uint8": "u1"}


def unpack(body: bytes) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Header and columns."""
    assert body[:4] == b"STC1"
    size = int.from_bytes(body[4:8], "little")
    header, rest = json.loads(body[8 : 8 + size]), body[8 + size :]
    assert (8 + size) % 8 == 0
    columns = {}
    for one in header.pop("columns"):
        assert one["offset"] % 8 == 0
        columns[one["name"]] = np.frombuffer(rest, _DTYPES[one["type"]], one["length"], one["offset"]).tolist()
    return header, columns


@pytest.fixture
def backend():
    """A real engine over one trace."""
    return Engine([TableSource(whole(load_table(TRACE)))])


def test_outline(ask):
    """Parents are rows; roots, orphans and circles are told apart; times count from the start of the trace."""
    answer = ask(f"/api/v2/traces/{ID}/outline")
    assert (answer.status, answer.headers["Content-Type"]) == (200, MEDIA_TYPE)
    header, columns = unpack(answer.body)
    assert header == {
        "version": 1,
        "traceId": T1.hex(),
        "spans": 6,
        "startTimeUnixNano": str(START_NS + 10**9),
        "durationNano": header["durationNano"],
        "rootName": "a",
        "rootServiceName": "web",
        "services": ["web", "", "db"],
        "names": ["a", "b", "orphan", "p", "q"],
    }
    assert columns["parent"] == [-1, 0, 1, -2, -2, 4]
    assert columns["start"] == [0, 1e9, 2e9, 3e9, 4e9, 5e9]
    assert columns["duration"][0] == 2e9
    assert columns["name"] == [0, 1, 0, 2, 3, 4]
    assert (columns["service"][0], columns["service"][2]) == (0, 2)
    assert (columns["kind"][0], columns["status"][1]) == (2, 2)
    assert columns["orphan"] == [3, 4]
    assert (columns["eventSpan"], columns["eventTime"]) == ([1], [1e9 + 5e6])
    assert (columns["linkSpan"], columns["linkTo"]) == ([1, 1], [0, -1])
    assert len(columns["spanId"]) == 6 * 8
    assert len(columns["orphanParentId"]) == 2 * 8


def test_unknown_trace(ask):
    """No spans, as an unknown trace in v2 is an empty one."""
    header, columns = unpack(ask("/api/v2/traces/1234/outline").body)
    assert (header["spans"], columns) == (0, {})


def test_partial(ask, backend, monkeypatch):
    """What is missing is said in the header."""

    async def partial(_tenant, request):
        return TraceAnswer(trace_outline(backend._sources, request.trace_id), complete=False, message="partition 3")

    monkeypatch.setattr(backend, "trace", partial)
    header, columns = unpack(ask(f"/api/v2/traces/{ID}/outline").body)
    assert (header["status"], header["message"], len(columns["start"])) == ("PARTIAL", "partition 3", 6)


def test_too_large(ask):
    """The limit of a trace holds for its outline."""
    answer = ask(f"/api/v2/traces/{ID}/outline", max_bytes_per_trace=300)
    assert answer.status == 422
    assert "max_bytes_per_trace" in answer.text


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ({"q": "{ status = error }"}, 1),
        ({"text": "orphan"}, 1),
        ({"q": '{ name = "a" }', "text": "web"}, 1),
        ({"text": "?"}, 0),
    ],
)
def test_matches(ask, asked, ids):
    """Ids of eight bytes each."""
    header, columns = unpack(ask(f"/api/v2/traces/{ID}/matches", params=asked).body)
    assert (header["spans"], len(columns["spanId"])) == (ids, 8 * ids)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "q or text is required"),
        ({"text": "x" * 1001}, "at most 1000"),
        ({"q": "{ nonsense"}, "1:"),
        ({"q": "{ } | count() > 1"}, "filter of single spans"),
    ],
)
def test_matches_refused(ask, asked, said):
    """A wrong question is 400 and says what is wrong."""
    answer = ask(f"/api/v2/traces/{ID}/matches", params=asked)
    assert answer.status == 400
    assert said in answer.text


def test_matching_is_asked():
    """The whole question reaches the backend."""
    backend = FakeBackend()

    async def use(base: str) -> None:
        params = {"q": "{ }", "text": " a b ", "start": "5", "end": "6"}
        async with aiohttp.ClientSession() as session, session.get(f"{base}/api/v2/traces/{ID}/matches", params=params):
            pass

    asyncio.run(serving(api_over(backend), use))
    (asked,) = backend.asked
    assert asked["matching"] == SpanMatching("{ }", "a b")
    assert (asked["start_ns"], asked["end_ns"]) == (5_000_000_000, 6_000_000_000)


def test_odd_times():
    """Clocks that were never set do not move the start of the trace, and never make a number that is none."""
    table = load_table("load\n  t1 a start=none name=a\n  t1 b start=9s name=b duration=1s\n")
    outline = trace_outline([TableSource(whole(table))], T1)
    header, columns = unpack(b"".join(outline_parts(TraceAnswer(outline, complete=True, message=""), T1)))
    assert header["startTimeUnixNano"] == str(START_NS + 9 * 10**9)
    assert columns["start"] == [-float(START_NS + 9 * 10**9), 0]


def test_pack_aligns():
    """Each column begins at a multiple of eight bytes, whatever the lengths."""
    columns = {"a": np.arange(3, dtype=np.uint8), "b": np.arange(3, dtype=np.int32), "c": np.arange(2.0)}
    _, found = unpack(b"".join(pack({"x": "é"}, columns)))
    assert found == {"a": [0, 1, 2], "b": [0, 1, 2], "c": [0, 1]}


def test_nothing_of_a_table_without_rows():
    """A trace of which redactions left nothing."""
    empty = pa.table({"span_id": pa.array([], pa.binary(8))})
    header, _ = unpack(b"".join(outline_parts(TraceAnswer(empty, complete=True, message=""), T1)))
    assert header["spans"] == 0
