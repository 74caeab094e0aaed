"""The API over a fake backend, asked through real sockets."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import grpc
import pyarrow as pa
import pytest

from app.api.call import ACCESS
from app.api.limits import LIMITS
from app.api.proto import tempo_pb2 as pb
from app.api.tempo.streaming import METHODS, SERVICE, build_streaming
from tests.helpers.querying.api import Answer, api_over, serving, spans

RESPONSES: dict[str, Any] = {
    "Search": pb.SearchResponse,
    "SearchTags": pb.SearchTagsResponse,
    "SearchTagsV2": pb.SearchTagsV2Response,
    "SearchTagValues": pb.SearchTagValuesResponse,
    "SearchTagValuesV2": pb.SearchTagValuesV2Response,
    "MetricsQueryRange": pb.QueryRangeResponse,
    "MetricsQueryInstant": pb.QueryInstantResponse,
}


@pytest.fixture
def ask(backend):
    """ask(path, method="GET", headers={}, params={}, **settings) -> Answer"""

    def ask(path, *, method="GET", headers=None, params=None, data=None, **settings) -> Answer:
        async def use(base: str) -> Answer:
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, base + path, headers=headers, params=params, data=data) as response,
            ):
                return Answer(response.status, dict(response.headers), await response.read())

        return asyncio.run(serving(api_over(backend, **settings), use))

    return ask


@pytest.fixture
def stream(backend):
    """stream(method, request, metadata=(), timeout=None, **settings) -> the parts. Raises grpc.RpcError"""

    def stream(method, request=None, metadata=(), timeout=10, **settings):
        async def main():
            api = api_over(backend, **settings)
            server = build_streaming(backend, api[LIMITS].now, api[ACCESS])
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            try:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                    ask = channel.unary_stream(
                        f"/{SERVICE}/{method}",
                        request_serializer=lambda message: message.SerializeToString(),
                        response_deserializer=RESPONSES.get(method, pb.SearchResponse).FromString,
                    )
                    message = METHODS[method].message() if request is None else request
                    return [part async for part in ask(message, metadata=metadata, timeout=timeout)]
            finally:
                await server.stop(None)

        return asyncio.run(main())

    return stream


@pytest.fixture
def serve(backend):
    """serve(use) runs the coroutine function `use` with the address of the API over `backend`."""
    return lambda use: asyncio.run(serving(api_over(backend), use))


@pytest.fixture
def trace_table() -> Callable[[int], pa.Table]:
    """trace_table(count) is a trace of so many spans."""
    return spans
