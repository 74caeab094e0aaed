"""Calls to live stores that a frontend keeps."""

from pathlib import Path

import pytest

from app.querying.frontend import Frontend
from app.querying.live.live_stores import GONE, RETRIED
from app.rpc.conversation import CallingConversation
from query.requests import InstantRequest
from query.scan.progress import QueryObserver
from tests.helpers.loops import in_loop
from tests.helpers.querying.processes import MS, Sent, cluster


async def counted(frontend: Frontend) -> int:
    request = InstantRequest(query="{ } | count_over_time()", start_ns=0, end_ns=1000 * 1000 * MS)
    result = await frontend.metrics_instant("t", request, QueryObserver())
    return round(sum(value for series in result.series for _, value in series.samples))


@in_loop
async def test_a_live_store_that_is_back_is_asked_in_a_new_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls that were kept ended with the process; that costs no query more than a moment."""
    monkeypatch.setattr(CallingConversation, "can_ask_again", property(lambda self: self.is_over))
    async with cluster(tmp_path, names=("a",)) as group:
        process = group.processes["a"]
        await process.own({0, 1})
        group.log.append([Sent(n + 1, n + 1, 1000 + n) for n in range(40)])
        await process.read_all()
        group.announce()
        assert await counted(group.frontend) == 40
        (kept,) = group.client._kept.values()
        assert kept
        port = int(process.server.address.rpartition(":")[2])
        await process.stop_serving()
        await process.serve(port=port)
        gone = RETRIED.labels(GONE)._value.get()
        assert await counted(group.frontend) == 40
        assert RETRIED.labels(GONE)._value.get() == gone
