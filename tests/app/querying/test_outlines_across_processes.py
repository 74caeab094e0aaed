"""Parts of traces over several processes: outlines, spans that match, spans that a filter keeps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.querying.blocks.block_messages import BlockAsk
from app.querying.frontend import Frontend
from app.querying.live.live_messages import LiveAsk
from query.requests import SpanMatching, SpanSelection, TraceRequest
from tests.helpers.loops import in_loop
from tests.helpers.querying.moved_bytes import MovedBytes
from tests.helpers.querying.processes import ProcessGroup, Sent, cluster, with_queriers

TRACE_ID = Sent(7, 0, 0).trace_id
COUNT = 500


@asynccontextmanager
async def apart(folder: Path) -> AsyncIterator[tuple[Frontend, ProcessGroup]]:
    """A root and its children: the first in a block, which a querier reads, the others in a live store. One child was
    sent twice, once to either.
    """
    async with cluster(folder, names=("a",)) as group, with_queriers(group, ["q1", "q2"]) as front:
        process = group.processes["a"]
        await process.own({0, 1})
        some = [Sent(7, 1 + n, 1000 + n, "child" if n else "root", 1 if n else 0) for n in range(COUNT)]
        group.log.append(some[:400], seconds=100)
        await process.read_all()
        group.log.append(some[399:], seconds=110)
        await process.read_all()
        await process.flush()
        group.blocks.poll(range(2))
        group.announce()
        yield front.frontend, group


async def is_right(frontend: Frontend) -> None:
    """Each span once, facts of the whole trace, whatever is asked."""
    whole = (await frontend.trace("t", TraceRequest(trace_id=TRACE_ID))).table
    outline = (await frontend.trace("t", TraceRequest(trace_id=TRACE_ID, outline=True))).table
    assert whole.num_rows == outline.num_rows == COUNT
    assert outline["span_id"].to_pylist() == whole["span_id"].to_pylist()
    assert sorted(outline["nested_left"].to_pylist()) == [1, *range(2, 2 * COUNT, 2)]
    assert set(outline["root_name"].to_pylist()) == {"root"}
    wanted = TraceRequest(trace_id=TRACE_ID, matching=SpanMatching(query='{ name = "child" }'))
    assert (await frontend.trace("t", wanted)).table.num_rows == COUNT - 1
    wanted = TraceRequest(trace_id=TRACE_ID, matching=SpanMatching(text="roo"))
    assert (await frontend.trace("t", wanted)).table["span_id"].to_pylist() == [(1).to_bytes(8, "big")]
    for kept, spans in (
        (SpanSelection('{ name = "root" }'), 1),
        (SpanSelection('{ name = "child" }'), COUNT - 1),
        (SpanSelection('{ name = "root" }', below=1), COUNT),
        (SpanSelection("{ duration > 1h }"), 0),
        (SpanSelection("{ }"), COUNT),
        (SpanSelection(f'{{ span:id = "{450:016x}" }}', above=-1), 2),
    ):
        answer = await frontend.trace("t", TraceRequest(trace_id=TRACE_ID, filter=kept))
        assert (0 if answer.table is None else answer.table.num_rows) == spans
        assert (answer.more, answer.complete) == (spans < COUNT, True)
    answer = await frontend.trace("t", TraceRequest(trace_id=b"x" * 16, filter=SpanSelection("{ }")))
    assert (answer.table, answer.more) == (None, False)


@in_loop
async def test_parts_of_a_trace(tmp_path: Path) -> None:
    async with apart(tmp_path) as (frontend, group):
        await is_right(frontend)
        await is_right(group.frontend)  # which reads blocks itself
        await is_right(group.frontend_in("a"))


@pytest.mark.parametrize("older", ["a live store", "a querier", "some queriers"])
@in_loop
async def test_processes_of_a_former_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: str) -> None:
    """They do not know of turns, and give all spans: in a rolling update, too, where each turn may meet another one."""
    of_frame: Any = (LiveAsk if older == "a live store" else BlockAsk).from_frame
    asked: list[int] = []

    def from_frame(frame: Any) -> Any:
        asked.append(1)
        ask = of_frame(frame)
        if older == "some queriers" and len(asked) % 2:
            return ask
        return replace(ask, in_turns=None, **({} if older == "a live store" else {"further": None}))

    monkeypatch.setattr(LiveAsk if older == "a live store" else BlockAsk, "from_frame", from_frame)
    async with apart(tmp_path) as (frontend, _):
        await is_right(frontend)
    assert asked


@in_loop
async def test_what_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wanted, and of an outline no attributes: wherever the spans are."""
    moved = MovedBytes(monkeypatch)
    sizes = []
    async with apart(tmp_path) as (frontend, _):
        for request in (
            TraceRequest(trace_id=TRACE_ID),
            TraceRequest(trace_id=TRACE_ID, outline=True),
            TraceRequest(trace_id=TRACE_ID, matching=SpanMatching(query='{ name = "root" }')),
            TraceRequest(trace_id=TRACE_ID, filter=SpanSelection('{ name = "root" }')),
        ):
            moved.bytes = 0
            await frontend.trace("t", request)
            sizes.append(moved.bytes)
    whole, outline, matches, kept = sizes
    assert outline < 0.6 * whole
    assert matches < 0.2 * whole
    assert kept < 0.4 * whole
