"""Tenants in queries over several processes: nobody sees another's spans, whatever a name looks like; several at once
where that is asked for.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.api.errors import TooManyRequests
from app.net.access import Access, Forbidden
from app.net.tenant import InvalidTenant, NoTenant
from app.querying.blocks.block_messages import METHOD as JOBS
from app.querying.blocks.block_messages import BlockAsk, BlockFiles, Wanted
from app.querying.live.live_messages import METHOD, LiveAsk
from app.querying.running.fair_slots import FairSlots
from app.rpc.frames import RpcFrame
from query import memory
from query.memory import QueryTooLarge
from query.request_json import BadRequest
from query.requests import InstantRequest, SearchRequest, TagNamesRequest, TagValuesRequest, TraceRequest
from query.scan.progress import QueryObserver
from query.tags.tag_text import parse_tag
from tests.helpers.loops import in_loop
from tests.helpers.querying.api import CREDENTIALS
from tests.helpers.querying.processes import MS, ProcessGroup, Sent, cluster, with_queriers

ODD = ["a/b", "..", ".", "a\0b", "ä", "A" * 10_000, "", "t|u", " t", "t\n", "../t", None, 7, ["t"]]


async def two_tenants(group: ProcessGroup) -> None:
    """Of t 20 spans, of u 6, of T 1; trace 1 is of t and of u. In blocks, and in live stores."""
    await group.processes["a"].own({0})
    await group.processes["b"].own({1})
    for seconds in (100, 110):
        for tenant, traces in (("t", range(1, 11)), ("u", (1, 21, 22))):
            group.log.append([Sent(n, n + seconds, 1000 * n + seconds) for n in traces], tenant=tenant, seconds=seconds)
        for process in group.processes.values():
            await process.read_all()
            await process.flush()
    group.log.append([Sent(30, 30, 30_000)], tenant="T", seconds=110)
    for process in group.processes.values():
        await process.read_all()
    group.blocks.poll(range(2))
    group.announce()


async def spans_of(frontend: Any, tenant: str) -> int:
    request = InstantRequest(query="{ } | count_over_time()", start_ns=0, end_ns=1000 * 1000 * MS)
    result = await frontend.metrics_instant(tenant, request, QueryObserver())
    return round(sum(value for series in result.series for _, value in series.samples))


@in_loop
async def test_own_spans_only(tmp_path: Path) -> None:
    async with cluster(tmp_path) as group, with_queriers(group, ["q1"], cache_bytes=1 << 20) as front:
        await two_tenants(group)
        for _ in range(2):
            for tenant, count in (("t", 20), ("u", 6), ("T", 1), ("v", 0), ("tt", 0)):
                assert await spans_of(front.frontend, tenant) == count
                assert await spans_of(group.frontend, tenant) == count


@in_loop
async def test_several_at_once(tmp_path: Path) -> None:
    """As if they were one; a trace that two have comes whole."""
    async with cluster(tmp_path) as group, with_queriers(group, ["q1"], cache_bytes=1 << 20) as front:
        await two_tenants(group)
        for frontend in (front.frontend, group.frontend, group.frontend_in("a")):
            assert await spans_of(frontend, "t|u") == 26
            found = await frontend.search("T|t|u", SearchRequest(query="{ }", limit=50), QueryObserver())
            assert len(found.traces) == 13
            assert sum(one.span_sets[0].matched for one in found.traces) == 27
            answer = await frontend.trace("t|u", TraceRequest(trace_id=Sent(1, 0, 0).trace_id))
            assert (answer.complete, answer.table.num_rows) == (True, 2)  # the spans are the same ones
            assert (await frontend.trace("T|v", TraceRequest(trace_id=Sent(1, 0, 0).trace_id))).table is None


@pytest.mark.parametrize("tenant", ODD, ids=repr)
@in_loop
async def test_odd_names_between_processes(tmp_path: Path, tenant: Any) -> None:
    """Another process that names a tenant that cannot be gets an error, and no span."""
    async with cluster(tmp_path) as group:
        await two_tenants(group)
        fields = dict(LiveAsk(tenant="t", request=SearchRequest(query="{ }"), partitions={0: 0}).to_frame().fields)
        with group.client.call(group.processes["a"].server.address, METHOD) as conversation:
            await conversation.send(RpcFrame("ask", {**fields, "tenant": tenant}))
            with pytest.raises(BadRequest, match="tenant"):
                await conversation.receive()


QUESTIONS = {
    "search": ("search", SearchRequest(query="{ } >> { }")),
    "metrics": ("metrics_instant", InstantRequest(query="{ } | rate() by (name)", start_ns=0, end_ns=1000 * 1000 * MS)),
    "tag names": ("tag_names", TagNamesRequest(query="{ name != `x` }")),
    "tag values": ("tag_values", TagValuesRequest(fields=(parse_tag("name"),), query="{ name != `x` }")),
}


@pytest.mark.parametrize("kind", QUESTIONS)
@in_loop
async def test_bytes_that_a_query_reads(tmp_path: Path, kind: str) -> None:
    """A query that reads more than its tenant may ends with an error that names the limit and the tenant, whoever
    reads for it: live stores, queriers, blocks here; also where the answer of blocks comes from the cache.
    """
    method, request = QUESTIONS[kind]
    async with cluster(tmp_path) as group, with_queriers(group, ["q1"], cache_bytes=1 << 20) as front:
        await two_tenants(group)
        for frontend in (front.frontend, group.frontend):
            answer = await getattr(frontend, method)("t", request, QueryObserver())
            read_bytes = answer.inspected.bytes
            assert read_bytes > 0
            # A little more or less, by the order in which the answers of others come.
            with memory.request():
                memory.limit_reading(memory.ReadLimit(2 * read_bytes, "read.x", "t"))
                await getattr(frontend, method)("t", request, QueryObserver())
            for least in (read_bytes // 2, 1):
                with memory.request():
                    memory.limit_reading(memory.ReadLimit(least, "read.x", "t"))
                    with pytest.raises(QueryTooLarge, match=r"tenant t reads more than the setting read\.x allows"):
                        await getattr(frontend, method)("t", request, QueryObserver())


@in_loop
async def test_who_reads_alone_stops_alone(tmp_path: Path) -> None:
    """A live store knows how much the query may read, and does not go on until its answer is ready."""
    limit = memory.ReadLimit(1, "read.x", "t")
    request = SearchRequest(query="{ name != `x` }")
    async with cluster(tmp_path) as group:
        await two_tenants(group)
        ask = LiveAsk(tenant="t", request=request, partitions={0: 0}, read_limit=limit)
        assert LiveAsk.from_frame(ask.to_frame()) == ask
        with group.client.call(group.processes["a"].server.address, METHOD) as conversation:
            await conversation.send(ask.to_frame())
            await conversation.receive()
            with pytest.raises(QueryTooLarge, match=r"tenant t reads more than the setting read\.x allows"):
                await conversation.receive()
        for damaged in (7, [], ["1", "a", "b"], [1, 2, 3]):
            with pytest.raises(BadRequest, match="limit"):
                LiveAsk.from_frame(RpcFrame("ask", {**ask.to_frame().fields, "read_limit": damaged}))


@in_loop
async def test_a_job_with_blocks_of_another_tenant(tmp_path: Path) -> None:
    """Or with files that are not the block's: refused before anything is read."""
    async with cluster(tmp_path) as group, with_queriers(group, ["q1"]) as front:
        await two_tenants(group)
        (meta, *_) = group.blocks.snapshot("u").blocks
        good = BlockAsk(
            tenant="u",
            wanted=Wanted.PARTIAL,
            request=SearchRequest(query="{ }"),
            files=[BlockFiles(meta, 0, len(meta.files))],
        ).to_frame()
        service = front.services["q1"]
        assert (await service.answer(good)).name == "partial"
        with memory.request(), pytest.raises(QueryTooLarge, match=r"read\.x"):
            await service.answer(RpcFrame("job", {**good.fields, "read_limit": [1, "read.x", "u"]}))
        ((fields, first, end),) = good.fields["files"]
        file = fields["files"][0]
        for change, text in (
            ({"tenant": "t"}, "another tenant"),
            ({"files": [[{**fields, "files": [{**file, "name": "../../t/x"}]}, 0, 1]]}, "cannot be"),
            ({"files": [[{**fields, "block_id": ".."}, 0, 1]]}, "cannot be"),
            ({"files": [[fields, first, end + 1]]}, "does not have"),
            ({"files": [[{}, 0, 1]]}, "damaged block"),
            ({"files": 3}, "damaged"),
            ({"request": {"kind": "other"}}, "kinds"),
        ):
            with pytest.raises(BadRequest, match=text):
                await service.answer(RpcFrame("job", {**good.fields, **change}))
        assert JOBS == "Frontend"


@pytest.mark.parametrize(
    ("org", "found"),
    [
        ("t", "t"),
        ("u|t", "t|u"),
        ("t|t", "t"),
        ("t|u|t", "t|u"),
        ("a|b|c|d", InvalidTenant),
        ("t|", NoTenant),
        ("|", NoTenant),
        ("t|a/b", InvalidTenant),
        ("t|..", InvalidTenant),
        ("", NoTenant),
    ],
)
def test_names_in_the_header(org: str, found: Any) -> None:
    access = Access(multitenancy=True, several_max=3)
    if isinstance(found, str):
        assert access.tenants(None, org) == found
    else:
        with pytest.raises(found):
            access.tenants(None, org)
    if "|" in org:
        with pytest.raises(InvalidTenant):
            access.tenant(None, org)
        with pytest.raises(InvalidTenant):
            Access(multitenancy=True).tenants(None, org)
        assert Access(multitenancy=False, several_max=3).tenants(None, org) == "single-tenant"


def test_a_token_for_each() -> None:
    """Who may see one of them only, sees none of both."""
    access = Access(multitenancy=True, credentials=CREDENTIALS, several_max=3)
    assert access.tenants("Bearer both", "beta|gamma") == "beta|gamma"
    with pytest.raises(Forbidden):
        access.tenants("Bearer b1", "beta|gamma")


@in_loop
async def test_fair_slots() -> None:
    """A tenant with many queries waits for itself; another one is next. Beyond that it is refused, and only it."""
    slots, order, go_on = FairSlots(2, 60), [], asyncio.Event()

    async def query(tenant: str) -> None:
        async with slots.taken(tenant):
            order.append(tenant)
            await go_on.wait()

    running = [asyncio.ensure_future(query(tenant)) for tenant in ("flood", "flood", "flood", "flood", "quiet")]
    given_up = asyncio.ensure_future(query("quiet"))
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests, match=r"tenant flood wait \(query\.concurrent_max\)"):
        await query("flood")
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    go_on.set()
    await asyncio.gather(*running)
    assert order == ["flood", "flood", "flood", "quiet", "flood"]
    assert (slots._running, slots._waiting) == (0, {})


@in_loop
async def test_a_slot_that_comes_too_late() -> None:
    """At the same moment as the end of the wait: the query is refused, and the slot is free for others."""
    slots = FairSlots(1, 0)
    await slots.take("a")
    waiting = asyncio.ensure_future(slots.take("b"))
    await asyncio.sleep(0)
    slots.free()
    with pytest.raises(TooManyRequests):
        await waiting
    assert (slots._running, slots._waiting) == (0, {})


@in_loop
async def test_fair_slots_end_to_wait() -> None:
    """A query that finds no slot in time is told to come back; its place is free again."""
    slots = FairSlots(1, 0.01)
    async with slots.taken("a"):
        with pytest.raises(TooManyRequests, match=r"none ended within 0\.01 s"):
            await slots.take("b")
    await slots.take("b")
    slots.free()
    assert (slots._running, slots._waiting) == (0, {})
