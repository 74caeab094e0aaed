"""What all large answers share: compression, and an event loop that goes on."""

import asyncio
import gzip
import json
import time

import aiohttp
import pytest

from app.api.replies import GZIP_BYTES_MIN, accepts_gzip
from query.results import Inspected, SearchResult, ServiceStats, SpanMatch, SpanSet, TraceMatch


def traces(count: int) -> SearchResult:
    spans = [SpanMatch(bytes(8), "", 1, 5, [("service.name", "checkout")]) for _ in range(3)]
    stats = {f"service-{number}": ServiceStats(3, 1) for number in range(12)}
    one = TraceMatch(b"x" * 16, "frontend", "GET /", 1, 2, [SpanSet(spans, 9)], stats)
    return SearchResult([one] * count, Inspected())


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        pytest.param([], False, id="none"),
        pytest.param(["gzip"], True, id="gzip"),
        pytest.param(["br, GZIP ;q=0.5, deflate"], True, id="among others"),
        pytest.param(["br", "gzip"], True, id="several headers"),
        pytest.param(["gzip;q=0"], False, id="refused"),
        pytest.param(["gzip; q=0.000"], False, id="refused, at length"),
        pytest.param(["gzip; q=0.01"], True, id="hardly wanted"),
        pytest.param(["identity, br"], False, id="others"),
        pytest.param(["xgzip"], False, id="another name"),
    ],
)
def test_accepts_gzip(headers, accepted):
    """As RFC 9110 says."""
    assert accepts_gzip(headers) is accepted


def raw(ask_headers, backend, serve, path="/api/search?q={}"):
    """The answer's headers and body as they came."""
    found = {}

    async def use(base: str) -> None:
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.get(base + path, headers=ask_headers) as response,
        ):
            found["headers"], found["body"] = dict(response.headers), await response.read()

    serve(use)
    return found["headers"], found["body"]


def test_compressed(backend, serve):
    """A large answer comes as gzip to those who accept it, and is the same."""
    backend.result = traces(100)
    headers, plain = raw({"Accept-Encoding": "identity"}, backend, serve)
    assert "Content-Encoding" not in headers
    packed_headers, packed = raw({"Accept-Encoding": "gzip"}, backend, serve)
    assert (packed_headers["Content-Encoding"], packed_headers["Vary"]) == ("gzip", "Accept, Accept-Encoding")
    assert int(packed_headers["Content-Length"]) == len(packed) < len(plain) / 5
    assert gzip.decompress(packed) == plain


def test_small_and_wrong_answers_are_plain(backend, serve):
    """Neither small answers nor errors are compressed."""
    headers, body = raw({"Accept-Encoding": "gzip"}, backend, serve)
    assert "Content-Encoding" not in headers
    assert len(body) < GZIP_BYTES_MIN
    headers, _ = raw({"Accept-Encoding": "gzip"}, backend, serve, "/api/search?limit=x")
    assert "Content-Encoding" not in headers


def test_loop_goes_on(backend, serve):
    """While 15 MB become JSON and gzip the loop serves others."""
    backend.result = traces(8656)
    longest_s = 0.0

    async def use(base: str) -> None:
        nonlocal longest_s
        async with aiohttp.ClientSession(auto_decompress=False) as session:

            async def ask() -> bytes:
                async with session.get(base + "/api/search?q={}", headers={"Accept-Encoding": "gzip"}) as response:
                    return await response.read()

            asked = asyncio.create_task(ask())
            while not asked.done():
                before_s = time.perf_counter()
                await asyncio.sleep(0.001)
                longest_s = max(longest_s, time.perf_counter() - before_s)
            body = gzip.decompress(asked.result())
            assert len(json.loads(body)["traces"]) == 8656

    serve(use)
    # Made in the loop it would be several hundred ms; a busy machine takes some of its own.
    assert longest_s < 0.25
