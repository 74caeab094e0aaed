"""Queries over several processes: the same answer as of one, whoever has the spans."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from app.api.errors import Unavailable
from app.querying.frontend import Frontend
from app.querying.jobs.job_queue import QueueLimits
from app.rpc.frames import RpcFrame
from query.requests import (
    InstantRequest,
    Page,
    RangeRequest,
    SearchRequest,
    SpanMatching,
    TagNamesRequest,
    TagValuesRequest,
    TraceRequest,
)
from query.scan.progress import Progress, QueryObserver
from query.tags.tag_text import parse_tag
from tables.wire.split import partition_of
from tests.helpers.loops import in_loop
from tests.helpers.querying.filled_group import filled, spans
from tests.helpers.querying.processes import MS, ProcessGroup, Sent, cluster, with_queriers

EVERYTHING = {"start_ns": 0, "end_ns": 1000 * 1000 * MS}

_ASKED_MAX = 20


async def counted(frontend: Frontend, tenant: str = "t") -> int:
    request = InstantRequest(query="{ } | count_over_time()", start_ns=0, end_ns=1000 * 1000 * MS)
    result = await frontend.metrics_instant(tenant, request, QueryObserver())
    return round(sum(value for series in result.series for _, value in series.samples))


async def searched(frontend: Frontend, query: str = "{ }", **more: Any) -> list[tuple[bytes, int, str | None, int]]:
    """Of each trace its id, start, root and matched spans."""
    request = SearchRequest(**{"query": query, "limit": 100, "spans_per_span_set": 0, **more})
    result = await frontend.search("t", request, QueryObserver())
    return [
        (one.trace_id, one.start_ns, one.root_name, sum(spans.matched for spans in one.span_sets))
        for one in result.traces
    ]


@in_loop
async def test_every_question(tmp_path: Path) -> None:
    """Counted, searched, found by id, whole or in pages; names and values of tags; stitched traces come out whole."""
    async with cluster(tmp_path) as group:
        await filled(group)
        for frontend in (group.frontend, group.frontend_in("a"), group.frontend_in("b")):
            await answers_every_question(frontend)


@in_loop
async def test_every_question_with_queriers(tmp_path: Path) -> None:
    """The same where others read the blocks, also out of the cache of results."""
    async with cluster(tmp_path) as group, with_queriers(group, ["q1", "q2"], cache_bytes=1 << 20) as front:
        await filled(group)
        for _ in range(2):
            await answers_every_question(front.frontend)


async def answers_every_question(frontend: Frontend) -> None:
    assert await counted(frontend) == 40
    found = await searched(frontend)
    assert [start for _, start, *_ in found] == [(1000 + n) * MS for n in range(20, 0, -1)]
    assert {(root, matched) for _, _, root, matched in found} == {("root", 2)}
    assert len(await searched(frontend, '{ name = "root" } > { name = "child" }')) == 20
    assert len(await searched(frontend, limit=3)) == 3
    ranged = RangeRequest(query="{ } | rate() by (name)", step_ns=1000 * MS, start_ns=0, end_ns=3000 * MS)
    series = (await frontend.metrics_range("t", ranged, QueryObserver())).series
    assert [line.labels for line in series] == [(("name", "child"),), (("name", "root"),)]
    names = await frontend.tag_names("t", TagNamesRequest(query='{ name = "root" }'), QueryObserver())
    assert "name" in names.scopes["intrinsic"]
    values = TagValuesRequest(fields=(parse_tag("name"), parse_tag("rootName")))
    got = await frontend.tag_values("t", values, QueryObserver())
    assert [value.text for value in got.values] == ["child", "root"]
    trace_id = Sent(7, 0, 0).trace_id
    answer = await frontend.trace("t", TraceRequest(trace_id=trace_id))
    assert (answer.table.num_rows, answer.complete, answer.message) == (2, True, "")
    page = await frontend.trace("t", TraceRequest(trace_id=trace_id, page=Page(None, 1)))
    assert (page.table["name"].to_pylist(), page.more) == (["root"], True)
    after = (page.table["start_ns"][0].as_py(), page.table["span_id"][0].as_py())
    page = await frontend.trace("t", TraceRequest(trace_id=trace_id, page=Page(after, 1)))
    assert (page.table["name"].to_pylist(), page.more) == (["child"], False)
    outline = (await frontend.trace("t", TraceRequest(trace_id=trace_id, outline=True))).table
    assert outline["name"].to_pylist() == ["root", "child"]
    assert outline["nested_left"].to_pylist() == [1, 2]  # of the whole trace, not of each part
    assert set(outline["root_name"].to_pylist()) == {"root"}
    matching = TraceRequest(trace_id=trace_id, matching=SpanMatching(query='{ name = "child" }'))
    found_ids = (await frontend.trace("t", matching)).table["span_id"].to_pylist()
    assert found_ids == [answer.table["span_id"][answer.table["name"].to_pylist().index("child")].as_py()]
    assert (await frontend.trace("t", TraceRequest(trace_id=b"x" * 16))).table is None
    assert await counted(frontend, "other") == 0
    assert (await frontend.trace("other", TraceRequest(trace_id=trace_id))).table is None


@in_loop
async def test_a_frontend_that_knows_older_blocks(tmp_path: Path) -> None:
    """What was flushed since comes from the live store while it keeps it; then the frontend looks for newer blocks."""
    async with cluster(tmp_path) as group:
        await filled(group)
        group.log.append(spans(300, 20, at_ms=3000), seconds=120)
        for process in group.processes.values():
            await process.read_all()
            await process.flush()
        assert [group.blocks.flushed_offset(n) for n in (0, 1)] == [1, 1]
        assert await counted(group.frontend) == 60
        assert [group.blocks.flushed_offset(n) for n in (0, 1)] == [1, 1]  # it needed no newer view
        await asyncio.sleep(0.3)  # longer than flushed segments are kept
        for process in group.processes.values():
            await process.world.flusher.trim()
        assert await counted(group.frontend) == 60
        assert [group.blocks.flushed_offset(n) for n in (0, 1)] == [2, 2]


@in_loop
async def test_never_silently_less(tmp_path: Path) -> None:
    """A partition that nobody has, or that is behind: 503 after a while, or what there is, and what is missing."""
    async with cluster(tmp_path) as group:
        await filled(group)
        gone = group.processes["b"]
        await gone.own(set())
        with pytest.raises(Unavailable, match=r"partition 1 are missing: NOT_OWNER"):
            await counted(group.frontend)
        lacking: list[str] = []
        request = InstantRequest(query="{ } | count_over_time()", start_ns=0, end_ns=1000 * 1000 * MS)
        result = await group.frontend.metrics_instant("t", request, QueryObserver(missing_data=lacking))
        assert sum(value for series in result.series for _, value in series.samples) < 40
        assert ["partition 1" in text for text in lacking] == [True]
        of_partition = [next(n for n in range(1, 21) if partition_of(Sent(n, 0, 0).trace_id, 2) == p) for p in (0, 1)]
        answers = [await traced(group, trace) for trace in of_partition]
        assert [(one.complete, one.table.num_rows) for one in answers] == [(True, 2), (False, 1)]
        await gone.stop_serving()
        group.members.members.clear()
        with pytest.raises(Unavailable, match="partition 0, 1 are missing: no live store has it"):
            await counted(group.frontend)


async def traced(group: ProcessGroup, trace: int) -> Any:
    return await group.frontend.trace("t", TraceRequest(trace_id=Sent(trace, 0, 0).trace_id))


@in_loop
async def test_a_partition_moves_while_a_query_looks_for_it(tmp_path: Path) -> None:
    """Whoever takes it over answers, although members do not say so yet."""
    async with cluster(tmp_path) as group:
        await filled(group)
        await group.processes["b"].own(set())
        asking = asyncio.ensure_future(counted(group.frontend))
        await asyncio.sleep(0.05)
        await group.processes["a"].own({0, 1})
        await group.processes["a"].read_all()
        assert await asking == 40


@in_loop
async def test_one_process_has_it_all(tmp_path: Path) -> None:
    """And there are no blocks: nobody else need know which traces it has."""
    async with cluster(tmp_path) as group, with_queriers(group, ["q1"]) as front:
        await group.processes["a"].own({0, 1})
        group.log.append(spans(100, 5, at_ms=1000))
        await group.processes["a"].read_all()
        group.announce()
        assert len(await searched(front.frontend)) == 5
        assert await counted(front.frontend) == 5


@in_loop
async def test_it_only_seems_that_one_has_it_all(tmp_path: Path) -> None:
    """Another one has a partition since: then both say which traces they have."""
    async with cluster(tmp_path) as group:
        await group.processes["a"].own({0, 1})
        group.log.append(spans(100, 20, at_ms=1000))
        group.log.append(spans(200, 20, at_ms=2000, parent=100))
        await group.processes["a"].read_all()
        group.announce()
        assert len(await searched(group.frontend, limit=50)) == 20
        await group.processes["a"].own({0})
        await group.processes["b"].own({1})
        await group.processes["b"].read_all()
        before = sample("stretto_query_restarts_total", {"reason": "shared"})
        found = await searched(group.frontend, '{ name = "root" } > { name = "child" }')
        assert len(found) == 20
        assert sample("stretto_query_restarts_total", {"reason": "shared"}) == before + 1


def sample(name: str, labels: dict[str, str]) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


@in_loop
async def test_progress(tmp_path: Path) -> None:
    """What nobody who has not answered can change is told before the end; nothing that is told changes."""
    async with cluster(tmp_path) as group:
        await filled(group)
        heard: list[Any] = []
        observer = QueryObserver(progress=Progress(heard.append, 0))
        for _ in range(_ASKED_MAX):
            result = await group.frontend.search("t", SearchRequest(query="{ }"), observer)
            if heard:
                break  # else all answered at the same moment, and there was nothing to tell before the end
        assert heard
        for early in heard:
            assert list(early.traces) == list(result.traces)[: len(early.traces)]
            assert early.inspected.left > 0


@in_loop
async def test_cancelled_with_the_caller(tmp_path: Path) -> None:
    """A live store gives up what it does for a query whose client has left."""
    async with cluster(tmp_path) as group, AsyncExitStack() as stack:
        await filled(group)
        process = group.processes["a"]
        started, ended = asyncio.Event(), asyncio.Event()

        async def wait(*_: Any, **__: Any) -> None:
            started.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

        stack.enter_context(pytest.MonkeyPatch.context()).setattr(process.executor, "run", wait)
        asking = asyncio.ensure_future(counted(group.frontend))
        await asyncio.wait_for(started.wait(), 5)
        asking.cancel()
        await asyncio.wait_for(ended.wait(), 5)


@in_loop
async def test_a_frontend_that_has_just_started(tmp_path: Path) -> None:
    """It does not answer without what it does not know yet: blocks, or how many partitions there are."""
    async with cluster(tmp_path) as group:
        await filled(group)
        partitions, blocks = group.log.partitions, group.blocks
        group.log.partitions = 0
        with pytest.raises(Unavailable, match="does not know yet"):
            await counted(group.frontend)
        group.log.partitions, group.blocks = partitions, None
        with pytest.raises(Unavailable, match="does not know yet"):
            await traced(group, 1)
        group.blocks = blocks
        assert await counted(group.frontend) == 40


@in_loop
async def test_a_querier_dies(tmp_path: Path) -> None:
    """In the middle of a job: another one does it, and the answer is right."""
    async with cluster(tmp_path) as group, with_queriers(group, ["q1", "q2"]) as front:
        await filled(group)
        began = asyncio.Event()

        async def hang(*_: Any) -> Any:
            began.set()
            await asyncio.sleep(60)

        front.services["q1"].answer = hang
        jobs = [asyncio.ensure_future(counted(front.frontend)) for _ in range(8)]
        await asyncio.wait_for(began.wait(), 5)
        await front.lose_querier("q1")
        assert await asyncio.gather(*jobs) == [40] * 8


@in_loop
async def test_a_slow_querier_is_hedged(tmp_path: Path) -> None:
    """A second one gets the job; the first is told that nobody waits, and takes jobs again."""
    limits = QueueLimits(hedge_at_s=0.1)
    async with cluster(tmp_path) as group, with_queriers(group, ["q1", "q2"], limits=limits) as front:
        await filled(group)
        given_up = asyncio.Event()

        async def hang(*_: Any) -> Any:
            try:
                await asyncio.sleep(60)
            finally:
                given_up.set()

        for name in ("q1", "q2"):  # whichever has the blocks
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(front.services[name], "answer", hang)
                assert await counted(front.frontend) == 40
        await asyncio.wait_for(given_up.wait(), 5)


@in_loop
async def test_a_search_ends_when_it_knows_enough(tmp_path: Path) -> None:
    """The newest traces are in live stores: blocks that can only hold older ones are not waited for."""
    async with cluster(tmp_path) as group, with_queriers(group, ["q1"]) as front:
        await filled(group)
        fresh = [Sent(100 + n, 900 + n, 60_000 + n) for n in range(20)]
        group.log.append(fresh, seconds=111)
        for process in group.processes.values():
            await process.read_all()

        async def hang(frame: RpcFrame) -> Any:
            if frame.fields["wanted"] == "partial":
                await asyncio.sleep(60)
            return await answer(frame)

        answer = front.services["q1"].answer
        front.services["q1"].answer = hang
        async with asyncio.timeout(10):
            found = await searched(front.frontend, limit=5)
        assert [start for _, start, *_ in found] == [(60_000 + n) * MS for n in range(19, 14, -1)]


@in_loop
async def test_no_querier(tmp_path: Path) -> None:
    """503 after a while, not an answer without blocks."""
    limits = QueueLimits(querier_wait_s=0.2)
    async with cluster(tmp_path) as group, with_queriers(group, [], limits=limits) as front:
        await filled(group)
        with pytest.raises(Unavailable, match="no querier is connected"):
            await counted(front.frontend)
