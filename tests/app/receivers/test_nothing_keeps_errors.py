"""Errors that clients cause hold nothing in cycles: full garbage collections are rare, and clients many."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from agents.distributor.requests import Request
from agents.distributor.span_encoder import SpanEncoder
from app.receivers.jaeger.sampling import build_sampling
from tables.errors import WireError
from tests.helpers.live.whole_way import request, span
from tests.helpers.querying.api import api_over
from tests.helpers.querying.engine import Engine

BAD = [b"\x0a\xff\xff", b"not a request", b"\x0a\x04\x0a\x02\x0a\x05"]


@contextmanager
def without_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def kept(kind: type) -> int:
    return sum(isinstance(one, kind) for one in gc.get_objects())


@pytest.mark.parametrize("count", [1, 40])
def test_refused_requests_are_freed(count: int) -> None:
    encoder = SpanEncoder(1 << 20, 65_536, 60.0)
    requests = [Request("a", request([span(1)], service_name="s")), *(Request("a", body) for body in count * BAD)]
    encoder.encode_each(requests, 4)
    with without_collections():
        before = kept(WireError)
        outcomes = encoder.encode_each(requests, 4).outcomes
        assert [outcome.malformed is None for outcome in outcomes] == [True] + 3 * count * [False]
        assert kept(WireError) == before


@pytest.mark.parametrize(
    "app", [pytest.param(lambda: api_over(Engine([])), id="api"), pytest.param(lambda: build_sampling(1), id="another")]
)
def test_refused_paths_and_methods_are_freed(app: Callable[[], web.Application]) -> None:
    async def use() -> int:
        async with TestClient(TestServer(app())) as client:

            async def ask(method: str, path: str) -> int:
                async with client.request(method, path) as answer:
                    await answer.read()
                    assert answer.status != 405 or "GET" in answer.headers["Allow"]
                    return answer.status

            known = "/api/echo" if await ask("GET", "/api/echo") == 200 else "/sampling"
            for _ in range(5):
                assert [await ask("GET", "/nowhere"), await ask("DELETE", known)] == [404, 405]
            return kept(web.Request)

    with without_collections():
        before = kept(web.Request)
        assert asyncio.run(use()) <= before + 1  # the last one, perhaps
