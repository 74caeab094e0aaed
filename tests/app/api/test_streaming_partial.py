"""Partial answers over tempopb.StreamingQuerier: only where they are allowed, and never silently."""

import asyncio

import grpc
import pytest

from app.api.call import ACCESS
from app.api.limits import LIMITS
from app.api.proto import tempo_pb2 as pb
from app.api.tempo.streaming import SERVICE, build_streaming
from tests.helpers.querying.api import api_over


def test_partial_answers(backend):
    """Where they are allowed, what is lacking comes behind the answer; otherwise nobody is asked for one."""
    backend.missing_data = ["partition 3: ä"]

    async def trailing(metadata, **settings):
        api = api_over(backend, **settings)
        server = build_streaming(backend, api[LIMITS].now, api[ACCESS])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                ask = channel.unary_stream(f"/{SERVICE}/Search")
                asking = ask(pb.SearchRequest().SerializeToString(), metadata=metadata)
                async for _ in asking:
                    pass
                return dict(await asking.trailing_metadata()).get("x-stretto-partial")
        finally:
            await server.stop(None)

    assert asyncio.run(trailing([("x-stretto-partial", "allow")])) == "partition 3: ?"
    assert asyncio.run(trailing([], allow_partial=True)) == "partition 3: ?"
    assert asyncio.run(trailing([])) is None
    with pytest.raises(grpc.RpcError) as reply:
        asyncio.run(trailing([("x-stretto-partial", "maybe")]))
    assert reply.value.code() is grpc.StatusCode.INVALID_ARGUMENT
