"""Nobody sends as, or asks for, another tenant over any other way in: the methods of gRPC, all receivers, the calls
between processes. (HTTP's routes: tests/app/api/test_every_route.py.)
"""

from pathlib import Path
from typing import Any

import grpc
import pytest

from app.api.limits import ApiLimits
from app.api.proto import tempo_pb2 as pb
from app.api.tempo.streaming import METHODS, build_streaming
from app.net.access import Access
from app.net.file_watch import FileWatch
from app.receivers.decompress import BodyCosts
from app.receivers.grpc import GrpcReceiver
from app.receivers.http_server import HttpServer
from app.receivers.input_budget import InputBudget
from app.receivers.receiver import ReceiverContext
from app.receivers.table import RECEIVERS
from app.settings import load
from app.targets import joined
from app.targets.shared import Shared
from tests.harness.ports import own_ports
from tests.helpers.loops import in_loop
from tests.helpers.querying.api import CREDENTIALS
from tests.helpers.querying.other_tenants import OTHERS, backend, raw
from tests.helpers.receiving.receivers import FakeBatcher

NAMES = [org.decode() for org in OTHERS if org and org.isascii() and b"\0" not in org]  # gRPC sends no others
NANOS = 17 * 10**17
RANGE = {"query": "{} | rate()", "start": NANOS, "end": NANOS + 10**12}
MESSAGES: dict[str, Any] = {
    "Search": pb.SearchRequest(Query="{}", start=1700000000, end=1700003600),
    "MetricsQueryRange": pb.QueryRangeRequest(**RANGE, step=10**10),
    "MetricsQueryInstant": pb.QueryInstantRequest(**RANGE),
    "SearchTags": pb.SearchTagsRequest(),
    "SearchTagsV2": pb.SearchTagsRequest(),
    "SearchTagValues": pb.SearchTagValuesRequest(tagName="name"),
    "SearchTagValuesV2": pb.SearchTagValuesRequest(tagName="name"),
}
DATAGRAMS = {"jaeger_compact", "jaeger_binary"}
# What processes may ask of each other: tests/app/querying/test_tenants_across_processes.py asks each as everybody.
INTERNAL = {"LiveStore", "Frontend"}


def metadata(org: str | None) -> tuple[tuple[str, str], ...]:
    return (("authorization", "Bearer a1"), *((("x-scope-orgid", org),) if org is not None else ()))


async def status(call: Any) -> grpc.StatusCode:
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as err:
        return err.code()
    return grpc.StatusCode.OK


def test_every_method_is_asked() -> None:
    """A new one fails here until it has a message, with which it would answer."""
    assert set(MESSAGES) == set(METHODS) == set(pb.DESCRIPTOR.services_by_name["StreamingQuerier"].methods_by_name)


@pytest.mark.parametrize("method", MESSAGES)
@in_loop
async def test_streams(method: str) -> None:
    """Each is a question of the token's tenant, or refused."""
    fake = backend()
    server = build_streaming(fake, ApiLimits(), Access(multitenancy=True, credentials=CREDENTIALS))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stream = channel.unary_stream(f"/tempopb.StreamingQuerier/{method}")
            message = MESSAGES[method].SerializeToString()
            for org in ("acme", None):
                await status(stream(message, metadata=metadata(org)))
            assert [one["tenant"] for one in fake.asked] == ["acme", "acme"]
            for org in NAMES:
                assert await status(stream(message, metadata=metadata(org))) != grpc.StatusCode.OK, org
            assert len(fake.asked) == 2
    finally:
        await server.stop(0)


def receivers(batcher: FakeBatcher) -> dict[str, Any]:
    """All that there are, each on a free port of its own, as tenant acme's datagrams want it."""
    # A copy: sections by default are the same for all settings, and are changed below.
    settings = load({"STRETTO_MULTITENANCY_ENABLED": "true"}, Path("/nonexistent")).model_copy(deep=True)
    context = ReceiverContext(
        batcher=batcher,
        budget=InputBudget(1 << 24),
        access=Access(multitenancy=True, credentials=CREDENTIALS),
        watch=FileWatch(1),
        costs=BodyCosts(),
        body_threads=1,
    )
    found = {}
    for row, port in zip(RECEIVERS, own_ports(len(RECEIVERS)), strict=True):
        section = row.section(settings)
        changes = {"endpoint": f"127.0.0.1:{port}"} | ({"tenant": "acme"} if hasattr(section, "tenant") else {})
        for name, value in changes.items():
            object.__setattr__(section, name, value)
        found[row.name] = (row.build(settings, context), port)
    return found


@in_loop
async def test_receivers() -> None:
    """Spans are the token's tenant's, or refused. Datagrams have no headers: they are the tenant's of the settings."""
    batcher = FakeBatcher()
    for name, (receiver, port) in receivers(batcher).items():
        if name in DATAGRAMS:
            continue
        await receiver.start()
        try:
            before = len(batcher.came)
            if isinstance(receiver, GrpcReceiver):
                codes = await sent_over_grpc(receiver, port)
            else:
                assert isinstance(receiver, HttpServer), name
                codes = await sent_over_http(receiver, port)
            assert codes, name
            assert not any(codes), name
            assert {tenant for tenant, _ in batcher.came[before:]} <= {"acme"}, name
        finally:
            await receiver.stop(0)
    assert {tenant for tenant, _ in batcher.came} == {"acme"}


async def sent_over_grpc(receiver: GrpcReceiver, port: int) -> list[bool]:
    """Whether each other name was let in."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        send = channel.unary_unary(receiver.method.path)
        await send(b"", metadata=metadata("acme"))
        codes = []
        for org in NAMES:
            try:
                await send(b"", metadata=metadata(org))
            except grpc.aio.AioRpcError as err:
                codes.append(err.code() not in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT))
            else:
                codes.append(True)
        return codes


async def sent_over_http(receiver: HttpServer, port: int) -> list[bool]:
    """The same, on each of its paths that takes spans; the others say nothing of any tenant."""
    routes = [(one.method, one.resource.canonical) for one in receiver._runner.app.router.routes() if one.resource]
    posts = [path for method, path in routes if method == "POST"]
    base, codes = f"http://127.0.0.1:{port}", []
    for path in posts:
        for org in OTHERS:
            code, _ = await raw(base, "POST", path, org, "[]")
            codes.append(bool(org) and not 400 <= code < 500)
    return codes or [False for method, path in routes if path in SAY_THE_SAME]


# Jaeger's clients ask here how to sample: one answer for all.
SAY_THE_SAME = {"/", "/sampling", "/api/sampling", "/baggageRestrictions"}


def test_calls_between_processes(tmp_path: Path) -> None:
    """A new method fails here until somebody asks it as another tenant."""
    settings = load({"TARGET": "all", "STRETTO_DATA_DIR": str(tmp_path)}, tmp_path)
    shared = Shared.of(settings)
    joined.build(settings, shared)
    assert set(shared.internal.methods) == INTERNAL
