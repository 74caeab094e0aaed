"""Outlines of traces over several processes."""

from pathlib import Path

import pytest

from app.querying.trace_partial import TracePart
from query.requests import SpanMatching, TraceRequest
from tests.helpers.loops import in_loop
from tests.helpers.processes import Sent, cluster


@pytest.mark.parametrize("several", [False, True], ids=["in one place", "in a block, too"])
@in_loop
async def test_what_an_outline_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several: bool) -> None:
    """Of a trace that lies in one place, only its outline or its ids; of one in two, all of it."""
    moved: list[int] = []
    from_ipc = TracePart.from_ipc

    def counted_bytes(data: bytes) -> TracePart:
        moved.append(len(data))
        return from_ipc(data)

    async with cluster(tmp_path, names=("a",)) as group:
        process, trace_id = group.processes["a"], Sent(7, 0, 0).trace_id
        await process.own({0, 1})
        some = [Sent(7, 1 + n, 1000 + n, "child" if n else "root", 1 if n else 0) for n in range(500)]
        group.log.append(some[:400], seconds=100)
        await process.read_all()
        group.log.append(some[400:], seconds=110)
        await process.read_all()
        if several:
            await process.flush()
            group.blocks.poll(range(2))
        group.announce()
        monkeypatch.setattr(TracePart, "from_ipc", counted_bytes)
        whole = (await group.frontend.trace("t", TraceRequest(trace_id=trace_id))).table
        outline = (await group.frontend.trace("t", TraceRequest(trace_id=trace_id, outline=True))).table
        wanted = TraceRequest(trace_id=trace_id, matching=SpanMatching(query='{ name = "child" }'))
        found = (await group.frontend.trace("t", wanted)).table
    assert whole.num_rows == outline.num_rows == 500
    assert set(outline["span_id"].to_pylist()) == set(whole["span_id"].to_pylist())
    assert sorted(outline["nested_left"].to_pylist()) == list(range(1, 1000, 2))[:1] + list(range(2, 1000, 2))
    assert set(outline["root_name"].to_pylist()) == {"root"}
    assert len(found) == 499
    if several:  # an outline first, then everything, of what is not in the block
        assert moved[2] == moved[4] == moved[0]
    else:
        assert len(moved) == 3
        assert moved[1] < 0.8 * moved[0]
        assert moved[2] < 0.3 * moved[0]
