"""The API on a shared port, as clients of HTTP and gRPC see it."""

import contextlib
import ssl
from collections.abc import AsyncIterator

import grpc

from app.api.call import ACCESS
from app.api.limits import LIMITS
from app.api.proto import tempo_pb2 as pb
from app.api.server import api_runner
from app.api.tempo.streaming import build_streaming
from app.net.http_guard import HttpLimits
from app.net.shared_port import SharedSite
from tests.helpers.querying.api import FakeBackend, api_over

SEARCH = "/tempopb.StreamingQuerier/Search"


@contextlib.asynccontextmanager
async def shared(
    backend: FakeBackend,
    tls: ssl.SSLContext | None = None,
    limits: HttpLimits | None = None,
    tunnels_max: int = 1000,
) -> AsyncIterator[SharedSite]:
    """The API on a free port of the loopback."""
    api = api_over(backend)
    streaming = build_streaming(backend, api[LIMITS].now, api[ACCESS])
    grpc_port = streaming.add_insecure_port("127.0.0.1:0")
    await streaming.start()
    runner = api_runner(api)
    await runner.setup()
    site = SharedSite(runner, "127.0.0.1", 0, grpc_port, tls=tls, limits=limits, tunnels_max=tunnels_max)
    await site.start()
    try:
        yield site
    finally:
        await streaming.stop(None)
        await runner.cleanup()


def address(site: SharedSite) -> str:
    host, port = site._server.sockets[0].getsockname()[:2]
    return f"{host}:{port}"


async def ask_grpc(channel: grpc.aio.Channel, limit: int = 1) -> list[pb.SearchResponse]:
    call = channel.unary_stream(
        SEARCH,
        request_serializer=pb.SearchRequest.SerializeToString,
        response_deserializer=pb.SearchResponse.FromString,
    )
    return [part async for part in call(pb.SearchRequest(Query="{ }", Limit=limit))]
