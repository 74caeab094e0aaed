"""Blocks that are damaged, and what every kind of answer says of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.api.errors import Unavailable
from app.querying.querier import Querier
from query.requests import InstantRequest, RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest, TraceRequest
from query.scan.progress import QueryObserver
from query.tags.tag_text import parse_tag
from tests.helpers.live.live_store import TP0, World, message, world
from tests.helpers.querying.queriers import LIMITS, TRACE

SPANS = 12
RANGE = {"start_ns": -(10**9), "end_ns": 10**9}


def files_of(folder: Path, tenant: str) -> list[Path]:
    """The data, then the meta.json, of the tenant's only block."""
    return sorted((folder / "storage" / "blocks" / tenant).rglob("*.*"))


def changed(place: int, size: int = 1) -> Callable[[Path], None]:
    """Bytes at a place, from the end if negative, become others."""

    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        at = place % len(data)
        data[at : at + size] = bytes(byte ^ 0x55 for byte in data[at : at + size])
        path.write_bytes(data)

    return change


async def two_blocks(folder: Path) -> Path:
    """A bucket with a block of tenant t and one of tenant u; the next worker begins with an empty disk."""
    with world(folder) as w:
        await w.manager.resume([TP0])
        await w.manager.take(message(0, spans=SPANS))
        await w.manager.take(message(1, spans=SPANS, key=b"u"))
        await w.manager.take(message(2, spans=1, key=b"u", seconds=200))
        await w.flush_all()
        assert w.store.blocks.flushed_offset(0) == 2
    shutil.rmtree(folder / "live")
    return folder


async def started(w: World) -> Querier:
    """A worker that reads on behind the blocks."""
    await w.manager.resume([TP0])
    assert w.state.next_offset == 2
    return Querier(w.manager, LIMITS)


async def counts(asked: Querier, tenant: str, missing_data: list[str] | None = None) -> tuple[int, int, int]:
    """Spans that a search and both kinds of metrics queries see; tags are asked, too."""
    query = "{ } | count_over_time()"

    def observer() -> QueryObserver:
        return QueryObserver(missing_data=missing_data)

    found = await asked.search(tenant, SearchRequest(query="{ }"), observer())
    ranged = await asked.metrics_range(tenant, RangeRequest(query=query, **RANGE, step_ns=10**9), observer())
    instant = await asked.metrics_instant(tenant, InstantRequest(query=query, **RANGE), observer())
    await asked.tag_values(tenant, TagValuesRequest(fields=(parse_tag("kind"),), query="{ }"), observer())
    await asked.tag_names(tenant, TagNamesRequest(query="{ }"), observer())
    return (
        sum(spans.matched for trace in found.traces for spans in trace.span_sets),
        round(sum(value for series in ranged.series for _, value in series.samples)),
        round(sum(value for series in instant.series for _, value in series.samples)),
    )


WHOLE = (SPANS, SPANS, SPANS)
NONE = (0, 0, 0)


async def is_whole(asked: Querier, tenant: str) -> None:
    """Every kind of answer has every span."""
    assert await counts(asked, tenant) == WHOLE
    answer = await asked.trace(tenant, TraceRequest(trace_id=TRACE))
    assert (answer.table.num_rows, answer.complete, answer.message) == (SPANS, True, "")


async def is_told(asked: Querier, tenant: str) -> None:
    """No kind of answer is silently less."""
    with pytest.raises(Unavailable, match=r"block [0-9a-f-]{36} cannot be read.*allow_partial=true"):
        await counts(asked, tenant)
    missing_data: list[str] = []
    assert await counts(asked, tenant, missing_data) == NONE
    assert "cannot be read" in missing_data[0]
    answer = await asked.trace(tenant, TraceRequest(trace_id=TRACE))
    assert (answer.table, answer.complete) == (None, False)
    assert "cannot be read" in answer.message
