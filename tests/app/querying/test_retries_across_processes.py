"""A client's retry whose copies lie with different processes counts once wherever whole traces are looked at."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from app.querying.blocks.block_messages import BlockAsk
from app.querying.frontend import Frontend
from app.querying.live.live_messages import LiveAsk
from app.querying.suspect_spans import SuspectsFound, asked_data, asked_from_json, asked_to_json
from app.rpc.frames import RpcFrame
from query.request_json import BadRequest
from query.requests import InstantRequest, SearchRequest, TraceRequest
from query.results import Inspected
from query.scan.progress import QueryObserver
from query.scan.suspects import SuspectSpans
from tests.helpers.loops import in_loop
from tests.helpers.querying.filled_group import read_and_flushed, spans
from tests.helpers.querying.processes import MS, ProcessGroup, Sent, cluster, with_queriers

TRACES = 20


def sent(first: int, parent: int = 0, at_ms: int = 1000) -> list[Sent]:
    """A span of each of the traces."""
    return spans(first, TRACES, at_ms=at_ms, parent=parent)


async def filled(group: ProcessGroup) -> None:
    """Roots and children in blocks; in live stores the same children again, other children, and spans with the id of a
    child that are others.
    """
    await group.processes["a"].own({0})
    await group.processes["b"].own({1})
    group.log.append(sent(100) + sent(200, 100), seconds=100)
    for process in group.processes.values():
        await process.read_all()
    more = [replace(one, at_ms=5000) for one in sent(200, 100)]
    group.log.append(sent(200, 100) + sent(300, 100) + more, seconds=110)
    await read_and_flushed(group)


async def matched(frontend: Frontend, query: str, limit: int = 100) -> list[int]:
    request = SearchRequest(query=query, limit=limit, spans_per_span_set=0)
    result = await frontend.search("t", request, QueryObserver())
    return [spans.matched for trace in result.traces for spans in trace.span_sets]


async def counted(frontend: Frontend, query: str) -> int:
    request = InstantRequest(query=query, start_ns=0, end_ns=1000 * 1000 * MS)
    result = await frontend.metrics_instant("t", request, QueryObserver())
    return round(sum(value for series in result.series for _, value in series.samples))


async def check(frontend: Frontend) -> None:
    assert await matched(frontend, '{ name = "root" } > { name = "child" }') == [3] * TRACES
    assert await matched(frontend, "{ } | count() = 4") == [4] * TRACES
    assert await matched(frontend, "{ } | count() > 4") == []
    assert await matched(frontend, "{ } | count() > 0", limit=3) == [4] * 3
    assert await counted(frontend, '{ rootName = "root" } | count_over_time()') == 4 * TRACES
    assert await counted(frontend, "{ } | select(name) | count_over_time() by (rootName)") == 4 * TRACES
    # As one process says it: where single spans decide, each copy counts until they are merged.
    assert await counted(frontend, "{ } | count_over_time()") == 5 * TRACES
    answer = await frontend.trace("t", TraceRequest(trace_id=Sent(7, 0, 0).trace_id))
    assert answer.table.num_rows == 4


@in_loop
async def test_blocks_and_live_stores(tmp_path: Path) -> None:
    """Whoever reads the blocks, and asked again: then conversations are used again, and digests are kept."""
    async with cluster(tmp_path) as group, with_queriers(group, ["q1", "q2"], cache_bytes=1 << 20) as front:
        await filled(group)
        for frontend in (group.frontend, front.frontend, group.frontend_in("a"), front.frontend):
            await check(frontend)


@in_loop
async def test_a_search_of_retries_ends_when_it_knows_enough(tmp_path: Path) -> None:
    """Copies are compared while older blocks are still read; that waits for none of their jobs."""
    async with cluster(tmp_path) as group, with_queriers(group, ["q1"], jobs_max=1) as front:
        process = group.processes["a"]
        await process.own({0, 1})
        new = sent(200, at_ms=60_000)
        steps = [([Sent(100 + n, 900 + n, n) for n in range(1, TRACES)], 100), (new, 110), (new + sent(300, 200), 120)]
        for spans, seconds in steps:
            group.log.append(spans, seconds=seconds)
            await process.read_all()
            await process.flush()
        group.blocks.poll(range(2))
        group.announce()
        assert group.blocks.flushed_offset(0) == 2

        async def hang(frame: RpcFrame) -> Any:
            old = all(meta["end_max_ns"] < 30_000 * MS for meta, *_ in frame.fields["files"])
            if old and frame.fields["wanted"] == "partial":
                await asyncio.sleep(60)
            return await answer(frame)

        answer = front.services["q1"].answer
        front.services["q1"].answer = hang
        async with asyncio.timeout(15):
            assert await matched(front.frontend, "{ } | count() > 0", limit=5) == [2] * 5


@in_loop
async def test_without_retries_nobody_is_asked(tmp_path: Path) -> None:
    async with cluster(tmp_path) as group, with_queriers(group, ["q1"]) as front:
        await group.processes["a"].own({0, 1})
        group.log.append(sent(100), seconds=100)
        await group.processes["a"].read_all()
        group.log.append(sent(200, 100), seconds=110)
        await group.processes["a"].read_all()
        await group.processes["a"].flush()
        group.blocks.poll(range(2))
        group.announce()
        before = compared_spans()
        assert await matched(front.frontend, "{ } | count() = 2") == [2] * TRACES
        assert compared_spans() == before


def compared_spans() -> float:
    return REGISTRY.get_sample_value("stretto_query_suspect_spans_total") or 0


@in_loop
@pytest.mark.parametrize("former", ["live stores", "queriers"])
async def test_processes_of_a_former_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, former: str) -> None:
    """They cannot say what is the same: then copies of theirs count, as before; nothing fails."""
    asks: Any = LiveAsk if former == "live stores" else BlockAsk
    from_frame = asks.from_frame.__func__

    def as_before(cls: Any, frame: RpcFrame) -> Any:
        about = {name: value for name, value in frame.fields.items() if name not in {"of_suspects", "suspects"}}
        return from_frame(cls, replace(frame, fields=about))

    monkeypatch.setattr(asks, "from_frame", classmethod(as_before))
    async with cluster(tmp_path) as group, with_queriers(group, ["q1"]) as front:
        await filled(group)
        assert await matched(front.frontend, "{ } | count() > 3") == [5] * TRACES


@pytest.mark.parametrize(
    ("values", "data"),
    [
        (None, b""),
        ({"traces": 1, "columns": []}, b""),
        ({"traces": -1, "columns": []}, bytes(8)),
        ({"traces": 0, "columns": [1]}, bytes(8)),
        ({"traces": 0, "columns": []}, bytes(7)),
    ],
)
def test_damaged(values: Any, data: bytes) -> None:
    with pytest.raises(BadRequest, match="a damaged question"):
        asked_from_json(values, data)


def test_on_the_way() -> None:
    def keys(*some: int) -> Any:
        return np.array(some, np.uint64)

    asked = SuspectSpans(keys(1, 2**64 - 1), keys(5), ("name",))
    back = asked_from_json(asked_to_json(asked), asked_data(asked))
    same: Sequence[bool] = [(a == b).all() for a, b in ((asked.traces, back.traces), (asked.spans, back.spans))]
    assert (*same, back.columns) == (True, True, ("name",))
    assert SuspectsFound.from_ipc(SuspectsFound(None, Inspected(bytes=7)).to_ipc()) == (None, Inspected(bytes=7))
